"""The console draws whatever a frame holds: every figure unknown, nothing, or huge, on every screen and at every size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.frames_kit import random_frame
from tests.tui.conftest import SIZES, Bent

Run = Callable[..., Any]


@pytest.mark.parametrize(("size", "seed"), [("wide", 1), ("medium", 2), ("narrow", 3)])
async def test_every_screen_draws_every_frame(driven: Run, desk_at: Run, size: str, seed: int) -> None:
    """Six frames on each of the seven screens; whatever breaks a widget is reported, which ``settle`` does not accept."""
    random, shown = Random(seed), [0]

    def frame(known: Any) -> Any:
        shown[0] += 1
        return random_frame(random, seq=known.seq, wall=known.wall)

    async with driven(Bent(desk_at("bottleneck"), frame), size=SIZES[size]) as d:
        for key in "1234567":
            await d.press(key)
            for _ in range(6):
                await d.wait(1)
                assert "\x9b" not in d.text
                assert "\u202e" not in d.text
    assert shown[0] > 7 * 6


async def test_the_build_of_a_vector_index_is_shown_on_the_host_screen(driven: Run, desk_at: Run) -> None:
    def building(known: Any) -> Any:
        database = replace(known.database, index_phase="building index: loading tuples", index_share=0.43)
        return replace(known, database=database)

    async with driven(Bent(desk_at("bottleneck"), building), size=SIZES["wide"]) as d:
        await d.press("5")
        await d.wait(1)
        (line,) = [line for line in d.text.splitlines() if "loading tuples" in line]
        assert "43%" in line.replace(" %", "%")

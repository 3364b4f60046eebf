"""What the console says of an engine that starts, is silent, was lost, has ended, or was never there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.events import Events
from gainstage.engine.views.snapshot import SCHEMA
from tests.tui.conftest import Bent

Run = Callable[..., Any]


async def test_no_engine_says_how_to_start_one(driven: Run, desk_at: Run) -> None:
    started = []

    def start() -> str:
        started.append(True)
        return "engine started, pid 4711"

    async with driven(Bent(desk_at(0.0), lambda s: None, events=Events((), 0, 0)), start_engine=start) as d:
        assert "NO ENGINE" in d.text
        assert "No engine at this database." in d.text
        await d.press("P")
        assert "no engine at this database" in d.noticed[-1]
        await d.press("enter")
        assert started == [True]
        assert "engine started, pid 4711" in d.noticed


async def test_without_a_starter_the_command_is_named(driven: Run, desk_at: Run) -> None:
    async with driven(Bent(desk_at(0.0), lambda s: None, events=Events((), 0, 0))) as d:
        await d.press("enter")
        assert "gainstage engine" in d.noticed[-1]


async def test_starting_shows_every_model(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("warm-up")) as d:
        assert "STARTING" in d.text
        assert "loading models 2/4" in d.text
        for model in d.app.newest.models:
            assert model.role in d.text


async def test_stale_then_offline_then_back(driven: Run, desk_at: Run) -> None:
    desk = desk_at("bottleneck")
    held: list[Any] = []
    async with driven(Bent(desk, lambda s: held[0] if held else s)) as d:
        assert "HEALTHY" in d.text
        held.append(desk.snapshot())
        await d.wait(2)
        assert "STALE" in d.text
        assert d.app.frame.faded
        await d.press("P")
        assert "no snapshot from the engine" in d.noticed[-1]
        await d.wait(5)
        assert "OFFLINE" in d.text
        assert "No snapshot from the engine since" in d.text
        held.clear()
        await d.wait(1)
        assert "HEALTHY" in d.text


async def test_a_stopped_engine_is_not_called_offline(driven: Run, desk_at: Run) -> None:
    desk = desk_at("done")
    async with driven(Bent(desk, lambda s: replace(s, run=replace(s.run, state="stopped")))) as d:
        assert "STOPPED" in d.text
        assert "The engine stopped at" in d.text


async def test_an_engine_that_could_not_go_on_says_why(driven: Run, desk_at: Run) -> None:
    desk = desk_at("done")
    why = "asr model big is not on this machine"
    async with driven(Bent(desk, lambda s: replace(s, run=replace(s.run, state="stopped", reason=why)))) as d:
        assert f"■ {why}" in d.text
        assert "✓ done" not in d.text
        assert "the engine has stopped" in d.text
        assert "everything is done" not in d.text


async def test_done_says_what_came_out_and_where_to_look(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("done")) as d:
        assert "✓ DONE" in d.text
        assert "stored" in d.text
        assert "search what was said" in d.text


async def test_an_empty_queue_says_how_to_fill_it(driven: Run, desk_at: Run) -> None:
    def empty(s: Any) -> Any:
        return replace(s, flights=(), run=replace(s.run, queued=0, running=0, retrying=0))

    async with driven(Bent(desk_at("burst"), empty)) as d:
        assert "Queue is empty." in d.text
        assert "gainstage add" in d.text


async def test_another_schema_is_read_only(driven: Run, desk_at: Run) -> None:
    async with driven(Bent(desk_at("burst"), lambda s: replace(s, schema=SCHEMA + 1))) as d:
        assert "read-only" in d.text
        await d.press("P")
        assert "schema" in d.noticed[-1]


async def test_a_replay_is_marked_and_takes_no_commands(driven: Run, desk_at: Run) -> None:
    async with driven(Bent(desk_at("oom"), live=False, label="REPLAY 2026-11-21 03:12")) as d:
        assert "REPLAY 2026-11-22" in d.text
        await d.press("P")
        assert "replay" in d.noticed[-1]


async def test_a_desk_that_cannot_be_asked_keeps_the_last_frame(driven: Run, desk_at: Run) -> None:
    broken: list[bool] = []

    def bend(s: Any) -> Any:
        if broken:
            raise DeskError("connection refused")
        return s

    async with driven(Bent(desk_at("burst"), bend)) as d:
        broken.append(True)
        await d.wait(6)
        assert "OFFLINE" in d.text
        assert "connection refused" in d.text
        broken.clear()
        await d.wait(1)
        assert "HEALTHY" in d.text


async def test_an_engine_that_was_killed_is_told_from_one_out_of_reach_and_enter_starts_another(driven: Run, desk_at: Run) -> None:
    desk, started = desk_at("bottleneck"), []
    held: list[Any] = []
    rows = list(desk.engines())

    def start() -> str:
        started.append(True)
        return "engine started, pid 4711"

    bent = Bent(desk, lambda s: held[0] if held else s)
    bent.engines = lambda: tuple(rows)
    async with driven(bent, start_engine=start) as d:
        held.append(desk.snapshot())
        await d.wait(10)
        assert "OFFLINE" in d.text  # silent, but its lease has not run out: it may be out of reach
        await d.press("1", "enter")
        assert not started
        await d.press("1")
        rows[:] = [replace(rows[0], state="lost")]
        await d.wait(3)
        assert "✗ LOST" in d.text
        assert "without signing off" in d.text
        await d.press("P")
        assert "the engine has ended" in d.noticed[-1]
        await d.press("enter")
        assert started == [True]


async def test_an_engine_that_ended_with_everything_done_is_stopped_and_its_figures_stay(driven: Run, desk_at: Run) -> None:
    desk = desk_at("done")
    last: list[Any] = []
    async with driven(Bent(desk, lambda s: last[0] if last else s)) as d:
        assert "✓ done: " in d.text
        last.append(desk.snapshot())
        await d.wait(2.5)
        assert "STOPPED" in d.text
        assert "✓ done: " in d.text
        assert "Queue is empty" not in d.text
        assert "seen 2s ago" in d.text or "seen 3s ago" in d.text
        assert "live" not in d.text.splitlines()[0]
        await d.wait(120)
        deck = d.app.desk_screen
        assert "2m ago" in deck.machine.as_text().splitlines()[0], "what stands still says since when"
        assert "2m ago" in deck.stages.as_text().splitlines()[0]
        stored = re.search(r" stored (\d+)m", deck.throughput.as_text())
        assert stored is not None
        assert int(stored[1]) >= 2, "the time since the last recording goes on"
        await d.press("5")
        assert "ago" in d.app.desk_screen.host.as_text().splitlines()[0]


async def test_a_rate_not_measured_yet_is_not_called_idle(driven: Run, desk_at: Run) -> None:
    async with driven(Bent(desk_at("burst"), lambda s: replace(s, run=replace(s.run, rtfx=None)))) as d:
        assert "now measuring" in d.app.desk_screen.throughput.as_text()


async def test_figures_of_an_engine_at_work_are_of_now(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        assert "ago" not in d.app.desk_screen.machine.as_text().splitlines()[0]

"""The presets of Tune: inside every range, never against their name, and only of what acts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.config.settings import SPECS
from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.state.presets import changes_of, presets_for

NAMES = ("safe", "balanced", "fast")


@pytest.fixture(scope="module")
def machine() -> Callable[[int | None, bool], Snapshot]:
    desk = ScriptedDesk(0)
    desk.advance(STORY["bottleneck"])
    snapshot = desk.snapshot()
    assert snapshot is not None

    def of(cores: int | None, gpu: bool) -> Snapshot:
        return replace(snapshot, host=replace(snapshot.host, cores=cores), devices=snapshot.devices if gpu else ())

    return of


@given(cores=st.integers(1, 256) | st.none(), gpu=st.booleans())
def test_presets_hold_settings_that_act_at_once_within_their_range(machine: Any, cores: int | None, gpu: bool) -> None:
    presets = presets_for(machine(cores, gpu))
    assert tuple(p.name for p in presets) == NAMES
    for preset in presets:
        for key, value in preset.values.items():
            spec = SPECS[key]
            assert spec.effect.value == "now", key
            assert spec.low is not None
            assert spec.high is not None
            assert spec.low <= value <= spec.high
    for key in presets[0].values:
        safe, balanced, fast = (p.values[key] for p in presets)
        assert safe <= balanced <= fast, key


@given(cores=st.integers(1, 64), gpu=st.booleans(), value=st.integers(1, 8))
def test_safe_never_raises_and_fast_never_lowers(machine: Any, cores: int, gpu: bool, value: int) -> None:
    desk = ScriptedDesk(0)
    rows = {row.key: replace(row, value=value) for row in desk.settings()}
    safe, balanced, fast = presets_for(machine(cores, gpu))
    assert all(change.new < value for change in changes_of(safe, rows))
    assert all(change.new > value for change in changes_of(fast, rows))
    assert {c.row.key for c in changes_of(balanced, rows)} == {k for k, v in balanced.values.items() if v != value}


def test_more_cores_are_used_without_a_gpu(machine: Any) -> None:
    slots = [presets_for(machine(cores, False))[2].values["workers.transcribe"] for cores in (2, 8, 16, 32, 64)]
    assert slots == [1, 2, 4, 8, 8]


def test_before_anything_is_known_the_machine_counts_as_a_small_one() -> None:
    assert presets_for(None)[2].values["workers.transcribe"] == 1


def test_values_as_wanted_change_nothing() -> None:
    rows = {row.key: row for row in ScriptedDesk(0).settings()}
    balanced = presets_for(None)[1]
    wanted = {key: replace(rows[key], value=value) for key, value in balanced.values.items()}
    assert changes_of(balanced, wanted) == []
    assert changes_of(balanced, {}) == []

"""What a verdict reuses for some seconds, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.advisor import forecast, verdict_cache
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.views.snapshot import Forecast, Snapshot
from tests.unit.test_advisor import SETTINGS, busy, later, stage

__all__ = ["busy"]  # the fixture


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[object]:
    """Results of a function from now on."""
    real: Callable[..., Any] = getattr(module, name)
    results: list[object] = []

    def counting(*args: Any) -> Any:
        results.append(real(*args))
        return results[-1]

    monkeypatch.setattr(module, name, counting)
    return results


def fed(frame: Snapshot, *seconds: float) -> list[float]:
    """The times of the frames kept after frames at these times."""
    judge = VerdictCache()
    for at in seconds:
        judge.judge(replace(frame, wall=at), SETTINGS)
    return [kept.wall for kept in judge._history]


def test_one_frame_a_second_is_kept_and_always_the_newest(busy: Snapshot) -> None:
    assert fed(busy, 0.0, 0.5) == [0.0, 0.5]
    assert fed(busy, 0.0, 0.5, 1.0) == [0.0, 1.0]
    assert fed(busy, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5) == [0.0, 1.0, 2.0, 2.5]
    assert fed(busy, 0.0, 0.95, 1.9) == [0.0, 0.95, 1.9]


def test_a_quarter_of_an_hour_is_kept(busy: Snapshot) -> None:
    assert fed(busy, 0.0, 900.0) == [0.0, 900.0]
    assert fed(busy, 0.0, 100.0, 900.5) == [100.0, 900.5]


def test_a_clock_that_is_put_back_begins_the_history_and_the_forecast_anew(busy: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fed(busy, 7200.0, 7201.0, 3600.0, 3601.0, 3602.0) == [3600.0, 3601.0, 3602.0]
    assert fed(busy, 100.0, 101.0, 99.0)[0] == 100.0  # a clock that is set a little is not put back
    judge = VerdictCache()
    made = counted(monkeypatch, forecast, "eta")
    for wall in (7200.0, 3600.0):
        judge.judge(replace(busy, wall=wall), SETTINGS)
    assert len(made) == 2


def test_a_frame_that_is_not_kept_leaves_no_trace(busy: Snapshot) -> None:
    judge = VerdictCache()
    judge.judge(busy, SETTINGS)
    before = list(judge._history), judge._left, judge._expected
    changed = judge.judge(stage(later(busy, 20.0), "transcribe", capacity=9), SETTINGS, keep=False)
    assert changed.verdict.forecast.left_s is not None
    assert (list(judge._history), judge._left, judge._expected) == before


def test_a_forecast_is_made_anew_after_five_seconds(busy: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    made, judge = counted(monkeypatch, forecast, "eta"), VerdictCache()
    assert judge.judge(busy, SETTINGS).verdict.forecast == made[0]
    for seconds, count in ((4.5, 1), (5.0, 2), (9.5, 2)):
        judge.judge(later(busy, seconds), SETTINGS)
        assert len(made) == count, seconds


def test_an_expectation_is_made_anew_after_a_quarter_of_a_minute_or_for_other_advice(
    busy: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, judge = counted(monkeypatch, verdict_cache, "expected"), VerdictCache()
    first = judge.judge(busy, SETTINGS).verdict.advice
    assert first is not None
    assert first == made[0]
    for seconds, count in ((14.5, 1), (15.0, 2)):
        assert judge.judge(later(busy, seconds), SETTINGS).verdict.advice == first
        assert len(made) == count, seconds
    judge.judge(stage(later(busy, 16.0), "transcribe", capacity=3), SETTINGS | {"workers.transcribe": 3})
    assert len(made) == 3


def test_advice_that_would_change_nothing_stays_away(busy: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = stage(busy, "diarize", capacity=1, rtfx=60.0, busy_share=0.89, done=1000)
    made, judge = counted(monkeypatch, verdict_cache, "expected"), VerdictCache()
    assert [judge.judge(later(narrow, t), SETTINGS).verdict.advice for t in (0.0, 1.0)] == [None, None]
    assert made == [None]


def test_a_forecast_that_is_reused_runs_down_to_nothing_and_what_is_unknown_stays_so() -> None:
    estimate = Forecast(10.0, 8.0, 12.0, "speeds")
    assert verdict_cache._aged(estimate, 3.0) == Forecast(7.0, 5.0, 9.0, "speeds")
    assert verdict_cache._aged(estimate, 11.0) == Forecast(0.0, 0.0, 1.0, "speeds")
    assert verdict_cache._aged(estimate, 20.0) == Forecast(0.0, 0.0, 0.0, "speeds")
    for other in (
        Forecast(0.0, 0.0, 5.0, "done"),
        Forecast(None, 8.0, 12.0, "x"),
        Forecast(10.0, None, 12.0, "x"),
        Forecast(10.0, 8.0, None, "x"),
    ):
        assert verdict_cache._aged(other, 3.0) == other

"""What a verdict reuses for some seconds, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.advisor import forecast, verdict_cache
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.views.snapshot import Forecast, ScopeView, Snapshot
from tests.advice_kit import run
from tests.unit.test_advisor import SETTINGS, busy, later, only, stage

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
    assert fed(busy, 100.0, 101.0, 96.0)[0] == 100.0  # nor is one that is set by five seconds
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


@pytest.mark.parametrize(
    ("estimate", "good_for_s"),
    [
        (Forecast(10.0, 8.0, 12.0, "speeds"), 2.0),
        (Forecast(24.0, 20.0, 30.0, "speeds"), 4.8),
        (Forecast(600.0, 500.0, 700.0, "speeds"), 5.0),
        (Forecast(None, None, None, "no recording is through"), 1.0),
    ],
)
def test_a_forecast_is_made_anew_at_a_fifth_of_the_time_that_is_left(
    busy: Snapshot, monkeypatch: pytest.MonkeyPatch, estimate: Forecast, good_for_s: float
) -> None:
    monkeypatch.setattr(forecast, "eta", lambda *_: estimate)
    made, judge = counted(monkeypatch, forecast, "eta"), VerdictCache()
    for seconds, count in ((0.0, 1), (good_for_s - 0.1, 1), (good_for_s + 0.1, 2)):
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


# -- scopes -----------------------------------------------------------------------------------------------------------------


def scope(name: Any = "run", **what: Any) -> ScopeView:
    shown = ScopeView(
        name, "shows", 7, 1_789_999_400.0, None, queued=10, running=24, stored=24, failed=1, skipped=0, cancelled=0, retrying=0,
        audio_done_s=14_400.0, audio_left_s=20_400.0, work_s=600.0, errors_10m=1, finished_10m=25,
    )  # fmt: skip
    return replace(shown, **what)


def test_each_scope_is_judged_by_its_own_counts(busy: Snapshot) -> None:
    judge = VerdictCache()
    ended, failing = scope(queued=0, running=0, failed=2, skipped=3), scope("all", errors_10m=5, finished_10m=10)
    frame = judge.judge(replace(busy, scopes=(ended, scope("today"), failing)), SETTINGS)
    views = judge.judge_scopes(frame, 24, (0, 0, 0.0)).scopes
    assert [(view.name, view.health) for view in views] == [("run", "done"), ("today", "healthy"), ("all", "degraded")]
    assert (views[0].reason, views[2].reason) == ("24 stored, 2 failed, 3 skipped", "5 of 10 attempts failed in 10 m")
    for view in views:
        assert f"→ {view.health}: {view.reason}" in view.why
    assert (views[0].failed, views[1].title) == (2, "shows"), "its counts stay as they are"


@pytest.mark.parametrize(("paused", "health"), [(False, "stalled"), (True, "healthy")])
def test_a_scope_is_judged_with_all_the_frames_before(busy: Snapshot, paused: bool, health: str) -> None:
    """Diarize lets nothing out for 100 s, of which it may take 90; a pause in between begins the count anew."""
    judge, slow = VerdictCache(), only(stage(busy, "diarize", service_p95_s=30.0, busy=1), "transcribe", "diarize")
    slow = replace(slow, scopes=(scope("today"),))
    for at in (0, 50, 100):
        moving = stage(later(slow, at), "transcribe", done=at)
        frame = judge.judge(stage(moving, "diarize", paused=paused and at == 50), SETTINGS)
    assert [view.health for view in judge.judge_scopes(frame, 24, (76, 24, None)).scopes] == [health]


def test_the_time_left_of_a_run_is_that_of_what_is_ahead_of_its_end(busy: Snapshot) -> None:
    judge = VerdictCache()
    frame = judge.judge(replace(busy, scopes=(scope(), scope("all"))), SETTINGS)
    of_run, of_all = (view.left for view in judge.judge_scopes(frame, 24, (10, 24, 20_400.0)).scopes)
    assert of_run == forecast.eta(run(busy, queued=10, running=24, audio_left_s=20_400.0), 24)
    assert of_all == frame.verdict.forecast
    assert of_run is not None
    assert 0 < (of_run.left_s or 0) < (frame.verdict.forecast.left_s or 0)
    assert [view.left for view in judge.judge_scopes(frame, 24, (76, 24, 1.0)).scopes] == [frame.verdict.forecast] * 2


def test_the_time_left_of_a_run_is_made_anew_after_five_seconds_or_for_another_rest(
    busy: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, judge = counted(monkeypatch, forecast, "eta"), VerdictCache()

    def left(seconds: float, queued: int = 10, number: int = 7, **what: Any) -> Forecast | None:
        frame = run(replace(later(busy, seconds), scopes=(scope(run=number),)), **what)
        return judge.judge_scopes(frame, 24, (queued, 24, 20_400.0)).scopes[0].left

    first = left(0.0)
    assert [first] == made
    assert first is not None
    assert left(4.5) == verdict_cache._aged(first, 4.5)
    assert len(made) == 1
    for count, again in enumerate((lambda: left(5.0), lambda: left(5.0, queued=9), lambda: left(5.0, queued=9, number=8)), start=2):
        assert again() == made[-1]
        assert len(made) == count
    assert left(5.0, queued=9, number=8, state="draining") == made[-1]
    assert len(made) == 5

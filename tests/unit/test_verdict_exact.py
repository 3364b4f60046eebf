"""The rules of health at the figures where they change, and the words in which each is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gainstage.config.settings import SPECS
from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.verdict import (
    Finding,
    explained,
    health_findings,
    idle_for_s,
    progress_at,
    stall_limit_s,
    verdict,
)
from gainstage.engine.views.snapshot import Forecast, HostBudget, ModelView, Snapshot, StageView
from tests.advice_kit import run, stage
from tests.frames_kit import busy_frame

SETTINGS: dict[str, Any] = {key: spec.default for key, spec in SPECS.items()}


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def view(frame: Snapshot, name: str) -> StageView:
    return next(s for s in frame.stages if s.name == name)


def database(frame: Snapshot, **what: Any) -> Snapshot:
    return replace(frame, database=replace(frame.database, **what))


def later(frame: Snapshot, seconds: float) -> Snapshot:
    return replace(frame, wall=frame.wall + seconds)


ORDER = ("starting", "offline", "failed", "stalled", "paused", "draining", "done", "degraded", "healthy")


def said(health: str, *history: Snapshot) -> tuple[bool, str]:
    """(holds, reason) of the rule about a health."""
    findings = health_findings(history)
    assert tuple(f.health for f in findings) == ORDER
    one = findings[ORDER.index(health)]
    return one.holds, one.reason


def test_the_rules_with_an_arrow_at_the_first_that_holds() -> None:
    findings = [Finding("starting", False, "a"), Finding("failed", True, "b"), Finding("healthy", True, "c")]
    assert explained(findings) == ("· starting: a", "→ failed: b", "· healthy: c")


def test_a_forecast_that_is_known_already_is_taken(busy: Snapshot) -> None:
    known = Forecast(10.0, 5.0, 20.0, "known")
    judged = verdict([busy], SETTINGS, left=known)
    assert judged.forecast == known
    assert judged.advice is None, "the last half minute"
    fresh = verdict([busy], SETTINGS | {"in_flight": 7})
    assert fresh.forecast == forecast.eta(busy, 7)
    assert fresh.advice is not None
    assert "audio/h" in fresh.advice.expected


def test_a_health_is_dated_by_its_beginning(busy: Snapshot) -> None:
    before = replace(busy, verdict=replace(busy.verdict, health="healthy", since_wall=5.0))
    assert verdict([before, later(busy, 1)], SETTINGS).since_wall == 5.0
    undated = replace(busy, verdict=replace(busy.verdict, health="healthy", since_wall=None))
    assert verdict([undated, later(busy, 1)], SETTINGS).since_wall == busy.wall + 1
    other = replace(busy, verdict=replace(busy.verdict, health="paused", since_wall=5.0))
    assert verdict([other, later(busy, 1)], SETTINGS).since_wall == busy.wall + 1
    assert verdict([before, other, later(busy, 1)], SETTINGS).since_wall == busy.wall + 1, "the one just before counts"
    assert verdict([before], SETTINGS).since_wall == busy.wall


def test_starting_says_what_is_loaded_last(busy: Snapshot) -> None:
    assert said("starting", busy) == (False, "the engine is up")
    assert said("starting", run(busy, state="starting", loading=("asr", "voice"))) == (True, "voice")
    assert said("starting", run(busy, state="starting")) == (True, "starting")


def test_stopped_says_by_whom(busy: Snapshot) -> None:
    assert said("offline", busy) == (False, "the engine runs")
    assert said("offline", run(busy, state="stopped")) == (True, "the engine is stopped")
    assert said("offline", run(busy, state="stopped", by="dana")) == (True, "the engine is stopped (dana)")


def test_failed_is_a_model_or_a_database_away_for_more_than_half_a_minute(busy: Snapshot) -> None:
    fine = "the models are loaded, the database answers"
    assert said("failed", busy) == (False, fine)
    broken = replace(busy, models=(*busy.models, ModelView("voice", "ecapa", None, None, "failed", note="no such file")))
    assert said("failed", broken) == (True, "voice ecapa: no such file")
    silent = replace(busy, models=(ModelView("voice", "ecapa", None, None, "failed"),))
    assert said("failed", silent) == (True, "voice ecapa: did not load")
    away = database(busy, up=False, down_since_wall=busy.wall - 30.5)
    assert said("failed", away) == (True, "database down for 30s; finished recordings wait")
    assert said("failed", database(away, down_since_wall=busy.wall - 30.0)) == (False, fine)
    assert said("failed", database(away, down_since_wall=None)) == (False, fine)
    assert said("failed", database(away, up=True)) == (False, fine)


# -- stalls -------------------------------------------------------------------------------------------------------------------


def test_patience_is_three_times_what_the_longest_recording_should_take(busy: Snapshot) -> None:
    alone = replace(busy, flights=())
    decode = view(busy, "decode")
    assert stall_limit_s(alone, replace(decode, service_p95_s=30.0)) == 90.0
    assert stall_limit_s(alone, replace(decode, service_p95_s=20.0)) == 60.0
    assert stall_limit_s(alone, replace(decode, service_p95_s=1.0)) == 60.0
    assert stall_limit_s(alone, replace(decode, service_p95_s=None)) == 900.0
    flights = tuple(
        replace(busy.flights[0], id=str(n), stage=name, waiting=waiting, expected_p95_s=expected)
        for n, (name, waiting, expected) in enumerate(
            [
                ("decode", False, 50.0),
                ("decode", False, 40.0),
                ("decode", True, 900.0),
                ("store", False, 900.0),
                ("decode", False, None),
            ]
        )
    )
    assert stall_limit_s(replace(busy, flights=flights), replace(decode, service_p95_s=300.0)) == 150.0


def still(frame: Snapshot, name: str = "decode", **what: Any) -> Snapshot:
    """Only this stage has work, none of it with a known progress."""
    calm = tuple(replace(s, busy=0, depth=0) for s in frame.stages)
    return stage(replace(frame, stages=calm, flights=()), name, **{"busy": 1, "service_p95_s": 30.0, **what})


def test_a_stage_is_idle_since_its_last_result(busy: Snapshot) -> None:
    frame = still(busy)
    history = [later(frame, t) for t in (0, 10, 20, 30)]

    def idle(*frames: Snapshot) -> float | None:
        return idle_for_s(frames, view(frames[-1], "decode"))

    assert idle(*history) == 30.0
    for broken in (
        stage(history[1], "decode", done=24), stage(history[1], "decode", failed=1), stage(history[1], "decode", paused=True),
        stage(history[1], "decode", busy=0), run(history[1], state="paused"), database(history[1], up=False),
        replace(history[1], stages=()),
    ):  # fmt: skip
        assert idle(history[0], broken, *history[2:]) == 10.0
    waits = [stage(f, "decode", busy=0, depth=1) for f in history]
    assert idle(*waits) == 30.0, "who waits is work too"
    both = [stage(f, "decode", busy=1, depth=1) for f in history]
    assert idle(*both) == 30.0
    moved = [stage(f, "decode", done=25 - n, failed=n) for n, f in enumerate(history)]
    assert idle(*moved) == 30.0, "as many came out, one way or the other"
    assert idle(*history[:-1], stage(history[-1], "decode", busy=0)) is None
    assert idle(*history[:-1], stage(history[-1], "decode", paused=True)) is None


def test_progress_is_no_idleness(busy: Snapshot) -> None:
    flight = replace(busy.flights[0], id="a", stage="decode", side_stage=None, progress=0.5)
    history = [replace(later(still(busy), t), flights=(flight,)) for t in (0, 10, 20, 30)]
    assert idle_for_s(history, view(history[-1], "decode")) == 30.0
    history[1] = replace(history[1], flights=(replace(flight, progress=0.4),))
    assert idle_for_s(history, view(history[-1], "decode")) == 10.0
    history[1] = replace(history[1], flights=())
    assert idle_for_s(history, view(history[-1], "decode")) == 30.0, "one that came in is not progress of one that is in"


def test_the_progress_of_either_side_is_known_by_stage(busy: Snapshot) -> None:
    flights = (
        replace(busy.flights[0], id="a", stage="transcribe", progress=0.2, side_stage="diarize", side_progress=0.7),
        replace(busy.flights[0], id="b", stage="transcribe", progress=None, side_stage=None, side_progress=None),
    )
    frame = replace(busy, flights=flights)
    assert progress_at(frame, "transcribe") == {"a": 0.2}
    assert progress_at(frame, "diarize") == {"a": 0.7}
    assert progress_at(frame, "store") == {}


def test_a_stall_names_its_stage_and_its_limit(busy: Snapshot) -> None:
    def told(seconds: float, frame: Snapshot) -> tuple[bool, str]:
        return said("stalled", frame, later(frame, seconds))

    fine = "every stage with work lets it out"
    assert told(90.0, still(busy)) == (False, fine)
    assert told(90.5, still(busy)) == (True, "decode let nothing out for 1m30s (limit 1m30s)")
    assert told(91.0, run(still(busy), state="draining"))[0]
    for state in ("paused", "starting", "done"):
        assert told(1000.0, run(still(busy), state=state)) == (False, "not checked while nothing runs")
    assert told(1000.0, database(still(busy), up=False)) == (False, "not checked while nothing runs")


@pytest.mark.parametrize(
    ("budget", "holds"),
    [
        (HostBudget("h", 5, 300, "closed"), True), (HostBudget("h", 299, 300, "closed"), True),
        (HostBudget("h", 300, 300, "closed"), False), (HostBudget("h", 5, 300, "open"), False),
        (HostBudget("h", 5, 300, "trial"), False),
    ],
)  # fmt: skip
def test_fetch_that_waits_for_a_host_is_not_stalled(busy: Snapshot, budget: HostBudget, holds: bool) -> None:
    fetch = replace(still(busy, "fetch"), budgets=(budget,))
    assert said("stalled", fetch, later(fetch, 500))[0] is holds
    decode = replace(still(busy), budgets=(budget,))
    assert said("stalled", decode, later(decode, 500))[0], "no other stage waits for hosts"


# -- paused, draining, done -----------------------------------------------------------------------------------------------------


def test_paused_says_what_by_whom_and_why(busy: Snapshot) -> None:
    assert said("paused", busy) == (False, "not paused")
    assert said("paused", run(busy, state="paused")) == (True, "intake paused")
    assert said("paused", run(busy, state="paused", by="dana", reason="disk floor")) == (True, "intake paused by dana: disk floor")
    two = stage(stage(busy, "store", paused=True), "decode", paused=True)
    assert said("paused", two) == (True, "decode, store paused")
    assert said("paused", run(two, state="draining")) == (False, "not paused")


def test_draining_says_what_is_left(busy: Snapshot) -> None:
    assert said("draining", busy) == (False, "not draining")
    assert said("draining", run(busy, state="draining", running=2)) == (True, "2 left")
    assert said("draining", run(busy, state="stopping", by="dana", running=2)) == (True, "2 left (dana)")


def test_done_is_an_empty_queue_of_which_something_ended(busy: Snapshot) -> None:
    none = {"queued": 0, "running": 0, "stored": 0, "failed": 0, "skipped": 0, "cancelled": 0}
    assert said("done", run(busy, **none)) == (False, "0 queued, 0 in flight")
    for end in ("stored", "failed", "skipped", "cancelled"):
        assert said("done", run(busy, **{**none, end: 1}))[0], end
        assert not said("done", run(busy, **{**none, end: 1, "queued": 1}))[0]
        assert not said("done", run(busy, **{**none, end: 1, "running": 1}))[0]
        assert not said("done", run(busy, **{**none, end: 1, "running": 1, "queued": 1}))[0]
    assert said("done", run(busy, **{**none, "stored": 4, "failed": 4, "skipped": 4, "cancelled": 4}))[0]
    assert said("done", run(busy, state="done", queued=3, stored=4, failed=5, skipped=6)) == (True, "4 stored, 5 failed, 6 skipped")


# -- degraded and healthy ---------------------------------------------------------------------------------------------------------


def wrong(*history: Snapshot) -> str:
    holds, reason = said("degraded", *history)
    return reason if holds else ""


@pytest.mark.parametrize(
    ("errors", "finished", "reason"),
    [
        (1, 1, ""),
        (2, 100, ""),
        (2, 99, "2 of 99 attempts failed in 10 m"),
        (2, 0, ""),
        (3, 100, "3 of 100 attempts failed in 10 m"),
    ],
)
def test_two_failures_above_two_per_cent_are_wrong(busy: Snapshot, errors: int, finished: int, reason: str) -> None:
    assert wrong(run(busy, errors_10m=errors, finished_10m=finished)) == reason


def test_everything_that_is_wrong_is_said(busy: Snapshot) -> None:
    assert wrong(busy) == ""
    assert said("degraded", busy)[1] == "errors, throttling, disk and devices are fine"
    assert wrong(run(busy, throttled_10m=2)) == ""
    assert wrong(run(busy, throttled_10m=3)) == "throttled ×3"
    calm, cooling = HostBudget("a", 1, 300, "closed"), HostBudget("b", 1, 300, "open")
    assert wrong(replace(busy, budgets=(calm, cooling))) == "a host throttles"
    assert wrong(replace(run(busy, throttled_10m=3), budgets=(cooling,))) == "throttled ×3", "once is enough"
    assert wrong(replace(busy, budgets=(calm,))) == ""
    host = busy.host
    assert wrong(replace(busy, host=replace(host, disk_full_in_s=86_399.0))) == "disk full in 23h59m"
    assert wrong(replace(busy, host=replace(host, disk_full_in_s=86_400.0))) == ""
    assert wrong(database(busy, latency_p95_s=1.0)) == ""
    assert wrong(database(busy, latency_p95_s=1.06)) == "database p95 1.1 s"
    assert wrong(database(busy, latency_p95_s=None)) == ""
    assert wrong(database(busy, clock_offset_s=3600.0)) == "the engine's clock is 3,600 s behind the database's"
    hot = replace(busy, devices=tuple(replace(d, throttle=("thermal", "brake")) for d in busy.devices))
    assert wrong(hot) == "GPU slowed: thermal"
    away = database(run(hot, throttled_10m=4), up=False)
    assert wrong(away) == "database down: connection refused, throttled ×4, GPU slowed: thermal"


def fallbacks(frame: Snapshot, *counts: int) -> Snapshot:
    return replace(frame, batchers=tuple(replace(b, fallbacks=n) for b, n in zip(frame.batchers, counts, strict=True)))


def test_batches_that_fell_back_are_wrong_for_ten_minutes(busy: Snapshot) -> None:
    first, last = fallbacks(busy, 1, 1), fallbacks(busy, 2, 3)
    assert wrong(first, later(last, 600.0)) == "3 batches on the CPU instead"
    assert wrong(first, later(last, 601.0)) == "", "the first frame is too old"
    assert wrong(first, later(first, 1.0), later(last, 600.5)) == "3 batches on the CPU instead"


def test_healthy_says_how_fast_it_is(busy: Snapshot) -> None:
    assert said("healthy", run(busy, rtfx=149.6, finished_10m=7)) == (True, "150 audio hours per hour, 7 finished in 10 m")
    assert said("healthy", run(busy, rtfx=None)) == (True, "nothing is stored yet")
    assert said("healthy", run(busy, queued=0, running=0)) == (True, "the queue is empty")
    for working in ({"queued": 1, "running": 0}, {"queued": 0, "running": 1}, {"queued": 1, "running": 1}):
        assert said("healthy", run(busy, **working))[1] != "the queue is empty"

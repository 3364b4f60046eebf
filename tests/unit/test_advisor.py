"""The verdict: a table of what the frames show and what is concluded from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.config.settings import SPECS
from gainstage.engine.advisor.verdict import verdict
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.views.snapshot import HostBudget, ModelView, Snapshot, Verdict
from tests.advice_kit import host, run, stage
from tests.frames_kit import busy_frame

SETTINGS: dict[str, Any] = {key: spec.default for key, spec in SPECS.items()}
SETTINGS |= {"workers.fetch": 8, "workers.diarize": 3}


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def database(frame: Snapshot, **what: Any) -> Snapshot:
    return replace(frame, database=replace(frame.database, **what))


def gpu(frame: Snapshot, **what: Any) -> Snapshot:
    if "sm" in what:
        what["sm_history"] = (what["sm"],) * 12
    return replace(frame, devices=tuple(replace(d, **what) for d in frame.devices))


def voices(frame: Snapshot, **what: Any) -> Snapshot:
    return replace(frame, batchers=tuple(replace(b, **what) if b.name == "voices" else b for b in frame.batchers))


def later(frame: Snapshot, seconds: float) -> Snapshot:
    return replace(frame, wall=frame.wall + seconds, seq=frame.seq + 1)


def only(frame: Snapshot, *names: str) -> Snapshot:
    """Without work at any other stage."""
    still = tuple(s if s.name in names else replace(s, busy=0, depth=0) for s in frame.stages)
    return replace(frame, stages=still, flights=())


def judged(*history: Snapshot, **settings: Any) -> Verdict:
    return verdict(history, SETTINGS | settings)


Change = Callable[[Snapshot], Snapshot]


@pytest.mark.parametrize(
    ("change", "health", "reason"),
    [
        (lambda f: f, "healthy", "audio hours per hour"),
        (lambda f: run(f, state="starting", loading=("loading models 2/4",)), "starting", "loading models 2/4"),
        (lambda f: run(f, state="stopped", by="dana"), "offline", "stopped (dana)"),
        (
            lambda f: replace(f, models=(ModelView("asr", "m", None, None, "failed", note="CUDA error"),)),
            "failed",
            "asr m: CUDA error",
        ),
        (lambda f: database(f, up=False, down_since_wall=f.wall - 31), "failed", "database down for 31s"),
        (lambda f: database(f, up=False, down_since_wall=f.wall - 29), "degraded", "database down"),
        (lambda f: run(f, state="paused", by="dana"), "paused", "paused by dana"),
        (lambda f: run(f, state="paused", reason="disk floor: 4 GB free"), "paused", "disk floor"),
        (lambda f: stage(f, "diarize", paused=True), "paused", "diarize paused"),
        (lambda f: run(f, state="draining", by="dana", running=3), "draining", "3 left (dana)"),
        (lambda f: run(f, state="done", queued=0, running=0, stored=1205, failed=9, skipped=41), "done", "1,205 stored, 9 failed"),
        (lambda f: run(f, state="done", queued=3, running=0, stored=0, failed=0), "done", "0 stored"),
        (lambda f: run(f, queued=0, running=0, stored=4, failed=4, skipped=0, cancelled=0), "done", "4 stored, 4 failed"),
        (lambda f: run(f, queued=0, running=0, stored=0, failed=0, skipped=2, cancelled=2), "done", "2 skipped"),
        (lambda f: run(f, queued=0, running=0, stored=0, failed=0, skipped=0, cancelled=0), "healthy", "queue is empty"),
        (lambda f: database(f, up=False, down_since_wall=f.wall - 30), "degraded", "database down"),
        (lambda f: database(f, latency_p95_s=1.0), "healthy", ""),
        (lambda f: run(f, throttled_10m=3), "degraded", "throttled ×3"),
        (lambda f: run(f, errors_10m=3, finished_10m=100), "degraded", "3 of 100 attempts failed"),
        (lambda f: run(f, errors_10m=2, finished_10m=100), "healthy", ""),
        (lambda f: run(f, errors_10m=1, finished_10m=4), "healthy", ""),  # one failure is no rate
        (lambda f: run(f, throttled_10m=6), "degraded", "throttled ×6"),
        (lambda f: run(f, throttled_10m=2), "healthy", ""),
        (lambda f: replace(f, budgets=(HostBudget("h", 5, 300, "open"),)), "degraded", "a host throttles"),
        (lambda f: host(f, disk_full_in_s=3600.0 * 10), "degraded", "disk full in 10h00m"),
        (lambda f: host(f, disk_full_in_s=3600.0 * 30), "healthy", ""),
        (lambda f: database(f, latency_p95_s=1.4), "degraded", "database p95 1.4 s"),
        (lambda f: gpu(f, throttle=("thermal slowdown (hardware)",)), "degraded", "thermal"),
        (lambda f: gpu(f, throttle=("power cap",)), "healthy", ""),  # every full card is at its power cap
        (
            lambda f: run(run(f, throttled_10m=6), errors_10m=5, finished_10m=10),
            "degraded",
            "5 of 10 attempts failed in 10 m, throttled ×6",
        ),
    ],
)
def test_health_follows_the_table(busy: Snapshot, change: Change, health: str, reason: str) -> None:
    told = judged(change(busy))
    assert told.health == health
    assert reason in told.reason
    assert len(told.why) >= 9
    assert sum(line.startswith("→") for line in told.why) == 1


def test_a_stage_that_lets_nothing_out_is_stalled(busy: Snapshot) -> None:
    slow = only(stage(busy, "diarize", service_p95_s=30.0, busy=1), "transcribe", "diarize")
    moving = [stage(later(slow, t), "transcribe", done=t) for t in range(0, 100, 5)]
    assert judged(*moving[:18]).health == "healthy"
    told = judged(*moving)
    assert told.health == "stalled"
    assert "diarize let nothing out for 1m35s" in told.reason


def test_a_long_recording_is_not_a_stall(busy: Snapshot) -> None:
    """What is served is a four-hour recording, of which nothing else is to be expected."""
    flight = replace(busy.flights[0], stage="transcribe", waiting=False, expected_p95_s=200.0)
    frames = [later(replace(stage(busy, "transcribe", service_p95_s=20.0), flights=(flight,)), t) for t in range(0, 300, 10)]
    frames = [replace(f, stages=tuple(s for s in f.stages if s.name == "transcribe")) for f in frames]
    assert judged(*frames).health != "stalled"


@pytest.mark.parametrize("held", ["paused", "intake", "database", "breaker"])
def test_waiting_for_somebody_else_is_not_a_stall(busy: Snapshot, held: str) -> None:
    name = "fetch" if held == "breaker" else "transcribe"
    still = replace(stage(busy, name, service_p95_s=5.0, busy=1, depth=4), flights=())
    still = replace(still, stages=tuple(s for s in still.stages if s.name == name))
    change: dict[str, Change] = {
        "paused": lambda f: stage(f, name, paused=True),
        "intake": lambda f: run(f, state="paused"),
        "database": lambda f: database(f, up=False, down_since_wall=f.wall - 3),
        "breaker": lambda f: replace(f, budgets=(HostBudget("h", 1, 300, "open"),)),
    }
    frames = [later(still, t) for t in range(0, 400, 20)]
    assert judged(*frames).health == "stalled"
    assert judged(*(change[held](f) for f in frames)).health != "stalled"


def test_batches_on_the_cpu_are_told_for_ten_minutes(busy: Snapshot) -> None:
    quiet = only(busy)
    fell = [later(voices(quiet, fallbacks=2 if t >= 60 else 0), t) for t in range(0, 120, 30)]
    assert "2 batches on the CPU" in judged(*fell).reason
    assert judged(*(later(voices(quiet, fallbacks=2), t) for t in range(0, 120, 30))).health == "healthy"


def test_health_remembers_since_when(busy: Snapshot) -> None:
    judge = VerdictCache()
    first = judge.judge(busy, SETTINGS)
    second = judge.judge(later(busy, 1.0), SETTINGS)
    bad = judge.judge(later(run(busy, throttled_10m=5), 2.0), SETTINGS)
    assert first.verdict.since_wall == second.verdict.since_wall == busy.wall
    assert bad.verdict.since_wall == busy.wall + 2.0


def test_the_bottleneck_is_told_with_its_evidence(busy: Snapshot) -> None:
    told = judged(busy).bottleneck
    assert (told.stage, told.kind) == ("transcribe", "stage")
    assert "2/2 busy" in told.text
    assert "waiting (oldest" in told.text
    assert told.evidence.startswith("GPU is not the limit: SM")


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda f: stage(f, "transcribe", busy_share=0.6), "none", "no bottleneck"),
        (lambda f: stage(f, "transcribe", paused=True), "none", "transcribe is paused: "),
        (
            lambda f: run(stage(f, "transcribe", busy_share=0.6), queued=0),
            "source",
            "intake is finished: 24 to go, transcribe is slowest",
        ),
        (
            lambda f: replace(stage(f, "transcribe", busy_share=0.6), budgets=(HostBudget("tube", 300, 300, "closed"),)),
            "source",
            "tube is at its 300 requests an hour",
        ),
        (
            lambda f: replace(stage(f, "transcribe", busy_share=0.6), budgets=(HostBudget("tube", 9, 300, "open"),)),
            "source",
            "tube throttles",
        ),
        (lambda f: run(f, state="starting"), "unknown", "not known"),
        (lambda f: run(f, state="done"), "none", "nothing to do"),
        (lambda f: replace(f, stages=tuple(replace(s, busy_share=None) for s in f.stages)), "unknown", "measuring"),
    ],
)
def test_without_a_busy_stage_the_source_or_nothing_is_the_limit(busy: Snapshot, change: Change, kind: str, text: str) -> None:
    told = judged(change(busy)).bottleneck
    assert told.kind == kind
    assert text in told.text


def test_between_two_busy_stages_the_longer_queue_in_audio_wins(busy: Snapshot) -> None:
    """Three clips wait for one stage, one very long recording for the other."""
    template = busy.flights[0]
    both = stage(stage(busy, "transcribe", busy_share=0.99, depth=3), "diarize", busy_share=0.95, depth=1)
    clips = tuple(
        replace(template, id=f"c{i}", stage="transcribe", side_stage=None, waiting=True, duration_s=60.0) for i in range(3)
    )
    panel = replace(template, id="panel", stage="diarize", side_stage=None, waiting=True, duration_s=12_000.0)
    assert judged(replace(both, flights=(*clips, panel))).bottleneck.stage == "diarize"
    assert judged(replace(both, flights=clips)).bottleneck.stage == "transcribe"


def test_one_frame_carries_one_piece_of_advice_with_its_evidence(busy: Snapshot) -> None:
    told = judged(busy).advice
    assert told is not None
    assert (told.key, told.old, told.new) == ("workers.transcribe", 2, 4)  # SM is below 60 %
    assert told.text == "workers.transcribe 2 → 4"
    assert "audio/h" in told.expected
    assert "SM" in told.evidence
    assert "memory" in told.evidence
    assert told.confidence == "medium"


FULL = {"memory_used": 79 * 1024**3}


def store_waits(frame: Snapshot) -> Snapshot:
    """A slow database holds the store stage up: more slots would help it."""
    quiet = stage(frame, "transcribe", busy_share=0.5)
    return database(stage(quiet, "store", depth=3, rtfx=20.0), latency_p95_s=0.2)


@pytest.mark.parametrize(
    ("change", "settings", "id", "new"),
    [
        (lambda f: gpu(f, sm=0.7), {}, "more-transcribe", 3),
        (lambda f: gpu(f, sm=0.9), {}, None, None),
        (lambda f: gpu(f, memory_used=int(0.8 * 80 * 1024**3)), {}, "more-transcribe", 3),  # two more would not fit
        (lambda f: gpu(f, **FULL), {}, None, None),
        (lambda f: gpu(f, memory_used=int(0.7 * 80 * 1024**3)), {"watch.memory_limit": 60}, None, None),
        (lambda f: host(f, cpu=0.85), {}, None, None),
        (lambda f: f, {"workers.transcribe": 16}, None, None),  # nothing beyond the range
        (lambda f: gpu(f, sm=0.97), {}, "gpu-bound", None),
        (lambda f: gpu(f, sm=0.97, **FULL), {}, "smaller-asr-batch", 12),
        (lambda f: replace(f, devices=()), {}, "more-transcribe", 3),
        (lambda f: host(replace(f, devices=()), cpu=0.95, cores=2, engine_cpu=1.8), {}, "cpu-bound", None),
        (lambda f: host(replace(f, devices=()), cpu=0.95, cores=2, engine_cpu=0.5), {}, "cpu-others", None),
        (lambda f: host(replace(f, devices=()), cpu=0.95, engine_cpu=None), {}, "cpu-full", None),
        (lambda f: run(f, state="paused"), {}, None, None),
        (lambda f: gpu(f, throttle=("thermal slowdown (driver)",)), {}, "hardware-throttle", None),
        (
            lambda f: stage(stage(f, "transcribe", busy_share=0.4), "decode", busy_share=0.97, depth=5, rtfx=5.0),
            {},
            "more-decode",
            3,
        ),
        (
            lambda f: stage(stage(f, "transcribe", busy_share=0.4), "fetch", busy_share=0.97, depth=5, rtfx=4.0),
            {},
            "more-fetch",
            10,
        ),
        (lambda f: run(stage(f, "transcribe", busy_share=0.4), throttled_10m=4), {}, "fewer-fetch", 6),
        (store_waits, {}, "more-store", 3),
        (lambda f: stage(f, "transcribe", busy_share=0.5), {}, None, None),
        (lambda f: run(f, state="draining"), {}, None, None),
    ],
)
def test_advice_follows_the_table(
    busy: Snapshot, change: Change, settings: dict[str, Any], id: str | None, new: float | None
) -> None:
    told = judged(change(busy), **settings).advice
    assert (None if told is None else told.id) == id
    if told is not None:
        assert told.new == new


def test_out_of_memory_twice_asks_for_a_smaller_voice_batch_once(busy: Snapshot) -> None:
    quiet = stage(busy, "transcribe", busy_share=0.5)
    frames = [
        later(voices(quiet, out_of_memory=min(2, t // 60), budget=120.0 / 2 ** min(1, t // 60)), t) for t in range(0, 240, 30)
    ]
    told = judged(*frames).advice
    assert told is not None
    assert (told.id, told.old, told.new) == ("smaller-voice-batch", 120, 60)
    assert "out of memory 2 times" in told.evidence
    lowered = judged(*frames, **{"voice.batch_seconds": 60.0}).advice
    assert lowered is None


def test_more_splits_than_usual_point_at_the_grey_zone(busy: Snapshot) -> None:
    quiet = stage(busy, "transcribe", busy_share=0.5)
    odd = replace(quiet, decisions=replace(quiet.decisions, clusters=100, split=30, split_share_24h=0.1))
    told = judged(odd).advice
    assert told is not None
    assert told.id == "splits-moved"
    assert told.key is None


def test_advice_that_would_change_nothing_is_not_given(busy: Snapshot) -> None:
    """Another stage is as narrow: one more slot here would only move the wait."""
    narrow = stage(busy, "diarize", capacity=1, rtfx=60.0, busy_share=0.89, done=1000)
    assert judged(narrow).advice is None


def test_the_judge_reuses_a_forecast_and_lets_it_age(busy: Snapshot) -> None:
    judge = VerdictCache(forecast_s=5.0)
    first = judge.judge(busy, SETTINGS).verdict.forecast.left_s
    aged = judge.judge(later(busy, 2.0), SETTINGS).verdict.forecast.left_s
    assert first is not None
    assert aged == first - 2.0
    wider = stage(later(busy, 3.0), "transcribe", capacity=4)
    changed = judge.judge(wider, SETTINGS | {"workers.transcribe": 4}).verdict.forecast.left_s
    assert changed is not None
    assert changed < 0.8 * first


def test_moving_progress_is_no_stall_and_patience_belongs_to_the_length(busy: Snapshot) -> None:
    """A long recording at 53 % that moves; the same one that stands still for longer than its length explains."""
    flight = replace(
        busy.flights[0], id="long", stage="transcribe", waiting=False, side_stage=None, expected_p95_s=20.0, progress=0.4
    )
    frame = replace(stage(only(busy, "transcribe"), "transcribe", busy=1, depth=0), flights=(flight,))
    still = [later(frame, n) for n in range(0, 300)]
    moving = [replace(f, flights=(replace(flight, progress=0.4 + n * 0.001),)) for n, f in enumerate(still)]
    assert verdict(still, SETTINGS).health == "stalled"
    assert verdict(moving, SETTINGS).health != "stalled"
    patient = [replace(f, flights=(replace(flight, expected_p95_s=565.0),)) for f in still]
    assert verdict(patient, SETTINGS).health != "stalled"


def test_two_stages_that_are_full_together_are_advised_together(busy: Snapshot) -> None:
    """One slot more at either moves the bottleneck to the other: only both bring something."""
    frame = host(gpu(busy, sm=0.4, memory_used=2 * 10**9), cpu=0.3, engine_cpu=0.5, postgres_cpu=0.0)
    for name, capacity, rtfx in (("transcribe", 2, 10.0), ("diarize", 2, 10.0)):
        frame = stage(frame, name, capacity=capacity, busy=capacity, depth=6, busy_share=1.0, rtfx=rtfx, paused=False)
    for name in ("fetch", "decode", "identify", "segment", "embed", "store"):
        frame = stage(frame, name, capacity=8, rtfx=500.0, busy_share=0.1, depth=0)
    frame = run(frame, queued=200, state="running", audio_left_s=200 * 600.0)
    settings = SETTINGS | {"workers.transcribe": 2, "workers.diarize": 2, "in_flight": 24}
    advice = verdict([frame], settings).advice
    assert advice is not None
    assert {advice.key, *(key for key, _, _ in advice.also)} == {"workers.transcribe", "workers.diarize"}
    assert "one alone brings little" in advice.text
    assert advice.expected.startswith("+")


def test_the_machine_is_split_into_engine_its_postgres_and_others(busy: Snapshot) -> None:
    split = host(busy, cpu=0.9, engine_cpu=1.6, postgres_cpu=0.4, cores=4).host.split
    assert split is not None
    assert (split.engine, split.postgres, split.others) == (pytest.approx(0.4), pytest.approx(0.1), pytest.approx(0.4))
    assert split.text == "engine 40%, its Postgres 10%, others 40%"
    assert host(busy, cpu=None).host.split is None

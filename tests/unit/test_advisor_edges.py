"""Forecast, bottleneck and advice where one figure decides: intervals, several GPUs, the fast path, a source that limits."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest

from gainstage.config.settings import SPECS
from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.advice import Case, more_fetch_slots
from gainstage.engine.advisor.bottleneck import bottleneck
from gainstage.engine.advisor.verdict import verdict
from gainstage.engine.views.snapshot import Bottleneck, HostBudget, Snapshot, StageView
from tests.frames_kit import busy_frame

SETTINGS: dict[str, Any] = {key: spec.default for key, spec in SPECS.items()}
GIB = 1024**3


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def stage(frame: Snapshot, name: str, **what: Any) -> Snapshot:
    return replace(frame, stages=tuple(replace(s, **what) if s.name == name else s for s in frame.stages))


def view(frame: Snapshot, name: str) -> StageView:
    return next(s for s in frame.stages if s.name == name)


def quiet(frame: Snapshot) -> Snapshot:
    """No stage is busy, nobody waits."""
    return replace(frame, stages=tuple(replace(s, busy_share=0.3, blocked_share=0.0, depth=0) for s in frame.stages))


def steady(frame: Snapshot, rtfx: float = 155.0, queued: int = 100) -> Snapshot:
    """The same rate in every minute of the last hour, and nothing in flight."""
    run = replace(frame.run, rtfx_history=(rtfx,) * 60, queued=queued, running=0, audio_left_s=queued * 600.0)
    return replace(frame, run=run, flights=())


def few(frame: Snapshot) -> float:
    """The square of what a speed may be wrong by that rests on so many passes of the bottleneck."""
    passes = 1 + view(frame, "transcribe").done
    return float((0.35 / sqrt(passes) + 0.25 / passes**2) ** 2)


# -- the time left ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queued", [1, 9, 100])
def test_the_interval_reaches_further_to_the_late_side(busy: Snapshot, queued: int) -> None:
    """With a steady rate what is left is who comes last (0.3 of one recording) and how many passes the speed of the bottleneck rests on
    (0.35 of one): 1.28 deviations of that times 1.2 to the early side, times 1.6 and eight per cent of trouble to the late one.
    """
    told = forecast.eta(steady(busy, queued=queued), 24)
    assert told.left_s is not None
    relative = 1.28 * sqrt(0.3**2 / queued + few(busy))
    assert told.low_s == pytest.approx(told.left_s * (1 - 1.2 * relative), abs=1)
    assert told.high_s == pytest.approx(told.left_s * (1.08 + 1.6 * relative), abs=1)
    assert told.low_s is not None
    assert told.low_s > 0.5 * told.left_s


def test_a_rate_that_moves_makes_the_interval_wider_and_a_long_rest_narrower(busy: Snapshot) -> None:
    """Tens of minutes at 100 and at 200 deviate by a third; over n tens still to come by a third of one over the root of n."""
    minutes = tuple(100.0 if (n // 10) % 2 else 200.0 for n in range(60))

    def relative(frame: Snapshot) -> float:
        told = forecast.eta(frame, 24)
        assert told.left_s is not None
        assert told.high_s is not None
        return told.high_s / told.left_s - 1

    for queued in (100, 5000):
        still = steady(busy, queued=queued)
        left = forecast.eta(still, 24).left_s
        assert left is not None
        moving = replace(still, run=replace(still.run, rtfx_history=minutes))
        jobs = min(queued, forecast.MOST_SIMULATED)
        expected = 1.28 * sqrt((1 / 3) ** 2 / max(1.0, left / 600) + 0.3**2 / jobs + few(busy))
        assert relative(moving) == pytest.approx(0.08 + 1.6 * expected, abs=0.003)


def test_a_few_minutes_of_rates_are_taken_one_by_one(busy: Snapshot) -> None:
    def late(spread: float) -> float:
        return 1.08 + 1.6 * 1.28 * spread

    still = steady(busy)
    left = forecast.eta(still, 24).left_s
    assert left is not None
    moving = replace(still, run=replace(still.run, rtfx_history=(None, 100.0, 200.0, None, 100.0, 200.0)))
    told = forecast.eta(moving, 24)
    assert told.high_s == pytest.approx(left * late(sqrt((1 / 3) ** 2 / (left / 60) + 0.3**2 / 100 + few(busy))), rel=0.002)
    unknown = forecast.eta(replace(still, run=replace(still.run, rtfx_history=(100.0,))), 24)
    assert unknown.high_s == pytest.approx(left * late(sqrt(0.2**2 + 0.3**2 / 100 + few(busy))), rel=0.002)


def test_the_fast_path_spares_diarize_its_share_in_the_forecast(busy: Snapshot) -> None:
    """Diarize is the slowest stage; where a fifth of the recordings pass it, it is asked for a fifth of the work."""
    slow = stage(steady(busy), "diarize", capacity=1, rtfx=20.0, done=100)
    every = stage(stage(slow, "transcribe", done=100, rtfx=100.0), "diarize", done=100)
    few = stage(every, "diarize", done=20)
    assert forecast.pipeline_of(every, 24).stages["diarize"].share == 1.0
    assert forecast.pipeline_of(few, 24).stages["diarize"].share == pytest.approx(0.2)
    assert forecast.pipeline_of(stage(few, "transcribe", done=4), 24).stages["diarize"].share == 1.0, "too few say nothing"
    whole, spared = forecast.eta(every, 24).left_s, forecast.eta(few, 24).left_s
    assert whole is not None
    assert spared is not None
    assert whole == pytest.approx(100 * 600 / 20, rel=0.1)
    assert spared < 0.45 * whole


# -- the GPU ------------------------------------------------------------------------------------------------------------


def at(frame: Snapshot, sm: float) -> Snapshot:
    return replace(frame, devices=tuple(replace(d, sm=sm, sm_history=(sm,) * 12) for d in frame.devices))


def test_more_slots_give_only_what_is_left_of_the_gpu(busy: Snapshot) -> None:
    """At SM 50 % four times the slots cannot bring four times the audio: 95 over 50 is the most."""
    narrow = stage(steady(busy, queued=400), "transcribe", capacity=1, rtfx=20.0)
    then = forecast.expect(at(narrow, 0.5), 200, {"workers.transcribe": 4})
    free = forecast.expect(at(narrow, 0.1), 200, {"workers.transcribe": 4})
    assert then is not None
    assert free is not None
    assert then.full == "GPU"
    assert free.full is None
    assert then.gain == pytest.approx(0.95 / 0.5 - 1, abs=0.12)
    assert free.gain > 2.0


def test_a_full_gpu_does_not_slow_a_stage_that_runs_on_the_cpu(busy: Snapshot) -> None:
    """Decode is the bottleneck and runs on the CPU: what the GPU is asked for grows with it, its own speed does not."""
    narrow = stage(steady(busy, queued=400), "decode", capacity=1, rtfx=20.0)
    wide = replace(narrow, stages=tuple(replace(s, capacity=8, rtfx=400.0) if s.name != "decode" else s for s in narrow.stages))
    then = forecast.expect(at(wide, 0.6), 200, {"workers.decode": 2})
    assert then is not None
    assert then.full == "GPU"  # 0.6 for one slot, 1.2 for two
    assert then.gain == pytest.approx(1.0, abs=0.1), "the GPU stages are wide enough even when slowed"


def test_work_on_the_cpu_asks_nothing_of_the_gpu(busy: Snapshot) -> None:
    """Nothing is known of the speed of any GPU stage: more decoding says nothing about the GPU, however full it is."""
    bare = steady(busy, queued=400)
    bare = replace(bare, stages=tuple(replace(s, capacity=1, rtfx=20.0 if s.name == "decode" else None) for s in bare.stages))
    then = forecast.expect(at(bare, 0.9), 200, {"workers.decode": 2})
    assert then is not None
    assert then.full is None
    assert then.gain == pytest.approx(1.0, abs=0.05)


def test_the_ceiling_of_the_gpu_is_only_told_where_a_gpu_stage_is_the_bottleneck(busy: Snapshot) -> None:
    held = stage(stage(at(busy, 0.97), "transcribe", busy_share=0.4, depth=0), "decode", busy_share=0.97, depth=5)
    told = verdict([held], SETTINGS).advice
    assert told is None or told.id != "gpu-bound"
    full = stage(at(busy, 0.97), "diarize", busy_share=0.99, depth=50)
    told = verdict([full], SETTINGS).advice
    assert told is not None
    assert told.id == "gpu-bound"


def two_gpus(frame: Snapshot, first: int, second: int) -> Snapshot:
    """Two cards of 80 GiB with so many GiB used."""
    card = frame.devices[0]
    return replace(
        frame,
        devices=(
            replace(card, index=0, memory_used=first * GIB, memory_total=80 * GIB, temperature=50.0, sm_history=(), sm=0.4),
            replace(card, index=1, memory_used=second * GIB, memory_total=80 * GIB, temperature=70.0, sm_history=(), sm=0.4),
        ),
    )


@pytest.mark.parametrize(("first", "second", "share", "heat"), [(20, 60, "75%", "70°C"), (60, 20, "75%", "50°C")])
def test_of_several_gpus_the_evidence_is_that_of_the_fullest(
    busy: Snapshot, first: int, second: int, share: str, heat: str
) -> None:
    told = bottleneck([two_gpus(busy, first, second)])
    assert told.stage == "transcribe"
    assert f"memory {share}" in told.evidence
    assert heat in told.evidence


def test_of_several_gpus_advice_looks_at_the_one_with_the_least_room() -> None:
    frame = busy_frame()
    small = replace(frame.devices[0], index=0, memory_used=20 * GIB, memory_total=24 * GIB)
    large = replace(frame.devices[0], index=1, memory_used=30 * GIB, memory_total=80 * GIB)
    case = Case([replace(frame, devices=(small, large))], bottleneck([frame]), SETTINGS)
    assert case.fullest == small
    assert case.sm == pytest.approx(forecast.gpu_share(frame))
    unread = replace(large, index=2, memory_used=None)
    assert Case([replace(frame, devices=(unread, large))], bottleneck([frame]), SETTINGS).fullest == large
    assert Case([replace(frame, devices=(unread,))], bottleneck([frame]), SETTINGS).fullest is None


def test_the_share_of_several_gpus_is_the_mean_of_their_last_minute(busy: Snapshot) -> None:
    card = busy.devices[0]
    old = replace(card, sm=0.1, sm_history=(*(0.9,) * 30, *(0.2,) * 6, *(0.4,) * 6))
    new = replace(card, sm=0.6, sm_history=())
    assert forecast.gpu_share(replace(busy, devices=(old,))) == pytest.approx(0.3)
    assert forecast.gpu_share(replace(busy, devices=(new,))) == pytest.approx(0.6)
    assert forecast.gpu_share(replace(busy, devices=(replace(card, sm=None, sm_history=(None,) * 20),))) is None


# -- who holds whom up --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["transcribe", "diarize"])
def test_identify_holds_up_both_that_feed_it(busy: Snapshot, before: str) -> None:
    """Nobody waits at its gate at this moment, but slots before it were free because their work waited there."""
    full = stage(quiet(busy), "identify", busy_share=0.95)
    assert bottleneck([full]).kind != "stage"
    assert bottleneck([stage(full, before, blocked_share=0.06)]).stage == "identify"
    assert bottleneck([stage(full, before, blocked_share=0.05)]).kind != "stage"
    assert bottleneck([stage(full, "decode", blocked_share=0.5)]).kind != "stage", "decode does not feed it"


@pytest.mark.parametrize(("share", "kind"), [(0.9, "stage"), (0.89, "none")])
def test_a_stage_is_a_bottleneck_from_nine_tenths_on(busy: Snapshot, share: float, kind: str) -> None:
    assert bottleneck([stage(quiet(busy), "decode", busy_share=share, depth=1)]).kind == kind


def test_fetch_slots_are_only_advised_where_fetch_is_the_bottleneck(busy: Snapshot) -> None:
    """A source that limits, or no bottleneck at all, is no reason to ask hosts more often."""
    calm = quiet(busy)
    limited = replace(calm, budgets=(HostBudget("tube", 300, 300, "closed"),))
    for frame in (calm, limited):
        told = verdict([frame], SETTINGS).advice
        assert told is None or told.key != "workers.fetch"
    held = stage(calm, "fetch", busy_share=0.97, depth=5)
    for found, expected in (
        (Bottleneck("fetch", "stage", ""), 14),
        (Bottleneck("fetch", "source", ""), None),
        (Bottleneck("decode", "stage", ""), None),
        (Bottleneck(None, "none", ""), None),
    ):
        advised = more_fetch_slots(Case([held], found, SETTINGS))
        assert (None if advised is None else advised.new) == expected
    throttled = replace(held, run=replace(held.run, throttled_10m=1))
    assert more_fetch_slots(Case([throttled], Bottleneck("fetch", "stage", ""), SETTINGS)) is None


# -- where a figure is exactly at a limit -------------------------------------------------------------------------------


def advised(frame: Snapshot, **settings: Any) -> str | None:
    told = verdict([frame], SETTINGS | settings).advice
    return None if told is None else f"{told.id} {told.new}"


@pytest.mark.parametrize(
    ("sm", "says"),
    [
        (0.59, "more-transcribe 4"),
        (0.6, "more-transcribe 3"),
        (0.84, "more-transcribe 3"),
        (0.85, None),
        (0.94, None),
        (0.96, "gpu-bound None"),
    ],
)
def test_gpu_slots_follow_its_share(busy: Snapshot, sm: float, says: str | None) -> None:
    assert advised(at(steady_queue(busy), sm)) == says


def steady_queue(frame: Snapshot) -> Snapshot:
    """Nothing but the GPU says anything: no rule after those of the GPU holds."""
    return replace(frame, run=replace(frame.run, throttled_10m=0), decisions=replace(frame.decisions, split_share_24h=None))


@pytest.mark.parametrize(("cpu", "says"), [(0.79, "more-decode 3"), (0.8, None), (0.89, None), (0.9, "cpu-bound None")])
def test_cpu_slots_follow_its_share(busy: Snapshot, cpu: float, says: str | None) -> None:
    held = stage(quiet(steady_queue(busy)), "decode", busy_share=0.97, depth=5, rtfx=5.0)
    host = replace(held.host, cpu=cpu, cores=8, engine_cpu=8 * cpu)  # all of it the engine's own
    assert advised(replace(held, devices=(), host=host)) == says


@pytest.mark.parametrize(("times", "says"), [(2, None), (3, "fewer-fetch 9")])
def test_fetch_slots_go_down_from_the_third_throttle_on(busy: Snapshot, times: int, says: str | None) -> None:
    calm = quiet(steady_queue(busy))
    assert advised(replace(calm, run=replace(calm.run, throttled_10m=times))) == says


@pytest.mark.parametrize(("clusters", "split", "says"), [(20, 9, "splits-moved None"), (19, 9, None), (20, 8, None)])
def test_splits_are_told_from_twenty_clusters_and_twice_the_usual_on(
    busy: Snapshot, clusters: int, split: int, says: str | None
) -> None:
    calm = quiet(busy)
    odd = replace(calm, decisions=replace(calm.decisions, clusters=clusters, split=split, split_share_24h=0.2))
    assert advised(odd) == says


@pytest.mark.parametrize(("done", "sure"), [(9, "low"), (10, "medium"), (49, "medium"), (50, "high")])
def test_confidence_grows_with_what_is_finished(busy: Snapshot, done: int, sure: str) -> None:
    told = verdict([replace(busy, run=replace(busy.run, finished_10m=done))], SETTINGS).advice
    assert told is not None
    assert told.confidence == sure


def test_a_stage_whose_slots_are_all_busy_with_nobody_waiting_can_stall(busy: Snapshot) -> None:
    """One is served and one waits: as many as are busy wait, which is no sign of nothing to do."""
    held = stage(busy, "decode", busy=1, depth=1, service_p95_s=5.0)
    held = replace(held, flights=(), stages=tuple(s for s in held.stages if s.name == "decode"))
    frames = [replace(held, wall=held.wall + t) for t in range(0, 120, 10)]
    assert verdict(frames, SETTINGS).health == "stalled"
    away = [replace(f, database=replace(f.database, up=False, down_since_wall=f.wall - 5)) for f in frames]
    assert verdict(away, SETTINGS).health != "stalled"
    stopping = [replace(f, run=replace(f.run, state="paused")) for f in frames]
    assert verdict(stopping, SETTINGS).health == "paused"


@pytest.mark.parametrize(
    ("name", "evidence"),
    [("store", "database p95 40 ms"), ("fetch", "1 throttled in 10 m, 12 MB/s"), ("decode", "CPU 44%: engine 10%, others 34%")],
)
def test_the_evidence_is_of_the_kind_of_the_stage(busy: Snapshot, name: str, evidence: str) -> None:
    held = stage(quiet(busy), name, busy_share=0.97, depth=5)
    held = replace(
        held,
        run=replace(held.run, throttled_10m=1),
        host=replace(held.host, cpu=0.44, net_rx=12e6),
        database=replace(held.database, latency_p95_s=0.04),
    )
    assert bottleneck([held]).evidence == evidence


def test_without_a_bottleneck_the_busiest_stage_is_named(busy: Snapshot) -> None:
    calm = stage(quiet(busy), "embed", busy_share=0.61)
    assert bottleneck([calm]).evidence == "busiest is embed at 61%"


def test_a_busy_time_ends_where_the_stage_was_idle_or_unknown(busy: Snapshot) -> None:
    held = stage(busy, "transcribe", busy_share=0.95)
    for broken in (stage(busy, "transcribe", busy_share=0.5), stage(busy, "transcribe", busy_share=None)):
        frames = [replace(f, wall=1000.0 + 60 * n) for n, f in enumerate((held, broken, held, held, held))]
        assert "busy for 2m00s" in bottleneck(frames).text

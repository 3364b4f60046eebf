"""Forecasts at their edges: readings of a card, ends that cancel each other out, ceilings that are met exactly."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest

from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.simulation import Pipeline, StageModel, simulate
from gainstage.engine.views.snapshot import Snapshot
from tests.advice_kit import gpu, host, run, stage
from tests.frames_kit import busy_frame


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def only(frame: Snapshot, *names: str, **what: object) -> Snapshot:
    """The frame with no other stage measured."""
    return replace(frame, stages=tuple(replace(s, **what) if s.name in names else replace(s, rtfx=None) for s in frame.stages))  # type: ignore[arg-type]


def late_share(spread: float, jobs: int, passes: int) -> float:
    """How far the interval reaches above the time left."""
    few = 0.35 / sqrt(1 + passes) + 0.25 / (1 + passes) ** 2
    return 0.08 + 1.6 * 1.28 * sqrt(spread**2 + 0.09 / jobs + few**2)


def estimate(frame: Snapshot) -> tuple[float, float]:
    """Seconds left, and how far above them the interval ends as a share of them."""
    found = forecast.eta(frame, 24)
    assert found.left_s is not None
    assert found.high_s is not None
    return found.left_s, found.high_s / found.left_s - 1


def hours(frame: Snapshot, *rates: float, done: int = 25) -> Snapshot:
    """A hundred recordings of ten minutes for the one slot of transcribe, at the speed of the audio."""
    slow = stage(replace(frame, flights=()), "transcribe", capacity=1, rtfx=1.0, done=done)
    return run(slow, queued=100, running=0, audio_left_s=60_000.0, rtfx_history=rates)


# -- what is taken from a frame -----------------------------------------------------------------------------------------------


def test_the_share_of_a_gpu_is_the_mean_of_its_last_twelve_readings(busy: Snapshot) -> None:
    minute = (1.0,) * 8 + (None, None, 0.2, 0.2) + (0.8,) * 8
    assert forecast.gpu_share(gpu(busy, sm=0.9, sm_history=minute)) == pytest.approx(0.68)
    assert forecast.gpu_share(gpu(busy, sm=0.3)) == 0.3
    assert forecast.gpu_share(gpu(busy, sm=0.3, sm_history=(None,) * 12)) == 0.3
    assert forecast.gpu_share(gpu(busy, sm=None)) is None


def test_a_second_of_audio_is_a_length(busy: Snapshot) -> None:
    assert forecast.mean_s(replace(busy.run, stored=4, audio_stored_s=1.0)) == 0.25


# -- when it is done ----------------------------------------------------------------------------------------------------------


def test_one_that_failed_does_not_undo_one_that_was_stored(busy: Snapshot) -> None:
    none = {"queued": 0, "running": 0, "stored": 1, "failed": 0, "skipped": 0, "cancelled": 0}
    for other in ("failed", "skipped", "cancelled"):
        assert forecast.eta(run(busy, **{**none, other: 1}), 24).basis == "nothing is left"
    assert forecast.eta(run(busy, **{**none, "queued": 24, "running": 24}), 24).basis != "nothing is left"


def test_a_drain_ends_with_its_flights_to_the_second(busy: Snapshot) -> None:
    """At 0.024 audio seconds per second one second of audio more would be 42 seconds."""
    crawling = only(run(busy, state="draining"), "transcribe", "diarize", "store", capacity=24, rtfx=0.001)
    flights = tuple(replace(f, stage="store", side_stage=None, progress=0.0, duration_s=600.0) for f in busy.flights)
    frame = replace(crawling, flights=flights)
    ends = simulate(forecast.pipeline_of(frame, 24), forecast.jobs_of(frame)[0][: len(flights)]).left_s
    assert estimate(frame)[0] == round(ends)


def test_an_interval_rests_on_the_passes_of_the_stage_that_bounds(busy: Snapshot) -> None:
    assert estimate(hours(busy, *(150.0,) * 60, done=3))[1] == pytest.approx(late_share(0.0, 100, 3), rel=1e-4)


def test_rates_below_one_have_a_spread_as_others_do(busy: Snapshot) -> None:
    frame = hours(busy, 0.4, 0.6)
    left_s, late = estimate(frame)
    assert late == pytest.approx(late_share(0.2 / sqrt(left_s / 60), 100, 25), rel=1e-4)


def test_a_horizon_of_less_than_a_minute_is_one(busy: Snapshot) -> None:
    short = run(replace(busy, flights=busy.flights[:2]), queued=0, running=2, rtfx_history=(1.0, 2.0))
    left_s, late = estimate(stage(short, "transcribe", capacity=9, rtfx=8.0))
    assert left_s < 60
    assert late == pytest.approx(late_share(1 / 3, 2, 25), rel=0.05)


# -- what if ------------------------------------------------------------------------------------------------------------------


def test_one_recording_in_flight_is_the_least(busy: Snapshot) -> None:
    none, one, two = (forecast.expect(busy, 24, {"in_flight": n}) for n in (0, 1, 2))
    assert one is not None
    assert two is not None
    assert none == one
    assert one.rtfx_after < 0.7 * two.rtfx_after


def test_stages_that_wait_for_others_meet_no_ceiling(busy: Snapshot) -> None:
    full = host(replace(busy, devices=()), cpu=0.9, cores=8, engine_cpu=4.0, postgres_cpu=None)
    then = forecast.expect(only(full, "fetch"), 24, {"workers.fetch": 16})
    assert then is not None
    assert then.gain > 0.5
    assert then.full is None


def test_less_than_a_slot_at_work_may_fill_a_machine(busy: Snapshot) -> None:
    """One slot makes 35 % of the load and others 15 %: two slots and a half would fill it."""
    machine = host(replace(busy, devices=(), flights=()), cpu=0.5, cores=8, engine_cpu=2.8, postgres_cpu=None)
    frame = only(machine, "transcribe", capacity=1, rtfx=5.0)
    pipeline = forecast.pipeline_of(frame, 24)
    assert simulate(pipeline, forecast.backlog(160, 600.0, 0), 0).busy["transcribe"] <= 1.0
    then = forecast.expect(frame, 24, {"workers.transcribe": 4})
    assert then is not None
    assert then.full == "CPU"
    assert then.gain == pytest.approx(0.82 / 0.35 - 1, abs=0.1)


def test_a_full_card_is_no_limit_of_a_change_that_asks_nothing_of_it(busy: Snapshot) -> None:
    then = forecast.expect(gpu(busy, sm=1.0), 24, {"in_flight": 24})
    assert then is not None
    assert (then.gain, then.full) == (0.0, None)


def roomy(frame: Snapshot, *devices: dict[str, int | None], **machine: int | None) -> Snapshot:
    """The frame on such cards, of 100 bytes each where nothing else is said, or on a machine without one."""
    card = replace(frame.devices[0], sm=0.2, sm_history=(), memory_total=100, memory_used=0, memory_ours=None)
    quiet = host(frame, cpu=0.1, engine_cpu=0.2, **machine)
    return replace(quiet, devices=tuple(replace(card, **what) for what in devices))  # type: ignore[arg-type]


def test_a_slot_takes_its_part_of_the_memory_on_the_fullest_card(busy: Snapshot) -> None:
    """Two slots of transcribe and three of diarize."""
    assert forecast.slot_memory(roomy(busy, {"memory_ours": 20}, {"memory_ours": 30}, {})) == 6.0
    assert forecast.slot_memory(roomy(busy, {"memory_ours": 0})) == 0.0
    assert forecast.slot_memory(roomy(busy, {}, engine_rss=50)) is None, "the machine's memory is not the card's"
    assert forecast.slot_memory(roomy(busy, engine_rss=50)) == 10.0
    assert forecast.slot_memory(roomy(busy)) is None
    none = stage(stage(roomy(busy, engine_rss=50), "transcribe", capacity=0), "diarize", capacity=0)
    assert forecast.slot_memory(none) is None
    assert forecast.slot_memory(stage(none, "diarize", capacity=1)) == 50.0


def test_the_slots_that_fit_are_those_of_the_card_with_the_least_room(busy: Snapshot) -> None:
    ours: dict[str, int | None] = {"memory_ours": 30}
    assert forecast.slots_that_fit(roomy(busy, {**ours, "memory_used": 41}, {"memory_used": 10})) == 9
    assert forecast.slots_that_fit(roomy(busy, {**ours, "memory_used": 101})) == 0, "more than it has"
    assert forecast.slots_that_fit(roomy(busy, {**ours, "memory_used": 96}, {"memory_total": None}, {"memory_used": None})) == 0
    assert forecast.slots_that_fit(roomy(busy, {**ours, "memory_used": None})) is None
    assert forecast.slots_that_fit(roomy(busy, {"memory_ours": 0})) is None
    assert forecast.slots_that_fit(roomy(busy, {})) is None
    machine: dict[str, int | None] = {"engine_rss": 50, "memory_total": 100, "memory_used": 70}
    assert forecast.slots_that_fit(roomy(busy, **machine)) == 3
    for unknown in machine:
        assert forecast.slots_that_fit(roomy(busy, **{**machine, unknown: None})) is None
    assert forecast.slots_that_fit(roomy(busy, **{**machine, "memory_used": 0})) == 10


@pytest.mark.parametrize(
    ("changes", "full"),
    [
        ({"transcribe": 4}, None),
        ({"transcribe": 5}, "memory"),
        ({"transcribe": 3, "diarize": 4}, None),
        ({"transcribe": 3, "diarize": 5}, "memory"),
        ({"transcribe": 2, "diarize": 5}, None),
        ({"transcribe": 1, "diarize": 5}, None),
        ({"transcribe": 1, "diarize": 6}, "memory"),
        ({"decode": 12, "transcribe": 4}, None),
        ({"decode": 12}, None),
    ],
)
def test_slots_share_the_room_that_is_left(busy: Snapshot, changes: dict[str, float], full: str | None) -> None:
    """Room for two slots of models more; a slot that only decodes needs none."""
    frame = roomy(busy, {"memory_ours": 50, "memory_used": 75})
    assert forecast.slots_that_fit(frame) == 2
    then = forecast.expect(frame, 24, {f"workers.{name}": slots for name, slots in changes.items()})
    assert then is not None
    assert then.full == full


def test_slots_beyond_the_room_are_left_out_of_the_figure(busy: Snapshot) -> None:
    frame = roomy(busy, {"memory_ours": 50, "memory_used": 85})
    one, many = (forecast.expect(frame, 24, {"workers.transcribe": n}) for n in (3, 9))
    assert one is not None
    assert many is not None
    assert many.rtfx_after == one.rtfx_after > many.rtfx_before
    unknown = roomy(busy, {"memory_ours": None})
    free = forecast.expect(unknown, 24, {"workers.transcribe": 9})
    assert free is not None
    assert free.full is None


# -- before a run -------------------------------------------------------------------------------------------------------------


def test_a_plan_takes_one_recording_at_a_time_at_least() -> None:
    none, one, two = (forecast.plan([60.0] * 20, {"store": 10.0}, {"store": 2}, n) for n in (0, 1, 2))
    assert none == one
    assert one.left.left_s == pytest.approx(120.0, rel=0.15)
    assert two.left.left_s == pytest.approx(60.0, rel=0.15)
    alone = Pipeline({"store": StageModel(2, 0.1, sigma=0.2)}, 1)
    assert forecast.left_s(alone, [forecast.Job(60.0)] * 20, 0.0) == pytest.approx(one.left.left_s, rel=0.15)

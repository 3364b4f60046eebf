"""Forecasts from frames: when it is done, and what a change would do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gainstage.engine.advisor import forecast
from gainstage.engine.views.snapshot import Forecast, Run, SlotView, Snapshot
from tests.frames_kit import busy_frame


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def with_run(frame: Snapshot, **what: object) -> Snapshot:
    run: Run = replace(frame.run, **what)  # type: ignore[arg-type]
    return replace(frame, run=run)


def test_the_time_left_has_an_interval_around_it(busy: Snapshot) -> None:
    told = forecast.eta(busy, 24)
    assert told.left_s is not None
    assert told.low_s is not None
    assert told.high_s is not None
    assert told.low_s < told.left_s < told.high_s
    assert "transcribe" in told.basis


@pytest.mark.parametrize(
    ("what", "basis"),
    [
        ({"state": "paused"}, "paused"),
        ({"state": "stopped"}, "stopped"),
        ({"state": "starting"}, "starting"),
    ],
)
def test_there_is_no_finish_time_where_there_can_be_none(busy: Snapshot, what: dict[str, object], basis: str) -> None:
    told = forecast.eta(with_run(busy, **what), 24)
    assert told.left_s is None
    assert basis in told.basis


def early(frame: Snapshot, *, progress: float | None, stages: tuple[str, ...] = ("transcribe", "diarize")) -> Snapshot:
    """The frame as it was before anything was stored, with one recording in each of the stages for ten seconds."""
    one = replace(frame.flights[0], id="a", stage="transcribe", waiting=False, duration_s=600.0, progress=progress)
    one = replace(one, side_stage="diarize", side_progress=progress)
    views = tuple(
        replace(s, rtfx=None, done=0, slots=(SlotView(0, "a", "busy", 10.0),) if s.name in stages else ()) for s in frame.stages
    )
    run = replace(
        frame.run, stored=0, failed=0, skipped=0, audio_done_s=0.0, rtfx=None, rtfx_history=(), queued=20, audio_left_s=12_600.0
    )
    return replace(frame, run=run, stages=views, flights=(one,))


def test_before_anything_is_stored_the_time_left_is_a_range(busy: Snapshot) -> None:
    """Reproduced: a demo of ten seconds that said "ETA ..." through most of them."""
    told = forecast.eta(early(busy, progress=0.5), 24)  # a slot of transcribe makes 30x, and there are two
    assert told.left_s is not None
    assert told.low_s is not None
    assert told.high_s is not None
    assert told.low_s < 12_300 / 60 < told.high_s
    assert told.wide, "it says how little it rests on"
    after = forecast.eta(busy, 24)
    assert not after.wide


def test_of_a_stage_that_is_not_measured_the_range_takes_in_that_it_is_as_slow_as_the_slowest(busy: Snapshot) -> None:
    told = forecast.eta(early(busy, progress=0.5, stages=("transcribe",)), 24)
    known = forecast.eta(early(busy, progress=0.5), 24)
    assert told.high_s is not None
    assert told.low_s is not None
    assert known.high_s is not None
    assert known.low_s is not None
    assert told.wide
    assert told.low_s <= known.low_s
    assert told.high_s >= 0.95 * known.high_s
    assert told.basis.endswith("of diarize nothing is known yet")


def test_a_stage_of_which_nothing_is_measured_is_named(busy: Snapshot) -> None:
    told = forecast.eta(early(busy, progress=0.5, stages=()), 24)
    assert told.left_s is None
    assert "diarize" in told.basis


def test_a_pass_without_progress_is_taken_to_be_half_way(busy: Snapshot) -> None:
    told, half = (forecast.eta(early(busy, progress=progress), 24) for progress in (None, 0.5))
    assert told.left_s is not None
    assert half.left_s is not None
    assert told.left_s == pytest.approx(half.left_s, rel=0.1)


def test_advice_comes_where_a_change_may_still_act(busy: Snapshot) -> None:
    assert Forecast(20.0, 10.0, 29.0).soon
    assert not Forecast(20.0, 10.0, 40.0).soon
    assert not Forecast(None, None, None).soon


def test_a_paused_stage_hides_the_finish_time(busy: Snapshot) -> None:
    held = tuple(replace(s, paused=s.name == "diarize") for s in busy.stages)
    assert forecast.eta(replace(busy, stages=held), 24).left_s is None


def test_a_finished_run_has_nothing_left(busy: Snapshot) -> None:
    assert forecast.eta(with_run(busy, state="done"), 24).left_s == 0.0


def test_a_drain_only_waits_for_what_is_in_flight(busy: Snapshot) -> None:
    running, draining = forecast.eta(busy, 24), forecast.eta(with_run(busy, state="draining"), 24)
    assert draining.left_s is not None
    assert running.left_s is not None
    assert draining.left_s < running.left_s / 3


def test_a_long_queue_is_not_simulated_to_its_end(busy: Snapshot) -> None:
    audio = (busy.run.audio_left_s or 0.0) * 1000
    many = with_run(busy, queued=100_000, audio_left_s=audio)
    jobs, beyond = forecast.jobs_of(many)
    assert len(jobs) == forecast.MOST_SIMULATED + len(many.flights)
    assert sum(j.duration_s for j in jobs) + beyond == pytest.approx(audio)
    told = forecast.eta(many, 24)
    assert told.left_s == pytest.approx(audio / 155, rel=0.15)  # two slots at about 77x


def test_more_slots_at_the_bottleneck_help_and_elsewhere_do_not(busy: Snapshot) -> None:
    there = forecast.expect(busy, 24, {"workers.transcribe": 3})
    elsewhere = forecast.expect(busy, 24, {"workers.store": 4})
    assert there is not None
    assert elsewhere is not None
    assert 0.2 < there.gain < 0.6
    assert there.left_after_s < there.left_before_s
    assert "audio/h" in there.text
    assert abs(elsewhere.gain) < forecast.LITTLE
    assert "about the same" in elsewhere.text


def test_fewer_slots_at_the_bottleneck_cost(busy: Snapshot) -> None:
    fewer = forecast.expect(busy, 24, {"workers.transcribe": 1})
    assert fewer is not None
    assert fewer.gain == pytest.approx(-0.5, abs=0.08)


def test_a_full_gpu_gives_no_more(busy: Snapshot) -> None:
    full = tuple(replace(d, sm=0.97, sm_history=(0.97,) * 12) for d in busy.devices)
    then = forecast.expect(replace(busy, devices=full), 24, {"workers.transcribe": 4})
    assert then is not None
    assert then.full == "GPU"
    assert then.gain < 0.05


def test_a_full_cpu_gives_no_more(busy: Snapshot) -> None:
    """Reproduced: CPU at 100 %, and Tune promised +30 % for one slot more."""
    alone = replace(busy, devices=(), host=replace(busy.host, cpu=1.0, cores=2, engine_cpu=1.95))
    then = forecast.expect(alone, 24, {"workers.transcribe": 4})
    assert then is not None
    assert then.full == "CPU"
    assert abs(then.gain) < 0.05
    assert "(the CPU is then full)" in then.text or "about the same" in then.text
    beside = replace(alone, host=replace(alone.host, cpu=0.97, engine_cpu=0.5))  # others have the rest, and keep it
    assert (crowded := forecast.expect(beside, 24, {"workers.transcribe": 4})) is not None
    assert abs(crowded.gain) < 0.05
    room = replace(alone, host=replace(alone.host, cpu=0.3, engine_cpu=0.5))
    assert (free := forecast.expect(room, 24, {"workers.transcribe": 4})) is not None
    assert free.full is None
    assert free.gain > 0.3


def test_a_full_memory_gives_no_more(busy: Snapshot) -> None:
    gib = 2**30
    slots = sum(s.capacity for s in busy.stages if s.name in ("transcribe", "diarize"))
    device = replace(busy.devices[0], sm=0.2, memory_total=40 * gib, memory_used=36 * gib, memory_ours=2 * gib * slots)
    cramped = replace(busy, devices=(device,), host=replace(busy.host, cpu=0.1, engine_cpu=0.2))
    assert forecast.slots_that_fit(cramped) == 2
    room = replace(cramped, devices=(replace(device, memory_used=0),))
    now = next(s.capacity for s in busy.stages if s.name == "transcribe")
    two = forecast.expect(cramped, 24, {"workers.transcribe": now + 2})
    many = forecast.expect(cramped, 24, {"workers.transcribe": now + 8})
    free = forecast.expect(room, 24, {"workers.transcribe": now + 8})
    assert two is not None
    assert many is not None
    assert free is not None
    assert (two.full, many.full, free.full) == (None, "memory", None)
    assert many.gain == two.gain > 0.3
    full = replace(cramped, devices=(replace(device, memory_used=39 * gib),))
    assert (none := forecast.expect(full, 24, {"workers.transcribe": now + 2})) is not None
    assert (none.full, none.gain) == ("memory", 0.0)
    assert "(the memory is then full)" in many.text
    alone = replace(
        cramped, devices=(), host=replace(cramped.host, memory_total=16 * gib, memory_used=15 * gib, engine_rss=2 * gib * slots)
    )
    assert forecast.slots_that_fit(alone) == 0
    assert forecast.slots_that_fit(replace(alone, host=replace(alone.host, memory_used=None))) is None


def test_what_it_cannot_know_it_does_not_say(busy: Snapshot) -> None:
    assert forecast.expect(busy, 24, {"identify.range_limit": 0.4}) is None
    bare = replace(busy, stages=tuple(replace(s, rtfx=None) for s in busy.stages))
    assert forecast.expect(bare, 24, {"workers.transcribe": 3}) is None
    assert forecast.eta(bare, 24).left_s is None


def test_a_plan_names_the_stage_that_will_bound_the_run() -> None:
    speeds = {"fetch": 200.0, "transcribe": 80.0, "diarize": 100.0}
    told = forecast.plan([600.0] * 400, speeds, {"fetch": 8, "transcribe": 2, "diarize": 3}, 24)
    assert told.bottleneck == "transcribe"
    assert told.left.left_s == pytest.approx(400 * 600 / 160, rel=0.1)
    assert forecast.plan([600.0], {}, {}, 24).left.left_s is None


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0s"), (59.4, "59s"), (400, "6m40s"), (22_320, "6h12m"), (277_000, "3d4h")])
def test_lengths_of_time_in_two_units(seconds: float, words: str) -> None:
    assert forecast.span(seconds) == words


def test_a_recording_between_two_stages_is_counted(busy: Snapshot) -> None:
    """A flight is at no stage for the moment between two; the forecast must not stumble over it."""
    assert busy.flights
    between = replace(busy, flights=(replace(busy.flights[0], stage="", progress=None), *busy.flights[1:]))
    assert forecast.eta(between, 24).left_s is not None
    assert forecast.expect(between, 24, {"workers.transcribe": 4}) is not None


def test_lengths_are_learnt_from_all_that_is_stored_not_only_by_this_engine(busy: Snapshot) -> None:
    run = replace(busy.run, stored=24, audio_done_s=0.0, audio_stored_s=2400.0)
    assert forecast.mean_s(run) == 100.0
    assert forecast.mean_s(replace(run, audio_stored_s=None, audio_done_s=480.0)) == 20.0, "a record of an older engine"
    assert forecast.mean_s(replace(run, stored=0)) is None

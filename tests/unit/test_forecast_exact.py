"""Forecasts to the figure: what is taken from a frame, where an answer changes, and what a what-if rests on."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest

from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.forecast import Expected
from gainstage.engine.advisor.simulation import Job, Pipeline, StageModel, backlog, simulate
from gainstage.engine.views.snapshot import SlotView, Snapshot
from tests.advice_kit import run, stage
from tests.frames_kit import busy_frame


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def left(frame: Snapshot, in_flight: int = 24) -> float:
    estimate = forecast.eta(frame, in_flight).left_s
    assert estimate is not None
    return estimate


# -- what is taken from a frame -----------------------------------------------------------------------------------------------


def test_a_stage_is_taken_as_it_was_measured(busy: Snapshot) -> None:
    pipeline = forecast.pipeline_of(busy, 5)
    assert pipeline.in_flight == 5
    assert pipeline.sm == pytest.approx(0.55)
    assert pipeline.stages["decode"] == StageModel(2, 1 / 400, sigma=0.15)
    assert len(pipeline.stages) == len(busy.stages)


def test_a_stage_without_slots_or_without_a_speed_is_left_out(busy: Snapshot) -> None:
    assert "decode" not in forecast.pipeline_of(stage(busy, "decode", capacity=0), 24).stages
    assert "decode" not in forecast.pipeline_of(stage(busy, "decode", rtfx=None), 24).stages
    assert forecast.pipeline_of(stage(busy, "decode", capacity=1), 24).stages["decode"].capacity == 1
    assert (forecast.pipeline_of(busy, 0).in_flight, forecast.pipeline_of(busy, 1).in_flight) == (1, 1)


def test_the_share_that_is_diarized_is_known_from_five_transcribed_on(busy: Snapshot) -> None:
    def shares(transcribed: int, diarized: int) -> tuple[float, float]:
        frame = stage(stage(busy, "transcribe", done=transcribed), "diarize", done=diarized)
        stages = forecast.pipeline_of(frame, 24).stages
        return stages["diarize"].share, stages["decode"].share

    assert shares(4, 1) == (1.0, 1.0)
    assert shares(5, 1) == (0.2, 1.0)
    assert shares(5, 6) == (1.0, 1.0)


def test_the_mean_length_is_that_of_what_is_stored(busy: Snapshot) -> None:
    assert forecast.mean_s(replace(busy.run, stored=4, audio_stored_s=2.0)) == 0.5
    assert forecast.mean_s(replace(busy.run, stored=4, audio_stored_s=0.0)) is None
    assert forecast.mean_s(replace(busy.run, stored=0, audio_stored_s=5.0)) is None


def test_recordings_in_flight_come_first_as_they_stand(busy: Snapshot) -> None:
    one, two, three = (replace(busy.flights[n], id=str(n)) for n in range(3))
    flights = (
        replace(one, stage="transcribe", progress=0.4, side_stage="diarize", duration_s=100.0),
        replace(two, stage="store", progress=None, side_stage=None, duration_s=200.0),
        replace(three, stage="", progress=None, side_stage=None, duration_s=None),
    )
    frame = run(replace(busy, flights=flights), queued=0)
    jobs, beyond = forecast.jobs_of(frame)
    assert jobs == (Job(100.0, "transcribe", 0.4, beside=True), Job(200.0, "store"), Job(600.0))
    assert beyond == 0.0
    assert forecast.jobs_of(run(frame, stored=0))[0][2] == Job(150.0), "the mean of those in flight, before any is stored"
    unknown = replace(frame, flights=(flights[2],))
    assert forecast.jobs_of(run(unknown, stored=0))[0] == (Job(600.0),), "ten minutes, where nothing is known"


def test_the_queue_is_the_audio_that_is_left_dealt_out(busy: Snapshot) -> None:
    frame = run(replace(busy, flights=busy.flights[:2]), queued=10, audio_left_s=7200.0)
    jobs, beyond = forecast.jobs_of(frame)
    assert jobs[2:] == backlog(10, 600.0, 0)
    assert beyond == 0.0
    assert (jobs, beyond) == forecast.jobs_of(frame, 0) != forecast.jobs_of(frame, 1)
    assert forecast.jobs_of(run(frame, audio_left_s=None))[0][2:] == backlog(10, 600.0, 0), "the mean of what is stored for each"
    assert sum(j.duration_s for j in forecast.jobs_of(run(frame, audio_left_s=100.0))[0][2:]) == 0.0


def test_of_a_long_queue_a_hundred_and_sixty_are_simulated(busy: Snapshot) -> None:
    for queued, beyond_s in ((160, 0.0), (161, 600.0), (400, 240 * 600.0)):
        jobs, beyond = forecast.jobs_of(run(replace(busy, flights=()), queued=queued, audio_left_s=queued * 600.0))
        assert len(jobs) == min(queued, 160)
        assert beyond == pytest.approx(beyond_s)


def test_what_is_not_simulated_takes_its_length_at_the_rate_of_the_rest() -> None:
    pipeline, jobs = Pipeline({"store": StageModel(2, 0.1)}, 9), backlog(40, 600.0)
    outcome = simulate(pipeline, jobs)
    assert outcome.rtfx is not None
    assert forecast.left_s(pipeline, jobs, 0.0) == outcome.left_s
    for beyond in (0.5, 5000.0):
        assert forecast.left_s(pipeline, jobs, beyond) == pytest.approx(outcome.left_s + beyond / outcome.rtfx)
    assert (
        forecast.left_s(pipeline, jobs, 5.0, 1) != forecast.left_s(pipeline, jobs, 5.0) == forecast.left_s(pipeline, jobs, 5.0, 0)
    )
    assert forecast.left_s(pipeline, [], 5000.0) == 0.0, "no rate is known"


def test_the_share_of_the_gpu_is_named_for_what_it_is(busy: Snapshot) -> None:
    card = busy.devices[0]
    mixed = replace(busy, devices=(card, replace(card, sm_measured=False)))
    assert forecast.gpu_words(mixed, 0.5) == "SM 50%"
    assert forecast.gpu_words(replace(busy, devices=(replace(card, sm_measured=False),)), 0.5) == "GPU busy 50%"


# -- when it is done --------------------------------------------------------------------------------------------------------


def basis(frame: Snapshot) -> str:
    return forecast.eta(frame, 24).basis


def test_nothing_is_left_when_all_have_ended(busy: Snapshot) -> None:
    none = {"queued": 0, "running": 0, "stored": 0, "failed": 0, "skipped": 0, "cancelled": 0}
    for end in ("stored", "failed", "skipped", "cancelled"):
        estimate = forecast.eta(run(busy, **{**none, end: 1}), 24)
        assert (estimate.left_s, estimate.low_s, estimate.high_s, estimate.basis) == (0.0, 0.0, 0.0, "nothing is left")
    assert basis(run(busy, **none)) != "nothing is left", "nothing was added yet"
    assert basis(run(busy, **{**none, "stored": 3, "failed": 3, "skipped": 5, "cancelled": 1})) == "nothing is left"
    for working in ("queued", "running"):
        assert basis(run(busy, **{**none, "stored": 5, working: 1})) != "nothing is left"
    assert basis(run(busy, state="done", queued=4)) == "nothing is left"


def test_the_stages_that_take_the_time_must_be_measured(busy: Snapshot) -> None:
    idle = {"rtfx": None, "done": 0, "busy": 0, "depth": 0}
    half = "; of {} nothing is known yet"
    assert basis(stage(busy, "transcribe", rtfx=None)).endswith(half.format("transcribe"))
    both = stage(stage(busy, "transcribe", rtfx=None), "diarize", rtfx=None)
    assert basis(both) == "no recording is through transcribe or diarize yet"
    assert basis(run(stage(busy, "diarize", **idle), stored=0)).endswith(half.format("diarize"))
    for working in ({"done": 1}, {"busy": 1}, {"depth": 1}):
        assert basis(run(stage(busy, "diarize", **{**idle, **working}), stored=1)).endswith(half.format("diarize"))
    assert basis(run(stage(busy, "diarize", **idle), stored=1)).endswith("x"), "all that is stored did without it"
    assert basis(stage(busy, "decode", rtfx=None)).endswith("x"), "it takes no time to speak of"
    nothing = replace(busy, stages=tuple(replace(s, **idle) for s in busy.stages))
    assert basis(run(nothing, stored=5)) == "no recording is through a stage yet"


def test_a_stage_of_which_nothing_is_known_takes_no_time_or_that_of_the_slowest(busy: Snapshot) -> None:
    bare = stage(stage(long_queue(busy, (150.0,) * 60), "transcribe", capacity=2), "diarize", rtfx=None, capacity=1)
    estimate = forecast.eta(bare, 24)
    pipeline, (jobs, beyond) = forecast.pipeline_of(bare, 24), forecast.jobs_of(bare)
    slowest = replace(pipeline.stages["transcribe"], capacity=1)
    without = forecast.left_s(pipeline, jobs, beyond)
    like = forecast.left_s(replace(pipeline, stages={**pipeline.stages, "diarize": slowest}), jobs, beyond)
    relative = (expected_share(0.0, 100) - 1.08) / 1.6
    assert like > without
    assert estimate.left_s == round((without + like) / 2)
    assert estimate.low_s == round(without * (1 - 1.2 * relative))
    assert estimate.high_s == round(like * (1.08 + 1.6 * relative))


def test_a_speed_is_known_from_the_progress_of_what_is_under_way(busy: Snapshot) -> None:
    first, second, third = (replace(busy.flights[n], id=str(n), duration_s=600.0) for n in range(3))
    first = replace(first, stage="transcribe", progress=0.5, side_stage="diarize", side_progress=0.25)
    second = replace(second, stage="transcribe", progress=0.25, duration_s=1200.0)

    def speed(*slots: SlotView, name: str = "transcribe") -> float | None:
        view = next(s for s in busy.stages if s.name == name)
        return forecast.speed_under_way(replace(busy, flights=(first, second, third)), replace(view, slots=slots))

    assert speed(SlotView(0, "0", "busy", 10.0)) == 30.0
    assert speed(SlotView(0, "0", "busy", 10.0), SlotView(1, "1", "busy", 20.0)) == 20.0
    assert speed(SlotView(0, "0", "busy", 5.0), name="diarize") == 30.0
    assert speed(SlotView(0, "0", "busy", 1.0)) == 300.0
    for silent in (SlotView(0, "0", "busy", 0.99), SlotView(0, None, "idle", 10.0), SlotView(0, "gone", "busy", 10.0)):
        assert speed(silent) is None
        assert speed(silent, SlotView(1, "1", "busy", 10.0)) == 30.0
    fetched = replace(first, stage="fetch")
    assert (
        forecast.speed_under_way(
            replace(busy, flights=(fetched,)),
            replace(next(s for s in busy.stages if s.name == "fetch"), slots=(SlotView(0, "0", "busy", 10.0),)),
        )
        is None
    ), "how long a host takes says nothing of the next"
    first = replace(first, progress=None)
    assert speed(SlotView(0, "0", "busy", 20.0)) == 15.0, "half of it, where nothing is said"
    first = replace(first, progress=0.5, duration_s=None)
    assert speed(SlotView(0, "0", "busy", 10.0)) is None
    slots = (SlotView(0, "1", "busy", 10.0),)
    fresh = stage(replace(busy, flights=(second,)), "transcribe", rtfx=None, slots=slots)
    assert "transcribe" not in forecast.pipeline_of(fresh, 24).stages
    assert forecast.pipeline_of(fresh, 24, under_way=True).stages["transcribe"].per_audio_s == 1 / 30
    assert basis(fresh) == "simulated from measured service times; transcribe allows 60x"


def test_a_drain_without_flights_is_a_state_and_one_with_them_ends_with_them(busy: Snapshot) -> None:
    draining = run(busy, state="draining")
    assert basis(replace(draining, flights=())) == "the engine is draining"
    assert basis(replace(busy, flights=())) != "the engine is running"
    crawling = replace(busy, stages=tuple(replace(s, capacity=24, rtfx=0.1 if s.name == "store" else 1e6) for s in busy.stages))
    crawling = replace(run(crawling, state="draining"), flights=tuple(replace(f, duration_s=600.0) for f in busy.flights))
    only = simulate(forecast.pipeline_of(crawling, 24, under_way=True), forecast.jobs_of(crawling)[0][: len(busy.flights)]).left_s
    assert left(crawling) == round(only)


def test_one_paused_stage_is_enough_to_know_nothing(busy: Snapshot) -> None:
    assert basis(stage(busy, "store", paused=True)) == "a stage is paused"


def test_work_that_is_all_at_another_engine_is_said(busy: Snapshot) -> None:
    assert basis(run(replace(busy, flights=()), queued=0, running=3)) == "what is left is in flight at another engine"


def test_the_estimate_rests_on_the_same_seed_each_time(busy: Snapshot) -> None:
    assert forecast.eta(busy, 24) == forecast.eta(busy, 24, 0) != forecast.eta(busy, 24, 1)


def high_share(frame: Snapshot) -> float:
    estimate = forecast.eta(frame, 24)
    assert estimate.high_s is not None
    assert estimate.left_s is not None
    return estimate.high_s / estimate.left_s


def expected_share(spread: float, jobs: int) -> float:
    few = 0.35 / 26**0.5 + 0.25 / 26**2  # after 25 passes
    return 1.08 + 1.6 * 1.28 * float((spread**2 + 0.09 / jobs + few**2) ** 0.5)


def long_queue(frame: Snapshot, history: tuple[float | None, ...]) -> Snapshot:
    """Hours of work, so that seconds of rounding say nothing."""
    slow = stage(replace(frame, flights=()), "transcribe", capacity=1, rtfx=1.0)
    return run(slow, queued=100, running=0, audio_left_s=60_000.0, rtfx_history=history)


def test_rates_of_twenty_minutes_are_taken_in_tens_and_of_the_last_hour_only(busy: Snapshot) -> None:
    hours = left(long_queue(busy, ())) / 60
    ten = (100.0,) * 10 + (200.0,) * 10
    third = 1 / 3
    assert high_share(long_queue(busy, ten)) == pytest.approx(expected_share(third / (hours / 10) ** 0.5, 100), rel=1e-4)
    nineteen = ten[:19]
    mean = fmean(nineteen)
    spread = fmean((rate - mean) ** 2 for rate in nineteen) ** 0.5 / mean
    assert high_share(long_queue(busy, nineteen)) == pytest.approx(expected_share(spread / hours**0.5, 100), rel=1e-4)
    still = (150.0,) * 60
    assert high_share(long_queue(busy, (1.0, *still))) == pytest.approx(expected_share(0.0, 100), rel=1e-4)
    odd = (9e9, *ten)  # 21 minutes: the first of them fills no ten
    assert high_share(long_queue(busy, odd)) == pytest.approx(expected_share(third / (hours / 10) ** 0.5, 100), rel=1e-4)


def test_a_spread_is_a_fifth_where_it_is_not_known_and_a_half_at_most(busy: Snapshot) -> None:
    for unknown in ((), (150.0,), (None, None, 150.0), (0.0, 0.0, 0.0)):
        assert high_share(long_queue(busy, unknown)) == pytest.approx(expected_share(0.2, 100), rel=1e-4)
    short = run(busy, rtfx_history=(1.0, 1000.0), queued=0, running=24)
    few = stage(replace(short, flights=short.flights[:2]), "transcribe", capacity=9, rtfx=10.0)
    assert left(few) < 120
    assert high_share(few) == pytest.approx(expected_share(0.5, 2), rel=0.02)
    calm = run(few, rtfx_history=(90.0, 110.0))
    assert high_share(calm) == pytest.approx(expected_share(0.1, 2), rel=0.02), "a horizon below a minute is one"


def test_the_early_side_is_nearer_than_the_late_one(busy: Snapshot) -> None:
    one = run(replace(busy, flights=busy.flights[:1]), queued=0, running=1, rtfx_history=(1.0, 1000.0))
    slow = stage(one, "transcribe", rtfx=1.0)
    spread = min(0.5, 499.5 / 500.5 / (left(slow) / 60) ** 0.5)
    late = (expected_share(spread, 1) - 1.08) / 1.6
    assert forecast.eta(slow, 24).low_s == pytest.approx(left(slow) * (1 - 1.2 * late), abs=1.0)


# -- what if ----------------------------------------------------------------------------------------------------------------


def test_an_expectation_in_words() -> None:
    assert Expected(100, 138, 1000.0, None).text == "+38% audio/h, done in 16m40s → 12m05s"
    assert Expected(100, 97, 1000.0, "GPU").text == "-3% audio/h, done in 16m40s → 17m11s (the GPU is then full)"
    assert Expected(100, 103, 1000.0, None).text.startswith("+3% audio/h")
    assert Expected(100, 101.9, 1000.0, None).text == "audio/h about the same, done in 16m40s"


def test_a_gain_needs_a_rate_before_and_a_time_left_one_after() -> None:
    assert Expected(0.0, 5.0, 100.0, None).gain == 0.0
    assert Expected(0.5, 1.0, 100.0, None).gain == 1.0
    assert Expected(0.5, 1.0, 100.0, None).left_after_s == 50.0
    assert Expected(100.0, 0.0, 100.0, None).left_after_s == 100.0


@pytest.mark.parametrize(("in_flight", "simulated"), [(24, 160), (60, 180), (80, 240), (100, 240)])
def test_a_change_is_tried_on_a_full_queue_of_the_usual_length(busy: Snapshot, in_flight: int, simulated: int) -> None:
    then = forecast.expect(busy, in_flight, {"workers.transcribe": 3})
    full, pipeline = backlog(simulated, 600.0, 0), forecast.pipeline_of(busy, in_flight)
    assert then is not None
    assert then.rtfx_before == simulate(pipeline, full, 0).rtfx
    wider = replace(pipeline, stages={**pipeline.stages, "transcribe": replace(pipeline.stages["transcribe"], capacity=3)})
    assert then.rtfx_after == simulate(wider, full, 0).rtfx
    assert then.left_before_s == forecast.left_s(pipeline, *forecast.jobs_of(busy))
    assert then == forecast.expect(busy, in_flight, {"workers.transcribe": 3}, 0)


def test_lengths_are_ten_minutes_where_nothing_is_stored(busy: Snapshot) -> None:
    new = run(busy, stored=0)
    based = stage(new, "decode", rtfx=100.0)
    assert forecast.expect(based, 24, {"in_flight": 12}) == forecast.expect(
        run(based, stored=1, audio_stored_s=600.0), 24, {"in_flight": 12}
    )


def test_what_may_be_tried_are_slots_and_recordings_in_flight(busy: Snapshot) -> None:
    none = forecast.expect(busy, 24, {"workers.transcribe": 0})
    assert none == forecast.expect(busy, 24, {"workers.transcribe": 1}), "one slot is the least"
    assert none is not None
    assert none.gain < -0.3
    assert forecast.expect(busy, 24, {"in_flight": 0}) == forecast.expect(busy, 24, {"in_flight": 1})
    few = forecast.expect(busy, 24, {"in_flight": 2.0})
    assert few is not None
    assert few.gain < -0.1
    for key in ("workers.nothing", "transcribe", "asr.batch"):
        assert forecast.expect(busy, 24, {"in_flight": 30, key: 3}) is None
    assert forecast.expect(stage(busy, "transcribe", rtfx=None), 24, {"workers.transcribe": 3}) is None


def test_the_rest_of_the_cpu_is_what_others_leave(busy: Snapshot) -> None:
    """Engine and its Postgres use half of the machine, others a quarter: 72 of the 97 % may be theirs, 1.44 times as much."""
    host = replace(busy.host, cpu=0.75, cores=8, engine_cpu=3.2, postgres_cpu=0.8)
    alone = replace(busy, devices=(), host=host, flights=())
    narrow = run(stage(alone, "transcribe", capacity=1, rtfx=5.0), queued=400, audio_left_s=400 * 600.0)
    then = forecast.expect(narrow, 200, {"workers.transcribe": 4})
    assert then is not None
    assert then.full == "CPU"
    assert then.gain == pytest.approx(0.72 / 0.5 - 1, abs=0.05)
    free = replace(narrow, host=replace(host, cpu=0.5, engine_cpu=0.0, postgres_cpu=0.0))
    none = forecast.expect(free, 200, {"workers.transcribe": 4})
    assert none is not None
    assert none.full is None, "of an engine that uses nothing more of it is nothing"
    theirs = forecast.expect(replace(free, host=replace(host, postgres_cpu=None)), 200, {"workers.transcribe": 4})
    assert theirs is not None
    assert theirs.gain == pytest.approx((0.97 - 0.35) / 0.4 - 1, abs=0.05), "a server of others is not ours"


# -- before a run -------------------------------------------------------------------------------------------------------------


def test_a_plan_is_the_mean_of_three_tries_with_a_fifth_to_either_side() -> None:
    durations = [600.0, 300.0] * 30
    planned = forecast.plan(durations, {"fetch": 20.0, "transcribe": 40.0, "decode": 0.0}, {"fetch": 4}, 24)
    stages = {"fetch": StageModel(4, 1 / 20, sigma=0.2), "transcribe": StageModel(1, 1 / 40, sigma=0.2)}
    pipeline = Pipeline(stages, 24)
    tries = [forecast.left_s(pipeline, [Job(d) for d in durations], 0.0, seed) for seed in range(3)]
    middle = fmean(tries)
    assert planned.bottleneck == "transcribe"
    assert planned.left.left_s == round(middle, 1)
    assert planned.left.low_s == round(middle * 0.8, 1)
    assert planned.left.high_s == round(middle * 1.2, 1)
    assert planned.rtfx == pytest.approx(sum(durations) / middle)
    assert planned == forecast.plan(durations, {"fetch": 20.0, "transcribe": 40.0}, {"fetch": 4}, 24, 0)
    other = forecast.plan(durations, {"fetch": 20.0, "transcribe": 40.0}, {"fetch": 4}, 24, 1)
    assert other.left.left_s == round(fmean([*tries[1:], forecast.left_s(pipeline, [Job(d) for d in durations], 0.0, 3)]), 1)


def test_a_long_plan_is_extrapolated_and_a_plan_of_nothing_takes_no_time() -> None:
    long = forecast.plan([60.0] * 1000, {"store": 10.0}, {"store": 1}, 0)
    assert long.left.left_s == pytest.approx(6000.0, rel=0.05)
    pipeline, jobs = Pipeline({"store": StageModel(1, 0.1, sigma=0.2)}, 1), [Job(60.0)] * 320
    assert long.left.left_s == round(fmean(forecast.left_s(pipeline, jobs, 680 * 60.0, seed) for seed in range(3)), 1)
    assert forecast.plan([], {"store": 10.0}, {}, 1).rtfx is None
    assert forecast.plan([], {"store": 10.0}, {}, 1).left.basis == "no measured speeds"
    nothing = forecast.plan([0.0], {"store": 10.0}, {}, 1)
    assert nothing.rtfx is None
    assert forecast.plan([6.0], {"store": 10.0}, {}, 1).rtfx is not None
    assert forecast.plan([6.0], {"store": 0.5}, {}, 1).bottleneck == "store"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (3661, "1h01m"),
        (86_399, "23h59m"), (86_400, "1d0h"), (90_061, "1d1h"),
    ],
)  # fmt: skip
def test_a_length_of_time_changes_its_units_at_a_minute_an_hour_and_a_day(seconds: float, words: str) -> None:
    assert forecast.span(seconds) == words

"""The simulated pipeline to the second: what each figure of a model, of a flight and of a window means."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log
from statistics import fmean, pstdev

import pytest

from gainstage.engine.advisor.simulation import Job, Pipeline, SimulationResult, StageModel, backlog, simulate
from gainstage.engine.stages import STAGES


def even(capacity: int, per_audio_s: float = 0.01, base_s: float = 0.0) -> StageModel:
    """A stage without chance."""
    return StageModel(capacity, per_audio_s, base_s, sigma=0.0)


def took(stages: dict[str, StageModel], jobs: Sequence[Job], in_flight: int = 50) -> float:
    return simulate(Pipeline(stages, in_flight), jobs).left_s


# -- models -----------------------------------------------------------------------------------------------------------------


def test_a_model_asks_for_its_base_and_its_share_of_the_length() -> None:
    assert StageModel(1, 0.1).demand_s(10.0) == 1.0
    assert StageModel(1, 0.1, 2.0).demand_s(10.0) == 3.0
    assert StageModel(1, 0.1, 2.0, share=0.5).demand_s(10.0) == 1.5
    jobs = [Job(100.0), Job(900.0)]
    assert simulate(Pipeline({"decode": StageModel(1, 0.1)}, 2), jobs) == simulate(
        Pipeline({"decode": StageModel(1, 0.1, sigma=0.2)}, 2), jobs
    )


def test_a_stage_that_takes_no_time_bounds_nothing() -> None:
    assert Pipeline({"decode": StageModel(1, 0.0), "store": StageModel(2, 0.1)}, 1).bound(10.0) == ("store", pytest.approx(20.0))
    assert Pipeline({"store": StageModel(1, 0.0, 0.5)}, 1).bound(10.0) == ("store", pytest.approx(20.0))
    assert Pipeline({"store": StageModel(1, 0.0)}, 1).bound(10.0) is None


def test_chance_spreads_the_passes_and_keeps_their_mean() -> None:
    outcome = simulate(Pipeline({"store": StageModel(1, 0.1, 5.0, sigma=0.6)}, 1), [Job(50.0)] * 4000)
    passes = [after - before for (before, _), (after, _) in pairwise(((0.0, 0.0), *outcome.ends))]
    assert fmean(passes) == pytest.approx(10.0, rel=0.03)
    assert pstdev(log(p) for p in passes) == pytest.approx(0.6, rel=0.05)


def test_another_seed_is_another_chance_and_none_is_the_first() -> None:
    pipeline, jobs = Pipeline({"store": StageModel(1, 0.1)}, 1), [Job(50.0)] * 5
    assert simulate(pipeline, jobs) == simulate(pipeline, jobs, 0) != simulate(pipeline, jobs, 1)


def test_two_pipelines_are_compared_on_the_same_chance() -> None:
    """A pass of a recording at a stage takes what it takes, whatever else the pipeline holds."""
    alone = took({"store": StageModel(9, 0.1)}, [Job(50.0)] * 9)
    assert took({"store": StageModel(9, 0.1), "decode": even(9, 0.0, 3.0)}, [Job(50.0)] * 9) == pytest.approx(alone + 3.0)
    assert took({"store": StageModel(40, 0.1)}, [Job(50.0)] * 9) == alone


def test_the_share_of_recordings_that_pass_a_stage() -> None:
    jobs = [Job(100.0)] * 2000
    every = took({"store": even(1)}, jobs)
    assert took({"store": StageModel(1, 0.01, sigma=0.0, share=0.0)}, jobs) == 0.0
    assert took({"store": StageModel(1, 0.01, sigma=0.0, share=0.3)}, jobs) == pytest.approx(0.3 * every, rel=0.1)


def test_short_passes_take_a_slot_too() -> None:
    assert took({"store": even(1, 0.0, 0.5)}, [Job(1.0)] * 4) == 2.0


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_serves_as_many_at_once_as_it_has_slots(name: str) -> None:
    outcome = simulate(Pipeline({name: even(2)}, 50), [Job(1000.0)] * 5)
    assert outcome.left_s == pytest.approx(30.0)
    assert outcome.busy[name] == pytest.approx(50 / 30)
    assert outcome.waiting[name] == pytest.approx((10 + 10 + 20) / 30)
    assert [n for n, busy in outcome.busy.items() if busy] == [name]


# -- the queue and what is in flight ----------------------------------------------------------------------------------------


def test_the_oldest_goes_first_and_of_two_that_end_at_once_the_older() -> None:
    one = simulate(Pipeline({"store": even(1)}, 1), [Job(300.0), Job(100.0), Job(200.0)])
    assert one.ends == ((pytest.approx(3.0), 300.0), (pytest.approx(4.0), 100.0), (pytest.approx(6.0), 200.0))
    assert one.audio_s == 600.0
    both = simulate(Pipeline({"store": even(3, 0.0, 5.0)}, 3), [Job(3.0), Job(1.0), Job(2.0)])
    assert both.ends == ((5.0, 3.0), (5.0, 1.0), (5.0, 2.0))
    free = simulate(Pipeline({}, 3), [Job(3.0), Job(1.0), Job(2.0)])
    assert free.ends == ((0.0, 3.0), (0.0, 1.0), (0.0, 2.0))


def test_in_line_it_is_age_that_counts_not_who_came_first() -> None:
    """The second recording reaches the last stage before the first one; both wait there for the third, and the first is served."""
    stages = {"fetch": even(3, 1.0), "store": even(1, 0.0, 100.0)}
    outcome = simulate(Pipeline(stages, 3), [Job(20.0), Job(10.0), Job(1.0)])
    assert [audio for _, audio in outcome.ends] == [1.0, 20.0, 10.0]


def test_a_slot_that_came_free_is_one_slot() -> None:
    """Nobody waits when the first leaves; the two that come later come together."""
    stages = {"fetch": even(3, 1.0), "store": even(1, 0.0, 5.0)}
    assert [at for at, _ in simulate(Pipeline(stages, 3), [Job(10.0), Job(30.0), Job(30.0)]).ends] == [15.0, 35.0, 40.0]


def test_of_what_is_in_flight_the_rest_of_its_pass_is_left() -> None:
    stages = {"transcribe": even(1), "diarize": even(1, 0.03), "store": even(1, 0.001)}
    assert took(stages, [Job(1000.0, "transcribe")]) == pytest.approx(11.0)
    assert took(stages, [Job(1000.0, "transcribe", 0.75)]) == pytest.approx(3.5)
    assert took(stages, [Job(1000.0, "transcribe", 0.75, beside=True)]) == pytest.approx(8.5), "so far is diarize as well"
    assert took(stages, [Job(1000.0, "diarize", 0.5)]) == pytest.approx(16.0)
    assert took(stages, [Job(1000.0, "store", 0.5)]) == pytest.approx(0.5)
    assert took(stages, [Job(1000.0, "decode", 0.5)]) == pytest.approx(31.0), "both are before it"


def test_what_is_in_flight_holds_its_place() -> None:
    stages = {"store": even(9)}
    flying = [Job(1000.0, "store", 0.5)]
    assert took(stages, [*flying, Job(1000.0), Job(1000.0)], in_flight=1) == pytest.approx(25.0)
    assert took(stages, [*flying, Job(1000.0), Job(1000.0)], in_flight=2) == pytest.approx(15.0)
    assert took(stages, [*flying, Job(1000.0), Job(1000.0)], in_flight=3) == pytest.approx(10.0)


def test_one_in_flight_is_the_least() -> None:
    assert took({"store": even(1)}, [Job(1000.0)], in_flight=1) == pytest.approx(10.0)
    with pytest.raises(ValueError, match="at least 1"):
        took({}, [], in_flight=0)


# -- what is measured ---------------------------------------------------------------------------------------------------------


def test_means_are_those_of_the_whole_run_from_its_beginning() -> None:
    outcome = simulate(Pipeline({"store": even(2)}, 9), [Job(1000.0), Job(500.0)])
    assert outcome.busy["store"] == pytest.approx(1.5)
    assert outcome.waiting["store"] == 0.0
    short = simulate(Pipeline({"store": even(1, 0.0, 0.25)}, 9), [Job(1.0)] * 2)
    assert (short.busy["store"], short.waiting["store"]) == (pytest.approx(1.0), pytest.approx(0.5))


def test_who_stands_in_line_at_the_end_of_a_window() -> None:
    one = Pipeline({"store": even(1)}, 9)
    assert simulate(one, [Job(1000.0)] * 3, window=(0.0, 10.0)).standing["store"] == (2,), "the second is served just then"
    assert simulate(one, [Job(1000.0)] * 3, window=(0.0, 9.0)).standing["store"] == (1, 2)
    assert simulate(one, [Job(1000.0)] * 3).standing["store"] == ()
    both = Pipeline({"fetch": even(2), "store": even(1)}, 9)
    assert simulate(both, [Job(1000.0)] * 2, window=(0.0, 10.0)).standing["store"] == (1,), "it came just then"


def test_a_window_may_reach_beyond_the_run() -> None:
    outcome = simulate(Pipeline({"store": even(1)}, 9), [Job(1000.0)] * 2, window=(5.0, 100.0))
    assert outcome.busy["store"] == pytest.approx(1.0)
    assert outcome.waiting["store"] == pytest.approx(5 / 15)


def result(ends: Sequence[tuple[float, float]], left_s: float = 40.0) -> SimulationResult:
    return SimulationResult(left_s, sum(audio for _, audio in ends), tuple(ends), {}, {})


def test_the_rate_is_that_of_the_middle_eight_tenths() -> None:
    ends = [(float(n * n), 1.0 + n) for n in range(20)]
    assert result(ends).rtfx == pytest.approx(sum(1.0 + n for n in range(3, 19)) / (18 * 18 - 2 * 2))
    assert result(ends[:10]).rtfx == pytest.approx(sum(1.0 + n for n in range(2, 10)) / (81 - 1))
    assert result(ends[:9]).rtfx == pytest.approx(45 / 40)


def test_without_time_there_is_no_rate() -> None:
    assert result([], 0.0).rtfx is None
    assert result([(0.5, 3.0)], 0.5).rtfx == 6.0
    assert result([(1.0, 2.0)] * 10).rtfx is None
    assert simulate(Pipeline({}, 1), []).rtfx is None


def test_a_backlog_is_spread_as_recordings_are() -> None:
    jobs = backlog(3000, 600.0)
    assert jobs == backlog(3000, 600.0, 0, 0.6)
    assert pstdev(log(j.duration_s) for j in jobs) == pytest.approx(0.6, rel=0.05)
    assert all(j == Job(j.duration_s) for j in jobs)
    assert backlog(0, 600.0) == ()

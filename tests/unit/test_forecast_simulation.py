"""The simulated pipeline obeys the laws of a pipeline."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.advisor.simulation import Job, Pipeline, StageModel, backlog, simulate
from gainstage.engine.stages import STAGES

durations = st.lists(st.floats(1.0, 20_000.0), min_size=1, max_size=25)
models = st.builds(
    StageModel,
    capacity=st.integers(1, 6),
    per_audio_s=st.floats(0.0001, 0.1),
    base_s=st.floats(0, 2),
    sigma=st.floats(0, 0.4),
    share=st.sampled_from([1.0, 1.0, 0.4]),
)
pipelines = st.builds(
    Pipeline, stages=st.dictionaries(st.sampled_from(STAGES), models, min_size=1), in_flight=st.integers(1, 30), sm=st.none()
)


@pytest.mark.parametrize(("jobs", "slots"), [(1, 1), (7, 2), (8, 4), (3, 5)])
def test_one_stage_of_equal_jobs_takes_its_rounds(jobs: int, slots: int) -> None:
    pipeline = Pipeline({"transcribe": StageModel(slots, 0.02, sigma=0)}, in_flight=100)
    outcome = simulate(pipeline, [Job(500.0)] * jobs)
    assert outcome.left_s == pytest.approx(10.0 * ceil(jobs / slots))
    assert len(outcome.ends) == jobs


def test_stages_in_a_row_add_up_and_those_beside_each_other_do_not() -> None:
    def took(*names: str) -> float:
        return simulate(Pipeline({n: StageModel(1, 0.01, sigma=0) for n in names}, 10), [Job(1000.0)]).left_s

    assert took("fetch", "decode", "store") == pytest.approx(30.0)
    assert took("transcribe", "diarize") == pytest.approx(10.0)


def test_only_as_many_as_in_flight_are_on_their_way() -> None:
    stages = {"fetch": StageModel(50, 0.01, sigma=0), "store": StageModel(50, 0.01, sigma=0)}
    assert simulate(Pipeline(stages, in_flight=2), [Job(1000.0)] * 8).left_s == pytest.approx(4 * 20.0)


@settings(max_examples=60, deadline=None)
@given(pipelines, durations, st.integers(0, 5))
def test_every_job_ends_once_and_no_stage_does_more_than_it_can(pipeline: Pipeline, lengths: list[float], seed: int) -> None:
    outcome = simulate(pipeline, [Job(d) for d in lengths], seed)
    assert sorted(audio for _, audio in outcome.ends) == pytest.approx(sorted(lengths))
    assert [t for t, _ in outcome.ends] == sorted(t for t, _ in outcome.ends)
    assert outcome.left_s == pytest.approx(outcome.ends[-1][0])
    for name, model in pipeline.stages.items():
        assert outcome.busy[name] <= model.capacity + 1e-6
        assert outcome.waiting[name] <= pipeline.in_flight + 1e-6


@settings(max_examples=30, deadline=None)
@given(pipelines, durations, st.integers(0, 5))
def test_the_same_seed_gives_the_same_run(pipeline: Pipeline, lengths: list[float], seed: int) -> None:
    jobs = [Job(d) for d in lengths]
    assert simulate(pipeline, jobs, seed) == simulate(pipeline, jobs, seed)


def test_a_recording_in_flight_goes_on_where_it_stands() -> None:
    stages = {
        "fetch": StageModel(1, 0.01, sigma=0),
        "transcribe": StageModel(1, 0.01, sigma=0),
        "diarize": StageModel(1, 0.02, sigma=0),
    }
    pipeline = Pipeline(stages, 4)
    assert simulate(pipeline, [Job(1000.0, "transcribe", 0.75)]).left_s == pytest.approx(2.5)
    assert simulate(pipeline, [Job(1000.0, "transcribe", 0.5, beside=True)]).left_s == pytest.approx(10.0)
    assert simulate(pipeline, [Job(1000.0, "store", 0.0)]).left_s == 0.0


def test_a_window_measures_only_what_lies_in_it() -> None:
    pipeline = Pipeline({"transcribe": StageModel(2, 0.01, sigma=0)}, 10)
    outcome = simulate(pipeline, [Job(1000.0)] * 6, window=(5.0, 15.0))
    assert outcome.busy["transcribe"] == pytest.approx(2.0)
    assert len(outcome.standing["transcribe"]) == 2  # two done, two served, two wait
    assert outcome.waiting["transcribe"] == pytest.approx((4 * 5 + 2 * 5) / 10)


def test_the_bound_is_the_stage_with_the_least_room() -> None:
    stages = {"fetch": StageModel(12, 1 / 200), "transcribe": StageModel(2, 1 / 80), "diarize": StageModel(1, 1 / 100, share=0.5)}
    assert Pipeline(stages, 8).bound(600.0) == ("transcribe", pytest.approx(160.0))


def test_a_full_pipeline_runs_at_its_bound() -> None:
    pipeline = Pipeline({"transcribe": StageModel(3, 1 / 50), "diarize": StageModel(4, 1 / 90)}, 20)
    assert simulate(pipeline, backlog(160, 600.0)).rtfx == pytest.approx(150.0, rel=0.05)


def test_a_backlog_has_exactly_the_mean_it_was_asked_for() -> None:
    jobs = backlog(77, 640.0, seed=3)
    assert sum(j.duration_s for j in jobs) / 77 == pytest.approx(640.0)
    assert jobs == backlog(77, 640.0, seed=3) != backlog(77, 640.0, seed=4)


def test_nothing_in_flight_is_refused() -> None:
    with pytest.raises(ValueError, match="in_flight"):
        simulate(Pipeline({}, 0), [])

"""A hundred simulated pipelines whose bottleneck is known: the advisor has to name it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from gainstage.engine.advisor.bottleneck import bottleneck
from gainstage.engine.advisor.forecast import backlog
from gainstage.engine.advisor.simulation import Pipeline, SimulationResult, StageModel, simulate
from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.stages import STAGES
from gainstage.engine.views.snapshot import FlightView, Snapshot, StageView

MEAN_S = 600.0
NEXT = {
    "fetch": ("decode",),
    "decode": ("transcribe", "diarize"),
    "transcribe": ("identify",),
    "diarize": ("identify",),
    "identify": ("segment",),
    "segment": ("embed",),
    "embed": ("store",),
    "store": (),
}


@dataclass(frozen=True)
class Case:
    pipeline: Pipeline
    slowest: str
    margin: float  # how much more the next stage allows


def random_case(random: Random) -> Case:
    """One stage allows the least by 8 % to three times; the others are anything above that."""
    slowest = random.choice(STAGES)
    rate = random.uniform(20, 300)
    margin = random.uniform(1.08, 1.6)
    stages = {}
    for name in STAGES:
        capacity = random.randint(1, 12 if name == "fetch" else 6)
        share = random.uniform(0.4, 1.0) if name == "diarize" else 1.0
        allows = rate if name == slowest else rate * random.uniform(margin, margin * 3)
        base = random.uniform(0, 0.3) * MEAN_S * capacity / allows
        per_audio = (capacity / allows - base / MEAN_S) / share
        stages[name] = StageModel(capacity, per_audio, base / share, random.uniform(0.05, 0.3), share)
    places = sum(m.capacity for m in stages.values()) + random.randint(8, 24)
    return Case(Pipeline(stages, places), slowest, margin)


def frame_of(template: Snapshot, case: Case, seed: int) -> Snapshot:
    """What the engine would have published after a while of that pipeline, with a queue that does not run dry."""
    jobs = backlog(6 * case.pipeline.in_flight, MEAN_S, seed)
    whole = simulate(case.pipeline, jobs, seed)
    end = whole.ends[int(len(whole.ends) * 0.7)][0]
    seen = simulate(case.pipeline, jobs, seed, window=(end * 0.6, end))
    stages = tuple(stage_of(template, case, seen, name) for name in STAGES)
    flights = tuple(
        flight(template.flights[0], f"{name}{job}", name, jobs[job].duration_s) for name in STAGES for job in seen.standing[name]
    )
    run = replace(template.run, queued=500, running=case.pipeline.in_flight, state="running")
    return replace(template, stages=stages, flights=flights, run=run, budgets=())


def stage_of(template: Snapshot, case: Case, seen: SimulationResult, name: str) -> StageView:
    capacity = case.pipeline.stages[name].capacity
    busy = seen.busy[name] / capacity
    waits = max((seen.waiting[n] for n in NEXT[name]), default=0.0)
    view = next(s for s in template.stages if s.name == name)
    return replace(
        view,
        capacity=capacity,
        busy=round(seen.busy[name]),
        depth=len(seen.standing[name]),
        busy_share=busy,
        blocked_share=min(1 - busy, waits / capacity),
        paused=False,
    )


def flight(template: FlightView, id: str, stage: str, duration_s: float) -> FlightView:
    return replace(template, id=id, stage=stage, side_stage=None, waiting=True, duration_s=duration_s)


def test_the_bottleneck_of_random_pipelines_is_named() -> None:
    template = ScriptedDesk(start_at=STORY["burst"]).snapshot()
    assert template is not None
    random = Random(2026)
    wrong = []
    for seed in range(100):
        case = random_case(random)
        told = bottleneck([frame_of(template, case, seed)])
        if told.stage != case.slowest:
            wrong.append(f"{case.slowest} (margin {case.margin:.2f}) called {told.kind} {told.stage}")
    print(f"named right: {100 - len(wrong)} of 100", *wrong, sep="\n")
    assert len(wrong) <= 5, wrong


@pytest.mark.parametrize("margin", [3.0])
def test_a_run_that_waits_for_its_source_has_no_stage_to_blame(margin: float) -> None:
    """Everything is fast and little is in flight: no stage is busy."""
    template = ScriptedDesk(start_at=STORY["burst"]).snapshot()
    assert template is not None
    fast = Pipeline({n: StageModel(4, 1 / (100 * margin)) for n in STAGES}, 3)
    frame = frame_of(template, Case(fast, "fetch", margin), 1)
    assert bottleneck([frame]).kind == "none"
    dry = replace(frame, run=replace(frame.run, queued=0))
    assert bottleneck([dry]).kind == "source"

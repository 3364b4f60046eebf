"""How right predictions are: the gain of a change, and the time left, against pipelines simulated as they really are.

``gainstage bench advice``. A world knows what the forecast does not: the part of a pass that does not grow with length, the real
length of every recording, the GPU's ceiling, drift, other programs, throttled hosts. The forecast sees what an engine measures of
it. ``gain_error_median`` is of the predicted gain, absolute; ``interval_hit`` the share of cases in which the time left lay in the
interval that should hold it in four cases of five.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import exp
from random import Random
from statistics import fmean, median
from typing import Any

from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.simulation import Job, Pipeline, SimulationResult, StageModel, simulate
from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.stages import STAGES
from gainstage.engine.views.snapshot import DeviceView, Snapshot, StageView

PIPELINES = 200
CASES = 500
DISTURBANCES = ("none", "drift", "other programs", "throttled hosts", "long recordings")

SEEN = 120
"""Recordings an engine has finished when the forecast is asked."""
EARLY = 2
"""Recordings at most that it has finished where a forecast is asked early."""


@dataclass(frozen=True, slots=True)
class SimulatedWorld:
    """A pipeline as it really is. ``gpu`` is the share of the GPU one busy slot takes, by stage; above 1 all its work gets slower."""

    pipeline: Pipeline
    gpu: Mapping[str, float]
    mean_s: float
    sigma: float  # of the lengths
    long: float = 0.0  # share of recordings ten times as long

    def jobs(self, count: int, random: Random) -> list[Job]:
        """Recordings of this world."""
        return [
            Job(self.mean_s * exp(random.gauss(0, self.sigma)) * (10.0 if random.random() < self.long else 1.0))
            for _ in range(count)
        ]

    def run(self, jobs: list[Job], seed: int, pipeline: Pipeline | None = None) -> tuple[SimulationResult, Pipeline, float]:
        """What happens: the outcome, the pipeline with the GPU's ceiling in it, and the GPU's share in use."""
        pipeline = pipeline or self.pipeline
        outcome = simulate(pipeline, jobs, seed)
        for _ in range(4):  # slower work keeps slots busy for longer: find the point at which the GPU is just full
            share = sum(outcome.busy.get(name, 0.0) * weight for name, weight in self.gpu.items())
            if share <= 1.0:
                return outcome, pipeline, share
            slower = {
                n: replace(m, per_audio_s=m.per_audio_s * share, base_s=m.base_s * share) if n in self.gpu else m
                for n, m in pipeline.stages.items()
            }
            pipeline = replace(pipeline, stages=slower)
            outcome = simulate(pipeline, jobs, seed)
            share = sum(outcome.busy.get(name, 0.0) * weight / self._slower(pipeline, name) for name, weight in self.gpu.items())
            if share <= 1.03:
                break
        return outcome, pipeline, min(1.0, share)

    def _slower(self, pipeline: Pipeline, name: str) -> float:
        return pipeline.stages[name].per_audio_s / self.pipeline.stages[name].per_audio_s


def random_world(random: Random, *, long: float = 0.0) -> SimulatedWorld:
    """A pipeline as one finds them: a GPU or none, one to four slots at the models, speeds and lengths of all kinds."""
    speeds = {
        "fetch": random.uniform(30, 400),
        "decode": random.uniform(100, 800),
        "transcribe": random.uniform(8, 90),
        "diarize": random.uniform(10, 120),
        "identify": random.uniform(100, 900),
        "segment": 5000.0,
        "embed": random.uniform(300, 2000),
        "store": random.uniform(300, 3000),
    }
    capacity = {"fetch": random.randint(2, 8), "decode": random.randint(1, 4), "transcribe": random.randint(1, 4)}
    capacity |= {"diarize": random.randint(1, 4), "identify": random.randint(1, 3), "segment": 2, "embed": 2, "store": 2}
    stages = {
        name: StageModel(capacity[name], 1 / speed, random.uniform(0.0, 1.5), random.uniform(0.05, 0.35))
        for name, speed in speeds.items()
    }
    gpu = {n: random.uniform(0.15, 0.7) for n in ("transcribe", "diarize")} if random.random() < 0.7 else {}
    pipeline = Pipeline(stages, random.randint(6, 30))
    return SimulatedWorld(pipeline, gpu, random.uniform(60, 1800), random.uniform(0.2, 0.9), long)


def frame_of(
    world: SimulatedWorld, seen: SimulationResult, pipeline: Pipeline, share: float, waiting: list[Job], random: Random
) -> Snapshot:
    """What an engine would show after the run ``seen``, with ``waiting`` still queued."""
    template = ScriptedDesk(start_at=STORY["bottleneck"]).snapshot()
    assert template is not None
    audio_s = sum(audio for _, audio in seen.ends)
    mean = audio_s / len(seen.ends)
    views = {v.name: v for v in template.stages}
    stages = []
    for name in STAGES:
        model = pipeline.stages[name]
        noise = exp(random.gauss(0, model.sigma / len(seen.ends) ** 0.5))
        rtfx = mean / (model.demand_s(mean) * noise)
        stages.append(_seen(views[name], model.capacity, rtfx, len(seen.ends), min(1.0, seen.busy[name] / model.capacity)))
    device = DeviceView(0, "simulated", sm=share, sm_history=(share,) * 12)
    now_rate = seen.rtfx or 1.0
    minutes = tuple(now_rate * exp(random.gauss(0, 0.06)) for _ in range(20))
    run = replace(
        template.run,
        state="running",
        queued=len(waiting),
        running=0,
        stored=len(seen.ends),
        failed=0,
        retrying=0,
        audio_done_s=audio_s,
        audio_stored_s=audio_s,
        audio_left_s=sum(job.duration_s for job in waiting),
        rtfx=now_rate,
        rtfx_history=minutes,
    )
    host = replace(template.host, cpu=None, engine_cpu=None)
    return replace(template, run=run, stages=tuple(stages), flights=(), devices=(device,) if world.gpu else (), host=host)


def _seen(view: StageView, capacity: int, rtfx: float, done: int, busy: float) -> StageView:
    return replace(view, capacity=capacity, rtfx=rtfx, done=done, failed=0, busy_share=busy, paused=False, depth=0, busy=0)


def gain_error(seed: int) -> float:
    """How far the predicted gain of one slot more at the bottleneck lies from what it brings."""
    random = Random(seed)
    world = random_world(random)
    past, ahead = world.jobs(SEEN, random), world.jobs(200, random)
    seen, pipeline, share = world.run(past, seed)
    bound = pipeline.bound(world.mean_s)
    assert bound is not None
    name = bound[0]
    frame = frame_of(world, seen, pipeline, share, ahead, random)
    key, new = f"workers.{name}", world.pipeline.stages[name].capacity + 1
    expected = forecast.expect(frame, world.pipeline.in_flight, {key: new}, seed=7)
    assert expected is not None
    more = replace(world.pipeline, stages={**world.pipeline.stages, name: replace(world.pipeline.stages[name], capacity=new)})
    before, after = world.run(ahead, seed + 1)[0].rtfx or 1.0, world.run(ahead, seed + 1, more)[0].rtfx or 1.0
    return abs(expected.gain - (after / before - 1))


def time_left_holds(seed: int) -> tuple[str, bool]:
    """Whether the time a queue really takes lies in the interval; under one of the disturbances."""
    random = Random(seed)
    kind = DISTURBANCES[seed % len(DISTURBANCES)]
    world = random_world(random, long=0.02 if kind == "long recordings" else 0.0)
    past, ahead = world.jobs(SEEN, random), world.jobs(random.randint(20, 300), random)
    seen, pipeline, share = world.run(past, seed)
    frame = frame_of(world, seen, pipeline, share, ahead, random)
    estimate = forecast.eta(frame, world.pipeline.in_flight, seed=7)
    really = world
    if kind == "throttled hosts":
        fetch = world.pipeline.stages["fetch"]
        slower = replace(fetch, per_audio_s=fetch.per_audio_s * random.uniform(1.0, 3.0))
        really = replace(world, pipeline=replace(world.pipeline, stages={**world.pipeline.stages, "fetch": slower}))
    took = warped(really.run(ahead, seed + 1)[0].left_s, speed_of(kind, random))
    assert estimate.low_s is not None
    assert estimate.high_s is not None
    return kind, estimate.low_s <= took <= estimate.high_s


def early_holds(seed: int) -> bool:
    """Whether the interval holds that is said after the first recordings, of which there is no throughput yet."""
    random = Random(seed)
    world = random_world(random)
    past, ahead = world.jobs(random.randint(1, EARLY), random), world.jobs(random.randint(4, 60), random)
    seen, pipeline, share = world.run(past, seed)
    frame = frame_of(world, seen, pipeline, share, ahead, random)
    estimate = forecast.eta(replace(frame, run=replace(frame.run, rtfx_history=())), world.pipeline.in_flight, seed=7)
    took = world.run(ahead, seed + 1)[0].left_s
    assert estimate.low_s is not None
    assert estimate.high_s is not None
    return estimate.low_s <= took <= estimate.high_s


def speed_of(kind: str, random: Random) -> Callable[[float], float]:
    """Speed of the whole machine at a share (0..1) of the undisturbed time."""
    if kind == "drift":
        end = random.uniform(0.8, 1.2)
        return lambda share: 1 + (end - 1) * min(1.0, share)
    if kind == "other programs":
        begins, speed = random.uniform(0.0, 1.0), random.uniform(0.75, 0.95)
        return lambda share: speed if share >= begins else 1.0
    return lambda share: 1.0


def warped(left_s: float, speed: Callable[[float], float], steps: int = 400) -> float:
    """Seconds that work of ``left_s`` seconds takes at a changing speed."""
    done = t = 0.0
    step = 1 / steps
    while done < 1.0:
        done += speed(t) * step
        t += step
    return t * left_s


def run(recordings: int = PIPELINES, seed: int = 0, *, cases: int | None = None) -> dict[str, Any]:
    """``recordings`` pipelines for the gain, and two and a half times as many cases for the time left."""
    errors = [gain_error(seed * 100_003 + n) for n in range(recordings)]
    wanted = cases if cases is not None else round(recordings * CASES / PIPELINES)
    hits: dict[str, list[bool]] = {}
    for n in range(wanted):
        kind, holds = time_left_holds(seed * 100_003 + n)
        hits.setdefault(kind, []).append(holds)
    early = [early_holds(seed * 100_003 + n) for n in range(max(1, wanted // 2))]
    return {
        "gain_error_median": round(median(errors), 4),
        "gain_error_p90": round(sorted(errors)[int(0.9 * (len(errors) - 1))], 4),
        "interval_hit": round(fmean(holds for of in hits.values() for holds in of), 4),
        "cases": wanted,
        "pipelines": recordings,
        "interval_hit_early": round(fmean(early), 4),
        "interval_hit_by_kind": {kind: round(fmean(of), 4) for kind, of in sorted(hits.items())},
    }


def table(result: Mapping[str, Any]) -> str:
    lines = [
        f"predicted gain, {result['pipelines']} pipelines: median error {result['gain_error_median']:.1%}, p90 {result['gain_error_p90']:.1%}",
        f"time left within its interval in {result['interval_hit']:.1%} of {result['cases']} cases",
        f"  {'early':<18}{result['interval_hit_early']:.1%}   of half as many, after one or two recordings",
    ]
    return "\n".join([*lines, *(f"  {kind:<18}{share:.1%}" for kind, share in result["interval_hit_by_kind"].items())])

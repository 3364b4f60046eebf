"""Does the search for slots find the best of a pipeline, without harm on the way? Against pipelines tried out exhaustively.

``gainstage bench autopilot``. The pipelines have what makes the search hard: GPUs that are full, memory that runs out, and slots
that take from each other. A trial's throughput is measured as an engine measures it, with its noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from random import Random
from statistics import fmean
from typing import Any

from gainstage.engine.advisor.measured_gain import Finished, measured_gain
from gainstage.engine.advisor.simulation import Job, Pipeline, StageModel, backlog, simulate
from gainstage.engine.advisor.slot_search import KEEP, Bounds, SlotSearch

PIPELINES = 100
MOVED = {"workers.transcribe": Bounds(1, 5), "workers.diarize": Bounds(1, 5), "workers.decode": Bounds(1, 3)}
HOLDING = frozenset({"workers.transcribe", "workers.diarize"})
TRIALS = 60
"""Changes that the search may try; more would be a day of an engine's life."""

WATCHED = (60, 240, 960)
"""Recordings on either side, until the effect can be told."""

NEAR = 0.05


@dataclass(slots=True)
class SimulatedMachine:
    """A pipeline with a GPU whose ceiling, memory and contention only trying shows."""

    speeds: Mapping[str, float]  # audio seconds per second of one slot alone
    gpu: Mapping[str, float]  # share of the GPU a busy slot takes
    contention: float  # by how much each further slot of a stage slows its slots
    memory: float  # slots of transcribe and diarize that fit, weighted 1 and 0.7
    mean_s: float
    seed: int
    known: dict[tuple[int, ...], float] = field(default_factory=dict)

    def fits(self, slots: Mapping[str, int]) -> bool:
        return slots["workers.transcribe"] + 0.7 * slots["workers.diarize"] <= self.memory

    def rate(self, slots: Mapping[str, int]) -> float:
        """Audio seconds per second with these slots; 0 where they run out of memory."""
        key = tuple(slots[name] for name in sorted(MOVED))
        if key not in self.known:
            self.known[key] = self._rate(slots) if self.fits(slots) else 0.0
        return self.known[key]

    def _rate(self, slots: Mapping[str, int]) -> float:
        jobs = backlog(100, self.mean_s, self.seed)
        factor = 1.0
        for _ in range(5):
            outcome = simulate(self._pipeline(slots, factor), jobs, self.seed)
            wanted = sum(outcome.busy[name] * share for name, share in self.gpu.items()) / factor
            if wanted <= 1.0 or abs(wanted - factor) < 0.01:
                break
            factor = max(factor, wanted)
        return outcome.rtfx or 0.0

    def _pipeline(self, slots: Mapping[str, int], factor: float) -> Pipeline:
        stages = {}
        for name, speed in self.speeds.items():
            capacity = slots.get(f"workers.{name}", 4)
            slower = (1 + self.contention * (capacity - 1)) * (factor if name in self.gpu else 1.0)
            stages[name] = StageModel(capacity, slower / speed, 0.2, 0.15)
        return Pipeline(stages, 24)

    def watched(self, slots: Mapping[str, int], random: Random, count: int) -> tuple[list[Finished], float]:
        """Recordings finished in a window with these slots, and its length: the true rate with the noise of few recordings."""
        rate = self.rate(slots)
        jobs: list[Job] = list(backlog(count, self.mean_s, random.randrange(10**6)))
        at, finished = 0.0, []
        for job in jobs:
            at += job.duration_s / rate * random.lognormvariate(0.0, 0.25)
            finished.append(Finished(at, job.duration_s, job.duration_s * sum(1 / s for s in self.speeds.values())))
        return finished, at


def random_machine(random: Random, seed: int) -> SimulatedMachine:
    speeds = {"fetch": random.uniform(100, 600), "decode": random.uniform(40, 400), "transcribe": random.uniform(8, 60)}
    speeds |= {"diarize": random.uniform(8, 80), "identify": random.uniform(100, 600), "store": 2000.0}
    gpu = {name: random.uniform(0.15, 0.6) for name in ("transcribe", "diarize")} if random.random() < 0.7 else {}
    contention = random.choice((0.0, 0.05, 0.15, 0.3, 0.6))
    return SimulatedMachine(speeds, gpu, contention, random.uniform(2.0, 9.0), random.uniform(120, 1200), seed)


@dataclass(frozen=True, slots=True)
class Flown:
    """What a search came to: its rate over the best one, the worst rates on the way over that at the start, times out of memory, and
    how often the same cause was met again."""

    reached: float
    worst: float  # of what was kept
    trial: float  # of a single trial
    out_of_memory: int
    again: int
    trials: int


def fly(seed: int) -> Flown:
    """Let the search run on one machine."""
    random = Random(seed)
    machine = random_machine(random, seed)
    start = dict.fromkeys(MOVED, 1)
    best = max(machine.rate(dict(zip(sorted(MOVED), slots, strict=True))) for slots in _all())
    search = SlotSearch(dict(start), MOVED, HOLDING)
    worst = trial = 1.0
    failed = trials = 0
    ran_out: list[dict[str, int]] = []
    again = 0
    while trials < TRIALS and (change := search.next()) is not None:
        trials += 1
        wanted = {**search.at, **change}
        if not machine.fits(wanted):
            failed += 1
            again += any(all(wanted[key] >= known[key] for key in HOLDING) for known in ran_out)
            ran_out.append(wanted)
            search.note(change, None, out_of_memory=True)
            continue
        trial = min(trial, machine.rate(wanted) / machine.rate(start))
        search.note(change, told_gain(machine, search.at, wanted, random))
        worst = min(worst, machine.rate(search.at) / machine.rate(start))
    return Flown(machine.rate(search.at) / best, worst, trial, failed, again, trials)


def told_gain(machine: SimulatedMachine, now: Mapping[str, int], wanted: Mapping[str, int], random: Random) -> float | None:
    """The measured gain, watched for longer until it is told from noise or cannot be worth it; None when it never is."""
    for count in WATCHED:
        gain = measured_gain(*machine.watched(now, random, count), *machine.watched(wanted, random, count), seed=count)
        assert gain is not None
        if gain.certain or gain.high < KEEP:
            return gain.gain
    return None


def _all() -> list[tuple[int, ...]]:
    return list(product(*(range(MOVED[key].low, MOVED[key].high + 1) for key in sorted(MOVED))))


def run(recordings: int = PIPELINES, seed: int = 0) -> dict[str, Any]:
    """``recordings`` machines (the option's name is that of the other benchmarks)."""
    flown = [fly(seed * 100_003 + n) for n in range(recordings)]
    return {
        "within_5_percent": round(fmean(f.reached >= 1 - NEAR for f in flown), 4),
        "pipelines": recordings,
        "worst_drop": round(1 - min(f.worst for f in flown), 4),
        "worst_trial_drop": round(1 - min(f.trial for f in flown), 4),
        "out_of_memory": sum(f.again for f in flown),
        "out_of_memory_first": sum(f.out_of_memory for f in flown),
        "trials_mean": round(fmean(f.trials for f in flown), 1),
        "least": round(min(f.reached for f in flown), 4),
    }


def table(result: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            f"within 5 % of the best    {result['within_5_percent']:.0%} of {result['pipelines']} pipelines, the least at {result['least']:.0%}",
            f"worst kept                {result['worst_drop']:.0%} below the start; worst single trial {result['worst_trial_drop']:.0%}",
            f"out of memory             {result['out_of_memory_first']} times, {result['out_of_memory']} of them for a cause known before",
            f"trials                    {result['trials_mean']} on average",
        ]
    )

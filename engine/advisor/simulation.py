"""A discrete-event simulation of the pipeline, as it is built: what forecasts and what-ifs rest on.

A recording holds one of ``in_flight`` places from fetch to store, waits at each stage for a slot, and is transcribed beside
being diarized. A pass takes ``base_s + per_audio_s x duration`` seconds with a log-normal spread. Pure and seeded: the same
input gives the same answer, and two pipelines are compared on the same luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import exp, inf
from random import Random

from gainstage.engine.stages import FEEDERS, STAGES, feeds

_DRAWS = 4093  # a prime, so that neighbouring jobs and stages land far apart
_CHANCE = Random(20)
_NORMAL = tuple(_CHANCE.gauss(0, 1) for _ in range(_DRAWS))
_UNIFORM = tuple(_CHANCE.random() for _ in range(_DRAWS))
_FEEDERS = tuple(tuple(STAGES.index(name) for name in FEEDERS[stage]) for stage in STAGES)
_FEEDS = tuple(tuple(STAGES.index(name) for name in feeds(stage)) for stage in STAGES)
_FIRST = _FEEDERS.index(())


@dataclass(frozen=True, slots=True)
class StageModel:
    """One stage: ``capacity`` slots; a pass takes ``base_s + per_audio_s x duration`` seconds, spread log-normally by ``sigma``.

    ``share`` is the share of recordings that pass it at all (the fast path skips diarize).
    """

    capacity: int
    per_audio_s: float
    base_s: float = 0.0
    sigma: float = 0.2
    share: float = 1.0

    def demand_s(self, duration_s: float) -> float:
        """Expected slot seconds a recording of this length asks of the stage."""
        return (self.base_s + self.per_audio_s * duration_s) * self.share


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages by name of :data:`gainstage.engine.stages.STAGES` (a missing one takes no time), and the bound on recordings in flight.

    ``sm`` is the GPU's busy share now (None: no GPU, or unknown), for what-ifs that would ask more of it than there is.
    """

    stages: Mapping[str, StageModel]
    in_flight: int
    sm: float | None = None

    def bound(self, mean_duration_s: float) -> tuple[str, float] | None:
        """The stage with the least capacity for the work, and the audio seconds per second it allows; None when nothing takes time."""
        rates = {n: m.capacity * mean_duration_s / d for n, m in self.stages.items() if (d := m.demand_s(mean_duration_s)) > 0}
        return min(rates.items(), key=lambda p: p[1]) if rates else None


@dataclass(frozen=True, slots=True)
class Job:
    """A recording to simulate. ``stage`` is where it stands (None: queued), ``progress`` how far that pass is."""

    duration_s: float
    stage: str | None = None
    progress: float = 0.0
    beside: bool = False  # the stages that run beside this one are not through either


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What a simulated run came to.

    ``ends`` are (finish, audio) in order. ``busy`` is the mean number of busy slots by stage and ``waiting`` the mean number of
    waiters, over the whole run or the window asked for; ``standing`` are the jobs in line at each stage at the end of it.
    """

    left_s: float
    audio_s: float
    ends: tuple[tuple[float, float], ...]
    busy: Mapping[str, float]
    waiting: Mapping[str, float]
    standing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def rtfx(self) -> float | None:
        """Audio seconds per second while the pipeline was full: without the first and last tenth. None without any."""
        n = len(self.ends)
        if n < 10:
            return self.audio_s / self.left_s if self.left_s > 0 else None
        a, b = n // 10, 9 * n // 10
        first, last = self.ends[a][0], self.ends[b][0]
        return sum(audio for _, audio in self.ends[a + 1 : b + 1]) / (last - first) if last > first else None


class _Run:
    """One simulation; see :func:`simulate`."""

    def __init__(self, pipeline: Pipeline, jobs: Sequence[Job], seed: int, window: tuple[float, float] | None) -> None:
        self.seed = seed
        self.jobs = jobs
        self.models = [pipeline.stages.get(name) for name in STAGES]
        self.free = [m.capacity if m else 0 for m in self.models]
        self.lines: list[list[int]] = [[] for _ in STAGES]  # by age: jobs are numbered in the order they were taken
        self.places = pipeline.in_flight
        self.arrived: dict[tuple[int, int], int] = {}  # by job and stage: how many of its feeders are through
        self.heap: list[tuple[float, int, int, int]] = []  # (when, tie, job, stage); a negative stage passes without a slot
        self.n = 0
        self.ends: list[tuple[float, float]] = []
        self.window = window or (0.0, inf)
        self.busy_s = [0.0] * len(STAGES)
        self.wait_s = [0.0] * len(STAGES)
        self.standing: list[list[int]] = [[] for _ in STAGES]
        self.entered: dict[tuple[int, int], float] = {}  # when the waiters came
        self.needs: dict[tuple[int, int], float] = {}  # and how long each will be served

    def service(self, job: int, stage: int) -> float:
        """Seconds of this pass. Chance is drawn per job and stage, so that two pipelines are compared on the same luck."""
        model = self.models[stage]
        if model is None:
            return 0.0
        draw = (self.seed * 40_503 + job * 2_654_435_761 + stage * 7_919) >> 3
        if model.share < 1 and _UNIFORM[(draw >> 11) % _DRAWS] >= model.share:
            return 0.0
        spread = exp(model.sigma * _NORMAL[draw % _DRAWS] - model.sigma**2 / 2)
        return (model.base_s + model.per_audio_s * self.jobs[job].duration_s) * spread

    def enter(self, now: float, job: int, stage: int, remaining: float = 1.0) -> None:
        took = self.service(job, stage) * remaining
        if took <= 0:
            self.n += 1
            heappush(self.heap, (now, self.n, job, -1 - stage))
        elif self.free[stage] > 0:
            self.free[stage] -= 1
            self.serve(now, job, stage, took)
        else:
            self.entered[job, stage] = now
            self.needs[job, stage] = took
            heappush(self.lines[stage], job)

    def serve(self, now: float, job: int, stage: int, took: float) -> None:
        self.n += 1
        heappush(self.heap, (now + took, self.n, job, stage))
        self.busy_s[stage] += self.within(now, now + took)

    def within(self, start: float, end: float) -> float:
        """Seconds of this interval inside the window."""
        return max(0.0, min(end, self.window[1]) - max(start, self.window[0]))

    def run(self) -> SimulationResult:
        queued = self.place_flying()
        now = 0.0
        while True:
            while queued and self.places > 0:
                self.places -= 1
                self.enter(now, queued.pop(), _FIRST)
            if not self.heap:
                break
            now, _, job, stage = heappop(self.heap)
            if stage >= 0:
                self.left(now, stage)
            else:
                stage = -1 - stage
            self.onward(now, job, stage)
        span = max(min(now, self.window[1]) - self.window[0], 1e-9)
        return SimulationResult(
            left_s=now,
            audio_s=sum(j.duration_s for j in self.jobs),
            ends=tuple(self.ends),
            busy={n: b / span for n, b in zip(STAGES, self.busy_s, strict=True)},
            waiting={n: w / span for n, w in zip(STAGES, self.wait_s, strict=True)},
            standing={n: tuple(jobs) for n, jobs in zip(STAGES, self.standing, strict=True)},
        )

    def place_flying(self) -> list[int]:
        """Put those in flight where they stand; returns the queued jobs, the next one last."""
        queued = []
        for i, job in enumerate(self.jobs):
            if job.stage is None:
                queued.append(i)
                continue
            self.places -= 1
            stage = STAGES.index(job.stage)
            for following in _FEEDS[stage]:
                others = [feeder for feeder in _FEEDERS[following] if feeder != stage]
                if job.beside:
                    for other in others:
                        self.enter(0.0, i, other, 1 - job.progress)
                else:
                    self.arrived[i, following] = len(others)
            self.enter(0.0, i, stage, 1 - job.progress)
        queued.reverse()
        return queued

    def left(self, now: float, stage: int) -> None:
        """A slot came free: the oldest in line gets it."""
        if not self.lines[stage]:
            self.free[stage] += 1
            return
        job = heappop(self.lines[stage])
        came = self.entered.pop((job, stage))
        self.wait_s[stage] += self.within(came, now)
        if came <= self.window[1] < now:
            self.standing[stage].append(job)
        self.serve(now, job, stage, self.needs.pop((job, stage)))

    def onward(self, now: float, job: int, stage: int) -> None:
        if not _FEEDS[stage]:
            self.places += 1
            self.ends.append((now, self.jobs[job].duration_s))
        for following in _FEEDS[stage]:
            feeders = len(_FEEDERS[following])
            if feeders > 1:
                arrived = self.arrived[job, following] = self.arrived.get((job, following), 0) + 1
                if arrived < feeders:
                    continue
            self.enter(now, job, following)


def simulate(
    pipeline: Pipeline, jobs: Sequence[Job], seed: int = 0, *, window: tuple[float, float] | None = None
) -> SimulationResult:
    """Run ``jobs`` (those in flight first) through the pipeline until all are stored.

    ``window`` (start, end in seconds) narrows what is measured, not what is run. Raises ``ValueError`` for an ``in_flight`` below 1.
    """
    if pipeline.in_flight < 1:
        raise ValueError("in_flight must be at least 1")
    return _Run(pipeline, jobs, seed, window).run()


def backlog(count: int, mean_s: float, seed: int = 0, sigma: float = 0.6) -> tuple[Job, ...]:
    """Queued jobs with log-normal durations of exactly this mean."""
    random = Random(seed)
    raw = [exp(random.gauss(0, sigma)) for _ in range(count)]
    scale = mean_s * count / sum(raw) if raw else 0.0
    return tuple(Job(r * scale) for r in raw)

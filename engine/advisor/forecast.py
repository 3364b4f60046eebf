"""When the run will be done, and what a changed number of slots would do.

Rests on :mod:`gainstage.engine.advisor.simulation`, fed with the capacities and speeds that a snapshot measured, or with a plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, pstdev

from gainstage.engine.advisor.simulation import Job, Pipeline, StageModel, backlog, simulate
from gainstage.engine.stages import GPU_SLOT_STAGES, GPU_STAGES, INSIDE_STAGES, OUTSIDE_STAGES
from gainstage.engine.views.snapshot import FlightView, Forecast, Run, Snapshot, StageView

MOST_SIMULATED = 160
"""Recordings simulated one by one; the rest of a longer queue is extrapolated at the rate of their middle part."""

LITTLE = 0.02
"""A relative change of throughput below this is no change."""

UNKNOWN_S = 600.0
"""A recording's length where nothing is known of any."""

FEW, FIRST = 0.35, 0.25
"""Relative error of a speed by the passes it rests on: falling with their root, and of the first ones, which also load and warm what
later ones find ready, with their square."""

HALF = 0.5
"""How far a pass is taken to be that says nothing of its progress: what has lasted for long lasts."""

LEAST_MEASURED_S = 1.0
"""Seconds in a slot from which the progress of a recording says how fast its stage is."""

EARLIER, LATER, TROUBLE = 1.2, 1.6, 0.08
"""How far the interval of a time left reaches to either side, in measured spreads, and what may come besides (other programs,
throttled hosts): set by ``bench advice`` so that it holds in four cases of five."""

CPU_CEILING = 0.97
"""CPU share above which more work only makes all of it slower."""

GPU_CEILING = 0.95
"""Share of SMs, or of busy time, above which more work on a GPU only makes all of it slower."""


# -- from snapshots ---------------------------------------------------------------------------------------------------------


def pipeline_of(snapshot: Snapshot, in_flight: int, *, under_way: bool = False) -> Pipeline:
    """The pipeline as this frame measured it, with ``under_way`` also by what is not through yet; a stage without a measurement takes
    no time."""
    done = {s.name: s.done for s in snapshot.stages}
    speeds = {s.name: s.rtfx or (speed_under_way(snapshot, s) if under_way else None) for s in snapshot.stages}
    stages = {s.name: _model(s, speed, done) for s in snapshot.stages if (speed := speeds[s.name]) and s.capacity > 0}
    return Pipeline(stages, max(1, in_flight), gpu_share(snapshot))


def speed_under_way(snapshot: Snapshot, stage: StageView) -> float | None:
    """Audio seconds per second of one slot of a stage that nothing is through yet, by the progress of the recordings in it; None
    where none is in it for long enough."""
    flights = {flight.id: flight for flight in snapshot.flights}
    audio_s = slot_s = 0.0
    for slot in stage.slots:
        flight = flights.get(slot.recording or "")
        if flight is None or not flight.duration_s:
            continue
        progress = flight.progress if flight.stage == stage.name else flight.side_progress
        if stage.name not in OUTSIDE_STAGES and slot.for_s >= LEAST_MEASURED_S:
            audio_s, slot_s = audio_s + (progress or HALF) * flight.duration_s, slot_s + slot.for_s
    return audio_s / slot_s if slot_s else None


def gpu_share(snapshot: Snapshot) -> float | None:
    """Mean SM activity (busy time where there are no GPM metrics) of the GPUs over the last minute, as one reading says little; None where it cannot be read."""
    readings: list[float] = []
    for device in snapshot.devices:
        minute = [v for v in device.sm_history[-12:] if v is not None]
        readings += minute or ([] if device.sm is None else [device.sm])
    return fmean(readings) if readings else None


def gpu_words(snapshot: Snapshot, share: float) -> str:
    """The share as it may be called: of SMs at work, or of time in which any kernel ran (see ``DeviceView``)."""
    return f"{'SM' if any(d.sm_measured for d in snapshot.devices) else 'GPU busy'} {share:.0%}"


def _model(stage: StageView, speed: float, done: Mapping[str, int]) -> StageModel:
    share = 1.0
    if stage.name == "diarize" and done.get("transcribe", 0) >= 5:
        share = min(1.0, done["diarize"] / done["transcribe"])
    return StageModel(stage.capacity, 1 / speed, sigma=0.15, share=share)


def mean_s(run: Run) -> float | None:
    """Mean length of what is stored, in seconds; None without any."""
    stored_s = run.audio_done_s if run.audio_stored_s is None else run.audio_stored_s
    return stored_s / run.stored if run.stored and stored_s > 0 else None


def jobs_of(snapshot: Snapshot, seed: int = 0) -> tuple[tuple[Job, ...], float]:
    """The recordings still to be done, those in flight first, and the audio seconds of the queue beyond what is simulated.

    Only the sum of the queue's audio is known; it is dealt out log-normally.
    """
    run = snapshot.run
    known = [f.duration_s for f in snapshot.flights if f.duration_s]
    typical = mean_s(run) or (fmean(known) if known else UNKNOWN_S)
    flying = tuple(_job(f, typical) for f in snapshot.flights)
    flying_s = sum(j.duration_s for j in flying)
    waiting_s = run.queued * typical if run.audio_left_s is None else max(0.0, run.audio_left_s - flying_s)
    if run.queued == 0:
        return flying, 0.0
    return flying + backlog(min(run.queued, MOST_SIMULATED), waiting_s / run.queued, seed), (
        waiting_s * max(0, run.queued - MOST_SIMULATED) / run.queued
    )


def _job(flight: FlightView, typical_s: float) -> Job:
    # between two stages it is at none: then it counts as the next to enter
    return Job(flight.duration_s or typical_s, flight.stage or None, flight.progress or 0.0, flight.side_stage is not None)


def left_s(pipeline: Pipeline, jobs: Sequence[Job], beyond_audio_s: float, seed: int = 0) -> float:
    """Seconds until everything is done."""
    outcome = simulate(pipeline, jobs, seed)
    if beyond_audio_s <= 0:
        return outcome.left_s
    rate = outcome.rtfx
    return outcome.left_s + (beyond_audio_s / rate if rate else 0.0)


def eta(snapshot: Snapshot, in_flight: int, seed: int = 0) -> Forecast:
    """Seconds left with an interval that should hold four times in five.

    Unknown until the stages that take the time are measured, by a pass or a part of one, and while nothing may start. The width
    comes from how much the measured rate moved from window to window, which evens out over a long rest, from how few passes the
    speeds rest on, and from how few recordings are left.
    """
    run = snapshot.run
    ended = run.stored + run.failed + run.skipped + run.cancelled
    if run.state == "done" or (run.queued + run.running == 0 and ended):
        return Forecast(0.0, 0.0, 0.0, "nothing is left")
    if run.state not in ("running", "draining") or (run.state == "draining" and not snapshot.flights):
        return Forecast(None, None, None, f"the engine is {run.state}")
    if any(s.paused for s in snapshot.stages):
        return Forecast(None, None, None, "a stage is paused")
    pipeline = pipeline_of(snapshot, in_flight, under_way=True)
    bound = pipeline.bound(600.0)
    heavy = [s for s in snapshot.stages if s.name in GPU_SLOT_STAGES]
    unknown = [s for s in heavy if s.name not in pipeline.stages and (s.done or s.busy or s.depth or not run.stored)]
    if bound is None or len(unknown) == len(heavy):
        return Forecast(None, None, None, f"no recording is through {' or '.join(s.name for s in unknown) or 'a stage'} yet")
    jobs, beyond = jobs_of(snapshot, seed)
    if run.state == "draining":
        jobs, beyond = jobs[: len(snapshot.flights)], 0.0
    if not jobs:
        return Forecast(None, None, None, "what is left is in flight at another engine")
    middle = left_s(pipeline, jobs, beyond, seed)
    chance = 0.3 / sqrt(len(jobs))  # who comes last, and how long it is
    passes = next((s.done for s in snapshot.stages if s.name == bound[0]), 0)
    few = FEW / sqrt(1 + passes) + FIRST / (1 + passes) ** 2
    relative = 1.28 * sqrt(_measured_spread(run.rtfx_history, middle) ** 2 + chance**2 + few**2)
    basis = f"simulated from measured service times; {bound[0]} allows {bound[1]:.0f}x"
    low, high = middle * max(0.0, 1 - EARLIER * relative), middle * (1 + LATER * relative + TROUBLE)
    if unknown:  # between none of its time and that of the slowest that is known
        slowest = max((pipeline.stages[s.name] for s in heavy if s not in unknown), key=lambda model: model.per_audio_s)
        like = {s.name: replace(slowest, capacity=s.capacity) for s in unknown}
        longer = left_s(replace(pipeline, stages={**pipeline.stages, **like}), jobs, beyond, seed)
        middle, high = (middle + longer) / 2, longer * (1 + LATER * relative + TROUBLE)
        basis += f"; of {' and '.join(like)} nothing is known yet"
    return Forecast(round(middle), round(low), round(high), basis)


def _measured_spread(minutes: Sequence[float | None], horizon_s: float) -> float:
    """Relative spread of a mean rate over the horizon, from rates measured per minute (the last hour, in tens where there are enough)."""
    known = [m for m in minutes if m is not None][-60:]
    size = 10 if len(known) >= 20 else 1
    windows = [fmean(known[i : i + size]) for i in range(len(known) % size, len(known), size)]
    if len(windows) < 2 or fmean(windows) <= 0:
        return 0.2
    return min(0.5, pstdev(windows) / fmean(windows) / sqrt(max(1.0, horizon_s / (60.0 * size))))


# -- what if ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """What a change should do. Rates are audio seconds per second with a full queue; ``left`` seconds until done.

    The time left after is the time left before at the new rate: both would otherwise rest on which recording comes last.
    """

    rtfx_before: float
    rtfx_after: float
    left_before_s: float
    full: str | None  # "GPU", "CPU" or "memory" when more was asked of it than it has

    @property
    def gain(self) -> float:
        """Relative change of throughput: 0.38 is +38 %."""
        return self.rtfx_after / self.rtfx_before - 1 if self.rtfx_before > 0 else 0.0

    @property
    def left_after_s(self) -> float:
        return self.left_before_s / (1 + self.gain) if self.gain > -1 else self.left_before_s

    @property
    def text(self) -> str:
        if abs(self.gain) < LITTLE:
            return f"audio/h about the same, done in {span(self.left_before_s)}"
        words = f"{round(self.gain * 100):+d}% audio/h, done in {span(self.left_before_s)} → {span(self.left_after_s)}"
        return words + (f" (the {self.full} is then full)" if self.full else "")


def expect(snapshot: Snapshot, in_flight: int, changes: Mapping[str, float], seed: int = 0) -> Expected | None:
    """What ``workers.*`` and ``in_flight`` set to ``changes`` would do; None for other settings or without measurements."""
    now = pipeline_of(snapshot, in_flight)
    then, bound, room = now, None, slots_that_fit(snapshot)
    for key, value in changes.items():
        name = key.removeprefix("workers.")
        if key == "in_flight":
            then = replace(then, in_flight=max(1, int(value)))
        elif key.startswith("workers.") and name in now.stages:
            wanted, there = max(1, int(value)), now.stages[name].capacity
            if room is not None and name in GPU_SLOT_STAGES and wanted > there + room:
                wanted, bound = there + room, "memory"
            room = None if room is None else room - max(0, wanted - there) * (name in GPU_SLOT_STAGES)
            then = replace(then, stages={**then.stages, name: replace(then.stages[name], capacity=wanted)})
        else:
            return None
    if not now.stages:
        return None
    run = snapshot.run
    mean = mean_s(run) or UNKNOWN_S
    full = backlog(max(160, 3 * min(now.in_flight, 80)), mean, seed)
    before, after = simulate(now, full, seed), simulate(then, full, seed)
    for device, share, ceiling, stages in _ceilings(snapshot, now.sm):
        work = sum(busy for name, busy in before.busy.items() if name in stages)
        asked = share * sum(busy for name, busy in after.busy.items() if name in stages) / work if work > 0 else 0.0
        if asked > ceiling and asked > share:
            slower = asked / max(ceiling, share)
            then = replace(then, stages={n: _slowed(m, slower) if n in stages else m for n, m in then.stages.items()})
            after = simulate(then, full, seed)
            bound = device
    jobs, beyond = jobs_of(snapshot, seed)
    rates = before.rtfx, after.rtfx
    if not rates[0] or not rates[1]:
        return None
    return Expected(rates[0], rates[1], left_s(now, jobs, beyond, seed), bound)


def slot_memory(snapshot: Snapshot) -> float | None:
    """Bytes one more transcribe slot may take: the engine's memory on its fullest GPU over all its GPU slots.

    Models are shared, so this is more than a slot needs: a careful guess. Without a GPU that can be read: of the machine's memory.
    """
    slots = sum(s.capacity for s in snapshot.stages if s.name in GPU_SLOT_STAGES)
    ours = [d.memory_ours for d in snapshot.devices if d.memory_ours is not None]
    used = max(ours, default=None) if snapshot.devices else snapshot.host.engine_rss
    return used / slots if used is not None and slots else None


def slots_that_fit(snapshot: Snapshot) -> int | None:
    """How many slots of the models more the memory has room for, of the GPU with the least or of the machine; None: not known."""
    host, each = snapshot.host, slot_memory(snapshot)
    if snapshot.devices:
        free = [d.memory_total - d.memory_used for d in snapshot.devices if d.memory_total and d.memory_used is not None]
    else:
        free = [host.memory_total - host.memory_used] if host.memory_total and host.memory_used is not None else []
    return max(0, int(min(free) // each)) if free and each else None


def _ceilings(snapshot: Snapshot, sm: float | None) -> tuple[tuple[str, float, float, frozenset[str]], ...]:
    """(device, share the engine uses of it now, share it may reach, stages that use it) of what can be read of GPU and CPU."""
    known = [] if sm is None else [("GPU", sm, GPU_CEILING, GPU_STAGES)]
    if (cpu := snapshot.host.split) is not None:
        ours = cpu.engine + (cpu.postgres or 0.0)  # Postgres works as much more as the engine stores
        known.append(("CPU", ours, max(0.0, CPU_CEILING - cpu.others), INSIDE_STAGES))
    return tuple(known)


def _slowed(model: StageModel, factor: float) -> StageModel:
    return replace(model, per_audio_s=model.per_audio_s * factor, base_s=model.base_s * factor)


# -- before a run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunForecast:
    """What a run would take: seconds with an interval, and the stage that bounds it."""

    left: Forecast
    bottleneck: str | None
    rtfx: float | None


def plan(
    durations_s: Sequence[float], speeds: Mapping[str, float], workers: Mapping[str, int], in_flight: int, seed: int = 0
) -> RunForecast:
    """A run before it starts. ``speeds`` are audio seconds per second of one slot by stage, measured by an earlier run."""
    stages = {n: StageModel(workers.get(n, 1), 1 / v, sigma=0.2) for n, v in speeds.items() if v > 0}
    pipeline = Pipeline(stages, max(1, in_flight))
    bound = pipeline.bound(fmean(durations_s)) if durations_s else None
    if bound is None:
        return RunForecast(Forecast(None, None, None, "no measured speeds"), None, None)
    jobs = [Job(d) for d in durations_s[: MOST_SIMULATED * 2]]
    beyond = sum(durations_s[MOST_SIMULATED * 2 :])
    tries = [left_s(pipeline, jobs, beyond, seed + i) for i in range(3)]
    middle, widest = fmean(tries), 0.2
    known = Forecast(round(middle, 1), round(middle * (1 - widest), 1), round(middle * (1 + widest), 1), "speeds of an earlier run")
    return RunForecast(known, bound[0], sum(durations_s) / middle if middle > 0 else None)


def span(seconds: float) -> str:
    """A length of time in two units: 45s, 6m40s, 6h12m, 3d4h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"

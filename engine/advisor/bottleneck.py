"""Which stage holds the run up: pure functions over snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from gainstage.engine.advisor.forecast import GPU_CEILING, gpu_share, gpu_words, span
from gainstage.engine.stages import FEEDERS, GPU_STAGES
from gainstage.engine.views.snapshot import Bottleneck, Snapshot, StageView

BUSY = 0.9
"""Busy share from which a stage can be the bottleneck."""

WAITING = 0.05
"""Blocked share of the stage before that counts as work held up, where no recording waits at this moment."""

UNKNOWN = Bottleneck(None, "unknown", "not known yet")
MEASURING = Bottleneck(None, "unknown", "measuring: shares need some seconds of work")


def bottleneck(history: Sequence[Snapshot]) -> Bottleneck:
    """The stage that is busy at least nine tenths of its slot-seconds while work waits for it.

    Between several, the one with the most audio waiting wins. With none, a stage that is paused with work before it is named, else the
    source is the limit when nothing is left to take or its host holds requests back; else there is no bottleneck. ``history`` is oldest first and not empty.
    """
    now = history[-1]
    stages = {s.name: s for s in now.stages}
    over = now.run.state == "running" and now.run.queued + now.run.running == 0 and not now.flights
    if over or now.run.state == "done":
        return Bottleneck(None, "none", "nothing to do")
    if now.run.state in ("starting", "stopped"):
        return UNKNOWN
    if all(s.busy_share is None for s in now.stages):
        return _held(now) or (MEASURING if now.run.running else UNKNOWN)
    limiting = [s for s in now.stages if holds_up(s, stages)]
    if limiting:
        worst = max(limiting, key=lambda s: (waiting_audio_s(now, s), s.depth, s.busy_share or 0.0))
        return Bottleneck(worst.name, "stage", _text(history, worst), _evidence(now, worst), worst.busy_share)
    return _held(now) or _source(now) or Bottleneck(None, "none", "no bottleneck", _busiest(now))


def _held(now: Snapshot) -> Bottleneck | None:
    """The paused stage that recordings have waited at for longest; None where none waits at one."""
    paused = [s for s in now.stages if s.paused and s.depth]
    if not paused:
        return None
    first = max(paused, key=lambda s: s.oldest_wait_s or 0.0)
    return Bottleneck(None, "none", f"{first.name} is paused: {_waiting(first)}")


def holds_up(stage: StageView, stages: dict[str, StageView]) -> bool:
    """Busy enough, and recordings wait for it."""
    if stage.busy_share is None or stage.busy_share < BUSY or stage.paused:
        return False
    before = (stages[n].blocked_share or 0.0 for n in FEEDERS.get(stage.name, ()) if n in stages)
    return stage.depth > 0 or any(share > WAITING for share in before)


def waiting_audio_s(snapshot: Snapshot, stage: StageView) -> float:
    """Audio seconds of the recordings that wait at the gate of the stage.

    A frame tells how many wait there, but of a recording at two stages at once only where its first pass stands: the mean length
    of those that may be waiting stands for all.
    """
    there = [f for f in snapshot.flights if (f.waiting and f.stage == stage.name) or f.side_stage == stage.name]
    known = [f.duration_s for f in there or snapshot.flights if f.duration_s]
    return stage.depth * fmean(known) if known else 0.0


def _text(history: Sequence[Snapshot], stage: StageView) -> str:
    busy = f"{stage.name} {stage.busy}/{stage.capacity} busy for {span(busy_for_s(history, stage.name))}"
    return f"{busy} · {_waiting(stage)}"


def _waiting(stage: StageView) -> str:
    return f"{stage.depth} waiting" + ("" if stage.oldest_wait_s is None else f" (oldest {span(stage.oldest_wait_s)})")


def busy_for_s(history: Sequence[Snapshot], name: str) -> float:
    """How long the stage has been at least nine tenths busy without a break."""
    now = history[-1].wall
    first = now
    place = next((i for i, s in enumerate(history[-1].stages) if s.name == name), 0)
    for frame in reversed(history):
        stage = frame.stages[place] if place < len(frame.stages) else None
        if stage is None or stage.name != name or stage.busy_share is None or stage.busy_share < BUSY:
            break
        first = frame.wall
    return now - first


def _evidence(now: Snapshot, stage: StageView) -> str:
    if stage.name in GPU_STAGES and now.devices:
        share = gpu_share(now)
        device = max(now.devices, key=lambda d: d.memory_used or 0)
        parts = [
            None if share is None else gpu_words(now, share),
            f"memory {device.memory_used / device.memory_total:.0%}" if device.memory_used and device.memory_total else None,
            None if device.temperature is None else f"{device.temperature:.0f}°C",
            None if device.throttle is None else ", ".join(device.throttle) or "no throttle",
        ]
        limit = "the GPU is the limit" if share is not None and share >= GPU_CEILING else "GPU is not the limit"
        known = ", ".join(p for p in parts if p)
        return f"{limit if share is not None else 'GPU'}: {known}" if known else ""
    if stage.name == "store":
        p95 = now.database.latency_p95_s
        return "" if p95 is None else f"database p95 {p95 * 1000:.0f} ms"
    if stage.name == "fetch":
        rate = now.host.net_rx
        return f"{now.run.throttled_10m} throttled in 10 m" + ("" if rate is None else f", {rate / 1e6:.0f} MB/s")
    if now.host.cpu is None:
        return ""
    split = now.host.split
    return f"CPU {now.host.cpu:.0%}" + (f": {split.text}" if split else "")


def _source(now: Snapshot) -> Bottleneck | None:
    for budget in now.budgets:
        if budget.state == "open":
            return Bottleneck(
                "fetch", "source", f"source limited: {budget.host} throttles, requests wait", f"{budget.throttled} throttled"
            )
        if budget.used >= budget.rate:
            return Bottleneck("fetch", "source", f"source limited: {budget.host} is at its {budget.rate} requests an hour")
    if now.run.queued == 0 and now.run.running > 0:
        return Bottleneck(None, "source", f"intake is finished: {now.run.running} to go{_slowest(now)}", _busiest(now))
    return None


def _slowest(now: Snapshot) -> str:
    """The stage where most audio stands: being worked on, or waiting."""
    audio: dict[str, float] = {}
    for flight in now.flights:
        for name in (flight.stage, flight.side_stage):
            if name:
                audio[name] = audio.get(name, 0.0) + (flight.duration_s or 0.0) * (1.0 - (flight.progress or 0.0))
    top = max(audio, key=lambda name: audio[name], default=None)
    return "" if top is None or audio[top] == 0 else f", {top} is slowest"


def _busiest(now: Snapshot) -> str:
    known = [s for s in now.stages if s.busy_share is not None]
    top = max(known, key=lambda s: s.busy_share or 0.0, default=None)
    return "" if top is None or (top.busy_share or 0.0) <= 0.005 else f"busiest is {top.name} at {top.busy_share:.0%}"

"""The verdict: is it healthy, what is the bottleneck, when is it done, what should be changed. Pure functions over snapshots.

The bottleneck is found by :mod:`gainstage.engine.advisor.bottleneck`, advice by :mod:`gainstage.engine.advisor.advice`, the time left by
:mod:`gainstage.engine.advisor.forecast`; this module judges health and puts the four answers together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.advice import Case, advice, expected, slowed
from gainstage.engine.advisor.bands import ERROR_RATE_WARN, THROTTLED_WARN
from gainstage.engine.advisor.bottleneck import bottleneck
from gainstage.engine.views.scopes import ended_reason
from gainstage.engine.views.snapshot import Advice, Forecast, Health, Snapshot, StageView, Verdict

DATABASE_DOWN_S = 30.0
STALLED_TIMES = 3.0
"""A stage that lets nothing out for this many of its p95 service times is stalled."""

STALLED_AT_LEAST_S = 60.0
STALLED_UNKNOWN_S = 900.0
"""Patience with a stage of which no service time is known."""

DISK_S = 24 * 3600.0
DATABASE_SLOW_S = 1.0

_RECENT_S = 600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule: the health it stands for, whether it holds, and the evidence."""

    health: Health
    holds: bool
    reason: str


def verdict(
    history: Sequence[Snapshot],
    settings: Mapping[str, Any],
    *,
    left: Forecast | None = None,
    advise: Callable[[Advice, Case], Advice | None] = expected,
) -> Verdict:
    """The verdict on the last frame of ``history`` (oldest first, not empty; ten minutes of it are enough).

    ``settings`` are values by dotted key. ``left`` and ``advise`` let a caller reuse a forecast and an expectation that are a few seconds old (see :class:`gainstage.engine.advisor.verdict_cache.VerdictCache`).
    """
    now = history[-1]
    findings = health_findings(history)
    first = next(f for f in findings if f.holds)
    limiting = bottleneck(history)
    case = Case(history, limiting, settings)
    left = forecast.eta(now, int(case.value("in_flight"))) if left is None else left
    return Verdict(
        health=first.health,
        reason=first.reason,
        since_wall=_since(history, first.health),
        bottleneck=limiting,
        advice=advice(case, advise, left=left),
        forecast=left,
        why=explained(findings),
    )


def explained(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The rules as lines for the operator, with an arrow at the first that holds."""
    first = next(f for f in findings if f.holds)
    return tuple(f"{'→' if f is first else '·'} {f.health}: {f.reason}" for f in findings)


def health_findings(history: Sequence[Snapshot]) -> tuple[Finding, ...]:
    """Every rule with what it saw, in the order they are tried; the last always holds."""
    now = history[-1]
    return (
        _starting(now),
        _stopped(now),
        _failed(now),
        _stalled(history),
        _paused(now),
        _draining(now),
        _done(now),
        _degraded(history),
        _healthy(now),
    )


def _since(history: Sequence[Snapshot], health: Health) -> float:
    before = history[-2].verdict if len(history) > 1 else None
    if before is not None and before.health == health and before.since_wall is not None:
        return before.since_wall
    return history[-1].wall


def _starting(now: Snapshot) -> Finding:
    starting = now.run.state == "starting"
    return Finding("starting", starting, (now.run.loading[-1:] or ("",))[0] or "starting" if starting else "the engine is up")


def _stopped(now: Snapshot) -> Finding:
    stopped = now.run.state == "stopped"
    by = f" ({now.run.by})" if now.run.by else ""
    return Finding("offline", stopped, f"the engine is stopped{by}" if stopped else "the engine runs")


def _failed(now: Snapshot) -> Finding:
    for model in now.models:
        if model.state == "failed":
            return Finding("failed", True, f"{model.role} {model.name}: {model.note or 'did not load'}")
    down = now.database.down_since_wall
    if not now.database.up and down is not None and now.wall - down > DATABASE_DOWN_S:
        return Finding("failed", True, f"database down for {forecast.span(now.wall - down)}; finished recordings wait")
    return Finding("failed", False, "the models are loaded, the database answers")


def _stalled(history: Sequence[Snapshot]) -> Finding:
    now = history[-1]
    if now.run.state not in ("running", "draining") or not now.database.up:
        return Finding("stalled", False, "not checked while nothing runs")
    for stage in now.stages:
        limit = stall_limit_s(now, stage)
        still = idle_for_s(history, stage)
        if still is not None and still > limit and not _held_back(now, stage):
            return Finding(
                "stalled", True, f"{stage.name} let nothing out for {forecast.span(still)} (limit {forecast.span(limit)})"
            )
    return Finding("stalled", False, "every stage with work lets it out")


def stall_limit_s(now: Snapshot, stage: StageView) -> float:
    """How long a stage with work may let nothing out: three times what the longest recording in it should take, which belongs to its
    length; of a stage whose recordings are not known, three times its p95."""
    served = [f.expected_p95_s for f in now.flights if f.stage == stage.name and f.expected_p95_s is not None and not f.waiting]
    known = served or ([] if stage.service_p95_s is None else [stage.service_p95_s])
    return max(STALLED_AT_LEAST_S, STALLED_TIMES * max(known)) if known else STALLED_UNKNOWN_S


def idle_for_s(history: Sequence[Snapshot], stage: StageView) -> float | None:
    """Seconds since the stage with work last let something out or the progress of a recording in it last moved; None without work.

    A pause starts the count again.
    """
    if stage.depth + stage.busy == 0 or stage.paused:
        return None
    out = stage.done + stage.failed
    first = history[-1].wall
    progress = progress_at(history[-1], stage.name)
    for frame in reversed(history):
        before = progress_at(frame, stage.name)
        if any(before.get(id, share) < share for id, share in progress.items()):
            break
        then = next((s for s in frame.stages if s.name == stage.name), None)
        if then is None or then.paused or frame.run.state == "paused" or not frame.database.up or then.depth + then.busy == 0:
            break
        if then.done + then.failed != out:
            break
        first = frame.wall
    return history[-1].wall - first


def progress_at(frame: Snapshot, stage: str) -> dict[str, float]:
    """How far each recording in a stage is, where that is known."""
    shares = {f.id: f.progress for f in frame.flights if f.stage == stage}
    shares |= {f.id: f.side_progress for f in frame.flights if f.side_stage == stage}
    return {id: share for id, share in shares.items() if share is not None}


def _held_back(now: Snapshot, stage: StageView) -> bool:
    """Fetch that waits for a throttling host is not stalled."""
    return stage.name == "fetch" and any(b.state != "closed" or b.used >= b.rate for b in now.budgets)


def _paused(now: Snapshot) -> Finding:
    run = now.run
    if run.state != "paused":
        paused = [s.name for s in now.stages if s.paused]
        if paused and run.state == "running":
            return Finding("paused", True, f"{', '.join(paused)} paused")
        return Finding("paused", False, "not paused")
    who = f" by {run.by}" if run.by else ""
    return Finding("paused", True, f"intake paused{who}" + (f": {run.reason}" if run.reason else ""))


def _draining(now: Snapshot) -> Finding:
    run = now.run
    if run.state not in ("draining", "stopping"):
        return Finding("draining", False, "not draining")
    who = f" ({run.by})" if run.by else ""
    return Finding("draining", True, f"{run.running} left{who}")


def _done(now: Snapshot) -> Finding:
    run = now.run
    over = run.state == "done" or (run.queued + run.running == 0 and run.stored + run.failed + run.skipped + run.cancelled > 0)
    if not over:
        return Finding("done", False, f"{run.queued} queued, {run.running} in flight")
    return Finding("done", True, ended_reason(run.stored, run.failed, run.skipped))


def _degraded(history: Sequence[Snapshot]) -> Finding:
    """Everything that is wrong but lets the work go on; all of it in the reason."""
    now = history[-1]
    run, host, database = now.run, now.host, now.database
    wrong = []
    if not database.up:
        wrong.append("database down: connection refused")
    rate = run.errors_10m / run.finished_10m if run.finished_10m else 0.0
    if run.errors_10m >= 2 and rate > ERROR_RATE_WARN:
        wrong.append(f"{run.errors_10m} of {run.finished_10m} attempts failed in 10 m")
    if run.throttled_10m >= THROTTLED_WARN:
        wrong.append(f"throttled ×{run.throttled_10m}")
    elif any(b.state == "open" for b in now.budgets):
        wrong.append("a host throttles")
    if moved := _since_recent(history, lambda s: sum(b.fallbacks for b in s.batchers)):
        wrong.append(f"{moved} batches on the CPU instead")
    if host.disk_full_in_s is not None and host.disk_full_in_s < DISK_S:
        wrong.append(f"disk full in {forecast.span(host.disk_full_in_s)}")
    if database.latency_p95_s is not None and database.latency_p95_s > DATABASE_SLOW_S:
        wrong.append(f"database p95 {database.latency_p95_s:.1f} s")
    if apart := database.clock_trouble():
        wrong.append(apart)
    if reasons := slowed(now):
        wrong.append(f"GPU slowed: {reasons[0]}")
    return Finding("degraded", bool(wrong), ", ".join(wrong) or "errors, throttling, disk and devices are fine")


def _healthy(now: Snapshot) -> Finding:
    run = now.run
    if run.queued + run.running == 0:
        return Finding("healthy", True, "the queue is empty")
    if run.rtfx is None:
        return Finding("healthy", True, "nothing is stored yet")
    return Finding("healthy", True, f"{run.rtfx:.0f} audio hours per hour, {run.finished_10m} finished in 10 m")


def _since_recent(history: Sequence[Snapshot], counter: Callable[[Snapshot], int]) -> int:
    """Growth of a counter over the last ten minutes of history."""
    now = history[-1]
    first = next(s for s in history if s.wall >= now.wall - _RECENT_S)
    return counter(now) - counter(first)

"""A snapshot seen in one scope: the figures of a run, of today, or of everything in the places where they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from gainstage.engine.views.snapshot import Bottleneck, Forecast, Health, Run, ScopeName, ScopeView, Snapshot, Verdict

JUDGED: frozenset[Health] = frozenset({"healthy", "degraded", "done"})
"""Verdicts that depend on what is looked at; the others are the engine's, whatever is looked at."""


class Counted(Protocol):
    """How many recordings stand where."""

    @property
    def queued(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def stored(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def cancelled(self) -> int: ...
    @property
    def retrying(self) -> int: ...


def scope_of(snapshot: Snapshot, name: ScopeName) -> ScopeView | None:
    """The part of the run with this name; None in frames that do not have it."""
    return next((scope for scope in snapshot.scopes if scope.name == name), None)


def scoped(snapshot: Snapshot, name: ScopeName) -> Snapshot:
    """The snapshot with counts, rates, verdict, title and time left of a scope; unchanged where the frame has no such scope."""
    scope = scope_of(snapshot, name)
    if scope is None:
        return snapshot
    return replace(snapshot, scope=name, run=_run(snapshot, scope), verdict=_verdict(snapshot, scope))


def with_counts(snapshot: Snapshot, counts: Counted, views: Sequence[ScopeView]) -> Snapshot:
    """The snapshot of an engine with the counts of this moment."""
    names = ("queued", "running", "stored", "failed", "skipped", "cancelled", "retrying")
    run = replace(snapshot.run, **{name: getattr(counts, name) for name in names})
    return replace(snapshot, run=run, scopes=refreshed(snapshot.scopes, views))


def without_engine(snapshot: Snapshot, ended: str | None, silent_s: float) -> Snapshot:
    """The last snapshot of an engine that has ended or fallen silent: it claims neither health nor a time left nor a bottleneck."""
    if ended == "done" and not snapshot.run.queued + snapshot.run.running:
        reason = ended_reason(snapshot.run.stored, snapshot.run.failed, snapshot.run.skipped)
        health: Health = "done"
    else:
        health, reason = "offline", f"the engine has {'ended' if ended else f'sent nothing for {silent_s:.0f} s'}"
    nothing = Forecast(0.0, 0.0, 0.0, "nothing is left") if health == "done" else Forecast(None, None, None, "no engine works")
    quiet = Bottleneck(None, "none" if health == "done" else "unknown", "nothing to do" if health == "done" else "not known")
    verdict = replace(snapshot.verdict, health=health, reason=reason, bottleneck=quiet, advice=None, forecast=nothing, why=())
    scopes = tuple(replace(scope, health=None, reason="", why=(), left=nothing) for scope in snapshot.scopes)
    return replace(snapshot, verdict=verdict, scopes=scopes, run=replace(snapshot.run, rtfx=None))


def refreshed(old: Sequence[ScopeView], fresh: Sequence[ScopeView]) -> tuple[ScopeView, ...]:
    """Newly counted scopes with the engine's judgement of the same ones."""
    judged = {(scope.name, scope.run): scope for scope in old}
    return tuple(
        scope
        if (before := judged.get((scope.name, scope.run))) is None
        else replace(
            scope,
            errors_10m=before.errors_10m,
            finished_10m=before.finished_10m,
            health=before.health,
            reason=before.reason,
            why=before.why,
            left=before.left,
        )
        for scope in fresh
    )


def ended_reason(stored: int, failed: int, skipped: int) -> str:
    """What became of a scope with nothing left."""
    return f"{stored:,} stored, {failed:,} failed, {skipped:,} skipped"


def _run(snapshot: Snapshot, scope: ScopeView) -> Run:
    run = snapshot.run
    history = run.rtfx_history
    if scope.name != "all" and scope.since_wall is not None:
        minutes = max(0, int(snapshot.wall // 60) - int(scope.since_wall // 60))
        history = history[len(history) - minutes :] if minutes < len(history) else history
    return replace(
        run,
        source=scope.title if scope.name == "run" else run.source,
        queued=scope.queued,
        running=scope.running,
        stored=scope.stored,
        failed=scope.failed,
        skipped=scope.skipped,
        cancelled=scope.cancelled,
        retrying=scope.retrying,
        audio_done_s=scope.audio_done_s if scope.audio_taken_s is None else scope.audio_taken_s,
        audio_stored_s=scope.audio_done_s,
        audio_left_s=scope.audio_left_s,
        work_s=scope.work_s,
        rtfx=run.rtfx if scope.running else None,
        rtfx_history=history,
        errors_10m=scope.errors_10m,
        finished_10m=scope.finished_10m,
    )


def _verdict(snapshot: Snapshot, scope: ScopeView) -> Verdict:
    verdict = snapshot.verdict
    left = scope.queued + scope.running
    ended = scope.stored + scope.failed + scope.skipped + scope.cancelled
    forecast = scope.left or (
        Forecast(None, None, None, "the engine works on another run") if scope.name == "run" else verdict.forecast
    )
    if not left and ended:
        forecast = Forecast(0.0, 0.0, 0.0, "nothing is left")
    if verdict.health not in JUDGED:
        return replace(verdict, forecast=forecast)
    health, reason, why = scope.health or verdict.health, scope.reason or verdict.reason, scope.why or verdict.why
    if not left and ended:
        health, reason = "done", ended_reason(scope.stored, scope.failed, scope.skipped)
    elif left and health == "done":  # brought in after the engine judged
        health, reason = "healthy", f"{scope.queued} queued, {scope.running} in flight"
    return replace(verdict, health=health, reason=reason, why=why, forecast=forecast)

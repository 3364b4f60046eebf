"""What becomes of a flight that has ended: stored, tried again, failed, put back; reported to the queue and the journal."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import TypeVar

from gainstage.engine.clean import clean_text, counted
from gainstage.engine.errors import Cancelled, EngineError, LostClaim, OutOfMemory, Postponed, Transient
from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.run_state import RunStateMachine
from gainstage.engine.store.outage import retry_until
from gainstage.engine.telemetry.journal import clean_lines
from gainstage.engine.terms import Cast
from gainstage.engine.views.events import Level

T = TypeVar("T")

ENDING_S = 5.0
"""Patience of an engine that ends with a database that is away; its claims are found by the next engine."""


class Completion:
    """Called on the flight's own thread, which nobody else waits for: nothing may get lost here."""

    def __init__(self, context: EngineContext, run_state: RunStateMachine) -> None:
        self.context = context
        self.run_state = run_state

    def broken_off(self, flight: Flight, error: Cancelled) -> None:
        """Settle a flight whose work was cancelled: by an operator, by the end of this engine, or (a fault) without a reason."""
        if flight.fate is None and self.context.token.cancelled:
            flight.fate = "release"
        if flight.token.cancelled:
            self.settle(flight, Cancelled(flight.token.reason or "cancelled"), "")
        else:
            hint = "A fault of gainstage; it is tried again."
            self.settle(flight, Transient(f"broken off: {error.message}", cause="broken off", hint=hint), "")

    def stored(self, flight: Flight) -> None:
        """Count a stored recording, report it, remove what its download left."""
        id = flight.recording.id
        if flight.linked is None:
            self.context.totals.stored(
                flight.duration_s or 0.0, flight.claim.run, sum(span.service_s or 0.0 for span in flight.spans)
            )
            text = f"stored {counted(flight.segments or 0, 'segment')}, {counted(flight.speakers or 0, 'speaker')}: {clean_text(flight.title, 80)}"
            if flight.warnings:
                text += f" ({', '.join(dict.fromkeys(w.cause for w in flight.warnings))})"
            level: Level = "warning" if flight.warnings else "info"
            self.context.journal.log(
                level,
                text,
                recording=id,
                kind="stored",
                stage="store",
                segments=flight.segments,
                speakers=flight.speakers,
            )
        try:
            self.context.fetcher.forget(id)
            if flight.linked is None:  # the store's own pass ends after its commit, so it is added to the record then
                self.context.store.add_spans(id, flight.spans[-1:], flight.claim.attempt)
        except (EngineError, OSError) as error:  # it is stored: neither a timing nor a left-over download is worth waiting for
            self.context.journal.log("warning", f"tidying up after it was stored: {error}", recording=id)

    def settle(self, flight: Flight, error: EngineError, trace: str) -> None:
        """Write down what became of a claim, however long the database is away: the answer must not be lost."""
        id = flight.recording.id
        stage = next((s.stage for s in reversed(flight.spans) if s.outcome != "ok"), None)
        error.at(id, stage or "")
        if flight.fate == "lost" or isinstance(error, LostClaim):
            self._dropped(id, flight.token.reason or error.message)
            return
        try:
            if flight.fate == "release":
                self._until_written(lambda: self.context.queue.release(flight.claim))
                return
            outcome = self._until_written(
                lambda: self.context.queue.fail(
                    flight.claim, error, clean_lines(trace), self.context.settings.retry, spans=flight.spans
                )
            )
        except LostClaim as lost:
            self._dropped(id, f"{lost.message} ({error.message})")
            return
        except Exception as fault:  # the claim stays ours and is found again by the housekeeping, or by the next engine
            self.context.journal.log(
                "error", f"not written down: {error.message}: {fault}", recording=id, kind="failure", error=fault
            )
            return
        if not isinstance(error, Postponed):  # waiting for its turn is no trouble
            self.context.totals.failed(error, flight.claim.run)
        level: Level = "info" if isinstance(error, Cancelled | Postponed) else "warning" if outcome.retry else "error"
        self.context.journal.log(
            level,
            f"{outcome.text}: {error.message}",
            kind="failure",
            stage=error.stage,
            recording=id,
            error=error if trace else None,
            cause=error.cause,
            hint=error.hint,
        )
        if not outcome.retry:
            with contextlib.suppress(OSError):
                self.context.fetcher.forget(id)
        if outcome.pause:
            self.run_state.hold("setup", str(error))

    def _dropped(self, id: str, why: str) -> None:
        # a commit whose answer was lost looks the same from here; then it is stored, which is all that counts
        self.context.journal.log("warning", f"result dropped: {why}", recording=id, kind="failure")

    def _until_written(self, call: Callable[[], T]) -> T:
        """Call until it goes through, however long that takes; once the engine ends, for :data:`ENDING_S` more."""
        context = self.context
        report = context.faults.database_away
        return retry_until(call, context.token, busy_s=float("inf"), ending_s=ENDING_S, report=report)


def note_decisions(context: EngineContext, flight: Flight, cast: Cast, ids: tuple[int, ...]) -> None:
    """Count and show the decisions of a recording under their ids; called once they are stored."""
    context.totals.decisions(flight.recording.id, flight.title, cast, ids, context.settings.identify)
    for decision in cast.decisions:
        context.journal.log(
            "info",
            decision.why,
            recording=flight.recording.id,
            stage="identify",
            kind="decision",
            cluster=decision.cluster,
            variance=decision.variance,
            spread=decision.spread,
            split=decision.split,
        )


def unforeseen(error: Exception) -> EngineError:
    """The engine's error for an exception that no stage expects."""
    if is_out_of_memory(error):
        return OutOfMemory(clean_text(str(error), 300), cause="out of memory", hint="Lower workers or batches of this stage.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = clean_text(str(error.filename or "the disk"), 200)
        return Transient(f"no room left: {place}", cause="disk full", hint="Free disk space or raise fetch.disk_floor.")
    name = type(error).__name__
    return Transient(
        f"{name}: {clean_text(str(error), 300)}",
        cause=f"unexpected {name}",
        hint="A fault of gainstage or of a library; the traceback is in `gainstage show ID`.",
    )

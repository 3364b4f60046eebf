"""What becomes of a flight that has ended: stored, tried again, failed, put back. The queue is told, and the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from gainstage.engine.clean import clean_text, counted
from gainstage.engine.errors import Cancelled, EngineError, LostClaim, OutOfMemory, Postponed, Transient
from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.store.outage import insist
from gainstage.engine.telemetry.journal import clean_lines
from gainstage.engine.views.events import Level

if TYPE_CHECKING:
    from gainstage.engine.runtime.engine import Engine

T = TypeVar("T")


class Completion:
    """Called on the flight's own thread, which nobody else waits for: nothing may get lost here."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def broken_off(self, flight: Flight, error: Cancelled) -> None:
        """Ended from outside: by an operator, by this engine's own end, or (a fault) by nobody."""
        if flight.fate is None and self.engine.token.cancelled:
            flight.fate = "release"
        if flight.token.cancelled:
            self.settle(flight, Cancelled(flight.token.reason or "cancelled"), "")
        else:
            hint = "a fault of gainstage; it is tried again"
            self.settle(flight, Transient(f"broken off: {error.message}", cause="broken off", hint=hint), "")

    def stored(self, flight: Flight) -> None:
        """Count it, say so, tidy up."""
        id = flight.recording.id
        if flight.linked is None:
            self.engine.tally.landed(flight.duration_s or 0.0)
            text = f"stored {counted(flight.segments or 0, 'segment')}, {counted(flight.speakers or 0, 'speaker')}: {clean_text(flight.title, 80)}"
            if flight.warnings:
                text += f" ({', '.join(dict.fromkeys(w.cause for w in flight.warnings))})"
            level: Level = "warning" if flight.warnings else "info"
            self.engine.journal.log(level, text, recording=id, kind="stored", stage="store")
        try:
            self.engine.fetcher.forget(id)
            if flight.linked is None:  # the store's own pass ends after its commit, so it is added to the record then
                self.engine.store.add_spans(id, flight.spans[-1:], flight.claim.attempt)
        except (EngineError, OSError) as error:  # it is stored: neither a timing nor a left-over download is worth waiting for
            self.engine.journal.log("warning", f"tidying up after it was stored: {error}", recording=id)

    def settle(self, flight: Flight, error: EngineError, trace: str) -> None:
        """Tell the queue what became of a claim, however long it is away: the answer must not be lost."""
        id = flight.recording.id
        stage = next((s.stage for s in reversed(flight.spans) if s.outcome != "ok"), None)
        error.at(id, stage or "")
        if flight.fate == "lost" or isinstance(error, LostClaim):
            self._dropped(id, flight.token.reason or error.message)
            return
        try:
            if flight.fate == "release":
                self._insist(lambda: self.engine.queue.release(flight.claim))
                return
            outcome = self._insist(
                lambda: self.engine.queue.fail(
                    flight.claim, error, clean_lines(trace), self.engine.settings.retry, spans=flight.spans
                )
            )
        except LostClaim as lost:
            self._dropped(id, f"{lost.message} ({error.message})")
            return
        except Exception as fault:  # the claim stays ours and is found again by the keeper, or by the next engine
            self.engine.journal.log(
                "error", f"not written down: {error.message}: {fault}", recording=id, kind="failure", error=fault
            )
            return
        if not isinstance(error, Postponed):  # waiting for its turn is no trouble
            self.engine.tally.failed(error)
        level: Level = "info" if isinstance(error, Cancelled | Postponed) else "warning" if outcome.retry else "error"
        self.engine.journal.log(
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
                self.engine.fetcher.forget(id)
        if outcome.pause:
            self.engine.control.hold("setup", str(error))

    def _dropped(self, id: str, why: str) -> None:
        # a commit whose answer was lost looks the same from here; then it is stored, which is all that counts
        self.engine.journal.log("warning", f"result dropped: {why}", recording=id, kind="failure")

    def _insist(self, call: Callable[[], T]) -> T:
        return insist(call, self.engine.token, self.engine.control.database_away)


def unforeseen(error: Exception) -> EngineError:
    """The engine's error for one nobody had thought of."""
    if is_out_of_memory(error):
        return OutOfMemory(clean_text(str(error), 300), cause="out of memory", hint="lower workers or batches of this stage")
    name = type(error).__name__
    return Transient(
        f"{name}: {clean_text(str(error), 300)}",
        cause=f"unexpected {name}",
        hint="a fault of gainstage or of a library; the traceback is in `gainstage show ID`",
    )

"""A stage is a gate: a recording's thread waits here for a slot, holds it while it works, and leaves a span."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Cancelled, EngineError
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.gate import Gate, Visitor
from gainstage.engine.flow.slot import Slot
from gainstage.engine.flow.stage_stats import StageStats
from gainstage.engine.views.passes import PARTIAL, PassOutcome, StageFigures, StageSpan, StageTotals
from gainstage.engine.views.snapshot import StageView

__all__ = ["Slot", "Stage", "StageFigures", "StageSpan", "StageTotals"]

OPERATOR = "operator"

HOLD_POLL_S = 0.1
"""Longest time between the end of a hold and the work that goes on."""


class Stage:
    """``capacity`` slots, given to waiters by priority (higher first), then age (smaller first), then arrival.

    A freed slot goes straight to the next waiter, in the thread that freed it: nobody pushes in, no wake-up is lost. A slot is
    busy from the moment it is given. See :class:`gainstage.engine.flow.gate.Gate` for the rules.

    ``on_span`` gets every pass and ``on_retire`` every slot that ends, in the thread that caused it and outside the lock.
    """

    def __init__(
        self,
        name: str,
        capacity: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_span: Callable[[StageSpan], object] | None = None,
        on_retire: Callable[[Slot], object] | None = None,
    ) -> None:
        self.name = name
        self.note: str | None = None  # shown on the stage's card: "batch 16"
        self._clock = clock
        self._wall = wall
        self._on_span = on_span
        self._on_retire = on_retire
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        now = clock()
        self._gate = Gate(capacity, now)
        self._stats = StageStats(self._gate, now)

    def enter(
        self,
        recording_id: str,
        *,
        token: CancelToken,
        priority: int = 0,
        age: float = 0.0,
        audio_s: float | None = None,
        after: Stage | None = None,
    ) -> StagePass:
        """``with stage.enter(...) as slot:`` waits for a slot and holds it for the block.

        ``after`` is the stage the recording comes from: while it waits here, that one counts as blocked. Raises
        :class:`Cancelled` as soon as the token is cancelled during the wait; a typed error that leaves the block gets
        recording and stage where it has none.
        """
        return StagePass(self, Visitor(recording_id, priority, age, audio_s), token, after)

    # -- steering ---------------------------------------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        return self._gate.capacity

    @property
    def busy(self) -> int:
        """Slots in use, retiring ones included."""
        return self._gate.busy

    @property
    def at_work(self) -> bool:
        """Whether a recording in it is worked on, and does not wait for others."""
        return self._gate.rates()[1] > 0

    @property
    def depth(self) -> int:
        """Recordings waiting at the gate."""
        return len(self._gate.waiters)

    @property
    def paused(self) -> bool:
        return bool(self._gate.pausers)

    @property
    def held(self) -> bool:
        """Whether an operator has paused it: then recordings inside wait as well, at the next window or chunk."""
        return OPERATOR in self._gate.pausers

    def wait_while_held(self, token: CancelToken, slot: Slot | None = None) -> None:
        """Wait, in a slot where one is given, until no operator holds the stage. Raises :class:`Cancelled`."""
        if not self.held:
            return
        with slot.waiting() if slot is not None else nullcontext():
            while self.held:
                token.wait(HOLD_POLL_S)
                token.check()

    def resize(self, capacity: int) -> None:
        """Change the number of slots (at least 1, else ``ValueError``); acts at once, and never on a slot in use."""
        with self._lock:
            now = self._advance()
            retired = self._gate.resize(capacity, now)
            self._stats.settle()
        self._retire(retired)

    def pause(self, by: str = OPERATOR) -> None:
        """Let nobody in until everyone who paused has resumed; passes under way go on, but see :attr:`held`."""
        with self._lock:
            self._gate.pause(by, self._advance())
            self._stats.settle()

    def resume(self, by: str = OPERATOR) -> None:
        """Take back the pause of ``by``; nothing happens when there is none."""
        with self._lock:
            self._gate.resume(by, self._advance())
            self._stats.settle()

    def renew(self) -> None:
        """Retire every slot's state: idle slots now, slots in use when they come free. For a changed model."""
        with self._lock:
            retired = self._gate.renew(self._advance())
        self._retire(retired)

    def begin_measuring(self) -> None:
        """Work comes after an idle time: shares are measured from the next pass on."""
        with self._lock:
            self._stats.begin_anew(self._advance())

    def hold_shares(self, held: bool) -> None:
        """While held, a view shows shares and passes per minute of the moment it began: what a stage did last, not how long ago that was."""
        with self._lock:
            self._stats.hold(self._advance(), held)

    def set_priority(self, recording_id: str, priority: int) -> bool:
        """Change the priority of a waiting recording; False when it does not wait here."""
        with self._lock:
            return self._gate.reorder(recording_id, priority)

    def wait_idle(self, token: CancelToken) -> None:
        """Wait until no slot is in use (pause first, or others come in). Raises :class:`Cancelled`."""

        def wake() -> None:
            with self._lock:
                self._idle.notify_all()

        remove = token.on_cancel(wake)
        try:
            with self._lock:
                while self._gate.busy and not token.cancelled:
                    self._idle.wait()
        finally:
            remove()
        token.check()

    # -- figures ----------------------------------------------------------------------------------------------------

    def figures(self, window_s: float = 60.0) -> StageFigures:
        """What the slots did in the last ``window_s`` seconds (at most 600), integrated exactly.

        The window begins at a whole second of the stage's own clock, so it is up to a second shorter than asked.
        """
        with self._lock:
            return self._stats.figures(self._advance(), window_s)

    def expected_s(self, audio_s: float | None) -> float | None:
        """Longest service to expect of a recording with this much audio; None before any has passed."""
        with self._lock:
            return self._stats.expected_s(audio_s, self._advance())

    def totals(self) -> StageTotals:
        """Counts, sums and quantiles since the stage was made."""
        with self._lock:
            return self._stats.totals()

    def view(self) -> StageView:
        """The stage as the snapshot shows it.

        Waits are those of every pass that was served, service times those of passes that ended well; both over the last ten
        minutes, or the whole run while those hold fewer than 20. Quantiles are within 2 %. ``retries`` counts passes that
        failed in a way that may be tried again.
        """
        with self._lock:
            return self._stats.view(self.name, self.note, self._advance())

    # -- the steps of a pass ----------------------------------------------------------------------------------------

    def _advance(self) -> float:
        now = self._clock()
        self._stats.advance(now)
        return now

    def _arrive(self, visitor: Visitor) -> bool:
        with self._lock:
            served = self._gate.arrive(visitor, self._advance())
            self._stats.settle()
        return served

    def _withdraw(self, visitor: Visitor) -> None:
        with self._lock:
            self._gate.withdraw(visitor, self._advance())
            self._stats.settle()

    def _count_blocked(self, change: int) -> None:
        with self._lock:
            self._advance()
            self._gate.blocked += change
            self._stats.settle()

    def _count_waiting(self, slot: Slot, company: bool, change: int) -> None:
        """A recording begins (1) or ends (-1) to wait for others in its slot."""
        with self._lock:
            now = self._advance()
            if change > 0:
                slot.waits_since = now
            elif slot.waits_since is not None:
                slot.lingered_s += now - slot.waits_since
                slot.waits_since = None
            if company:
                self._gate.lingering += change
            else:
                self._gate.held_up += change
            self._stats.settle()

    def _leave(self, visitor: Visitor, start_wall: float, error: BaseException | None) -> None:
        outcome, cause = _outcome(error)
        slot = visitor.slot
        with self._lock:
            now = self._advance()
            self._gate.withdraw(visitor, now)  # still in line only when an interrupt broke off the wait
            lingered_s = 0.0 if slot is None else min(slot.lingered_s, max(0.0, now - slot.since))
            span = StageSpan(
                self.name,
                visitor.recording,
                None if slot is None else slot.index,
                visitor.waited_s + lingered_s,
                visitor.paused_s,
                None if slot is None else max(0.0, now - slot.since - lingered_s),
                outcome,
                PARTIAL if slot is not None and slot.partial and outcome == "ok" else cause,
                start_wall,
                visitor.audio_s,
            )
            retired = self._gate.leave(visitor, now)
            self._stats.count(span, retry=isinstance(error, EngineError) and error.retry)
            self._stats.settle()
            if not self._gate.busy:
                self._idle.notify_all()
        if isinstance(error, EngineError):
            error.at(visitor.recording, self.name)
        if self._on_span is not None:
            self._on_span(span)
        if retired is not None:
            self._retire([retired])

    def _retire(self, slots: list[Slot]) -> None:
        if self._on_retire is not None:
            for slot in slots:
                self._on_retire(slot)


class StagePass:
    """One recording's way through one stage, as a context; see :meth:`Stage.enter`."""

    __slots__ = ("_after", "_stage", "_start_wall", "_token", "_visitor")

    def __init__(self, stage: Stage, visitor: Visitor, token: CancelToken, after: Stage | None) -> None:
        self._stage = stage
        self._visitor = visitor
        self._token = token
        self._after = after

    def __enter__(self) -> Slot:
        self._start_wall = self._stage._wall()
        visitor = self._visitor
        try:
            if not self._stage._arrive(visitor):
                self._wait()
            self._token.check()
            if visitor.slot is None:
                raise Cancelled
            visitor.slot.on_wait = self._stage._count_waiting
        except BaseException as error:
            self._stage._leave(visitor, self._start_wall, error)
            raise
        return visitor.slot

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stage._leave(self._visitor, self._start_wall, error)

    def _wait(self) -> None:
        after, visitor = self._after, self._visitor
        if after is not None:
            after._count_blocked(1)
        try:
            remove = self._token.on_cancel(lambda: self._stage._withdraw(visitor))
            try:
                visitor.await_end()
            finally:
                remove()
        finally:
            if after is not None:
                after._count_blocked(-1)


def _outcome(error: BaseException | None) -> tuple[PassOutcome, str | None]:
    if error is None:
        return "ok", None
    cause = error.cause if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    cancelled = isinstance(error, Cancelled) or not isinstance(error, Exception)
    return "cancelled" if cancelled else "failed", clean_text(cause, 200)

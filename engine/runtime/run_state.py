"""What state the run is in, who brought it there, and whether one recording more may be taken."""

from __future__ import annotations

import threading

from gainstage.engine.errors import Transient
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.views.snapshot import RunState

DISK_MARGIN = 1.05
"""Work held at the disk floor goes on when this many times the floor is free, so that it does not flicker."""

IDLE_S = 0.5
"""Longest wait for news of an empty queue."""

_RANK: dict[RunState, int] = {
    "starting": 0, "running": 1, "paused": 1, "draining": 2, "stopping": 3, "done": 4, "stopped": 4,
}  # fmt: skip


class RunStateMachine:
    """The one place where the run's state changes.

    The engine pauses itself by :meth:`hold` (a full disk, a model that does not load) and goes on by itself when the reason
    is gone; a pause of an operator lasts until an operator resumes.
    """

    def __init__(self, context: EngineContext, in_flight: InFlight) -> None:
        self.context = context
        self.in_flight = in_flight
        self._lock = threading.RLock()
        self._state: RunState = "starting"
        self.since_wall = context.wall()
        self.by: str | None = None
        self.reason: str | None = None
        self._holds: dict[str, str] = {}

    @property
    def current(self) -> RunState:
        return self._state

    @property
    def leaving(self) -> bool:
        """Draining or stopping: nothing new is taken."""
        return _RANK[self._state] >= _RANK["draining"]

    def enter(self, state: RunState, *, by: str | None = None, reason: str | None = None) -> bool:
        """Go to a state; False for an engine on its way out, which never turns back."""
        with self._lock:
            if _RANK[self._state] >= _RANK["draining"] and _RANK[state] < _RANK[self._state]:
                return False
            if (state, by, reason) == (self._state, self.by, self.reason):
                return True
            quiet = state == self._state == "running"  # only whether there is work
            self._state, self.by, self.reason, self.since_wall = state, by, reason, self.context.wall()
        text = f"{state}{f' by {by}' if by else ''}{f': {reason}' if reason else ''}"
        self.context.journal.log("debug" if quiet else "info", text, kind="state", state=state)
        self.in_flight.wake()
        return True

    # -- what operators ask -----------------------------------------------------------------------------------------

    def pause(self, by: str, reason: str | None = None) -> bool:
        """Take nothing new until an operator resumes; False when the engine is leaving."""
        with self._lock:
            self._holds.clear()
            return self.enter("paused", by=by, reason=reason)

    def resume(self, by: str) -> bool:
        """Take recordings again; False when the engine is leaving."""
        with self._lock:
            self._holds.clear()  # what still holds is found again
            return self.enter("running")

    def drain(self, by: str) -> None:
        """Finish what is in flight, take nothing new, end. A paused stage would never let its recordings out, so all run."""
        if self.enter("draining", by=by):
            for stage in self.context.stages.values():
                stage.resume()

    def stop(self, by: str) -> None:
        """Put what is in flight back into the queue and end."""
        if self.enter("stopping", by=by):
            for flight in self.in_flight.flights():
                flight.end("release", f"stopped by {by}")
            self.context.token.cancel(f"stopped by {by}")
            self.in_flight.wake()
        elif self._state == "done":  # it may still be building an index
            self.context.token.cancel(f"stopped by {by}")

    # -- what holds the engine --------------------------------------------------------------------------------------

    def hold(self, what: str, reason: str) -> None:
        """Take nothing new until :meth:`lift` says that ``what`` is over."""
        with self._lock:
            if what in self._holds:
                return
            self._holds[what] = reason
            if self._state in ("starting", "running"):
                self.enter("paused", by="engine", reason=reason)

    def lift(self, what: str) -> None:
        """``what`` is over: go on, unless something else or an operator holds the engine."""
        with self._lock:
            if self._holds.pop(what, None) is None or self._state != "paused" or self.by != "engine":
                return
            if self._holds:
                self.enter("paused", by="engine", reason=next(iter(self._holds.values())))
            else:
                self.enter("running")

    # -- taking recordings ------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """The models are loaded: recordings may be taken."""
        with self._lock:
            if self._state == "starting":
                self.enter("running")

    def may_take(self) -> bool:
        """Whether one recording more may be claimed now."""
        if self._state == "paused" and "disk" in self._holds:
            self._room_on_disk()
        if self._state != "running" or len(self.in_flight) >= self.context.settings.in_flight:
            return False
        return self._room_on_disk()

    def _room_on_disk(self) -> bool:
        floor = self.context.settings.fetch.disk_floor
        try:
            self.context.work.check_floor(int(floor * DISK_MARGIN) if "disk" in self._holds else floor)
        except Transient as error:
            self.hold("disk", error.message)
            return False
        except OSError as error:
            self.hold("disk", f"the work folder cannot be used: {error.strerror or error}")
            return False
        self.lift("disk")
        return True

    def busy(self) -> None:
        """A recording has been taken: the reason of an idle engine no longer holds."""
        with self._lock:
            if self._state == "running" and self.reason is not None:
                self.enter("running")

    def idle(self) -> bool:
        """The queue is empty now: wait for news of it, or a moment. True when an engine that runs until the queue is empty is done."""
        if not len(self.in_flight):
            counts = self.context.queue.counts()
            if counts.queued + counts.running == 0:
                if self.context.until_empty:
                    return self.enter("done", reason="the queue is empty")
                self._running_without_work("the queue is empty")
            elif counts.retrying:
                self._running_without_work(f"{counts.retrying} wait for their next try")
        self.in_flight.wait_for_jobs(IDLE_S)
        return False

    def _running_without_work(self, reason: str) -> None:
        with self._lock:
            if self._state == "running":
                self.enter("running", reason=reason)

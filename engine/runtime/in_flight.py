"""The recordings in flight in one engine, and the waits of those who look for room or for the end of a flight."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gainstage.engine.flow.stage import StageSpan
from gainstage.engine.runtime.flight import Flight

LEAVE_S = 30.0
"""Longest wait for an attempt whose claim was lost, when the same recording comes back to this engine."""

LOOK_EVERY_S = 0.25
"""Longest wait for room: what may have changed without a wake-up is looked at this often."""


class InFlight:
    """At most one flight per recording. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._room = threading.Condition()
        self._jobs = threading.Event()
        self._changes = 0  # wake-ups and flights that left, so that none is missed between a look and a wait

    def __len__(self) -> int:
        return len(self._flights)

    def flights(self) -> list[Flight]:
        """Those in flight now, in the order of their claims."""
        with self._room:
            return list(self._flights.values())

    def add(self, flight: Flight) -> bool:
        """Take a flight in. An earlier flight of the same recording is ended and waited for; False when it does not leave."""
        id = flight.recording.id
        with self._room:
            if (before := self._flights.get(id)) is not None:  # taken from us while frozen, and now come back to us
                before.end("lost", "taken over by another engine")
                self._room.wait_for(lambda: id not in self._flights, LEAVE_S)
            return self._flights.setdefault(id, flight) is flight

    def remove(self, flight: Flight) -> None:
        with self._room:
            self._flights.pop(flight.recording.id, None)
            self._changes += 1
            self._room.notify_all()

    def add_span(self, span: StageSpan) -> None:
        """Add a pass to the record of its flight; nothing happens when the flight has left."""
        with self._room:
            flight = self._flights.get(span.recording)
        if flight is not None:
            flight.spans.append(span)

    # -- waiting ----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """End the waits for room and for jobs now, so that their threads look again."""
        self._jobs.set()
        with self._room:
            self._changes += 1
            self._room.notify_all()

    def wait_for_room(self, may_take: Callable[[], bool]) -> None:
        """Wait until something may have changed: a flight that left, a command, a setting, or :data:`LOOK_EVERY_S`.

        ``may_take`` is called without the lock: it may change the state of the run, and whoever changes that wakes this wait.
        """
        with self._room:
            seen = self._changes
        if may_take():
            return
        with self._room:
            if self._changes == seen:
                self._room.wait(LOOK_EVERY_S)

    def wait_for_jobs(self, timeout_s: float) -> None:
        """Wait for news of the queue, or ``timeout_s`` seconds."""
        self._jobs.wait(timeout_s)
        self._jobs.clear()

    def wait_empty(self, timeout_s: float = 60.0) -> bool:
        """Wait for every flight to leave; True when all have."""
        with self._room:
            return self._room.wait_for(lambda: not self._flights, timeout_s)

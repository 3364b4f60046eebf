"""The rules of a gate: who gets which slot, and when. Plain state without threads; its stage calls it under one lock.

Every method takes the time ``now`` and serves whoever can be served before it returns, so between two calls nobody waits
in front of a slot that may be given.
"""

from __future__ import annotations

import threading
from bisect import insort
from heapq import heapify, heappop, heappush
from operator import attrgetter

from gainstage.engine.flow.slot import Slot

_RANK = attrgetter("rank")


class Visitor:
    """A recording at the gate: waiting, or holding ``slot``."""

    __slots__ = ("_bell", "audio_s", "entered", "paused_before", "paused_s", "rank", "recording", "slot", "waited_s", "waiting")

    def __init__(self, recording: str, priority: int = 0, age: float = 0.0, audio_s: float | None = None) -> None:
        self.recording = recording
        self.audio_s = audio_s
        self.rank = (-priority, age, 0)  # served in this order; the last number is that of arrival
        self.entered = 0.0
        self.waited_s = 0.0  # without paused_s
        self.paused_s = 0.0  # of the wait, the part in which the gate was paused
        self.paused_before = 0.0
        self.waiting = False
        self.slot: Slot | None = None

    def line_up(self) -> None:
        """Begin to wait: :meth:`await_end` blocks from now on."""
        self.waiting = True
        self._bell = threading.Lock()  # a lock as a one-shot signal: held while waiting
        self._bell.acquire()

    def step_out(self) -> None:
        """End the wait, served or not."""
        self.waiting = False
        self._bell.release()

    def await_end(self) -> None:
        """Block until the wait has ended."""
        self._bell.acquire()


class Gate:
    """Slots, waiters and pauses.

    Slots are numbered 0 .. capacity - 1 and the lowest free one is given. After shrinking nobody is served until fewer than
    the new capacity are busy, and slots above it retire as they come free.
    """

    def __init__(self, capacity: int, now: float) -> None:
        self.capacity = _checked(capacity)
        self.slots = {index: Slot(index, now) for index in range(capacity)}
        self.waiters: list[Visitor] = []  # in the order they will be served
        self.pausers: set[str] = set()
        self.busy = 0
        self.blocked = 0  # recordings that passed here and wait at their next gate
        self.lingering = 0  # of the busy slots: those that wait for company, see Slot.waiting
        self.held_up = 0  # those that wait for a host, a database, an operator
        self._free = list(range(capacity))  # a heap of idle indexes, all below the capacity
        self._arrivals = 0
        self._pause_began = 0.0
        self._pause_sum = 0.0

    def arrive(self, visitor: Visitor, now: float) -> bool:
        """Take a slot, or a place in the line; True when served."""
        visitor.entered = now
        if self._open():
            self._grant(visitor, now)
            return True
        self._arrivals += 1
        visitor.rank = (*visitor.rank[:2], self._arrivals)
        visitor.paused_before = self._paused_so_far(now)
        visitor.line_up()
        insort(self.waiters, visitor, key=_RANK)
        return False

    def withdraw(self, visitor: Visitor, now: float) -> None:
        """Leave the line; nothing happens when the wait has ended already."""
        if visitor.waiting:
            self.waiters.remove(visitor)
            self._end_wait(visitor, now)

    def leave(self, visitor: Visitor, now: float) -> Slot | None:
        """Free the visitor's slot; returns the slot that retires by it, if any."""
        slot = visitor.slot
        if slot is None:
            return None
        self.busy -= 1
        slot.free(now)
        retired = None
        if slot.index >= self.capacity:
            retired = self.slots.pop(slot.index)
        else:
            if slot.renew:
                self.slots[slot.index] = Slot(slot.index, now)
                retired = slot
            heappush(self._free, slot.index)
        self._serve(now)
        return retired

    def resize(self, capacity: int, now: float) -> list[Slot]:
        """Change the number of slots; returns those that retire at once."""
        self.capacity = _checked(capacity)
        for index in range(capacity):
            if index not in self.slots:
                self.slots[index] = Slot(index, now)
        retired = [s for s in self.slots.values() if s.recording is None and s.index >= capacity]
        for slot in retired:
            del self.slots[slot.index]
        self._free = [s.index for s in self.slots.values() if s.recording is None]
        heapify(self._free)
        self._serve(now)
        return retired

    def pause(self, by: str, now: float) -> None:
        if not self.pausers:
            self._pause_began = now
        self.pausers.add(by)

    def resume(self, by: str, now: float) -> None:
        if by in self.pausers:
            self.pausers.remove(by)
            if not self.pausers:
                self._pause_sum += now - self._pause_began
            self._serve(now)

    def renew(self, now: float) -> list[Slot]:
        """Replace every slot by a fresh one, those in use when they come free; returns those that retire at once."""
        retired = [s for s in self.slots.values() if s.recording is None and s.state]
        for slot in retired:
            self.slots[slot.index] = Slot(slot.index, now)
        for slot in self.slots.values():
            slot.renew = slot.recording is not None
        return retired

    def reorder(self, recording: str, priority: int) -> bool:
        """Change the priority of a waiting recording; False when it does not wait here."""
        moved = [v for v in self.waiters if v.recording == recording]
        for visitor in moved:
            self.waiters.remove(visitor)
            visitor.rank = (-priority, *visitor.rank[1:])
            insort(self.waiters, visitor, key=_RANK)
        return bool(moved)

    def paused_of(self, waiter: Visitor, now: float) -> float:
        """Seconds of a wait so far in which the gate was paused."""
        return self._paused_so_far(now) - waiter.paused_before

    def oldest_wait_s(self, now: float) -> float | None:
        """Longest wait at this moment, without pauses; None when nobody waits."""
        return max((now - v.entered - self.paused_of(v, now) for v in self.waiters), default=None)

    def rates(self) -> tuple[int, int, int, int, int]:
        """(all, at work, starved, blocked, paused) slots now; a free slot held back by a retiring one is none of them, nor is one in
        which a recording waits for others.
        """
        idle = len(self.slots) - self.busy
        at_work = self.busy - self.held_up - (self.lingering if self.pausers or not self.waiters else 0)
        starved = blocked = paused = 0
        if self.pausers:
            paused = len(self.slots) - at_work
        elif idle and not self.waiters:
            blocked = min(idle, self.blocked)
            starved = idle - blocked
        return idle + self.busy, at_work, starved, blocked, paused

    def _open(self) -> bool:
        return self.busy < self.capacity and not self.pausers

    def _serve(self, now: float) -> None:
        while self.waiters and self._open():
            waiter = self.waiters.pop(0)
            self._grant(waiter, now)
            self._end_wait(waiter, now)

    def _grant(self, visitor: Visitor, now: float) -> None:
        slot = self.slots[heappop(self._free)]
        slot.take(visitor.recording, visitor.audio_s, now)
        self.busy += 1
        visitor.slot = slot

    def _end_wait(self, visitor: Visitor, now: float) -> None:
        visitor.paused_s = self.paused_of(visitor, now)
        visitor.waited_s = max(0.0, now - visitor.entered - visitor.paused_s)
        visitor.step_out()

    def _paused_so_far(self, now: float) -> float:
        return self._pause_sum + (now - self._pause_began if self.pausers else 0.0)


def _checked(capacity: int) -> int:
    if capacity < 1:
        raise ValueError(f"a stage needs at least one slot, not {capacity}; pause it to stop it")
    return capacity

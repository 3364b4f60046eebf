"""Items waiting for a batch, and the rules of what goes next. Plain state without threads; its batcher calls it under one lock."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gainstage.engine.views.passes import Why

T = TypeVar("T")
R = TypeVar("R")


class Submission(Generic[R]):
    """A list of items somebody waits for."""

    __slots__ = ("_begun", "begins", "left", "open", "results", "running", "wake")

    def __init__(self, n: int) -> None:
        self.results: list[Any] = [None] * n
        self.left = n
        self.begins = threading.Lock()  # a one-shot signal: held until a call is under way, of these items or of others
        self.begins.acquire()
        self._begun = False
        self.open = True  # somebody still wants the results
        self.running = 0.0  # weight of its items in calls now
        self.wake = threading.Lock()  # a one-shot signal: held while waiting
        self.wake.acquire()

    def begin(self) -> None:
        """The model works: what is waited for from now on is its answer. Nothing happens the second time."""
        if not self._begun:
            self._begun = True
            self.begins.release()

    def close(self) -> None:
        """End the wait; nothing happens the second time."""
        self.begin()
        if self.open:
            self.open = False
            self.wake.release()


@dataclass(slots=True, eq=False)
class PendingItem(Generic[T]):
    """An item on its way through a batcher. ``order`` counts arrivals; ``near`` puts similar items together; a higher ``priority``
    goes first."""

    item: T
    index: int  # its place in the list it was submitted in
    owner: Any
    cost: float
    near: float
    length: float  # 0 where nothing is padded
    order: int = 0
    arrived: float = 0.0
    priority: int = 0
    weight: float = 0.0  # against what its owner may have in calls at once

    @property
    def rank(self) -> tuple[int, int]:
        """Who goes first: the higher priority, then the earlier arrival."""
        return -self.priority, self.order


@dataclass(slots=True, eq=False)
class _Group(Generic[T]):
    """Items that may share a call, by priority, then in order of arrival."""

    entries: list[PendingItem[T]] = field(default_factory=list)
    cost: float = 0.0

    @property
    def arrived(self) -> float:
        """When the longest waiting item came."""
        return min(e.arrived for e in self.entries)


class PendingItems(Generic[T]):
    """Waiting items by group: only items of one group share a batch. ``most_running`` bounds the weight of an owner's items in
    calls at once; an owner with none in a call may always have one.
    """

    def __init__(self, *, sorts: bool, most_running: float | None = None) -> None:
        self._sorts = sorts
        self.most_running = most_running
        self._groups: dict[Hashable, _Group[T]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, entry: PendingItem[T], key: Hashable) -> None:
        group = self._groups.setdefault(key, _Group())
        insort(group.entries, entry, key=lambda e: e.rank)
        group.cost += entry.cost
        self._size += 1

    def withdraw(self, owner: object) -> int:
        """Take out every item of an owner; how many there were."""
        before = self._size
        for key in list(self._groups):
            self._keep(key, [e for e in self._groups[key].entries if e.owner is not owner])
        return before - self._size

    def oldest_wait_s(self, now: float) -> float | None:
        """How long the oldest of the groups that may go has waited."""
        return max((now - g.arrived for g in self._groups.values() if any(self._allowed(g.entries))), default=None)

    def due(
        self, now: float, *, budget: float, linger_s: float, max_items: int | None, everybody_waits: bool
    ) -> tuple[Hashable, Why] | None:
        """The group to serve now and why; None when it is better to wait for more. Of several, the one with the first item by
        priority and arrival."""
        choice: tuple[Hashable, Why] | None = None
        best = (0, 0)
        for key, group in self._groups.items():
            first = next(iter(self._allowed(group.entries)), None)
            if first is None:
                continue
            if choice is not None and first.rank > best:
                continue
            why: Why
            if group.cost >= budget or (max_items is not None and len(group.entries) >= max_items):
                why = "full"
            elif now - group.arrived >= linger_s:
                why = "age"
            elif everybody_waits:
                why = "everybody waits"
            else:
                continue
            choice, best = (key, why), first.rank
        return choice

    def take(self, key: Hashable, *, budget: float, max_items: int | None) -> list[PendingItem[T]]:
        """A batch around the first item of a group: as much as the budget allows, at least that item.

        By priority and arrival, or with sorting the neighbours in size that are nearest to it.
        """
        entries = self._groups[key].entries
        allowed = list(self._allowed(entries))
        batch = self._nearest(allowed, budget, max_items) if self._sorts else self._first(allowed, budget, max_items)
        taken = {e.order for e in batch}
        self._keep(key, [e for e in entries if e.order not in taken])
        return batch

    def _allowed(self, entries: list[PendingItem[T]]) -> Iterator[PendingItem[T]]:
        """The entries, in order, that may go into one call beside what their owners have in calls."""
        if self.most_running is None:
            yield from entries
            return
        running: dict[Any, float] = {}
        for entry in entries:
            before = running.get(entry.owner, entry.owner.running)
            if before == 0 or before + entry.weight <= self.most_running:
                running[entry.owner] = before + entry.weight
                yield entry

    def _keep(self, key: Hashable, entries: list[PendingItem[T]]) -> None:
        self._size += len(entries) - len(self._groups[key].entries)
        if entries:
            self._groups[key] = _Group(entries, sum(e.cost for e in entries))
        else:
            del self._groups[key]

    @staticmethod
    def _first(entries: list[PendingItem[T]], budget: float, max_items: int | None) -> list[PendingItem[T]]:
        cost, n = entries[0].cost, 1
        while n < len(entries) and n != max_items and cost + entries[n].cost <= budget:
            cost += entries[n].cost
            n += 1
        return entries[:n]

    @staticmethod
    def _nearest(entries: list[PendingItem[T]], budget: float, max_items: int | None) -> list[PendingItem[T]]:
        ranked = sorted(entries, key=lambda e: (e.near, e.order))
        oldest = entries[0]
        low = bisect_left(ranked, (oldest.near, oldest.order), key=lambda e: (e.near, e.order))
        high, cost = low + 1, oldest.cost
        while high - low != max_items:
            below = ranked[low - 1] if low > 0 else None
            above = ranked[high] if high < len(ranked) else None
            if below is not None and (above is None or oldest.near - below.near <= above.near - oldest.near):
                nearer = below
            elif above is not None:
                nearer = above
            else:
                break
            if cost + nearer.cost > budget:
                break
            cost += nearer.cost
            low, high = (low - 1, high) if nearer is below else (low, high + 1)
        return ranked[low:high]

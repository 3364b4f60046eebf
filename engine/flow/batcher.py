"""Items of every recording in flight, grouped into one model call under a cost budget; results come back in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured, OutOfMemory, Permanent, Transient
from gainstage.engine.flow.adaptive_budget import AdaptiveBudget
from gainstage.engine.flow.batch_stats import BatchStats
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.pending import PendingItem, PendingItems, Submission
from gainstage.engine.views.passes import BatchRecord, Why
from gainstage.engine.views.snapshot import BatcherView

__all__ = ["BatchRecord", "Batcher"]

T = TypeVar("T")
R = TypeVar("R")

HELD_POLL_S = 0.1
"""Longest time between the end of a hold and the next call."""

CLOSE_S = 60.0
"""Longest wait for the calls under way when a batcher is closed; its threads end with the process."""


class Device(Protocol):
    """Where calls run that share its memory, see :class:`gainstage.engine.models.device_calls.DeviceCalls`, which this room does not know."""

    def beside(self) -> AbstractContextManager[None]: ...
    def alone(self) -> AbstractContextManager[None]: ...


class Batcher(Generic[T, R]):
    """``run`` gets a list of items and returns as many results, in order; an exception in place of a result refuses that item.

    * ``cost(item)`` in ``unit`` counts against ``budget``; an item above the budget goes alone. ``max_items`` bounds a call.
    * ``key(item)``: only items of equal key share a call. ``sort(item)``: items of similar size are put together.
    * A batch goes when its budget is full, its oldest item has waited ``linger_s``, or everybody waits: ``producers()`` says
      how many threads could submit now, and as many do. It is called under the lock and must not call back.
    * Out of memory (:class:`OutOfMemory`, ``MemoryError``, or what ``is_oom`` says is): ``on_oom()`` may free caches, the same
      items are tried in halves, later batches stay that small and grow again step by step. A single item that does not fit
      is tried once more with no other call on the ``device``, where one is named, and gets an :class:`OutOfMemory`.
    * Any other error in a batch of several: halves, until only the guilty item fails; :class:`Misconfigured` is nobody's
      guilt and fails all.
    * While ``held()``, no call begins.
    * ``weight(item)``: the items of one submission in calls at once weigh at most ``most_running`` together, or are one item.
    * ``padded(item)``: an item's length, where a call pads its items to the longest; for the padding figure only.

    Calls run on ``runners`` threads of its own, which end with :meth:`close`.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[list[T]], Sequence[R | Exception]],
        *,
        cost: Callable[[T], float],
        budget: float,
        linger_s: float,
        key: Callable[[T], Hashable] | None = None,
        sort: Callable[[T], float] | None = None,
        max_items: int | None = None,
        unit: str = "items",
        producers: Callable[[], int] | None = None,
        padded: Callable[[T], float] | None = None,
        weight: Callable[[T], float] | None = None,
        most_running: float | None = None,
        is_oom: Callable[[BaseException], bool] | None = None,
        on_oom: Callable[[], object] | None = None,
        device: Device | None = None,
        on_batch: Callable[[BatchRecord], object] | None = None,
        held: Callable[[], bool] = lambda: False,
        runners: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.unit = unit
        self._call = run
        self._cost = cost
        self._key = key
        self._sort = sort
        self._max_items = max_items
        self._producers = producers
        self._padded = padded
        self._weight = weight
        self._is_oom = is_oom
        self._on_oom = on_oom
        self._device = device
        self._on_batch = on_batch
        self._held = held
        self._clock = clock
        self._wall = wall
        self._linger_s = _not_negative(linger_s)
        self._adaptive = AdaptiveBudget(budget)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._pending: PendingItems[T] = PendingItems(sorts=sort is not None, most_running=most_running)
        self._open: set[Submission[R]] = set()
        self._arrivals = 0
        self._calls = 0  # batches under way
        self._end: EngineError | None = None  # why nothing is taken any more
        self._stats = BatchStats(clock())
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-batcher-{n + 1}" if runners > 1 else f"{name}-batcher", daemon=True)
            for n in range(runners)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        items: Sequence[T],
        *,
        token: CancelToken,
        priority: int = 0,
        waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> list[R | Exception]:
        """Block until every item has its result, or the exception that is its lot; in the order of ``items``.

        Items of a higher ``priority`` go before all that wait, equal ones in order of arrival. ``waiting`` is entered for the time in
        which nothing is called: a batch fills.

        Raises :class:`Cancelled` as soon as the token is cancelled or the batcher closed; what still waited is not run.
        """
        token.check()
        if not items:
            return []
        submission: Submission[R] = Submission(len(items))
        entries = [self._entry(item, index, submission, priority) for index, item in enumerate(items)]
        keys = [self._key(item) for item in items] if self._key else [None] * len(items)
        with self._lock:
            self._refuse_when_ended()
            now = self._clock()
            self._open.add(submission)
            if self._calls:
                submission.begin()
            for entry, key in zip(entries, keys, strict=True):
                self._arrivals += 1
                entry.order, entry.arrived = self._arrivals, now
                self._pending.add(entry, key)
            self._changed.notify()
        try:
            remove = token.on_cancel(lambda: self._withdraw(submission))
            try:
                with waiting():
                    submission.begins.acquire()
                submission.wake.acquire()
            finally:
                remove()
        finally:
            self._withdraw(submission)
        if submission.left:
            token.check()
            with self._lock:
                self._refuse_when_ended()
        return submission.results

    def resize(self, *, budget: float | None = None, linger_s: float | None = None) -> None:
        """Change the limits from the next batch on; a new budget is tried in full even after out of memory."""
        with self._lock:
            if linger_s is not None:
                self._linger_s = _not_negative(linger_s)
            if budget is not None and budget != self._adaptive.setting:
                self._adaptive.reset(budget)
            self._changed.notify_all()

    def limit_running(self, most: float | None) -> None:
        """Change ``most_running`` from the next batch on; None is no limit."""
        with self._lock:
            self._pending.most_running = most
            self._changed.notify_all()

    def wake(self) -> None:
        """``producers()`` may have changed: look again."""
        with self._lock:
            self._changed.notify()

    def close(self, reason: str = "batcher closed") -> None:
        """End the threads after the calls under way; whoever still waits gets :class:`Cancelled`. Safe to call twice.

        A call that hangs in a driver for :data:`CLOSE_S` is left behind.
        """
        self._shut(Cancelled(reason))
        end = time.monotonic() + CLOSE_S
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def __enter__(self) -> Batcher[T, R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def view(self) -> BatcherView:
        """The batcher as the snapshot shows it: counts of the whole run, fill, padding and times of the last ten minutes.

        ``batches`` and ``items`` are calls that gave results and items that got one; ``refused`` items got an exception.
        Cache hits and fallbacks belong to the owner, who fills them in.
        """
        with self._lock:
            return self._stats.view(self.name, self.unit, self._adaptive.now, len(self._pending), self._clock())

    # -- the runner's side ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._run(*batch)
        except BaseException as error:
            text = clean_text(f"the {self.name} batcher broke: {type(error).__name__}: {error}", 300)
            self._shut(Transient(text, cause="batcher broke", hint="A fault of gainstage; restart the engine."))
            raise

    def _next(self) -> tuple[list[PendingItem[T]], Why] | None:
        """Wait for a batch that is due; None when closed."""
        with self._lock:
            while self._end is None:
                if self._held():
                    self._changed.wait(HELD_POLL_S)
                    continue
                now = self._clock()
                budget = self._adaptive.now
                due = self._pending.due(
                    now,
                    budget=budget,
                    linger_s=self._linger_s,
                    max_items=self._max_items,
                    everybody_waits=self._producers is not None and len(self._open) >= self._producers(),
                )
                if due is not None:
                    key, why = due
                    batch = self._pending.take(key, budget=budget, max_items=self._max_items)
                    self._stats.waited([now - e.arrived for e in batch])
                    for entry in batch:
                        entry.owner.running += entry.weight
                    self._calls += 1
                    for submission in self._open:
                        submission.begin()
                    if len(self._pending):
                        self._changed.notify()  # another runner may have something to do as well
                    return batch, why
                oldest = self._pending.oldest_wait_s(now)
                self._changed.wait(None if oldest is None else max(0.0, self._linger_s - oldest))
            return None

    def _run(self, batch: list[PendingItem[T]], why: Why) -> None:
        """Call until every item of the batch has a result or an exception."""
        parts = [batch]
        alone = False  # the next part is a single item that did not fit beside other calls
        while parts:
            part = [e for e in parts.pop() if e.owner.open]
            if not part:
                alone = False
                continue
            done = self._attempt(part, why, alone)
            alone = not done and len(part) == 1
            if not done:
                half = (len(part) + 1) // 2
                parts += [part] if alone else [part[half:], part[:half]]
                why = "retry"
        with self._lock:
            self._calls -= 1
            for entry in batch:  # what had to wait for these may go: this thread looks next, and wakes another for what it leaves
                entry.owner.running -= entry.weight

    def _attempt(self, part: list[PendingItem[T]], why: Why, alone: bool) -> bool:
        """One call; whether its items are done. Nothing of a failed call is held on to: its traceback would keep its memory from the
        next one."""
        began, start_wall = self._clock(), self._wall()
        failure: Exception | None = None
        results: Sequence[R | Exception] = ()
        room = nullcontext() if self._device is None else self._device.alone() if alone else self._device.beside()
        try:
            with room:
                results = self._call([e.item for e in part])
            if len(results) != len(part):
                raise Permanent(f"{self.name}: {len(results)} results for {len(part)} items", cause="wrong number of results")
        except Exception as error:  # becomes the lot of the guilty item, which its recording raises
            failure = error
        out_of_memory = failure is not None and self._ran_out(failure)
        again = out_of_memory and not alone and self._device is not None  # a single one too, then with the device to itself
        nobodys = isinstance(failure, Misconfigured | Cancelled) and not out_of_memory
        final = failure is None or nobodys or (len(part) == 1 and not again)
        record = self._record(part, why, failure, out_of_memory, began, start_wall)
        if self._on_batch is not None:
            self._on_batch(record)
        if failure is not None:
            results = [self._too_large(part, failure) if out_of_memory else failure] * len(part) if final else ()
        failure = None
        if out_of_memory and self._on_oom is not None:
            self._on_oom()
        self._settle(part, record, results)
        return final

    def _record(
        self, part: list[PendingItem[T]], why: Why, failure: Exception | None, out_of_memory: bool, began: float, start_wall: float
    ) -> BatchRecord:
        cells = _cells(part)
        return BatchRecord(
            batcher=self.name,
            items=len(part),
            cost=sum(e.cost for e in part),
            budget=self._adaptive.now,
            unit=self.unit,
            why=why,
            waited_s=max(0.0, began - min(e.arrived for e in part)),
            service_s=max(0.0, self._clock() - began),
            outcome="ok" if failure is None else "out of memory" if out_of_memory else "failed",
            cause=None if failure is None else _cause(failure),
            padding=1.0 - sum(e.length for e in part) / cells if cells > 0 else None,
            start_wall=start_wall,
        )

    def _settle(self, part: list[PendingItem[T]], record: BatchRecord, results: Sequence[R | Exception]) -> None:
        """Count a call and hand out what it gave; no results when its items are tried again."""
        good = sum(not isinstance(r, Exception) for r in results)
        with self._lock:
            if record.outcome == "ok":
                self._adaptive.fitted(record.cost)
            elif record.outcome == "out of memory":
                self._adaptive.ran_out(record.cost, record.items)
            self._stats.call(record, good, _cells(part))
            self._stats.refused += len(results) - good
            for entry, result in zip(part, results, strict=False):
                self._deliver(entry, result)

    def _deliver(self, entry: PendingItem[T], result: R | Exception) -> None:
        submission = cast("Submission[R]", entry.owner)
        submission.results[entry.index] = result
        submission.left -= 1
        if submission.left == 0:
            self._open.discard(submission)
            submission.close()

    def _ran_out(self, error: Exception) -> bool:
        return isinstance(error, OutOfMemory | MemoryError) or (self._is_oom is not None and self._is_oom(error))

    def _too_large(self, part: list[PendingItem[T]], error: Exception) -> OutOfMemory:
        """The lot of a single item; made anew, because the first error's traceback keeps the memory of its call alive."""
        return OutOfMemory(
            f"{self.name}: one item of {part[0].cost:g} {self.unit} does not fit into memory: {clean_text(str(error), 200)}",
            cause="out of memory",
            hint="Free memory of the device, or run fewer workers.",
        )

    # -- both sides -------------------------------------------------------------------------------------------------

    def _withdraw(self, submission: Submission[R]) -> None:
        """Nobody waits for it any more: what has not been started is not run."""
        with self._lock:
            if submission in self._open:
                self._open.discard(submission)
                self._pending.withdraw(submission)
                submission.close()
                self._changed.notify()  # whoever is left may now be everybody

    def _shut(self, end: EngineError) -> None:
        with self._lock:
            self._end = self._end or end
            for submission in list(self._open):
                self._pending.withdraw(submission)
                submission.close()
            self._open.clear()
            self._changed.notify_all()

    def _refuse_when_ended(self) -> None:
        if self._end is not None:
            raise type(self._end)(self._end.message, cause=self._end.cause, hint=self._end.hint)

    def _entry(self, item: T, index: int, owner: Submission[R], priority: int) -> PendingItem[T]:
        cost = self._cost(item)
        if not cost >= 0:
            raise ValueError(f"{self.name}: an item cannot cost {cost} {self.unit}")
        near = self._sort(item) if self._sort else 0.0
        length, weight = self._padded(item) if self._padded else 0.0, self._weight(item) if self._weight else 0.0
        return PendingItem(item, index, owner, cost, near, length, priority=priority, weight=weight)


def _cells(part: list[PendingItem[Any]]) -> float:
    """Size of a call whose items are padded to the longest."""
    return len(part) * max(e.length for e in part)


def _cause(error: Exception) -> str:
    return clean_text(error.cause if isinstance(error, EngineError) else f"{type(error).__name__}: {error}", 200)


def _not_negative(linger_s: float) -> float:
    if not linger_s >= 0:
        raise ValueError(f"a batch cannot linger for {linger_s} s")
    return linger_s

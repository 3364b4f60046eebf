"""Counters and log-bucket histograms that many short threads write and one sampler reads.

Each thread writes to a shard of its own, so an event costs no lock; a read adds the shards up. The shards of dead threads are
folded into one, so a thread per recording leaves nothing behind.

Quantiles have a relative error of at most :data:`RELATIVE_ERROR`: value v lies in bucket ``ceil(log(v) / log(g))`` with
``g = (1 + e) / (1 - e)``, and a bucket answers with the middle that is within e of both its ends (as in DDSketch, Masson et
al., VLDB 2019).
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from copy import copy
from math import ceil, inf, log
from typing import Generic, Protocol, Self, TypeVar

RELATIVE_ERROR = 0.02
"""Largest error of a quantile, relative to it."""

RECENT_S = 600.0
RECENT_ENOUGH = 20
"""Recent figures are shown once the last :data:`RECENT_S` seconds hold this many values; before that, those of the whole life."""

_GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1 / log(_GROWTH)
_MIDDLE = 2 / (_GROWTH + 1)
_TINY = 1e-9
_ZERO = -(2**31)  # the bucket of what is below _TINY, before every other


class Buckets:
    """A histogram for one thread: counts by logarithmic bucket, and the sum of the values.

    May be read while its thread writes (a read is at most a few values behind); ``a - b`` is what came since ``b``.
    """

    __slots__ = ("counts", "total")

    def __init__(self, counts: dict[int, int] | None = None, total: float = 0.0) -> None:
        self.counts = {} if counts is None else counts
        self.total = total

    def record(self, value: float) -> None:
        """Count a value of 0 or more. Raises ``ValueError`` for a negative, infinite or undefined one."""
        if not 0.0 <= value < inf:
            raise ValueError(f"cannot record {value}")
        bucket = ceil(log(value) * _PER_LOG) if value > _TINY else _ZERO
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts.copy().values())

    def quantile(self, q: float) -> float | None:
        """The value of rank ``floor(q (n - 1))`` within 2 %; None when nothing was recorded."""
        return self.quantiles(q)[0]

    def quantiles(self, *shares: float) -> tuple[float | None, ...]:
        """Several quantiles of one moment."""
        counts = self.counts.copy()
        return tuple(_middle(ranked(counts, q)) for q in shares)

    def add(self, other: Buckets) -> None:
        """Take in the values of another histogram."""
        for bucket, n in other.counts.copy().items():
            self.counts[bucket] = self.counts.get(bucket, 0) + n
        self.total += other.total

    def __copy__(self) -> Buckets:
        return Buckets(self.counts.copy(), self.total)

    def __sub__(self, earlier: Buckets) -> Buckets:
        before = earlier.counts
        counts = {bucket: n - before.get(bucket, 0) for bucket, n in self.counts.copy().items()}
        return Buckets({bucket: n for bucket, n in counts.items() if n > 0}, self.total - earlier.total)


def _middle(bucket: int | None) -> float | None:
    return None if bucket is None else 0.0 if bucket == _ZERO else _MIDDLE * _GROWTH**bucket


def ranked(counts: dict[int, int], q: float) -> int | None:
    """The key of rank ``floor(q (n - 1))`` where each key occurs as often as its count; None when there is none."""
    rank = int(q * (sum(counts.values()) - 1))
    for key in sorted(counts):
        rank -= counts[key]
        if rank < 0:
            return key
    return None


class _Differs(Protocol):
    def __sub__(self, other: Self, /) -> Self: ...


D = TypeVar("D", bound=_Differs)


class Window(Generic[D]):
    """The last ``span_s`` seconds of a sum that only grows, from copies of it taken ``step_s`` apart.

    It covers at least ``span_s`` (or its whole life) and at most one step more, as long as it is read once a step.
    """

    def __init__(self, zero: D, now: float, span_s: float = RECENT_S, step_s: float = 30.0) -> None:
        self.span_s = span_s
        self.step_s = step_s
        self._marks: deque[tuple[float, D]] = deque([(now, zero)])

    def since(self, now: float, total: D) -> tuple[float, D]:
        """(seconds covered, what came in them), given the sum now."""
        marks = self._marks
        if now - marks[-1][0] >= self.step_s:
            marks.append((now, copy(total)))
        while len(marks) > 1 and marks[1][0] <= now - self.span_s:
            marks.popleft()
        begin, before = marks[0]
        return now - begin, total - before


class Recent:
    """A histogram for one thread, or under its owner's lock, that answers for the last ten minutes while they hold enough."""

    __slots__ = ("_fresh", "_held", "_held_at", "_window", "life")

    def __init__(self, now: float) -> None:
        self.life = Buckets()
        self._window = Window(Buckets(), now)
        self._fresh = True
        self._held: tuple[float | None, ...] = ()
        self._held_at = now

    def record(self, value: float) -> None:
        self.life.record(value)
        self._fresh = True

    def median_and_p95(self, now: float) -> tuple[float | None, float | None]:
        """Of :meth:`read`; worked out anew when a value came, and once a second as the window moves on."""
        if self._fresh or now - self._held_at >= 1.0:
            self._held, self._held_at, self._fresh = self.read(now).quantiles(0.5, 0.95), now, False
        return self._held[0], self._held[1]

    def read(self, now: float) -> Buckets:
        """The last ten minutes, or the whole life while those hold fewer than :data:`RECENT_ENOUGH` values."""
        _, recent = self._window.since(now, self.life)
        return recent if recent.count >= RECENT_ENOUGH else self.life


class _Shard:
    """What one thread has counted."""

    __slots__ = ("__weakref__", "counts", "histograms")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.histograms: dict[str, Buckets] = {}

    def add(self, other: _Shard) -> None:
        for name, n in other.counts.copy().items():
            self.counts[name] = self.counts.get(name, 0) + n
        for name, buckets in other.histograms.copy().items():
            self.histograms.setdefault(name, Buckets()).add(buckets)


class _Lease:
    """Lives in a thread's local storage and dies with it: a dead reference says that its shard will not change any more."""

    __slots__ = ("__weakref__",)


class Meters:
    """A family of named counters and histograms. Make one per engine; meters are cheap to look up and to keep."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._shards: list[tuple[weakref.ref[_Lease], _Shard]] = []
        self._folded = _Shard()
        self._fold_at = 32

    def counter(self, name: str) -> Counter:
        return Counter(self, name)

    def histogram(self, name: str) -> Histogram:
        return Histogram(self, name)

    @property
    def shards(self) -> int:
        """Shards of threads that are alive, or died since the last read."""
        return len(self._shards)

    def counts(self) -> dict[str, int]:
        """Every counter's value."""
        return self._sum().counts

    def value(self, name: str) -> int:
        with self._lock:
            self._fold()
            return self._folded.counts.get(name, 0) + sum(shard.counts.get(name, 0) for _, shard in self._shards)

    def buckets(self, name: str) -> Buckets:
        """A histogram's values, added up."""
        total = Buckets()
        with self._lock:
            self._fold()
            for shard in (self._folded, *(shard for _, shard in self._shards)):
                if (buckets := shard.histograms.get(name)) is not None:
                    total.add(buckets)
        return total

    def shard(self) -> _Shard:
        """The calling thread's shard, made when it has none."""
        try:
            shard: _Shard = self._local.shard
        except AttributeError:
            shard, lease = _Shard(), _Lease()
            with self._lock:
                if len(self._shards) >= self._fold_at:
                    self._fold()
                    self._fold_at = 2 * len(self._shards) + 32
                self._shards.append((weakref.ref(lease), shard))
            self._local.lease = lease
            self._local.shard = shard
        return shard

    def _sum(self) -> _Shard:
        total = _Shard()
        with self._lock:
            self._fold()
            total.add(self._folded)
            for _, shard in self._shards:
                total.add(shard)
        return total

    def _fold(self) -> None:
        alive = []
        for lease, shard in self._shards:
            if lease() is None:
                self._folded.add(shard)
            else:
                alive.append((lease, shard))
        self._shards = alive


class Counter:
    """A count that any thread adds to without a lock."""

    __slots__ = ("_meters", "name")

    def __init__(self, meters: Meters, name: str) -> None:
        self._meters = meters
        self.name = name

    def add(self, n: int = 1) -> None:
        counts = self._meters.shard().counts
        counts[self.name] = counts.get(self.name, 0) + n

    @property
    def value(self) -> int:
        return self._meters.value(self.name)


class Histogram:
    """A distribution that any thread records into without a lock; see :class:`Buckets` for its error."""

    __slots__ = ("_meters", "name")

    def __init__(self, meters: Meters, name: str) -> None:
        self._meters = meters
        self.name = name

    def record(self, value: float) -> None:
        """Count a value of 0 or more. Raises ``ValueError`` for a negative, infinite or undefined one."""
        histograms = self._meters.shard().histograms
        buckets = histograms.get(self.name)
        if buckets is None:
            buckets = histograms[self.name] = Buckets()
        buckets.record(value)

    def buckets(self) -> Buckets:
        """Everything recorded so far: read several quantiles of one moment from it."""
        return self._meters.buckets(self.name)

    @property
    def count(self) -> int:
        return self.buckets().count

    @property
    def total(self) -> float:
        """Sum of all values, exact."""
        return self.buckets().total

    def quantile(self, q: float) -> float | None:
        """The value of rank ``floor(q (n - 1))`` within 2 %; None when nothing was recorded."""
        return self.buckets().quantile(q)

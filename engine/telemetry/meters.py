"""Log-bucket histograms, and figures of the last ten minutes.

Quantiles have a relative error of at most :data:`RELATIVE_ERROR`: value v lies in bucket ``ceil(log(v) / log(g))`` with
``g = (1 + e) / (1 - e)``, and a bucket answers with the middle that is within e of both its ends (as in DDSketch, Masson et
al., VLDB 2019).
"""

from __future__ import annotations

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


class RecentWindow(Generic[D]):
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

    __slots__ = ("_computed_at", "_fresh", "_quantiles", "_window", "life")

    def __init__(self, now: float) -> None:
        self.life = Buckets()
        self._window = RecentWindow(Buckets(), now)
        self._fresh = True
        self._quantiles: tuple[float | None, ...] = ()
        self._computed_at = now

    def record(self, value: float) -> None:
        self.life.record(value)
        self._fresh = True

    def median_and_p95(self, now: float) -> tuple[float | None, float | None]:
        """Of :meth:`read`; worked out anew when a value came, and once a second as the window moves on."""
        if self._fresh or now - self._computed_at >= 1.0:
            self._quantiles, self._computed_at, self._fresh = self.read(now).quantiles(0.5, 0.95), now, False
        return self._quantiles[0], self._quantiles[1]

    def read(self, now: float) -> Buckets:
        """The last ten minutes, or the whole life while those hold fewer than :data:`RECENT_ENOUGH` values."""
        _, recent = self._window.since(now, self.life)
        return recent if recent.count >= RECENT_ENOUGH else self.life

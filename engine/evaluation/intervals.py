"""How sure a figure is: bootstrap intervals by recording, and a paired test between two runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

T = TypeVar("T")
K = TypeVar("K")
U = TypeVar("U")
V = TypeVar("V")

RESAMPLES = 1000
LOW, HIGH = 2.5, 97.5
_LEAST = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval; None is unknown: nothing to measure, or one recording alone."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """Errors of so many, in one recording."""

    errors: float
    of: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two runs on the same recordings, second minus first. ``p`` is two-sided, by flipping signs."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Relative:
    """A change as a share of what was before (-0.2 is -20 %), its 95 % interval, and ``p``, two-sided."""

    change: float
    low: float
    high: float
    p: float


def pooled(items: Sequence[Share]) -> float | None:
    """All errors over everything; None of nothing."""
    of = sum(item.of for item in items)
    return sum(item.errors for item in items) / of if of > 0 else None


def figure(items: Sequence[T], measure: Callable[[Sequence[T]], float | None], resamples: int = RESAMPLES) -> Figure:
    """The measure of all items, and its percentiles over items drawn again with replacement (one item is one recording)."""
    value = measure(items)
    if value is None or len(items) < _LEAST:
        return Figure(value)
    rng = np.random.default_rng(0)
    drawn = (measure([items[k] for k in rng.integers(0, len(items), len(items))]) for _ in range(resamples))
    values = [one for one in drawn if one is not None]
    low, high = np.percentile(values, (LOW, HIGH))
    return Figure(value, float(low), float(high))


def paired(first: Mapping[K, Share], second: Mapping[K, Share], resamples: int = RESAMPLES) -> Paired | None:
    """Two runs compared over the recordings both have, each drawn anew as a whole; None with fewer than two of them."""
    names = [name for name in first if name in second]
    of = np.array([second[name].of for name in names])
    if len(names) < _LEAST or of.sum() <= 0:
        return None
    steps = np.array([second[name].errors for name in names]) - _scaled(first, second, names)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(names), (resamples, len(names)))
    low, high = np.percentile(steps[draws].sum(1) / np.maximum(of[draws].sum(1), 1e-9), (LOW, HIGH))
    flips = rng.choice((-1.0, 1.0), (resamples, len(names))) @ steps
    p = (1 + int((np.abs(flips) >= abs(steps.sum()) - 1e-9).sum())) / (1 + resamples)
    return Paired(float(steps.sum() / of.sum()), float(low), float(high), float(p))


def repeated(first: Mapping[tuple[U, V], Share], second: Mapping[tuple[U, V], Share]) -> Relative | None:
    """By how much the second is more, as a share of the first, over pairs named (recording, repetition).

    Repetitions of a recording are no recordings of their own, and a slow minute slows all recordings of its repetition: the variance is
    the two-way cluster-robust one (Cameron, Gelbach and Miller 2011), the interval that of Student's t with the scarcer of the two less
    one. A bootstrap over three repetitions misses the truth in one case of six. None where there is one of either, or nothing in the
    first.
    """
    names = [name for name in first if name in second]
    base = _scaled(first, second, names)
    whole = float(base.sum())
    if whole <= 0:
        return None
    after = np.array([second[name].errors for name in names])
    change = float(after.sum()) / whole - 1
    rest = (after - (1 + change) * base) / whole
    kinds = [list(dict.fromkeys(name[n] for name in names)) for n in (0, 1)]
    found = [
        _clustered(rest, [units.index(name[n]) for name in names], len(units)) for n, units in enumerate(kinds) if len(units) > 1
    ]
    if not found:
        return None
    both = sum(found) - _clustered(rest, list(range(len(names))), len(names)) if len(found) > 1 else 0.0
    error = max(*found, both) ** 0.5
    free = min(len(units) for units in kinds if len(units) > 1) - 1
    half = float(stdtrit(free, HIGH / 100)) * error
    p = 2 * float(stdtr(free, -abs(change) / error)) if error > 0 else float(change == 0)
    return Relative(change, max(-1.0, change - half), change + half, p)


def _clustered(rest: NDArray[np.float64], where: Sequence[int], count: int) -> float:
    """The variance of a sum whose terms go together within each of ``count`` clusters."""
    return float((np.bincount(where, rest) ** 2).sum()) * count / (count - 1)


def _scaled(first: Mapping[K, Share], second: Mapping[K, Share], names: Sequence[K]) -> NDArray[np.float64]:
    """What the first would have of as much as the second had."""
    return np.array([first[n].errors * (second[n].of / first[n].of if first[n].of else 0.0) for n in names])


def paired_by(
    first: Sequence[T], second: Sequence[T], measure: Callable[[Sequence[T]], float | None], resamples: int = RESAMPLES
) -> Paired | None:
    """A measure of two runs on the same recordings (item ``k`` of both is one recording), where it is no share of counts.

    The interval draws recordings again, ``p`` exchanges the runs recording by recording. None with fewer than two recordings, and where
    either run has no value.
    """
    before, after = measure(first), measure(second)
    if len(first) < _LEAST or before is None or after is None:
        return None
    rng = np.random.default_rng(0)
    drawn = (_difference(first, second, measure, rng.integers(0, len(first), len(first))) for _ in range(resamples))
    values = [one for one in drawn if one is not None]
    low, high = np.percentile(values or [after - before], (LOW, HIGH))
    pairs, as_far = list(zip(first, second, strict=True)), 0
    for _ in range(resamples):
        swapped = [(b, a) if swap else (a, b) for (a, b), swap in zip(pairs, rng.random(len(pairs)) < 0.5, strict=True)]
        one = _difference([a for a, _ in swapped], [b for _, b in swapped], measure, range(len(pairs)))
        as_far += one is not None and abs(one) >= abs(after - before) - 1e-9
    return Paired(after - before, float(low), float(high), (1 + as_far) / (1 + resamples))


def _difference(
    first: Sequence[T], second: Sequence[T], measure: Callable[[Sequence[T]], float | None], chosen: Iterable[int]
) -> float | None:
    picks = [int(k) for k in chosen]
    before, after = measure([first[k] for k in picks]), measure([second[k] for k in picks])
    return None if before is None or after is None else after - before

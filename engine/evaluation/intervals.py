"""How sure a figure is: bootstrap intervals by recording, and a paired test between two runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
K = TypeVar("K")

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
    """The difference of two runs on the same recordings, second minus first. ``p`` is two-sided, by flipping signs. ``shares`` is the
    interval of the difference as a share of the first; None where the first has nothing."""

    difference: float
    low: float
    high: float
    p: float
    shares: tuple[float, float] | None = None


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


def paired(
    first: Mapping[K, Share],
    second: Mapping[K, Share],
    resamples: int = RESAMPLES,
    *,
    place: Callable[[K], tuple[object, object]] = lambda key: (key, None),
) -> Paired | None:
    """Two runs compared over the recordings both have; None with fewer than two of them.

    ``place`` is the (recording, repetition) of a pair. Recordings are drawn anew with all their repetitions, which are no recordings
    of their own, and repetitions with all their recordings, which a slow minute slows together. Signs are flipped pair by pair:
    were the runs alike, each could have gone either way.
    """
    names = [name for name in first if name in second]
    of = sum(second[name].of for name in names)
    places = [place(name) for name in names]
    rows, columns = (list(dict.fromkeys(pair[n] for pair in places)) for n in (0, 1))
    if len(rows) < _LEAST or of <= 0:
        return None
    base = np.array([first[n].errors * (second[n].of / first[n].of if first[n].of else 0.0) for n in names])
    steps = np.array([second[n].errors for n in names]) - base
    where = np.array([rows.index(row) for row, _ in places]), np.array([columns.index(column) for _, column in places])
    rng = np.random.default_rng(0)
    drawn = [_drawn(len(rows), resamples, rng), _drawn(len(columns), resamples, rng)]

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        cells = np.zeros((len(rows), len(columns)))
        np.add.at(cells, where, values)
        return np.asarray(((drawn[0] @ cells) * drawn[1]).sum(1))

    moved, before = sums(steps), sums(base)
    differences = moved / np.maximum(sums(np.array([second[name].of for name in names])), 1e-9)
    low, high = np.percentile(differences, (LOW, HIGH))
    flips = rng.choice((-1.0, 1.0), (resamples, len(names))) @ steps
    p = (1 + int((np.abs(flips) >= abs(steps.sum()) - 1e-9).sum())) / (1 + resamples)
    shares = None
    if before.min() > 0:
        least, most = np.percentile(moved / before, (LOW, HIGH))
        shares = float(least), float(most)
    return Paired(float(steps.sum() / of), float(low), float(high), float(p), shares)


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


def _drawn(count: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each of ``count`` is drawn, in each of the resamples; one alone always is."""
    times = np.zeros((resamples, count))
    if count == 1:
        return times + 1.0
    np.add.at(times, (np.arange(resamples)[:, None], rng.integers(0, count, (resamples, count))), 1.0)
    return times

"""How sure a figure is: bootstrap intervals by recording, and a paired test between two runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

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
    """The difference of two runs on the same recordings, second minus first. ``p`` is two-sided, by flipping signs."""

    difference: float
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


def paired(
    first: Mapping[K, Share],
    second: Mapping[K, Share],
    resamples: int = RESAMPLES,
    *,
    unit: Callable[[K], object] = lambda key: key,
) -> Paired | None:
    """Two runs compared over the recordings both have; None with fewer than two of them.

    ``unit`` says which pairs belong to one recording: they are drawn together, as its repetitions are no recordings of their own.
    Signs are flipped pair by pair: were the runs alike, each repetition could have gone either way.
    """
    names = [name for name in first if name in second]
    of = sum(second[name].of for name in names)
    place = {one: n for n, one in enumerate(dict.fromkeys(unit(name) for name in names))}
    if len(place) < _LEAST or of <= 0:
        return None
    units = np.array([place[unit(name)] for name in names])
    steps = np.array([second[n].errors - first[n].errors * (second[n].of / first[n].of if first[n].of else 0.0) for n in names])
    moved, weights = np.bincount(units, steps), np.bincount(units, [second[name].of for name in names])
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(place), (resamples, len(place)))
    differences = moved[draws].sum(1) / np.maximum(weights[draws].sum(1), 1e-9)
    low, high = np.percentile(differences, (LOW, HIGH))
    flips = rng.choice((-1.0, 1.0), (resamples, len(names))) @ steps
    p = (1 + int((np.abs(flips) >= abs(steps.sum()) - 1e-9).sum())) / (1 + resamples)
    return Paired(float(steps.sum() / of), float(low), float(high), float(p))


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

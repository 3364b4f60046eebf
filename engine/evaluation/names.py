"""How right names are, by the measures of speaker recognition. Pure; the formulas are those of Brummer and du Preez (2006) and of
NIST's speaker recognition evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FPIR = 0.01
"""The share of strangers that may be given a name."""

_TARGET, _MISS, _FALSE = 0.01, 1.0, 1.0
_BINS = 10


@dataclass(frozen=True, slots=True)
class Search:
    """One voice looked up among everybody enrolled: the best score, whether it is the right person's, and whether that person is
    enrolled at all."""

    score: float
    right: bool
    enrolled: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """One voice against one profile. ``same`` says whether they are one person."""

    score: float
    same: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """Something said with a confidence of 0 to 1, and whether it was right."""

    confidence: float
    right: bool


def fnir_at_fpir(searches: Sequence[Search], fpir: float = FPIR) -> float | None:
    """Share of enrolled people not found by their name, at the lowest limit that names at most ``fpir`` of the strangers.

    None without enrolled people, or without strangers.
    """
    strangers = sorted((s.score for s in searches if not s.enrolled), reverse=True)
    people = [s for s in searches if s.enrolled]
    if not strangers or not people:
        return None
    allowed = int(fpir * len(strangers))
    limit = strangers[allowed] if allowed < len(strangers) else -np.inf  # above it, at most so many strangers
    return sum(not (s.right and s.score > limit) for s in people) / len(people)


def min_dcf(trials: Sequence[Trial]) -> float | None:
    """Detection cost at the best limit, over that of deciding blindly; prior of a target 0.01, equal costs."""
    same, other = _split(trials)
    if not len(same) or not len(other):
        return None
    limits = np.concatenate([np.unique(np.concatenate([same, other])), [np.inf]])
    miss = np.searchsorted(np.sort(same), limits, side="left") / len(same)
    false = 1 - np.searchsorted(np.sort(other), limits, side="left") / len(other)
    cost = _MISS * miss * _TARGET + _FALSE * false * (1 - _TARGET)
    return float(cost.min() / min(_MISS * _TARGET, _FALSE * (1 - _TARGET)))


def cllr(trials: Sequence[Trial]) -> float | None:
    """Cost of log-likelihood ratios in bits: scores are probabilities in (0, 1) at even odds."""
    same, other = _split(trials)
    if not len(same) or not len(other):
        return None
    return _cllr(_logit(same), _logit(other))


def min_cllr(trials: Sequence[Trial]) -> float | None:
    """The same after the best monotone recalibration (pool adjacent violators): what the order of the scores allows."""
    same, other = _split(trials)
    if not len(same) or not len(other):
        return None
    from scipy.optimize import isotonic_regression

    scores = np.concatenate([same, other])
    truth = np.concatenate([np.ones(len(same)), np.zeros(len(other))])
    order = np.lexsort((-truth, scores))
    values, groups = np.unique(scores[order], return_inverse=True)
    weights = np.bincount(groups, minlength=len(values)).astype(float)
    means = np.bincount(groups, truth[order], minlength=len(values)) / weights
    fitted = isotonic_regression(means, weights=weights).x[groups]
    odds = _logit(fitted) - np.log(len(same) / len(other))
    kind = truth[order] == 1
    return _cllr(odds[kind], odds[~kind])


def calibration_error(predictions: Sequence[Prediction]) -> float | None:
    """Expected distance of confidence and share of right answers, over ten bins of equal width."""
    if not predictions:
        return None
    confidence = np.array([c.confidence for c in predictions])
    right = np.array([c.right for c in predictions], float)
    bins = np.clip((confidence * _BINS).astype(int), 0, _BINS - 1)
    gaps = [abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(sum(gaps) / len(predictions))


def _split(trials: Sequence[Trial]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([t.score for t in trials if t.same]), np.array([t.score for t in trials if not t.same])


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(kept / (1 - kept))


def _cllr(same: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, -same).mean() + np.logaddexp(0, other).mean()) / (2 * np.log(2)))

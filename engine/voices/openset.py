"""Threshold suggestions from the library's own voices: where same-person and different-person scores separate. Pure; the
suggestions are only shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gainstage.engine.voices.profile_index import BEST_EXEMPLARS, Profile, ProfileIndex
from gainstage.engine.voices.vectors import DECIMALS

FEWEST_SCORES = 20
"""Least number of same-speaker and of different-speaker scores that a suggestion needs."""


@dataclass(frozen=True, slots=True)
class EqualError:
    """The equal error rate: false rejections and false acceptances both have the share ``rate`` at ``threshold``."""

    rate: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A threshold that an operator may set, and the reason; None when there are too few scores."""

    threshold: float | None
    reason: str
    equal_error: EqualError | None = None


def equal_error(same: ArrayLike, different: ArrayLike) -> EqualError:
    """The equal error rate (EER) of the scores of same-speaker and different-speaker pairs. Raises ``ValueError`` when either is
    empty.

    When the two do not overlap, the rate is 0 and the threshold lies half-way between them.
    """
    targets, others = np.sort(np.asarray(same, np.float64)), np.sort(np.asarray(different, np.float64))
    if not (len(targets) and len(others)):
        raise ValueError("an equal error rate needs scores of both kinds")
    if targets[0] > others[-1]:
        return EqualError(0.0, float(targets[0] + others[-1]) / 2)
    thresholds = np.unique(np.concatenate([targets, others]))
    rejected = np.searchsorted(targets, thresholds, "left") / len(targets)
    accepted = 1.0 - np.searchsorted(others, thresholds, "left") / len(others)
    at = int(np.argmin(np.abs(rejected - accepted)))
    return EqualError(float(rejected[at] + accepted[at]) / 2, float(thresholds[at]))


def suggest(same: Sequence[float], different: Sequence[float]) -> Suggestion:
    """A threshold between a person's own scores and those of others: the EER threshold, or half-way when they do not overlap."""
    if len(same) < FEWEST_SCORES or len(different) < FEWEST_SCORES:
        have = f"{len(same)} own scores and {len(different)} of others"
        return Suggestion(None, f"too little to go by: {have}, {FEWEST_SCORES} of each are needed")
    point = equal_error(same, different)
    if point.rate == 0.0:
        reason = f"half-way between the lowest own score {min(same):.2f} and the highest of others {max(different):.2f}"
    else:
        reason = f"equal error point: {100 * point.rate:.1f} % of own scores below it, as many of others above"
    return Suggestion(round(point.threshold, 2), reason, point)


def own_scores(exemplars: NDArray[np.float32]) -> list[float]:
    """Scores of each exemplar against the others, computed as for a voice against a profile; empty for fewer than two."""
    if len(exemplars) < 2:
        return []
    cosines = exemplars.astype(np.float64) @ exemplars.astype(np.float64).T
    np.fill_diagonal(cosines, -np.inf)
    best = np.sort(cosines, axis=1)[:, -min(BEST_EXEMPLARS, len(exemplars) - 1) :]
    return [round(float(s), DECIMALS) for s in best.mean(axis=1)]


def library_scores(profiles: Sequence[Profile]) -> tuple[list[float], list[float]]:
    """(same, different) scores over a library: each exemplar against its own profile without it, and against every other
    profile."""
    same: list[float] = []
    different: list[float] = []
    if not profiles:
        return same, different
    index = ProfileIndex(profiles, profiles[0].model)
    for column, p in enumerate(index.profiles):
        if len(p.exemplars):
            same += own_scores(p.exemplars)
            table = index.similarities(p.exemplars)
            different += [float(s) for s in np.delete(table, column, axis=1).ravel()]
    return same, different


def calibrate(profiles: Sequence[Profile]) -> Suggestion:
    """A threshold suggested from all exemplars of one model. They are 3 s windows; clusters of turns score higher."""
    return suggest(*library_scores(profiles))

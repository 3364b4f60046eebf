"""Probabilities of names from scores: everybody enrolled, and somebody nobody enrolled, are weighed against each other. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.profile_index import Candidate

STRANGER = 0.5
"""Prior probability that a voice is nobody's who is enrolled."""

PRIMARY = 0.25
"""Prior probability of the primary speaker where others are enrolled too; these share the rest."""

DECIMALS = 6
"""Probabilities are rounded to this many decimals before any decision, so that decisions use the numbers that are shown."""


def probabilities(
    candidates: Sequence[Candidate], scores: Sequence[float], seconds: float, calibration: Calibration | None
) -> tuple[float | None, ...]:
    """The probability of each candidate; None for each without a calibration.

    Bayes' rule over the calibrated likelihood ratios. The priors of the people enrolled sum to one half, so that the share of
    strangers who reach a probability ``p`` for anybody is at most (1 - p) / p, however many are enrolled: a likelihood ratio of
    ``k`` or more has at most the probability 1 / k among strangers.
    """
    if calibration is None:
        return (None,) * len(scores)
    people = max(int(calibration.people), len(candidates))
    main = any(c.primary for c in candidates)
    first = (PRIMARY if people > 1 else 1 - STRANGER) if main else 0.0
    rest = (1 - STRANGER - first) / max(1, people - main)
    odds = [
        math.log(first if c.primary else max(rest, 1e-12)) + calibration.log_ratio(s, seconds)
        for c, s in zip(candidates, scores, strict=True)
    ]
    top = max([math.log(STRANGER), *odds])
    total = math.exp(math.log(STRANGER) - top) + sum(math.exp(o - top) for o in odds)
    return tuple(round(math.exp(o - top) / total, DECIMALS) for o in odds)


def least_log_ratio(probability: float, people: int, *, primary: bool = False) -> float:
    """The log-likelihood ratio that gives one of the people enrolled, or the primary, this probability when nobody else is alike."""
    rest = PRIMARY if primary else (1 - STRANGER - PRIMARY) / max(1, people - 1)
    prior = 1 - STRANGER if people < 2 else rest
    return math.log(probability / (1 - probability)) + math.log(STRANGER / prior)

"""How a profile is made from a person's voices: outliers rejected, cohesion measured, spread exemplars chosen. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.voices.profile_index import MOST_EXEMPLARS
from gainstage.engine.voices.vectors import mean_voice

OUTLIER_MADS = 3.0
LEAST_DROP = 0.15
"""Least distance below the median similarity at which a voice is an outlier, however close together the others are."""


def inliers(voices: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of (n, d) unit voices are not outliers, (n,) bool.

    A voice is an outlier when its cosine to the mean of the remaining ones lies more than three scaled median absolute deviations
    (factor 1.4826), and at least 0.15, below the median. This is repeated until no more voices are rejected.
    """
    inside = np.ones(len(voices), bool)
    while inside.sum() >= 3:
        alike = voices @ mean_voice(voices[inside])
        middle = float(np.median(alike[inside]))
        deviation = 1.4826 * float(np.median(np.abs(alike[inside] - middle)))
        kept = inside & (alike >= middle - max(LEAST_DROP, OUTLIER_MADS * deviation))
        if kept.sum() == inside.sum():
            break
        inside = kept
    return inside


def cohesion(voices: NDArray[np.float32]) -> float | None:
    """Mean cosine over all pairs of (n, d) unit voices; None for fewer than two voices."""
    n = len(voices)
    if n < 2:
        return None
    total = voices.astype(np.float64).sum(axis=0)
    return float((total @ total - n) / (n * (n - 1)))


def spread_exemplars(voices: NDArray[np.float32], most: int = MOST_EXEMPLARS) -> NDArray[np.float32]:
    """At most ``most`` of (n, d) voices by farthest-point selection: first the one most similar to the mean, then each time the
    one least similar to all chosen so far. The order of ``voices`` is kept."""
    if len(voices) <= most:
        return voices
    picked = [int(np.argmax(voices @ mean_voice(voices)))]
    nearest = voices @ voices[picked[0]]
    while len(picked) < most:
        nearest[picked[-1]] = np.inf
        picked.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, voices @ voices[picked[-1]])
    return voices[sorted(picked)]

"""Clusters too short to be judged are joined to the one whose voice they have. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.terms import Vector
from gainstage.engine.voices.analysis import SHORTEST_CLUSTER_S
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import Refusal
from gainstage.engine.voices.spans import SHORTEST_VOICE_S, ClusterSpans, spread
from gainstage.engine.voices.vectors import mean_voice

LIKELY = 2.0
"""Least log-likelihood ratio of one voice at which a short cluster is joined to a longer one: seven to one."""


def rejoined(spans: Sequence[ClusterSpans], voices: Sequence[Vector | Refusal], calibration: Calibration) -> list[tuple[str, str]]:
    """Pairs of clusters (short, long) that are one person. ``voices`` has one entry per span that has one, in order.

    A diarizer gives a few short turns a cluster of their own now and then; each would count as another person.
    """
    it = iter(voices)
    short: list[tuple[str, float, Vector]] = []
    long: list[tuple[str, NDArray[np.float32]]] = []
    for c in spans:
        pieces = [p for p in c.pieces if p[1] - p[0] >= SHORTEST_VOICE_S]
        voiced = [(p, v) for p, v in ((p, next(it)) for p in pieces) if not isinstance(v, Refusal)]
        if not voiced:
            continue
        picked = [voiced[k] for k in spread([p for p, _ in voiced])]
        rows, seconds = np.stack([v for _, v in picked]), np.array([end - start for (start, end), _ in picked])
        if sum(end - start for start, end in c.pieces) < SHORTEST_CLUSTER_S:
            short.append((c.cluster, float(seconds.sum()), mean_voice(rows, seconds)))
        else:
            long.append((c.cluster, rows))
    pairs = []
    for cluster, seconds_short, voice in short:
        best = max(((_score(voice, rows), other) for other, rows in long), default=None)
        if best is not None and calibration.log_ratio(best[0], seconds_short) >= LIKELY:
            pairs.append((cluster, best[1]))
    return pairs


def _score(voice: Vector, rows: NDArray[np.float32]) -> float:
    """As for a voice against a profile: the mean of the three best cosines."""
    return float(np.sort(rows.astype(np.float64) @ voice.astype(np.float64))[-3:].mean())

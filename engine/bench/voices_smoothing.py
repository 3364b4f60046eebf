"""The length of turn from which smoothing removes more correct names than it restores.

Smoothing gives a short turn to the speaker around it. On turns of natural length it can only lose; it gains when one person's
turn comes in pieces too short for a reliable voice. So it is tried on both, and with noisy scores like those of real encoders.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gainstage.engine.evaluation.quality import Truth, speaker_accuracy, spoken
from gainstage.engine.terms import Turn
from gainstage.engine.voices.evidence import ClusterEvidence, TurnRow
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.openset import equal_error
from gainstage.engine.voices.spans import SHORTEST_VOICE_S, spread

BELOW_S = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
PIECE_S = 1.0
GAP_S = 0.02
"""Seconds between two pieces; touching pieces would be one turn again."""

EER_AT_1S = 0.15
"""Approximate EER of real encoders on one second of real speech; that of the bundled one on synthetic speech is half of it."""

DRAWS = 8

Evidence = tuple[ClusterEvidence, ...]


@dataclass(frozen=True, slots=True)
class SmoothingTalk:
    """A recording with its truth and the evidence under two diarizations: the diarizer's own, and a wrong one in which the host and
    the guest who speaks most share one cluster (otherwise the true turns). Both also with their turns in pieces."""

    name: str
    truth: Truth
    diarized: Evidence
    diarized_pieces: Evidence
    mixed: Evidence | None  # None when only one person speaks
    mixed_pieces: Evidence | None


def accuracy(talks: Iterable[tuple[Truth, Evidence | None]], limits: Limits) -> float:
    """Share of all speech seconds with the right name; recordings without evidence are left out."""
    right = total = 0.0
    for truth, evidence in talks:
        if evidence is None:
            continue
        seconds = sum(t.end - t.start for t in truth.turns)
        right += seconds * speaker_accuracy(truth.turns, spoken(decide(evidence, limits, 0).turns), truth.strangers)
        total += seconds
    return right / total if total else 1.0


def in_pieces(turns: Iterable[Turn], longest_s: float = PIECE_S) -> list[Turn]:
    """Each turn as equal pieces of at most ``longest_s`` with tiny gaps between them."""
    pieces = []
    for t in turns:
        count = math.ceil((t.end - t.start) / longest_s)
        marks = [t.start + (t.end - t.start) * k / count for k in range(count)] + [t.end + GAP_S]
        pieces += [Turn(start, end - GAP_S, t.cluster) for start, end in itertools.pairwise(marks)]
    return [t for t in pieces if t.end > t.start]


def unsure(same: ArrayLike, different: ArrayLike, rate: float = EER_AT_1S, seed: int = 0) -> float:
    """Standard deviation of the noise that brings scores of same-speaker and different-speaker pairs to this EER."""
    rng = np.random.default_rng(seed)
    pairs = [np.asarray(scores, np.float64) for scores in (same, different)]
    noise = [rng.standard_normal(len(scores)) for scores in pairs]
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        measured = equal_error(pairs[0] + middle * noise[0], pairs[1] + middle * noise[1]).rate
        low, high = (middle, high) if measured < rate else (low, middle)
    return (low + high) / 2


def disturbed(evidence: Evidence, deviation_1s: float, seed: int) -> Evidence:
    """The evidence with noise on the scores of every turn: ``deviation_1s`` at one second, inversely proportional to length.

    The scores of a cluster's mean voice are unchanged: they depend on all of its speech.
    """
    rng = np.random.default_rng(seed)

    def row(turn: TurnRow, primary: int | None) -> TurnRow:
        if turn.similarity is None:
            return turn
        deviation = deviation_1s / max(SHORTEST_VOICE_S, turn.end - turn.start)
        own, *scores = np.clip(
            np.array([turn.similarity, *turn.scores]) + deviation * rng.standard_normal(len(turn.scores) + 1), -1, 1
        )
        alike = float(own if primary is None else scores[primary])
        return turn._replace(similarity=alike, scores=tuple(map(float, scores)))

    result = []
    for e in evidence:
        primary = next((i for i, c in enumerate(e.candidates) if c.primary), None) if e.reference == "primary" else None
        turns = tuple(row(t, primary) for t in e.turns)
        scored = [(t.start, t.end, t.similarity) for t in turns if t.similarity is not None]
        sampled = spread([(start, end) for start, end, _ in scored])
        result.append(replace(e, turns=turns, similarities=tuple(scored[k][2] for k in sampled)))
    return tuple(result)


def sweep(talks: Sequence[SmoothingTalk], limits: Limits, deviation_1s: float | None) -> list[dict[str, Any]]:
    """Speaker accuracy at every value of ``identify.smooth_below``, by kind of turns; with ``deviation_1s`` under noise too."""
    kinds: dict[str, list[tuple[Truth, Evidence | None]]] = {
        "diarizer": [(t.truth, t.diarized) for t in talks],
        "host and guest in one cluster": [(t.truth, t.mixed) for t in talks],
        f"diarizer, pieces of {PIECE_S:g} s": [(t.truth, t.diarized_pieces) for t in talks],
        f"one cluster, pieces of {PIECE_S:g} s": [(t.truth, t.mixed_pieces) for t in talks],
    }
    rows = []
    for name, items in kinds.items():
        versions = {name: [items]}
        if deviation_1s is not None:
            draws = [[(t, None if e is None else disturbed(e, deviation_1s, seed)) for t, e in items] for seed in range(DRAWS)]
            versions[f"{name}, unsure"] = draws
        for words, drawn in versions.items():
            tried = [[accuracy(d, replace(limits, smooth_below=below)) for d in drawn] for below in BELOW_S]
            rows.append({"turns": words, "accuracy": {f"{b:g}": float(np.mean(t)) for b, t in zip(BELOW_S, tried, strict=True)}})
    return rows


def sweep_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of :func:`sweep` as plain text."""
    lines = ["speaker accuracy by `identify.smooth_below` (unsure: voices of 1 s at an equal error rate of 15 %)", ""]
    lines.append(f"{'':40s}" + "".join(f"{f'{b:g} s':>8s}" for b in BELOW_S))
    for row in rows:
        lines.append(f"{row['turns']:40s}" + "".join(f"{100 * value:>8.1f}" for value in row["accuracy"].values()))
    return lines

"""The evidence about a recording's clusters. Decisions are made from it alone, in a live run and in a replay."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.terms import Decision, ProfileScore, TurnEvidence, Vector
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.posterior import probabilities
from gainstage.engine.voices.profile_index import Candidate, ProfileIndex
from gainstage.engine.voices.spans import SHORTEST_VOICE_S, ClusterSpans, spread
from gainstage.engine.voices.vectors import DECIMALS, mean_voice

Reference = Literal["primary", "self", "main"]
"""What similarities are to: the primary profile, the cluster's own mean, or the mean of the larger of its two most different groups."""

_ROUNDS = 10

ALL_KEPT = 8
"""Up to this many profiles, the scores against all of them are kept; above it, only those that a rule can use."""


class TurnRow(NamedTuple):
    """One turn, or a piece of a long turn. ``scores`` has one entry per candidate of the cluster; empty when it has no voice."""

    start: float
    end: float
    similarity: float | None  # cosine to the cluster's reference
    refused: str | None  # why it has no voice
    scores: tuple[float, ...]
    follows: bool  # no other speaker between it and the cluster's turn before


@dataclass(frozen=True, slots=True)
class ClusterEvidence:
    """One cluster: its speech, the similarities of its samples to ``reference``, the scores of its mean voice, and its turns.

    ``scores`` has one entry per candidate and is empty when no turn has a voice or nobody is enrolled. ``turns`` are in time
    order; rules use them only when the cluster is split, so a replay may leave them out for others.
    """

    cluster: str
    seconds: float
    start: float  # start of its first turn, in seconds
    similarities: tuple[float, ...]
    reference: Reference
    candidates: tuple[Candidate, ...]
    scores: tuple[float, ...]
    massive: bool
    turns: tuple[TurnRow, ...]
    sample_s: tuple[float, ...] = ()  # seconds of speech behind each similarity; empty where not known

    @property
    def turn_count(self) -> int:
        """Number of turns that the diarizer reported: pieces that touch are one turn."""
        return sum(i == 0 or self.turns[i - 1].end != t.start for i, t in enumerate(self.turns))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a span has no voice: "too short", "silent" or "no finite voice"."""

    reason: str


TOO_SHORT = Refusal("too short")


def wanted(spans: Sequence[ClusterSpans]) -> list[tuple[float, float]]:
    """The spans (start, end in seconds) whose voices are needed, in the order that :func:`build_evidence` expects."""
    return [p for c in spans for p in c.pieces if p[1] - p[0] >= SHORTEST_VOICE_S]


def build_evidence(
    spans: Sequence[ClusterSpans], voices: Sequence[Vector | Refusal], index: ProfileIndex, *, unity: bool = False
) -> tuple[tuple[ClusterEvidence, ...], tuple[tuple[Vector | None, ...], ...]]:
    """The evidence of each cluster, and the voices of each cluster's turns.

    ``voices`` has one entry per span of :func:`wanted`, in its order. ``unity`` measures similarities to the main voice of the cluster
    itself, which tells whether it is one voice, whoever it is; else to the primary profile. Raises :class:`gainstage.engine.voices.vectors.BadVoice` for
    a vector that is not a valid voice.
    """
    it = iter(voices)
    order = {(piece, c.cluster): i for i, (piece, c) in enumerate(sorted(((p, c) for c in spans for p in c.pieces), key=_in_time))}
    evidence, kept = [], []
    for c in spans:
        voices_of_pieces = [next(it) if end - start >= SHORTEST_VOICE_S else TOO_SHORT for start, end in c.pieces]
        places = [order[piece, c.cluster] for piece in c.pieces]
        follows = [False, *(b == a + 1 for a, b in itertools.pairwise(places))]
        evidence.append(_cluster_evidence(c, voices_of_pieces, follows, index, unity))
        kept.append(tuple(None if isinstance(v, Refusal) else v for v in voices_of_pieces))
    return tuple(evidence), tuple(kept)


def _in_time(entry: tuple[tuple[float, float], ClusterSpans]) -> tuple[float, float, str]:
    (start, end), spans = entry
    return start, end, spans.cluster


def _cluster_evidence(
    spans: ClusterSpans, voices: Sequence[Vector | Refusal], follows: Sequence[bool], index: ProfileIndex, unity: bool
) -> ClusterEvidence:
    voiced = [i for i, v in enumerate(voices) if not isinstance(v, Refusal)]
    reference: Reference = "main" if unity else "self" if index.primary is None else "primary"
    similarities: dict[int, float] = {}
    scores: dict[int, tuple[float, ...]] = {}
    samples: list[int] = []
    cluster_scores: tuple[float, ...] = ()
    candidates = index.candidates
    if voiced:
        matrix = np.stack([v for v in voices if not isinstance(v, Refusal)])
        alike = index.similarities(matrix)
        picked = spread([spans.pieces[i] for i in voiced])
        samples = [voiced[k] for k in picked]
        middle = index.scores(index.similarities(mean_voice(matrix[picked])[None]))
        ranked = index.scores(alike)
        columns = _telling(np.concatenate([ranked, middle]), index.primary)
        candidates = tuple(index.candidates[c] for c in columns)
        scores = {i: tuple(row) for i, row in zip(voiced, ranked[:, columns].tolist(), strict=True)}
        cluster_scores = tuple(middle[0, columns].tolist())
        if unity:
            seconds = np.array([spans.pieces[i][1] - spans.pieces[i][0] for i in voiced])
            similarities = dict(zip(voiced, _to_main(matrix, picked, seconds).tolist(), strict=True))
        elif index.primary is not None:
            similarities = dict(zip(voiced, alike[:, index.primary].tolist(), strict=True))
        else:
            similarities = dict(zip(voiced, _to_self(matrix, picked).tolist(), strict=True))
    turns = tuple(
        TurnRow(start, end, similarities.get(i), v.reason if isinstance(v, Refusal) else None, scores.get(i, ()), after)
        for i, ((start, end), v, after) in enumerate(zip(spans.pieces, voices, follows, strict=True))
    )
    return ClusterEvidence(
        cluster=spans.cluster,
        seconds=float(sum(end - start for start, end in spans.pieces)),
        start=spans.pieces[0][0],
        similarities=tuple(similarities[i] for i in samples),
        reference=reference,
        candidates=candidates,
        scores=cluster_scores,
        massive=spans.massive,
        turns=turns,
        sample_s=tuple(round(float(spans.pieces[i][1] - spans.pieces[i][0]), 3) for i in samples),
    )


def _telling(scores: NDArray[np.float64], primary: int | None) -> list[int]:
    """Columns of (n, p) scores that are kept: all when there are few, else the primary and the three best of each row.

    Rules use only the best, the runner-up and the primary, so no score that can decide is lost.
    """
    people = scores.shape[1]
    if people <= ALL_KEPT:
        return list(range(people))
    best = np.argpartition(scores, -3, axis=1)[:, -3:]
    return sorted({int(c) for c in best.ravel()} | ({primary} if primary is not None else set()))


def _to_self(matrix: NDArray[np.float32], picked: Sequence[int]) -> NDArray[np.float64]:
    """Cosine of each voice to the mean of the picked samples without itself (n,); 1.0 when it is the only sample."""
    rows = matrix.astype(np.float64)
    total = rows[list(picked)].sum(axis=0)
    rest = np.repeat(total[None], len(rows), axis=0)
    rest[list(picked)] -= rows[list(picked)]
    norms = np.linalg.norm(rest, axis=1)
    cosines = np.einsum("ij,ij->i", rows, rest) / np.maximum(norms, 1e-12)
    return np.round(np.clip(np.where(norms > 1e-6, cosines, 1.0), -1.0, 1.0), DECIMALS)


def _to_main(matrix: NDArray[np.float32], picked: Sequence[int], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of each voice to the mean of the cluster's main group without itself (n,); 1.0 when it is the only sample.

    The samples are parted into their two most different groups (two means, started from the least similar pair, weighted by
    ``seconds`` of speech); the one with more speech is the main group.
    """
    rows, at = matrix.astype(np.float64), np.array(picked)
    sample, weight = rows[at], seconds[at][:, None]
    first, second = np.unravel_index(int(np.argmin(sample @ sample.T)), (len(at), len(at)))
    near, far = sample[first], sample[second]
    inside = np.ones(len(at), bool)
    for _ in range(_ROUNDS):
        parted = sample @ near >= sample @ far
        if parted.all() or not parted.any() or (parted == inside).all():
            break
        inside = parted
        near, far = ((sample * weight)[inside].sum(axis=0), (sample * weight)[~inside].sum(axis=0))
        near, far = near / max(1e-12, float(np.linalg.norm(near))), far / max(1e-12, float(np.linalg.norm(far)))
    if weight[inside].sum() < weight[~inside].sum():
        inside = ~inside
    main = at[inside]
    rest = np.repeat((rows[main] * seconds[main][:, None]).sum(axis=0)[None], len(rows), axis=0)
    rest[main] -= rows[main] * seconds[main][:, None]
    if len(main) == 1:
        others = (rows[at] * seconds[at][:, None]).sum(axis=0)
        rest[main] = others - rows[main] * seconds[main][:, None]
    norms = np.linalg.norm(rest, axis=1)
    cosines = np.einsum("ij,ij->i", rows, rest) / np.maximum(norms, 1e-12)
    return np.round(np.clip(np.where(norms > 1e-6, cosines, 1.0), -1.0, 1.0), DECIMALS)


def reference_of(name: str) -> Reference:
    """The reference as it is typed; an unknown name is the cluster itself."""
    return "primary" if name == "primary" else "main" if name == "main" else "self"


def profile_scores(
    candidates: Sequence[Candidate], scores: Sequence[float], limits: Limits, seconds: float
) -> tuple[ProfileScore, ...]:
    """Scores of ``seconds`` of speech with the thresholds in force, in the order of the candidates; empty when there are no scores."""
    if not scores:
        return ()
    sure = probabilities(candidates, scores, seconds, limits.calibration)
    scale = limits.calibration
    return tuple(
        ProfileScore(
            c.id,
            c.name,
            s,
            limits.threshold(c.primary, c.threshold),
            c.primary,
            c.threshold is not None,
            p,
            None if scale is None else round(scale.log_ratio(s, seconds), 4),
        )
        for c, s, p in zip(candidates, scores, sure, strict=True)
    )


def turn_evidence(evidence: ClusterEvidence, limits: Limits) -> tuple[TurnEvidence, ...]:
    """The turns of a cluster in the form that a stored decision holds."""
    return tuple(
        TurnEvidence(
            t.start,
            t.end,
            profile_scores(evidence.candidates, t.scores, limits, t.end - t.start),
            t.similarity,
            t.refused,
            t.follows,
        )
        for t in evidence.turns
    )


def restore_evidence(decision: Decision) -> ClusterEvidence:
    """The evidence that a stored decision was made from."""
    ranked = sorted(decision.scores, key=lambda s: (not s.primary, s.profile))
    order = [s.profile for s in ranked]
    turns = []
    for t in decision.evidence:
        by_id = {s.profile: s.score for s in t.scores}
        scores = tuple(by_id[i] for i in order) if by_id else ()
        turns.append(TurnRow(t.start, t.end, t.similarity, t.refused, scores, t.follows))
    return ClusterEvidence(
        cluster=decision.cluster,
        seconds=decision.seconds,
        start=decision.evidence[0].start if decision.evidence else 0.0,
        similarities=decision.similarities,
        reference=reference_of(decision.reference),
        candidates=tuple(Candidate(s.profile, s.name, s.primary, s.threshold if s.own else None) for s in ranked),
        scores=tuple(s.score for s in ranked),
        massive=decision.massive,
        turns=tuple(turns),
        sample_s=decision.sample_s,
    )

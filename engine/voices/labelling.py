"""From rulings to the cast of a recording: named turns in time order, and the decisions in the form that is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gainstage.engine.terms import Cast, Decision, Provenance, SpeakerTurn, Vector
from gainstage.engine.voices.analysis import Ruling, TurnLabel, judge, two_mode_gap
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import ClusterEvidence, profile_scores, turn_evidence
from gainstage.engine.voices.explain import why
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.posterior import DECIMALS
from gainstage.engine.voices.vectors import mean_voice

DIARIZED = 0.95
"""Prior probability that a turn with a voice is in the right cluster."""

_MOST = 30.0

Voices = Sequence[Sequence[Vector | None]]
"""The voice of each turn of each cluster, in the order of the evidence; None for a turn without one."""


def decide(
    evidence: Sequence[ClusterEvidence],
    limits: Limits,
    revision: int,
    *,
    voices: Voices | None = None,
    overlaps: tuple[tuple[float, float], ...] = (),
) -> Cast:
    """The cast of a recording from its evidence. Pure: a live run and a replay give the same result.

    Every turn of the evidence is in the cast exactly once; pieces of a long turn that have the same name are joined again.
    """
    by_cluster = {e.cluster: v for e, v in zip(evidence, voices, strict=True)} if voices is not None else {}
    rulings = judge(evidence, limits)
    turns = [t for r in rulings for t in named_turns(r, by_cluster.get(r.evidence.cluster), limits.calibration)]
    turns.sort(key=lambda t: (t.start, t.end, t.cluster))
    return Cast(tuple(turns), tuple(decision(r, limits, revision) for r in rulings), overlaps)


def seconds_by_speaker(ruling: Ruling) -> dict[str, float]:
    """Seconds of the cluster by speaker's name, in order of appearance; they sum to the cluster's speech."""
    if ruling.label is not None:
        return {ruling.name(ruling.label): ruling.evidence.seconds}
    result: dict[str, float] = {}
    for turn, label in zip(ruling.evidence.turns, ruling.labels, strict=True):
        name = ruling.name(label)
        result[name] = result.get(name, 0.0) + (turn.end - turn.start)
    return result


def decision(ruling: Ruling, limits: Limits, revision: int) -> Decision:
    """The ruling in the form that is stored, with every number it was made from."""
    evidence, stats = ruling.evidence, ruling.stats
    seconds = seconds_by_speaker(ruling)
    person = ruling.accepted
    length = sum(evidence.sample_s) or evidence.seconds
    scores = profile_scores(evidence.candidates, evidence.scores, limits, length)
    return Decision(
        cluster=evidence.cluster,
        seconds=evidence.seconds,
        turns=evidence.turn_count,
        similarities=evidence.similarities,
        reference=evidence.reference,
        mean=stats and stats.mean,
        variance=stats and stats.variance,
        low=stats and stats.low,
        high=stats and stats.high,
        spread=stats and stats.spread,
        bimodality=two_mode_gap(evidence.similarities) if stats else None,
        split=ruling.split,
        rule=ruling.rule,
        limits=limits.record(),
        revision=revision,
        scores=tuple(sorted(scores, key=lambda s: -s.score)),
        margin=ruling.margin,
        speaker=person.name if person else None,
        seconds_by_speaker=seconds,
        provenance=Provenance.PER_SEGMENT if ruling.split else Provenance.CLUSTER,
        evidence=turn_evidence(evidence, limits),
        why=why(ruling, limits, seconds),
        massive=evidence.massive,
        sample_s=evidence.sample_s,
        variance_spreads=ruling.spreads and round(ruling.spreads.variance, 4),
        range_spreads=ruling.spreads and round(ruling.spreads.spread, 4),
    )


def named_turns(
    ruling: Ruling, voices: Sequence[Vector | None] | None = None, calibration: Calibration | None = None
) -> list[SpeakerTurn]:
    """The named turns of a cluster in time order; touching pieces of an unsplit cluster are joined."""
    rows = ruling.evidence.turns
    result: list[SpeakerTurn] = []
    start = 0
    for i, row in enumerate(rows):
        if ruling.split or i + 1 == len(rows) or rows[i + 1].start != row.end:
            result.append(_turn(ruling, _own_label(ruling, start, i + 1, calibration), start, i + 1, voices))
            start = i + 1
    return result


def _own_label(ruling: Ruling, first: int, end: int, calibration: Calibration | None) -> TurnLabel:
    """The label of one turn, of the pieces ``first`` to ``end``.

    In a cluster named as a whole by probability, the confidence of a turn joins that of the cluster, how often a diarizer puts a turn
    into the right cluster, and what its own voice says; a turn too short for a voice has none.
    """
    label = ruling.label_of(end - 1)
    if ruling.label is None or label.who is None or ruling.probability is None or calibration is None:
        return label
    rows = [t for t in ruling.evidence.turns[first:end] if t.scores]
    if not rows:
        return label._replace(confidence=None)
    ratio = sum(calibration.log_ratio(t.scores[label.who], t.end - t.start) for t in rows) / len(rows)
    odds = math.exp(max(-_MOST, min(_MOST, ratio))) * DIARIZED / (1 - DIARIZED)
    return label._replace(confidence=round(ruling.probability * odds / (1 + odds), DECIMALS))


def _turn(ruling: Ruling, label: TurnLabel, first: int, end: int, voices: Sequence[Vector | None] | None) -> SpeakerTurn:
    rows = ruling.evidence.turns[first:end]
    similarities = [t.similarity for t in rows if t.similarity is not None]
    primary = ruling.evidence.reference == "primary"
    return SpeakerTurn(
        start=rows[0].start,
        end=rows[-1].end,
        cluster=ruling.evidence.cluster,
        speaker=ruling.name(label),
        profile=None if label.who is None else ruling.evidence.candidates[label.who].id,
        confidence=label.confidence,
        provenance=label.provenance,
        similarity=sum(similarities) / len(similarities) if primary and similarities else None,
        smoothed=label.smoothed,
        voice=None if voices is None else _joined([v for v in voices[first:end] if v is not None]),
    )


def _joined(voices: Sequence[Vector]) -> Vector | None:
    if len(voices) < 2:
        return voices[0] if voices else None
    return mean_voice(np.stack(voices))

"""The confidence of a turn in a cluster that is named as a whole, by hand, and the numbers of a decision."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gainstage.engine.voices.analysis import Ruling, judge
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import ClusterEvidence, TurnRow
from gainstage.engine.voices.labelling import decision, named_turns, seconds_by_speaker
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.posterior import probabilities
from gainstage.engine.voices.profile_index import Candidate

ANN, BOB = Candidate(1, "Ann", True, None), Candidate(2, "Bob", False, None)
SCALE = Calibration(-16.5, 30.0, 1.0, 0.0, 0.5, 0.0, 0.25, 0.0, 2.0)
"""The log-likelihood ratio of a score over so many seconds is 30 (score - 0.55) + log2(seconds / 3)."""
LIMITS = Limits(calibration=SCALE)
RIGHT = 0.95 / 0.05
"""Odds that the diarizer put a turn into the right cluster."""


def row(start: float, end: float, *scores: float) -> TurnRow:
    return TurnRow(start, end, scores[0] if scores else None, None if scores else "too short", scores, True)


def evidence(*turns: TurnRow, scores: tuple[float, ...] = (0.8, 0.1), sample_s: tuple[float, ...] = (3.0, 3.0)) -> ClusterEvidence:
    return ClusterEvidence("A", 12.0, 0.0, (0.5, 0.5), "main", (ANN, BOB), scores, False, turns, sample_s)


def ruled(*turns: TurnRow, scores: tuple[float, ...] = (0.8, 0.1)) -> Ruling:
    (ruling,) = judge([evidence(*turns, scores=scores)], LIMITS)
    return ruling


def confidences(ruling: Ruling, calibration: Calibration | None = SCALE) -> list[float | None]:
    return [t.confidence for t in named_turns(ruling, None, calibration)]


def test_a_turn_is_as_sure_as_its_cluster_its_diarizer_and_its_own_voice_together() -> None:
    ruling = ruled(row(10, 13, 0.6, 0.1), row(13, 19, 0.52, 0.1), row(30, 33, 0.5, 0.1), row(40, 40.2))
    sure = ruling.probability
    assert sure is not None
    assert ruling.accepted == ANN

    def joint(log_ratio: float) -> float:
        odds = math.exp(log_ratio) * RIGHT
        return round(sure * odds / (1 + odds), 6)

    assert confidences(ruling) == [joint((1.5 + 0.1) / 2), joint(-1.5), None]
    assert confidences(ruling)[0] != confidences(ruling)[1]


@pytest.mark.parametrize(("score", "share"), [(99.0, 1.0), (-99.0, 0.0)])
def test_a_voice_beyond_doubt_leaves_the_probability_of_the_cluster_or_nothing(score: float, share: float) -> None:
    ruling = ruled(row(10, 13, score, 0.1))
    assert ruling.probability is not None
    assert confidences(ruling) == [round(ruling.probability * share, 6)]


def test_by_a_threshold_or_without_a_name_a_turn_has_the_confidence_of_its_cluster() -> None:
    turn = row(10, 13, 0.6, 0.1)
    ruling = ruled(turn)
    assert ruling.label is not None
    assert confidences(ruling, None) == [ruling.label.confidence]
    by_threshold = ruling._replace(probability=None)
    assert confidences(by_threshold) == [ruling.label.confidence]
    unknown = ruled(turn, scores=(-1.0, -1.0))
    assert unknown.label is not None
    assert unknown.label.who is None
    assert confidences(unknown) == [unknown.label.confidence]
    split = replace(evidence(turn, row(20, 23, 0.1, 0.7)), similarities=(-1.0, 0.5, 2.0), sample_s=(3.0, 3.0, 3.0))
    (ruling,) = judge([split], LIMITS)
    assert ruling.label is None
    assert confidences(ruling) == [label.confidence for label in ruling.labels]


def test_a_decision_weighs_the_speech_behind_its_samples_or_all_of_it_where_that_is_not_known() -> None:
    for sample_s, seconds in (((2.0, 2.0), 4.0), ((), 12.0)):
        sampled = evidence(row(10, 13, 0.6, 0.1), scores=(0.6, 0.1), sample_s=sample_s)
        (ruling,) = judge([replace(sampled, similarities=(0.5,) * len(sample_s))], LIMITS)
        sure = probabilities((ANN, BOB), (0.6, 0.1), seconds, SCALE)
        assert [s.probability for s in decision(ruling, LIMITS, 1).scores] == list(sure)


def test_spreads_are_stored_with_four_decimals() -> None:
    turns = row(10, 13, 0.6, 0.1), row(20, 23, 0.6, 0.1), row(30, 33, 0.6, 0.1)
    (ruling,) = judge([replace(evidence(*turns), similarities=(0.50001, 0.61113, 0.5), sample_s=(3.0, 3.0, 3.0))], LIMITS)
    spreads, stored = ruling.spreads, decision(ruling, LIMITS, 1)
    assert spreads is not None
    assert (stored.variance_spreads, stored.range_spreads) == (round(spreads.variance, 4), round(spreads.spread, 4))
    assert (round(spreads.variance, 5), round(spreads.spread, 5)) != (round(spreads.variance, 4), round(spreads.spread, 4))


def test_labels_of_a_split_cluster_are_one_for_each_turn() -> None:
    (ruling,) = judge([replace(evidence(row(10, 13, 0.6, 0.1)), similarities=(-1.0, 0.5, 2.0), sample_s=(3.0, 3.0, 3.0))], LIMITS)
    with pytest.raises(ValueError, match="longer"):
        seconds_by_speaker(ruling._replace(labels=(*ruling.labels, *ruling.labels)))

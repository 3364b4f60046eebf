"""The rules of who speaks on the calibrated scale, where scores are judged as probabilities, with evidence made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gainstage.engine.terms import Provenance
from gainstage.engine.voices.analysis import judge, smoothed, two_mode_gap
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import ClusterEvidence, TurnRow
from gainstage.engine.voices.fast_path import Places, doubt, places
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.posterior import probabilities
from gainstage.engine.voices.profile_index import Candidate

ANN, BOB = Candidate(1, "Ann", True, None), Candidate(2, "Bob", False, None)
SCALE = Calibration(-16.5, 30.0, 1.0, 0.0, 0.5, 0.0, 0.25, 0.0, 2.0)
"""A score of 0.55 over 3 s is as likely of one person as of two; one voice has similarities of 0.5 with deviation 0.25."""
LIMITS = Limits(calibration=SCALE)
ONE_VOICE, TWO_VOICES = (0.5, 0.5, 0.5), (-1.0, 0.5, 2.0)


def sure(scores: tuple[float, ...], seconds: float) -> tuple[float | None, ...]:
    return probabilities((ANN, BOB)[: len(scores)], scores, seconds, SCALE)


def cluster(
    scores: tuple[float, ...],
    similarities: tuple[float, ...] = ONE_VOICE,
    *,
    name: str = "A",
    seconds: float = 9.0,
    start: float = 0.0,
    turns: tuple[TurnRow, ...] = (),
    candidates: tuple[Candidate, ...] = (ANN, BOB),
) -> ClusterEvidence:
    """A cluster of samples of equal length."""
    lengths = (seconds / len(similarities),) * len(similarities)
    return ClusterEvidence(name, seconds, start, similarities, "main", candidates, scores, False, turns, lengths)


def row(start: float, end: float, *scores: float) -> TurnRow:
    """A turn with its scores, or one without a voice, with no other speaker before it."""
    return TurnRow(start, end, scores[0] if scores else None, None if scores else "too short", scores, True)


# -- whole clusters -------------------------------------------------------------------------------------------------------


def test_a_cluster_as_sure_as_the_limit_is_named_and_one_less_sure_is_not() -> None:
    probability = sure((0.7, 0.4), 9.0)[0]
    assert probability is not None
    (named,) = judge([cluster((0.7, 0.4))], replace(LIMITS, probability=probability))
    assert (named.verdict, named.who, named.margin, named.probability) == ("accepted", 0, 0.3, probability)
    assert named.label is not None
    assert (named.label.who, named.label.confidence) == (0, probability)
    (unknown,) = judge([cluster((0.7, 0.4))], replace(LIMITS, probability=probability + 1e-6))
    assert (unknown.verdict, unknown.who, unknown.probability) == ("below threshold", 0, probability)
    assert unknown.label is not None
    assert unknown.label.who is None


def test_the_likeliest_person_is_named_and_who_is_impossible_is_not() -> None:
    (ruling,) = judge([cluster((-1.0, 0.9))], LIMITS)
    assert sure((-1.0, 0.9), 9.0)[0] == 0.0
    assert (ruling.who, ruling.verdict) == (1, "accepted")
    (nobody,) = judge([cluster((-1.0, -1.0))], replace(LIMITS, probability=0.5))
    assert (nobody.probability, nobody.verdict) == (0.0, "below threshold")


@pytest.mark.parametrize(("score", "verdict"), [(0.75, "accepted"), (0.7499, "below threshold")])
def test_a_threshold_set_by_hand_is_reached_by_the_score_whatever_the_probability(score: float, verdict: str) -> None:
    by_hand = replace(BOB, threshold=0.75)
    limit = 1.0 if verdict == "accepted" else 0.0
    (ruling,) = judge([cluster((-1.0, score), candidates=(ANN, by_hand))], replace(LIMITS, probability=limit))
    assert ruling.verdict == verdict


def test_probabilities_need_a_calibration_and_evidence_that_was_measured_for_it() -> None:
    other_reference = replace(cluster((0.63, 0.4)), reference="primary")
    for evidence, limits in ((other_reference, LIMITS), (cluster((0.63, 0.4)), Limits())):
        (ruling,) = judge([evidence], limits)
        assert (ruling.verdict, ruling.probability, ruling.spreads) == ("accepted", None, None)  # 0.63 passes 0.62, the cosine
        assert ruling.label is not None
        assert ruling.label.confidence == 0.63


def test_the_claim_on_a_person_is_the_score_without_a_bonus_for_length() -> None:
    """0.80 of 4 s against 0.79 of 40 s: on cosines the longer would count 0.83."""
    better, longer = cluster((0.80, 0.1), seconds=4.0), cluster((0.79, 0.1), name="B", seconds=40.0, start=100.0)
    assert {r.evidence.cluster: r.verdict for r in judge([better, longer], LIMITS)} == {"A": "accepted", "B": "taken"}


def test_a_cluster_is_split_beyond_so_many_deviations_of_one_voice() -> None:
    evidence = cluster((0.5, 0.5), (0.25, 0.5, 0.75), turns=(row(0, 3, 0.5, 0.5),))
    at = replace(LIMITS, variance_spreads=2 / 3, range_spreads=2.0)  # the similarities lie -1, 0 and 1 deviations away
    (ruling,) = judge([evidence], at)
    assert ruling.spreads is not None
    assert (ruling.spreads.mean, ruling.spreads.low, ruling.spreads.high) == (0.0, -1.0, 1.0)
    assert (ruling.split, ruling.rule) == (False, "under limits")
    assert judge([evidence], replace(at, range_spreads=1.99))[0].rule == "range"
    assert judge([evidence], replace(at, variance_spreads=0.66))[0].rule == "variance"


# -- turns of a split cluster ---------------------------------------------------------------------------------------------


def labels(*turns: TurnRow, limits: Limits = LIMITS) -> list[tuple[int | None, float | None]]:
    """(person, confidence) of each turn of a split cluster."""
    (ruling,) = judge([cluster((0.5, 0.5), TWO_VOICES, turns=turns)], limits)
    assert ruling.split
    return [(label.who, label.confidence) for label in ruling.labels]


def test_a_turn_is_named_by_its_own_voice_at_its_own_length() -> None:
    bob = sure((0.1, 0.7), 3.0)[1]
    assert bob is not None
    turns = (row(100.0, 103.0, 0.1, 0.7), row(200.0, 203.0, -1.0, -1.0))
    assert labels(*turns, limits=replace(LIMITS, turn_probability=bob)) == [(1, bob), (None, None)]
    assert labels(*turns, limits=replace(LIMITS, turn_probability=bob + 1e-6)) == [(None, None)] * 2


def test_a_turn_without_a_voice_goes_with_the_nearest_that_has_one() -> None:
    ann, bob = row(0.0, 3.0, 0.9, 0.1), row(10.0, 13.0, 0.1, 0.9)
    found = labels(ann, row(4.0, 4.3), row(9.5, 9.8), bob, row(20.0, 20.2))
    assert [who for who, _ in found] == [0, 0, 1, 1, 1]
    assert [confidence is None for _, confidence in found] == [False, True, True, False, True]


def test_where_no_turn_has_a_voice_all_are_unknown() -> None:
    assert labels(row(0.0, 0.4), row(1.0, 1.4)) == [(None, None)] * 2


def test_a_short_turn_that_is_sure_of_its_name_keeps_it_and_the_next_is_smoothed() -> None:
    ann, firm, faint = (0.9, 0.1), (0.1, 0.9), (0.52, 0.56)
    turns = (row(0, 3, *ann), row(3, 3.5, *firm), row(4, 7, *ann), row(7, 7.5, *faint), row(8, 11, *ann))
    evidence = cluster((0.5, 0.5), TWO_VOICES, turns=turns)
    limits = replace(LIMITS, smooth_below=1.0, probability=sure(firm, 0.5)[1] or 0.0)
    (ruling,) = judge([evidence], limits)
    assert [label.who for label in ruling.labels] == [0, 1, 0, 0, 0]
    assert [label.smoothed for label in ruling.labels] == [False, False, False, True, False]
    assert ruling.labels[3].confidence == sure(faint, 0.5)[0]
    (without,) = judge([evidence], replace(limits, probability=limits.probability + 1e-6))
    assert [label.smoothed for label in without.labels] == [False, True, False, True, False]


def test_on_cosines_a_sure_short_turn_is_smoothed_all_the_same() -> None:
    turns = (row(0, 3, 0.9, 0.1), row(3, 3.5, 0.1, 0.99), row(4, 7, 0.9, 0.1))
    evidence = replace(cluster((0.5, 0.5), (0.9, 0.1, 0.9), turns=turns), reference="primary")
    (ruling,) = judge([evidence], replace(LIMITS, smooth_below=1.0, probability=0.0))
    assert [(label.who, label.provenance) for label in ruling.labels][1] == (0, Provenance.SMOOTHED)
    assert smoothed(evidence, ruling.labels, replace(LIMITS, smooth_below=0.0)) == ruling.labels


def test_unknown_people_are_numbered_by_the_first_turn_that_is_theirs() -> None:
    nobody = (-1.0, -1.0)
    split = cluster((0.5, 0.5), TWO_VOICES, turns=(row(0, 3, *nobody), row(500, 503, *nobody)))
    whole = cluster((-1.0, -1.0), name="B", start=100.0)
    assert {r.evidence.cluster: r.unknown for r in judge([whole, split], LIMITS)} == {"A": "Speaker 1", "B": "Speaker 2"}


def test_of_two_cuts_that_part_equally_well_the_lower_counts() -> None:
    """After one value: 9 x 20² = 3600; after two: 16 x 15² = 3600."""
    assert two_mode_gap([0.0, 12.0, *[21.0] * 8]) == 20.0


# -- the fast path --------------------------------------------------------------------------------------------------------


def test_twelve_places_of_five_seconds_lie_evenly_over_a_recording() -> None:
    spans = places(120.0)
    assert spans == tuple((10.0 * k + 2.5, 10.0 * k + 7.5) for k in range(12))
    assert places(24.0) == tuple((2.0 * k, 2.0 * k + 2.0) for k in range(12)), "shorter where they would overlap"


def monologue(scores: list[tuple[float, float]]) -> Places:
    """Places of five seconds, minutes apart."""
    spans = tuple((60.0 * k, 60.0 * k + 5.0) for k in range(len(scores)))
    return Places(spans, tuple(s for s, _ in scores), np.array(scores), (ANN, BOB))


def test_the_fast_path_is_as_sure_as_nine_of_ten_places() -> None:
    scores = [(0.9, 0.1)] * 10 + [(0.6, 0.1), (-1.0, -1.0)]  # the last is impossible for everybody: 0
    samples = monologue(scores)
    faint = sure((0.6, 0.1), 5.0)[0]
    firm = sure((0.9, 0.1), 5.0)[0]
    assert faint is not None
    assert firm is not None
    tenth = faint + 0.1 * (firm - faint)  # of twelve values a tenth of the way from the second to the third
    assert samples.probability(SCALE, 0) == round(tenth, 4)
    assert math.isclose(samples.probability(SCALE, 1), 0.0, abs_tol=1e-6)


def test_the_fast_path_is_taken_when_it_is_as_sure_as_its_limit() -> None:
    samples = monologue([(0.6, 0.1)] * 12)
    reached = samples.probability(SCALE, 0)
    assert doubt(samples, replace(LIMITS, fast_path_probability=reached), 0) is None
    says = doubt(samples, replace(LIMITS, fast_path_probability=reached + 1e-6), 0)
    assert says is not None
    assert f"{100 * reached:.1f} % sure" in says


def test_the_fast_path_is_taken_when_its_low_end_is_the_limit() -> None:
    samples = monologue([(0.62, 0.1)] * 12)
    assert doubt(samples, Limits(fast_path_mean=0.5, fast_path_low=0.62), 0) is None

"""Probabilities of names by hand: Bayes' rule with the priors of strangers, of the primary speaker and of the others."""

from __future__ import annotations

import math

import pytest

from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.posterior import least_log_ratio, probabilities
from gainstage.engine.voices.profile_index import Candidate

ANN = Candidate(1, "Ann", True, None)
BOB, CAT = Candidate(2, "Bob", False, None), Candidate(3, "Cat", False, None)


def scale(people: float) -> Calibration:
    """A score is its own log-likelihood ratio at every length."""
    return Calibration(0.0, 1.0, 0.0, 0.0, 0.5, 0.0, 0.25, 0.0, people)


def bayes(stranger: float, *people: tuple[float, float]) -> tuple[float, ...]:
    """Posteriors of (prior, likelihood ratio) beside a stranger of a prior."""
    weights = [prior * ratio for prior, ratio in people]
    return tuple(round(w / (stranger + sum(weights)), 6) for w in weights)


def test_without_a_calibration_no_candidate_has_a_probability() -> None:
    assert probabilities([ANN, BOB], [0.9, 0.1], 3.0, None) == (None, None)


@pytest.mark.parametrize(
    ("candidates", "people", "ratios", "priors"),
    [
        ([ANN], 1, [2.0], [0.5]),
        ([BOB], 1, [2.0], [0.5]),
        ([ANN], 2, [3.0], [0.25]),  # another person is enrolled, whose profile is no candidate
        ([ANN, BOB], 2, [4.0, 3.0], [0.25, 0.25]),
        ([ANN, BOB, CAT], 3, [4.0, 3.0, 0.5], [0.25, 0.125, 0.125]),
        ([BOB, CAT], 2, [4.0, 3.0], [0.25, 0.25]),
        ([BOB, CAT], 5, [4.0, 3.0], [0.1, 0.1]),
        ([ANN, BOB], 6, [4.0, 3.0], [0.25, 0.05]),
        ([ANN, BOB, CAT], 0, [4.0, 3.0, 0.5], [0.25, 0.125, 0.125]),  # enrolled since the calibration was made
    ],
)
def test_everybody_enrolled_shares_one_half_and_a_primary_speaker_has_a_quarter(
    candidates: list[Candidate], people: float, ratios: list[float], priors: list[float]
) -> None:
    found = probabilities(candidates, [math.log(r) for r in ratios], 3.0, scale(people))
    assert found == bayes(0.5, *zip(priors, ratios, strict=True))


def test_a_score_counts_by_its_length() -> None:
    by_length = Calibration(-1.0, 2.0, 0.5, 0.0, 0.5, 0.0, 0.25, 0.0, 1.0)
    assert probabilities([ANN], [0.75], 6.0, by_length) == bayes(0.5, (0.5, math.exp(-1.0 + 1.5 + 0.5)))


@pytest.mark.parametrize(("score", "expected"), [(2000.0, 1.0), (-2000.0, 0.0)])
def test_ratios_beyond_what_a_float_holds_are_certainties(score: float, expected: float) -> None:
    assert probabilities([ANN, BOB], [score, -2000.0], 3.0, scale(2)) == (expected, 0.0)


def test_nobody_beyond_the_primary_keeps_a_share_that_is_not_zero() -> None:
    """A candidate who is not among the enrolled that were counted: their share is as good as none, and no logarithm of zero."""
    two = [ANN, Candidate(2, "Bea", True, None)]
    assert probabilities(two, [0.0, 0.0], 3.0, scale(2)) == bayes(0.5, (0.25, 1.0), (0.25, 1.0))


@pytest.mark.parametrize(
    ("people", "primary", "prior"),
    [(1, False, 0.5), (1, True, 0.5), (2, False, 0.25), (2, True, 0.25), (6, False, 0.05), (6, True, 0.25)],
)
def test_the_ratio_that_is_needed_gives_just_that_probability(people: int, primary: bool, prior: float) -> None:
    needed = least_log_ratio(0.9, people, primary=primary)
    assert needed == pytest.approx(math.log(0.9 / 0.1 * 0.5 / prior))
    one = [ANN if primary else BOB]
    if primary or people == 1:
        assert probabilities(one, [needed], 3.0, scale(people)) == (0.9,)


def test_of_a_person_who_is_not_said_to_be_the_primary() -> None:
    assert least_log_ratio(0.9, 6) == least_log_ratio(0.9, 6, primary=False) == pytest.approx(math.log(9.0 * 0.5 / 0.05))


def test_a_score_for_each_candidate_is_required() -> None:
    with pytest.raises(ValueError, match="shorter"):
        probabilities([ANN, BOB], [1.0], 3.0, scale(2))


def test_of_fewer_than_one_person_is_as_of_one() -> None:
    assert least_log_ratio(0.9, 0) == pytest.approx(math.log(9.0))

"""The rules of who speaks at their edges: whose threshold counts, whose claim wins, what a joined turn carries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gainstage.engine.voices.analysis import judge
from gainstage.engine.voices.evidence import TurnRow
from gainstage.engine.voices.fast_path import Places, doubt
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Candidate
from tests.unit.test_voices_analysis import GUEST, HOST, LIMITS, OTHER, cluster, names, of

SPLIT = [0.9, 0.9, 0.9, 0.1, 0.1, 0.1]
"""Similarities of three turns of the host and three of somebody else in one cluster."""


def guest_turns(score: float, candidates: tuple[Candidate, ...] = (HOST, GUEST), *more: float) -> list[str]:
    """Names of a split cluster whose last three turns score ``score`` against the guest and ``more`` against the others."""
    evidence = cluster("A", SPLIT, candidates=candidates, scores=(0.5, 0.3, *(0.1 for _ in more)))
    turns = [t._replace(scores=(t.similarity or 0.0, score, *more) if i >= 3 else (0.9, 0.1, *(0.1 for _ in more)))
             for i, t in enumerate(evidence.turns)]  # fmt: skip
    return names(decide([replace(evidence, turns=tuple(turns))], LIMITS, 1))


@pytest.mark.parametrize(("score", "name"), [(0.82, "Bob"), (0.81, "Speaker 1"), (0.63, "Speaker 1")])
def test_in_a_split_cluster_another_profile_must_reach_the_threshold_of_others(score: float, name: str) -> None:
    assert guest_turns(score) == ["Ann"] * 3 + [name] * 3


@pytest.mark.parametrize(("score", "name"), [(0.7, "Cem"), (0.69, "Speaker 1")])
def test_in_a_split_cluster_a_profiles_own_threshold_counts(score: float, name: str) -> None:
    assert guest_turns(0.1, (HOST, GUEST, OTHER), score) == ["Ann"] * 3 + [name] * 3


@pytest.mark.parametrize(("second", "name"), [(0.85, "Bob"), (0.86, "Speaker 1")])
def test_in_a_split_cluster_the_best_other_must_lead_by_the_margin(second: float, name: str) -> None:
    assert guest_turns(0.9, (HOST, GUEST, OTHER), second) == ["Ann"] * 3 + [name] * 3


def test_the_bonus_of_a_long_cluster_counts_for_its_claim_on_a_person() -> None:
    """0.80 of 6 s counts 0.816, 0.79 of 36 s counts 0.8295: the longer cluster keeps the person."""
    short = cluster("A", [0.80] * 3, length=2.0)
    long = cluster("B", [0.79] * 3, start=100, length=12.0)
    assert {d.cluster: d.speaker for d in decide([short, long], LIMITS, 1).decisions} == {"A": None, "B": "Ann"}


def test_of_two_equal_claims_the_cluster_with_more_speech_keeps_the_person() -> None:
    less, more = cluster("A", [0.8] * 3, length=12.0), cluster("B", [0.8] * 3, start=100, length=13.0)
    assert {d.cluster: d.speaker for d in decide([less, more], LIMITS, 1).decisions} == {"A": None, "B": "Ann"}


def test_a_turn_joined_of_two_pieces_carries_the_voice_and_the_similarity_of_both() -> None:
    rows = [TurnRow(0.0, 30.0, 0.9, None, (0.9,), False), TurnRow(30.0, 60.0, 0.7, None, (0.7,), True)]
    evidence = of("A", rows, (0.9, 0.7), (HOST,), (0.8,))
    east, north = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    (turn,) = decide([evidence], LIMITS, 1, voices=[[east, north]]).turns
    assert (turn.start, turn.end, turn.speaker) == (0.0, 60.0, "Ann")
    assert turn.similarity == pytest.approx(0.8)
    assert turn.voice is not None
    assert turn.voice == pytest.approx(np.array([1, 1]) / np.sqrt(2), abs=1e-6)
    (turn,) = decide([evidence], LIMITS, 1, voices=[[None, north]]).turns
    assert turn.voice is not None
    assert turn.voice == pytest.approx(north)


def test_the_low_end_of_the_fast_path_is_the_10th_percentile() -> None:
    """Of 0.00, 0.01 .. 0.11 it lies a tenth of the way from the second to the third value."""
    similarities = tuple(n / 100 for n in range(12))
    assert Places((), similarities, np.zeros((12, 1))).low == pytest.approx(0.011, abs=1e-4)
    assert Places((), similarities, np.zeros((12, 1))).mean == pytest.approx(0.055, abs=1e-4)


@pytest.mark.parametrize(
    ("similarities", "says"),
    [
        ([0.72] * 12, None),
        ([0.7199] * 12, "mean 0.720 is below 0.72"),
        ([0.9] * 10 + [0.59] * 2, None),
        ([0.9] * 10 + [0.58] * 2, "10th percentile"),
        ([0.9] * 11 + [0.3], None),  # one bad place of twelve is no doubt
    ],
)
def test_the_fast_path_is_taken_when_mean_and_low_end_reach_their_limits(similarities: list[float], says: str | None) -> None:
    told = doubt(Places((), tuple(similarities), np.array([[s, 0.1] for s in similarities])), Limits(), 0)
    assert told == says if says is None else says in (told or "")


def test_somebody_who_is_more_alike_at_one_place_ends_the_fast_path() -> None:
    scores = np.array([[0.9, 0.1]] * 11 + [[0.8, 0.81]])
    assert doubt(Places((), (0.9,) * 12, scores), Limits(), 0) == "somebody else is more alike at one place"
    assert doubt(Places((), (0.9,) * 12, scores[:11]), Limits(), 0) is None


def test_rulings_name_the_holder_of_a_taken_person() -> None:
    first, second = judge([cluster("A", [0.8] * 3), cluster("B", [0.9] * 3, start=100)], LIMITS)
    assert (first.verdict, first.holder, second.verdict, second.holder) == ("taken", "B", "accepted", None)

"""The rules of who speaks at their edges: whose threshold counts, whose claim wins, what a joined turn carries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.terms import Provenance
from gainstage.engine.voices.analysis import bonus, judge, split_rule, statistics, two_mode_gap
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


# -- at the limits themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "factor"), [(5.0, 1.0), (5.01, 1.02), (10.0, 1.02), (10.01, 1.05), (600.0, 1.05)])
def test_the_bonus_begins_above_its_length(seconds: float, factor: float) -> None:
    assert bonus(seconds) == factor


def test_a_cluster_at_a_limit_is_not_beyond_it() -> None:
    stats = statistics([0.25, 0.5, 0.75])
    assert stats is not None
    at = replace(LIMITS, variance_limit=stats.variance, range_limit=stats.spread)
    assert split_rule(stats, at) == (False, "under limits")
    assert split_rule(stats, replace(at, variance_limit=stats.variance - 1e-9)) == (True, "variance")
    assert split_rule(stats, replace(at, range_limit=stats.spread - 1e-9)) == (True, "range")


def test_three_seconds_are_enough_and_a_lead_of_the_margin_is() -> None:
    assert judge([cluster("A", [0.9] * 3, length=1.0)], LIMITS)[0].verdict == "accepted"
    assert judge([cluster("A", [0.9] * 3, length=0.999)], LIMITS)[0].verdict == "too short"
    assert judge([cluster("A", [0.7] * 3, guest=0.65)], LIMITS)[0].verdict == "accepted"
    assert judge([cluster("A", [0.7] * 3, guest=0.6500003)], LIMITS)[0].margin == 0.05, "rounded like a score"
    assert judge([cluster("A", [0.7] * 3, guest=0.651)], LIMITS)[0].verdict == "too close"


@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), max_size=12))
def test_the_gap_between_two_modes_is_that_of_the_cut_with_the_largest_variance_between(values: list[float]) -> None:
    """Every cut looked at one by one."""
    ranked, best, gap = sorted(values), 0.0, 0.0
    for k in range(1, len(ranked)):
        low, high = float(np.mean(ranked[:k])), float(np.mean(ranked[k:]))
        between = k * (len(ranked) - k) * (high - low) ** 2
        if between > best + 1e-9:
            best, gap = between, high - low
        elif abs(between - best) <= 1e-9 and best:  # two cuts as good as each other: rounding says which
            return
    assert two_mode_gap(values) == pytest.approx(gap, abs=1e-6)


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_whichever_comes_first_the_better_claim_keeps_the_person(order: str) -> None:
    evidence = [cluster(name, [0.9 if name == "A" else 0.8] * 3, start=100.0 * order.index(name)) for name in "AB"]
    assert {r.evidence.cluster: r.verdict for r in judge(evidence, LIMITS)} == {"A": "accepted", "B": "taken"}


def test_of_two_claims_equal_in_everything_the_first_keeps_the_person() -> None:
    evidence = [cluster("B", [0.8] * 3), cluster("A", [0.8] * 3, start=100)]
    assert {r.evidence.cluster: r.verdict for r in judge(evidence, LIMITS)} == {"B": "accepted", "A": "taken"}


def split_turns(*scores: tuple[float, float], short: int, follows: tuple[bool, ...] | None = None) -> tuple[TurnRow, ...]:
    """Turns of 12 s scored against host and guest, the one numbered ``short`` of half a second."""
    rows, now = [], 0.0
    for i, pair in enumerate(scores):
        length = 0.5 if i == short else 12.0
        rows.append(TurnRow(now, now + length, pair[0], None, pair, i > 0 if follows is None else follows[i]))
        now += length + 1
    return tuple(rows)


H, G, N = (0.9, 0.1), (0.1, 0.9), (0.2, 0.15)


def smoothed_names(rows: tuple[TurnRow, ...]) -> list[tuple[str, bool]]:
    evidence = of("A", list(rows), tuple(r.scores[0] for r in rows), (HOST, GUEST), (0.5, 0.4))
    limits = replace(LIMITS, smooth_below=1.0, variance_limit=0.0)
    return [(t.speaker, t.smoothed) for t in decide([evidence], limits, 1).turns]


def test_a_short_turn_between_two_people_joins_neither() -> None:
    assert smoothed_names(split_turns(H, N, G, H, short=1)) == [
        ("Ann", False),
        ("Speaker 1", False),
        ("Bob", False),
        ("Ann", False),
    ]


def test_a_short_turn_before_somebody_elses_turn_joins_nobody() -> None:
    """After it another cluster speaks: the turn that comes next in this cluster is no neighbour."""
    rows = split_turns(H, N, H, H, short=1, follows=(False, True, False, True))
    assert smoothed_names(rows)[1] == ("Speaker 1", False)
    assert smoothed_names(split_turns(H, N, H, H, short=1))[1] == ("Ann", True)


def test_a_turn_smoothed_to_somebody_else_keeps_its_score_against_them() -> None:
    rows = split_turns(G, H, G, H, short=1)
    evidence = of("A", list(rows), tuple(r.scores[0] for r in rows), (HOST, GUEST), (0.5, 0.4))
    turn = decide([evidence], replace(LIMITS, variance_limit=0.0), 1).turns[1]
    assert (turn.speaker, turn.smoothed, turn.confidence) == ("Bob", True, 0.1)


def test_the_unknown_of_a_split_cluster_are_numbered_by_their_own_first_turn() -> None:
    """The split cluster begins first, but its unknown voice is first heard after the other cluster."""
    split = cluster("A", [0.9, 0.9, 0.9, 0.1, 0.1, 0.1])
    other = cluster("B", [0.2] * 3, start=20.0)
    cast = decide([split, other], LIMITS, 1)
    assert {(t.cluster, t.speaker) for t in cast.turns} == {("A", "Ann"), ("A", "Speaker 2"), ("B", "Speaker 1")}


def test_voices_that_do_not_belong_to_the_evidence_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        decide([cluster("A", [0.9] * 3)], LIMITS, 1, voices=())


def test_a_decision_holds_what_it_rests_on() -> None:
    whole = decide([cluster("A", [0.7, 0.8, 0.9], candidates=(GUEST, HOST), scores=(0.1, 0.8))], LIMITS, 4).decisions[0]
    assert (whole.mean, whole.low, whole.high) == (pytest.approx(0.8), 0.7, 0.9)
    assert whole.bimodality == pytest.approx(two_mode_gap([0.7, 0.8, 0.9]))
    assert [s.score for s in whole.scores] == [0.8, 0.1]
    assert whole.provenance is Provenance.CLUSTER
    few = decide([cluster("A", [0.7, 0.8])], LIMITS, 4).decisions[0]
    assert (few.mean, few.bimodality) == (None, None)
    assert decide([cluster("A", SPLIT)], LIMITS, 4).decisions[0].provenance is Provenance.PER_SEGMENT

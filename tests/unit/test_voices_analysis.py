"""The rules of who speaks: statistics, split, cluster level, per segment, smoothing, names."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.config.settings import Identify
from gainstage.engine.store.codec import decision_of, jsonable
from gainstage.engine.terms import Cast, Provenance
from gainstage.engine.voices.analysis import judge, split_rule, statistics, two_mode_gap
from gainstage.engine.voices.evidence import ClusterEvidence, TurnRow, restore_evidence
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Candidate

HOST = Candidate(1, "Ann", True, None)
GUEST = Candidate(2, "Bob", False, None)
OTHER = Candidate(3, "Cem", False, 0.7)
LIMITS = Limits(smooth_below=10.0)

REFERENCE = (0.164, 0.2, 0.21, 0.22, 0.24, 0.58, 0.6, 0.61, 0.62, 0.656)
"""Mean 0.410, variance 0.042, range 0.492."""


def of(
    name: str, rows: list[TurnRow], similarities: tuple[float, ...], candidates: tuple[Candidate, ...], scores: tuple[float, ...]
) -> ClusterEvidence:
    """A cluster of these turns."""
    seconds = sum(t.end - t.start for t in rows)
    reference = "primary" if any(c.primary for c in candidates) else "self"
    return ClusterEvidence(name, seconds, rows[0].start, similarities, reference, candidates, scores, False, tuple(rows))  # type: ignore[arg-type]


def cluster(
    name: str,
    similarities: list[float],
    *,
    scores: tuple[float, ...] | None = None,
    candidates: tuple[Candidate, ...] = (HOST, GUEST),
    start: float = 0.0,
    length: float = 12.0,
    guest: float = 0.1,
) -> ClusterEvidence:
    """One turn per similarity to the host, each ``length`` seconds with a second between them and nobody else speaking."""
    rows = [
        TurnRow(start + i * (length + 1), start + i * (length + 1) + length, s, None, (s, guest)[: len(candidates)], i > 0)
        for i, s in enumerate(similarities)
    ]
    mean = sum(similarities) / len(similarities)
    found = scores if scores is not None else (mean, guest)[: len(candidates)]
    return of(name, rows, tuple(similarities), candidates, found)


def names(cast: Cast) -> list[str]:
    return [t.speaker for t in cast.turns]


similarity = st.floats(-1, 1).map(lambda x: round(x, 4))


@given(st.lists(similarity, min_size=3, max_size=10))
def test_variance_is_at_most_a_quarter_of_the_range_squared(values: list[float]) -> None:
    stats = statistics(values)
    assert stats is not None
    assert stats.variance <= stats.spread**2 / 4 + 1e-12
    assert stats.low <= stats.mean + 1e-12
    assert stats.mean <= stats.high + 1e-12


@given(st.lists(similarity, max_size=10), st.randoms())
def test_two_mode_gap_lies_between_zero_and_the_range_whatever_the_order(values: list[float], random: Random) -> None:
    gap = two_mode_gap(values)
    assert 0.0 <= gap <= max(values, default=0.0) - min(values, default=0.0) + 1e-12
    shuffled = list(values)
    random.shuffle(shuffled)
    assert two_mode_gap(shuffled) == pytest.approx(gap)


def test_two_mode_gap_tells_two_voices_from_one() -> None:
    assert two_mode_gap([0.1, 0.12, 0.14, 0.8, 0.82]) == pytest.approx(0.69)
    assert two_mode_gap([0.7, 0.71, 0.73, 0.74]) < 0.05


def test_reference_case_is_split_at_a_range_limit_of_0_3_and_not_at_0_5() -> None:
    stats = statistics(REFERENCE)
    assert stats is not None
    assert (round(stats.mean, 3), round(stats.variance, 3), round(stats.spread, 3)) == (0.41, 0.042, 0.492)
    assert split_rule(stats, LIMITS) == (False, "under limits")
    assert split_rule(stats, replace(LIMITS, range_limit=0.3)) == (True, "range")


def test_variance_rule_is_named_before_the_range_rule() -> None:
    assert split_rule(statistics([0.1, 0.1, 0.9, 0.9]), LIMITS) == (True, "variance")


def test_fewer_than_three_voices_give_no_statistics_and_no_split() -> None:
    ruling = judge([cluster("A", [0.1, 0.9])], LIMITS)[0]
    assert (ruling.stats, ruling.split, ruling.rule) == (None, False, "too few")


def test_without_any_profile_everything_is_unknown() -> None:
    evidence = cluster("A", [0.8, 0.82, 0.84], candidates=(), scores=())
    cast = decide([evidence], LIMITS, 1)
    assert names(cast) == ["Speaker 1"] * 3
    assert "nobody is enrolled" in cast.decisions[0].why


def test_a_cluster_with_less_than_three_seconds_is_unknown() -> None:
    cast = decide([cluster("A", [0.9, 0.9], length=1.4)], LIMITS, 1)
    assert names(cast) == ["Speaker 1"] * 2
    assert cast.decisions[0].rule == "too short"


@pytest.mark.parametrize(
    ("score", "guest", "length", "speaker", "words"),
    [
        (0.62, 0.1, 1.2, "Ann", "reaches 0.62"),
        (0.61, 0.1, 1.2, None, "below 0.62"),
        (0.60, 0.1, 4.0, "Ann", "0.600 x 1.05"),  # 12 s in all
        (0.61, 0.1, 2.0, "Ann", "0.610 x 1.02"),  # 6 s in all
        (0.70, 0.66, 4.0, None, "leads by 0.040"),
        (0.10, 0.81, 1.2, None, "below 0.82"),
        (0.10, 0.82, 1.2, "Bob", "reaches 0.82"),
    ],
)
def test_cluster_level_asks_for_threshold_and_margin(
    score: float, guest: float, length: float, speaker: str | None, words: str
) -> None:
    evidence = cluster("A", [score] * 3, guest=guest, length=length)
    found = decide([evidence], LIMITS, 1).decisions[0]
    assert found.speaker == speaker
    assert words in found.why


def test_margin_is_waived_with_one_profile() -> None:
    found = decide([cluster("A", [0.7] * 3, candidates=(HOST,))], LIMITS, 1).decisions[0]
    assert (found.speaker, found.margin) == ("Ann", None)


def test_a_profile_of_its_own_threshold_uses_it_and_the_primary_uses_the_setting() -> None:
    own = cluster("A", [0.1] * 3, candidates=(HOST, OTHER), guest=0.75)
    assert decide([own], LIMITS, 1).decisions[0].speaker == "Cem"
    primary = cluster("A", [0.7] * 3, candidates=(replace(HOST, threshold=0.95),))
    assert decide([primary], LIMITS, 1).decisions[0].speaker == "Ann"


def test_two_clusters_of_a_recording_are_never_the_same_person() -> None:
    better, worse = cluster("B", [0.9] * 3, start=100), cluster("A", [0.8] * 3)
    cast = decide([worse, better], LIMITS, 1)
    assert {d.cluster: d.speaker for d in cast.decisions} == {"A": None, "B": "Ann"}
    assert "is cluster B already" in cast.decisions[0].why


def test_unknown_people_are_numbered_by_first_appearance() -> None:
    late, host, early = cluster("A", [0.1] * 3, start=200), cluster("B", [0.9] * 3, start=0), cluster("C", [0.2] * 3, start=100)
    cast = decide([late, host, early], LIMITS, 1)
    assert {t.cluster: t.speaker for t in cast.turns} == {"B": "Ann", "C": "Speaker 1", "A": "Speaker 2"}


def test_a_split_cluster_is_named_turn_by_turn() -> None:
    evidence = cluster("A", [0.9, 0.65, 0.64, 0.1, 0.12, 0.11, 0.1])
    evidence = replace(evidence, turns=(*evidence.turns[:-1], evidence.turns[-1]._replace(scores=(0.1, 0.9))))
    cast = decide([evidence], LIMITS, 1)
    assert names(cast) == ["Ann", "Ann", "Speaker 1", "Speaker 1", "Speaker 1", "Speaker 1", "Bob"]
    assert [t.confidence for t in cast.turns] == [0.9, 0.65, None, None, None, None, 0.9]
    assert {t.provenance for t in cast.turns} == {Provenance.PER_SEGMENT}
    assert cast.decisions[0].speaker is None


def test_turns_too_short_for_a_voice_take_the_name_of_a_cluster_that_is_one_voice() -> None:
    evidence = cluster("A", [0.8] * 3)
    short = TurnRow(50.0, 50.4, None, "too short", (), True)
    cast = decide([replace(evidence, turns=(*evidence.turns, short))], LIMITS, 1)
    assert names(cast) == ["Ann"] * 4


def test_a_short_turn_between_two_of_one_speaker_joins_them_and_keeps_its_similarity() -> None:
    evidence = cluster("A", [0.9, 0.1, 0.9, 0.1, 0.1])
    short = evidence.turns[1]._replace(end=evidence.turns[1].start + 4)
    evidence = replace(evidence, turns=(evidence.turns[0], short, *evidence.turns[2:]))
    turn = decide([evidence], LIMITS, 1).turns[1]
    assert (turn.speaker, turn.smoothed, turn.provenance) == ("Ann", True, Provenance.SMOOTHED)
    assert turn.similarity == turn.confidence == 0.1
    assert decide([evidence], replace(LIMITS, smooth_below=4.0), 1).turns[1].speaker == "Speaker 1"


def test_a_turn_of_another_cluster_in_between_is_no_neighbour() -> None:
    evidence = cluster("A", [0.9, 0.1, 0.9, 0.1, 0.1], length=4)
    assert decide([evidence], LIMITS, 1).turns[1].smoothed
    parted = replace(evidence, turns=(evidence.turns[0], evidence.turns[1]._replace(follows=False), *evidence.turns[2:]))
    assert not decide([parted], LIMITS, 1).turns[1].smoothed


def test_a_cluster_that_is_one_voice_is_never_smoothed() -> None:
    cast = decide([cluster("A", [0.9, 0.85, 0.7, 0.9], length=4)], LIMITS, 1)
    assert {t.provenance for t in cast.turns} == {Provenance.CLUSTER}


def test_fast_back_and_forth_does_not_cascade() -> None:
    evidence = cluster("A", [0.9, 0.1] * 5, length=1)
    cast = decide([evidence], LIMITS, 1)
    assert [t.smoothed for t in cast.turns] == [False, True] * 4 + [False, False]


row = st.tuples(
    st.floats(0, 5),  # gap before
    st.floats(0.1, 40),  # length
    st.one_of(st.none(), st.tuples(similarity, similarity, similarity)),
)


@st.composite
def recordings(draw: st.DrawFn) -> list[ClusterEvidence]:
    candidates = draw(st.sampled_from([(), (HOST,), (GUEST, OTHER), (HOST, GUEST, OTHER)]))
    rows = draw(st.lists(st.tuples(st.sampled_from("ABC"), row), min_size=1, max_size=25))
    by_cluster: dict[str, list[TurnRow]] = {}
    now, before = 0.0, ""
    for name, (gap, length, scores) in rows:
        start = now + gap
        now = start + length
        found = () if scores is None else scores[: len(candidates)]
        refused = "silent" if scores is None else None
        heard = None if scores is None else scores[0]
        by_cluster.setdefault(name, []).append(TurnRow(start, now, heard, refused, found, name == before))
        before = name
    evidence = []
    for name, turns in by_cluster.items():
        sims = tuple(t.similarity for t in turns if t.similarity is not None)[:10]
        evidence.append(of(name, turns, sims, candidates, tuple(draw(similarity) for _ in candidates) if sims else ()))
    return evidence


limits = st.builds(
    Limits,
    range_limit=st.floats(0, 2),
    variance_limit=st.floats(0, 1),
    split_threshold=st.floats(0, 1),
    primary_threshold=st.floats(0, 1),
    other_threshold=st.floats(0, 1),
    margin=st.floats(0, 1),
    smooth_below=st.floats(0, 60),
)


@given(recordings(), limits)
def test_labelled_and_unknown_seconds_are_the_speech_and_no_turn_is_dropped(
    evidence: list[ClusterEvidence], limits: Limits
) -> None:
    cast = decide(evidence, limits, 3)
    speech = sum(e.seconds for e in evidence)
    assert sum(t.seconds for t in cast.turns) == pytest.approx(speech)
    assert sum(s for d in cast.decisions for s in d.seconds_by_speaker.values()) == pytest.approx(speech)
    by_label = {known: sum(t.seconds for t in cast.turns if (t.profile is not None) is known) for known in (True, False)}
    assert by_label[True] + by_label[False] == pytest.approx(speech)
    assert all(t.speaker.startswith("Speaker ") == (t.profile is None) for t in cast.turns)
    assert [t.start for t in cast.turns] == sorted(t.start for t in cast.turns)


@given(recordings(), limits, st.randoms())
def test_a_cast_does_not_depend_on_the_order_of_clusters(evidence: list[ClusterEvidence], limits: Limits, random: Random) -> None:
    shuffled = list(evidence)
    random.shuffle(shuffled)
    assert decide(shuffled, limits, 3) == decide(evidence, limits, 3)


@given(recordings(), limits)
def test_smoothing_changes_only_short_turns_of_split_clusters_between_agreeing_unchanged_ones(
    evidence: list[ClusterEvidence], limits: Limits
) -> None:
    rough = judge(evidence, replace(limits, smooth_below=0))
    for before, after in zip(rough, judge(evidence, limits), strict=True):
        turns = after.evidence.turns
        assert len(after.labels) == len(before.labels) == (len(turns) if after.split else 0)
        for i, label in enumerate(after.labels):
            if not label.smoothed:
                assert label == before.labels[i]
                continue
            assert turns[i].end - turns[i].start < limits.smooth_below
            assert turns[i].follows
            assert turns[i + 1].follows
            assert not after.labels[i - 1].smoothed
            assert not after.labels[i + 1].smoothed
            assert before.labels[i - 1].who == before.labels[i + 1].who == label.who != before.labels[i].who


@given(recordings(), limits, st.integers(1, 99))
def test_replay_of_stored_decisions_equals_history(evidence: list[ClusterEvidence], limits: Limits, revision: int) -> None:
    decisions = decide(evidence, limits, revision).decisions
    stored = [decision_of(json.loads(json.dumps(jsonable(d), allow_nan=False))) for d in decisions]
    assert tuple(stored) == decisions
    again = decide([restore_evidence(d) for d in stored], Limits.from_record(stored[0].limits), revision)
    assert again.decisions == decisions


@given(recordings(), limits)
@settings(max_examples=50)
def test_nobody_is_two_whole_clusters(evidence: list[ClusterEvidence], limits: Limits) -> None:
    people = [d.speaker for d in decide(evidence, limits, 3).decisions if d.speaker is not None]
    assert len(people) == len(set(people))


def test_limits_are_the_settings_and_survive_their_record() -> None:
    found = Limits.from_settings(Identify())
    assert found == Limits()
    assert Limits.from_record(found.record()) == found
    assert found.changed({"identify.margin": 0.2}).margin == 0.2
    with pytest.raises(KeyError):
        found.changed({"identify.primary": 1.0})


def test_explanations_hold_the_numbers() -> None:
    cast = decide([cluster("A", list(REFERENCE))], replace(LIMITS, range_limit=0.3), 1)
    assert "range 0.492 is above 0.30" in cast.decisions[0].why
    assert math.isclose(sum(cast.decisions[0].seconds_by_speaker.values()), cast.decisions[0].seconds)

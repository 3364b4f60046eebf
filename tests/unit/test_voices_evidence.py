"""Turns, pieces and samples; similarity to profiles; evidence from voices; vectors that are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gainstage.engine.errors import EngineError, Misconfigured
from gainstage.engine.terms import DiarizationResult, ModelId, Turn
from gainstage.engine.voices.evidence import ALL_KEPT, Refusal, build_evidence, wanted
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import SMALLEST_COHORT, Profile, ProfileIndex, profile
from gainstage.engine.voices.spans import PIECE_S, SAMPLES, clusters, merged, overlaps, spread
from gainstage.engine.voices.vectors import BadVoice, ForeignVoice, checked, mean_voice

MODEL = ModelId("tiny", "abc", 16)


def random_voices(count: int, seed: int = 0) -> NDArray[np.float32]:
    return checked(np.random.default_rng(seed).standard_normal((count, MODEL.dimension)))


def near(voice: NDArray[np.float32], count: int, noise: float, seed: int = 0) -> NDArray[np.float32]:
    """Voices around one: the larger the noise, the less alike."""
    rng = np.random.default_rng(seed)
    return checked(voice + noise * rng.standard_normal((count, MODEL.dimension)) / np.sqrt(MODEL.dimension))


def person(id: int, voice: NDArray[np.float32], *, primary: bool = False, exemplars: int = 6) -> Profile:
    rows = near(voice, exemplars, 0.4, id) if exemplars else None
    return profile(id, f"person {id}", MODEL, rows, None if exemplars else voice, primary=primary)


turn_lists = st.lists(
    st.builds(
        lambda start, length, cluster: Turn(start, start + length, cluster),
        st.floats(0, 3000),
        st.floats(0, 900),
        st.sampled_from("ABC"),
    )
)


@given(turn_lists)
def test_clusters_keep_all_speech_of_turns_that_do_not_overlap(turns: list[Turn]) -> None:
    exclusive, now = [], 0.0
    for turn in turns:
        exclusive.append(Turn(now, now + turn.seconds, turn.cluster))
        now += turn.seconds + 0.25
    found = clusters(exclusive)
    for c in found:
        assert sum(end - start for start, end in c.pieces) == pytest.approx(
            sum(t.seconds for t in exclusive if t.cluster == c.cluster)
        )
        assert all(end > start for start, end in c.pieces)
        assert list(c.pieces) == sorted(c.pieces)
        assert all(end - start <= 300 for start, end in c.pieces)


def test_one_long_turn_is_cut_in_touching_pieces_of_at_most_30_s() -> None:
    (found,) = clusters([Turn(5.0, 205.0, "A")])
    assert found.massive
    assert len(found.pieces) == 7
    assert all(end - start <= PIECE_S for start, end in found.pieces)
    assert [end for _, end in found.pieces[:-1]] == [start for start, _ in found.pieces[1:]]
    assert (found.pieces[0][0], found.pieces[-1][1]) == (5.0, 205.0)


def test_only_turns_over_300_s_are_cut_in_a_cluster_of_several() -> None:
    (found,) = clusters([Turn(0, 200, "A"), Turn(300, 700, "A")])
    assert not found.massive
    assert len(found.pieces) == 1 + 14


def test_pieces_of_a_long_turn_with_one_name_are_one_turn_again() -> None:
    spans = clusters([Turn(0, 400, "A")])
    host = random_voices(1)[0]
    voices = list(near(host, len(wanted(spans)), 0.1))
    evidence, kept = build_evidence(spans, voices, ProfileIndex([person(1, host, primary=True)], MODEL))
    cast = decide(evidence, Limits(), 1, voices=kept)
    assert [(t.start, t.end, t.speaker) for t in cast.turns] == [(0, 400, "person 1")]
    assert cast.decisions[0].massive
    assert cast.decisions[0].turns == 1
    assert len(cast.decisions[0].similarities) == SAMPLES
    assert cast.turns[0].voice is not None
    assert float(cast.turns[0].voice @ host) > 0.99


@given(st.lists(st.floats(0.5, 30), min_size=1, max_size=60))
def test_samples_are_spread_over_the_whole_time(lengths: list[float]) -> None:
    starts = np.cumsum([0.0, *lengths[:-1]])
    pieces = [(float(s), float(s + n)) for s, n in zip(starts, lengths, strict=True)]
    picked = spread(pieces)
    assert len(picked) == min(len(pieces), SAMPLES)
    assert picked == sorted(set(picked))
    if len(pieces) > SAMPLES:
        middles = [(a + b) / 2 for a, b in pieces]
        stratum = (middles[-1] - middles[0]) / SAMPLES
        assert middles[picked[0]] <= middles[0] + stratum / 2 + 30
        assert middles[picked[-1]] >= middles[-1] - stratum / 2 - 30


def test_overlap_is_where_two_clusters_speak() -> None:
    turns = [Turn(0, 10, "A"), Turn(8, 12, "B"), Turn(9, 9.5, "C"), Turn(11, 20, "B"), Turn(12, 13, "A")]
    assert overlaps(turns) == ((8, 10), (12, 13))


def test_clusters_merged_on_purpose_are_one() -> None:
    heard = DiarizationResult((Turn(0, 4, "B"), Turn(5, 9, "A")), (Turn(0, 4, "B"), Turn(5, 9, "C")), "m")
    joined = merged(heard, [{"A", "B"}])
    assert [t.cluster for t in joined.turns] == ["A", "A"]
    assert [t.cluster for t in joined.exclusive] == ["A", "C"]


def test_similarity_is_the_mean_of_the_three_best_exemplars() -> None:
    exemplars, voice = random_voices(6), random_voices(1, 9)
    index = ProfileIndex([profile(1, "Ann", MODEL, exemplars)], MODEL)
    expected = np.sort(exemplars @ voice[0])[-3:].mean()
    assert index.similarities(voice)[0, 0] == pytest.approx(expected, abs=1e-4)


def test_similarity_falls_back_to_the_centroid_without_exemplars() -> None:
    centroid, voice = random_voices(1)[0], random_voices(1, 9)
    index = ProfileIndex([profile(1, "Ann", MODEL, centroid=centroid * 7)], MODEL)
    assert index.similarities(voice)[0, 0] == pytest.approx(float(centroid @ voice[0]), abs=1e-4)


def test_a_profile_of_another_dimension_is_a_typed_error() -> None:
    other = profile(1, "Ann", ModelId("tiny", "abc", 8), np.ones((2, 8), np.float32))
    with pytest.raises(ForeignVoice, match="Ann"):
        ProfileIndex([other], MODEL)
    with pytest.raises(ForeignVoice):
        profile(1, "Ann", MODEL, np.ones((2, 8), np.float32))


def test_a_profile_of_another_revision_is_a_typed_error() -> None:
    other = profile(1, "Ann", ModelId("tiny", "older", 16), random_voices(3))
    with pytest.raises(ForeignVoice, match="older"):
        ProfileIndex([other], MODEL)


@pytest.mark.parametrize(
    "vector",
    [np.full(16, np.nan), np.full(16, np.inf), np.zeros(16), np.zeros(0), np.ones((2, 2, 16)), ["a"] * 16],
)
def test_what_is_no_voice_is_a_typed_error(vector: object) -> None:
    with pytest.raises(BadVoice):
        checked(vector)  # type: ignore[arg-type]


def test_a_nan_voice_never_reaches_a_decision() -> None:
    spans = clusters([Turn(0, 4, "A"), Turn(5, 9, "A")])
    voices = random_voices(2).copy()
    voices[1, 3] = np.nan
    with pytest.raises(EngineError):
        build_evidence(spans, list(voices), ProfileIndex([person(1, voices[0])], MODEL))


def test_two_primary_profiles_are_refused() -> None:
    with pytest.raises(Misconfigured, match="more than one primary"):
        ProfileIndex([person(1, random_voices(1)[0], primary=True), person(2, random_voices(1)[0], primary=True)], MODEL)


def test_voices_that_cancel_out_have_no_mean() -> None:
    voice = random_voices(1)
    with pytest.raises(BadVoice):
        mean_voice(np.concatenate([voice, -voice]))


def test_without_a_primary_a_cluster_is_measured_against_itself() -> None:
    spans = clusters([Turn(i * 5.0, i * 5.0 + 4, "A") for i in range(6)])
    one, two = random_voices(2)
    index = ProfileIndex([], MODEL)
    pure, _ = build_evidence(spans, list(near(one, 6, 0.2)), index)
    mixed, _ = build_evidence(spans, [*near(one, 3, 0.2), *near(two, 3, 0.2)], index)
    assert pure[0].reference == mixed[0].reference == "self"
    assert min(pure[0].similarities) > max(mixed[0].similarities)


def test_a_refused_turn_says_why_and_is_not_sampled() -> None:
    spans = clusters([Turn(0, 4, "A"), Turn(5, 5.3, "A"), Turn(6, 9, "A"), Turn(10, 14, "A"), Turn(15, 19, "A")])
    host = random_voices(1)[0]
    found = [*near(host, 2, 0.1), Refusal("silent"), near(host, 1, 0.1)[0]]
    evidence, kept = build_evidence(spans, found, ProfileIndex([person(1, host, primary=True)], MODEL))
    assert [t.refused for t in evidence[0].turns] == [None, "too short", None, "silent", None]
    assert len(evidence[0].similarities) == 3
    assert [v is None for v in kept[0]] == [False, True, False, True, False]


def crowd(count: int) -> ProfileIndex:
    return ProfileIndex([person(i, v, primary=i == 0) for i, v in enumerate(random_voices(count, 5))], MODEL)


def test_scores_are_normalised_only_against_a_large_enough_cohort() -> None:
    small, large = crowd(SMALLEST_COHORT), crowd(SMALLEST_COHORT + 1)
    assert (small.normalised, large.normalised) == (False, True)
    alike = small.similarities(random_voices(4, 8))
    assert np.array_equal(small.scores(alike), alike)


def test_normalisation_takes_from_a_voice_that_is_alike_to_everybody() -> None:
    index = crowd(40)
    voices = random_voices(1, 8)
    plain = index.similarities(voices)
    hub = np.clip(plain + 0.3, -1, 1)
    moved = index.scores(hub) - index.scores(plain)
    assert np.all(moved < 0.3)
    assert moved.mean() == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("make", [lambda: crowd(ALL_KEPT), lambda: crowd(40)], ids=["few", "many"])
def test_profiles_left_out_of_the_evidence_decide_nothing(make: Callable[[], ProfileIndex]) -> None:
    index = make()
    spans = clusters([Turn(i * 5.0, i * 5.0 + 4, "A") for i in range(12)])
    voices = near(index.profiles[3].centroid, 12, 0.8, 3)
    (evidence,), _ = build_evidence(spans, list(voices), index)
    scores = index.scores(index.similarities(voices))
    assert evidence.candidates[0].primary
    for row, turn in zip(scores, evidence.turns, strict=True):
        best = np.argsort(row)[-2:]
        kept = {c.id: s for c, s in zip(evidence.candidates, turn.scores, strict=True)}
        assert all(kept[index.candidates[i].id] == row[i] for i in best)

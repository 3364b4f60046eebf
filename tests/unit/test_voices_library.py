"""Exemplars, equal error points, suggestions: the arithmetic behind profiles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gainstage.engine.bench.voices_calibrated import crossed, perfect
from gainstage.engine.bench.voices_quality import EnrolledPeople, table, two_in_one
from gainstage.engine.bench.voices_smoothing import EER_AT_1S, GAP_S, SmoothingTalk, disturbed, in_pieces, sweep, unsure
from gainstage.engine.evaluation.names import Trial, cllr, min_cllr
from gainstage.engine.evaluation.quality import Spoken, Truth
from gainstage.engine.terms import Audio, ModelId, Turn
from gainstage.engine.voices.check import judged
from gainstage.engine.voices.evidence import ClusterEvidence, TurnRow
from gainstage.engine.voices.exemplars import cohesion, inliers, spread_exemplars
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.openset import FEWEST_SCORES, calibrate, equal_error, library_scores, own_scores, suggest
from gainstage.engine.voices.profile_index import Candidate, profile
from gainstage.engine.voices.vectors import checked

MODEL = ModelId("m", "1", 24)


def around(seed: int, count: int, noise: float = 0.5) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal(MODEL.dimension)
    return checked(
        middle / np.linalg.norm(middle) + noise * rng.standard_normal((count, MODEL.dimension)) / np.sqrt(MODEL.dimension)
    )


def test_windows_of_somebody_else_are_outliers() -> None:
    voices = np.concatenate([around(1, 40), around(2, 4)])
    assert inliers(voices).tolist() == [True] * 40 + [False] * 4


def test_a_person_of_many_moods_keeps_them() -> None:
    assert inliers(around(3, 60, 0.7)).sum() >= 58


@given(st.integers(0, 5), st.integers(0, 1000))
def test_few_voices_have_inliers_and_no_error(count: int, seed: int) -> None:
    assert len(inliers(around(seed, 5)[:count])) == count


def test_cohesion_is_the_mean_cosine_of_pairs() -> None:
    voices = around(1, 6)
    upper = np.triu_indices(6, 1)
    assert cohesion(voices) == pytest.approx(float((voices @ voices.T)[upper].mean()), abs=1e-6)
    assert cohesion(voices[:1]) is None


@given(st.integers(1, 200), st.integers(0, 50))
def test_exemplars_are_few_and_some_of_the_voices(count: int, seed: int) -> None:
    voices = around(seed, count)
    picked = spread_exemplars(voices, 16)
    assert len(picked) == min(count, 16)
    assert {v.tobytes() for v in picked} <= {v.tobytes() for v in voices}


def test_exemplars_spread_over_every_mood() -> None:
    moods = [around(seed, 60, 0.1) for seed in range(4)]
    picked = spread_exemplars(np.concatenate(moods), 8)
    assert all((picked @ mood.mean(0)).max() > 0.9 for mood in moods)


scores = st.lists(st.floats(-1, 1), min_size=1, max_size=50)


@given(scores, scores)
def test_the_equal_error_point_is_a_rate_at_one_of_the_scores_or_between(same: list[float], different: list[float]) -> None:
    point = equal_error(same, different)
    assert 0 <= point.rate <= 1
    assert min(*same, *different) <= point.threshold <= max(*same, *different)


def test_scores_that_do_not_overlap_have_no_error_and_a_threshold_half_way() -> None:
    point = equal_error([0.7, 0.9], [0.1, 0.3])
    assert (point.rate, point.threshold) == (0.0, pytest.approx(0.5))


def test_the_equal_error_of_known_scores() -> None:
    point = equal_error([0.4, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.5])
    assert point.rate == pytest.approx(0.25, abs=0.13)
    assert 0.4 <= point.threshold <= 0.6
    with pytest.raises(ValueError, match="both kinds"):
        equal_error([], [0.1])


def test_a_suggestion_needs_enough_scores_and_gives_its_reason() -> None:
    assert suggest([0.9] * 3, [0.1] * 3).threshold is None
    found = suggest([0.9] * FEWEST_SCORES, [0.1] * FEWEST_SCORES)
    assert found.threshold == 0.5
    assert "half-way" in found.reason
    rng = np.random.default_rng(0)
    overlapping = suggest(rng.normal(0.6, 0.2, 200).tolist(), rng.normal(0.2, 0.2, 200).tolist())
    assert overlapping.threshold == pytest.approx(0.4, abs=0.06)
    assert "equal error point" in overlapping.reason


def test_an_exemplar_is_scored_without_itself() -> None:
    voices = around(1, 5)
    cosines = voices @ voices.T
    expected = np.mean(sorted(np.delete(cosines[0], 0))[-3:])
    assert own_scores(voices)[0] == pytest.approx(float(expected), abs=1e-4)
    assert own_scores(voices[:1]) == []


def test_a_library_calibrates_itself() -> None:
    people = [profile(k, f"p{k}", MODEL, around(k, 20), primary=k == 3) for k in range(5)]
    same, different = library_scores(people)
    assert (len(same), len(different)) == (100, 400)
    found = calibrate(people)
    assert found.threshold is not None
    assert np.mean(np.array(same) < found.threshold) < 0.05
    assert library_scores([]) == ([], [])


def test_a_check_names_what_is_wrong_with_a_profile() -> None:
    loose = profile(1, "Ann", MODEL, np.concatenate([around(1, 10), around(2, 10)]), primary=True)
    bare = profile(2, "Bob", MODEL, centroid=around(5, 1)[0])
    found = {p.name: p for p in judged([loose, bare], MODEL, Limits(primary_threshold=0.95), {}).profiles}
    assert any("only a centroid" in w for w in found["Bob"].warnings)
    assert any("below its threshold" in w for w in found["Ann"].warnings)


# -- the benchmark's own arithmetic ---------------------------------------------------------------------------------


def test_host_and_the_guest_who_speaks_most_share_a_cluster() -> None:
    turns = [Spoken(0, 5, "Ann"), Spoken(4, 9, "Bob"), Spoken(10, 11, "Cem"), Spoken(12, 14, "Ann")]
    found = two_in_one(Truth("t", 20.0, tuple(turns), ()), "Ann").exclusive
    assert [t.cluster for t in found] == ["merged", "merged", "Cem", "merged"]
    assert all(a.end < b.start for a, b in itertools.pairwise(found))


def test_people_are_cut_side_by_side() -> None:
    people = EnrolledPeople(Audio(None, 0, ""), (("a", "demo", 0.0, 7.0), ("b", "held out", 7.0, 9.5)))  # type: ignore[arg-type]
    assert [(n, s) for n, _, s in people.spans(3.0)] == [("a", (0.0, 3.0)), ("a", (3.0, 6.0))]
    assert [n for n, _, _ in people.spans(2.0, slice(1))] == ["a", "b"]


def test_turns_in_pieces_keep_their_speech_and_stay_apart() -> None:
    found = in_pieces([Turn(0, 0.9, "A"), Turn(1, 3.5, "B")])
    assert [t.cluster for t in found] == ["A", "B", "B", "B"]
    assert all(b.start - a.end == pytest.approx(GAP_S) for a, b in itertools.pairwise(found[1:]))
    assert sum(t.end - t.start for t in found) == pytest.approx(3.4 - 2 * GAP_S)


def test_noise_brings_sure_voices_to_the_error_rate_of_unsure_ones() -> None:
    rng = np.random.default_rng(1)
    same, different = rng.normal(0.8, 0.1, 2000), rng.normal(0.1, 0.1, 4000)
    noise = unsure(same, different)
    found = equal_error(same + noise * rng.standard_normal(2000), different + noise * rng.standard_normal(4000))
    assert found.rate == pytest.approx(EER_AT_1S, abs=0.02)


def _answers(lengths: list[float], similarities: list[float]) -> ClusterEvidence:
    """A cluster of turns right after each other, scored against one person."""
    starts = [sum(lengths[:i]) + 0.1 * i for i in range(len(lengths))]
    rows = [
        TurnRow(start, start + s, v, None, (v,), i > 0)
        for i, (start, s, v) in enumerate(zip(starts, lengths, similarities, strict=True))
    ]
    ann = (Candidate(1, "Ann", True, None),)
    return ClusterEvidence("A", sum(lengths), 0.0, tuple(similarities), "primary", ann, (0.5,), False, tuple(rows))


def test_noise_falls_with_the_length_of_a_turn_and_reaches_the_samples() -> None:
    before = _answers([0.5, 20.0, 1.0], [0.5, 0.5, 0.5])
    apart = [[], [], []]  # type: list[list[float]]
    for seed in range(50):
        (after,) = disturbed((before,), 0.1, seed)
        assert after.similarities == tuple(t.similarity for t in after.turns) == tuple(t.scores[0] for t in after.turns)
        for found, turn in zip(apart, after.turns, strict=True):
            found.append(turn.scores[0] - 0.5)
    assert np.std(apart, axis=1) == pytest.approx([0.2, 0.005, 0.1], rel=0.4)
    assert disturbed((before,), 0.1, 3) == disturbed((before,), 0.1, 3)


def test_the_sweep_finds_the_length_from_which_smoothing_takes_real_answers_away() -> None:
    """An answer of 0.8 s is a wrong voice of the host's, one of 1.6 s is somebody else's."""
    evidence = _answers([5, 0.8, 5, 1.6, 5], [0.9, 0.1, 0.9, 0.1, 0.9])
    turns = [Spoken(t.start, t.end, "Bob" if i == 3 else "Ann") for i, t in enumerate(evidence.turns)]
    talk = SmoothingTalk("t", Truth("t", 20.0, tuple(turns), (), ("Bob",)), (evidence,), (evidence,), None, None)
    (row, *_) = sweep([talk], Limits(), None)
    found = row["accuracy"]
    assert found["1"] == found["1.5"] == 1.0
    assert found["0"] == found["0.5"] == pytest.approx(1 - 0.8 / 17.4)
    assert found["2"] == found["10"] == pytest.approx(1 - 1.6 / 17.4)


def test_the_table_of_rules_says_what_each_is_worth() -> None:
    text = table(
        {
            "verification": [{"seconds": 1.0, "demo": 0.05, "held out": 0.088, "all": 0.071, "threshold": 0.34, "pairs": 69006}],
            "recordings": ["a", "b"],
            "rules": [{"rule": "cluster level only", "diarizer": 0.92, "mixed": 0.621}],
            "smoothing": [{"turns": "diarizer, unsure", "accuracy": dict.fromkeys("01", 0.805)}],
            "fast_path": [
                {"recording": "a", "alone": False, "taken": False, "intro": True, "intro_wrong_s": 13.0, "saved_s": -1.5}
            ],
            "normalisation": {"people": 28, "seconds": 2.0, "plain": 0.0208, "normalised": 0.0106},
            "calibration": [
                {
                    "seconds": 1.0,
                    "equal_error": 0.028,
                    "trials": (186, 5022),
                    "cllr": {"value": 0.1319, "low": 0.1036, "high": 0.158},
                    "min_cllr": {"value": 0.0981, "low": 0.0571, "high": 0.1109},
                    "cllr_one_session": 0.1153,
                    "cllr_crossed": 0.1112,
                    "perfect": (0.103, 0.0827),
                }
            ],
        }
    )
    assert "92.0 %" in text
    assert "62.1 %" in text
    assert f"{'diarizer, unsure':40s}    80.5    80.5\n" in text
    assert "13 s" in text
    assert "normalised against the cohort 1.06 %" in text
    assert f"{'186 + 5022':>14s}   0.1319  0.1036 to 0.1580   0.0981       0.1153   0.1112   0.1030 (0.0827)\n" in text


def test_perfect_scores_cost_more_than_the_least_of_their_own_trials() -> None:
    """With ratios of two normal variables of deviation d around +-d²/2 the cost of many trials is a matter of d alone."""
    cost, least = perfect(0.0668, 400, 8000)  # d = 3
    grid = np.linspace(-40, 40, 8001)
    density = np.exp(-((grid - 4.5) ** 2) / 18) / (3 * np.sqrt(2 * np.pi))
    exact = float((density * np.logaddexp(0, -grid)).sum() * 0.01 / np.log(2))
    assert cost == pytest.approx(exact, rel=0.1)
    assert 0.7 * exact < least < cost
    few = perfect(0.0668, 40, 800)
    assert few[1] / few[0] < least / cost, "the fewer trials, the less the least says"


def test_a_recalibration_on_other_voices_costs_more_than_one_on_the_trials_themselves_and_little_more_than_perfect_ratios() -> None:
    """Scores whose log-ratio is 10 (s - 1/2): normal with the variance 0.1 around 1 and 0."""
    rng, people = np.random.default_rng(0), 12
    tables = [rng.normal(np.arange(people) == k, np.sqrt(0.1), (30, people)) for k in range(people)]
    trials = crossed(tables, 3.0)
    exact = [
        Trial(1 / (1 + np.exp(-10 * (s - 0.5))), k == n) for n, one in enumerate(tables) for row in one for k, s in enumerate(row)
    ]
    cost, perfect_cost, least = cllr(trials), cllr(exact), min_cllr(exact)
    assert len(trials) == len(exact)
    assert cost is not None
    assert perfect_cost is not None
    assert least is not None
    assert least < cost < 1.1 * perfect_cost

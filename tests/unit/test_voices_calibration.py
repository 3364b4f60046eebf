"""Scores as probabilities: what the fit recovers, what it promises, and decisions that are made on it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gainstage.config.settings import Identify
from gainstage.engine.evaluation.names import Trial, cllr, min_cllr
from gainstage.engine.terms import DiarizationResult, ModelId, Turn
from gainstage.engine.voices.calibration import Calibration, Trials, fit, joined
from gainstage.engine.voices.evidence import build_evidence, restore_evidence, wanted
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.own_voices import missed
from gainstage.engine.voices.posterior import least_log_ratio, probabilities
from gainstage.engine.voices.profile_index import Candidate, Profile, ProfileIndex, profile
from gainstage.engine.voices.rejoin import rejoined
from gainstage.engine.voices.spans import ClusterSpans, clusters, renamed
from gainstage.engine.voices.trials import CohortPerson, Corrected, cohort_trials, corrected_trials, library_trials

D = 32
MODEL = ModelId("test", "1", D)
SCALE = Calibration(-8.0, 20.0, -2.0, 3.0, 0.8, 0.05, 0.07, -0.1, 2.0)


def normal(mean: float, length: float, count: int, same: bool, seed: int, session: bool = True) -> Trials:
    """Scores with one deviation at a length: their likelihood ratio is linear in the score."""
    rng = np.random.default_rng(seed)
    n = np.ones(count)
    scores = rng.normal(mean, 0.1, count)
    return Trials(scores, n * length, np.full(count, same), n, np.full(count, session), np.zeros(count, np.int64))


def trials(seed: int, count: int = 2000) -> Trials:
    parts = [(0.7, 3.0, True), (0.4, 3.0, False), (0.6, 1.0, True), (0.4, 1.0, False)]
    return joined([normal(mean, length, count, same, seed + k) for k, (mean, length, same) in enumerate(parts)])


def truth(score: float, mean: float) -> float:
    """Log-likelihood ratio of two normals of deviation 0.1, one at ``mean`` and one at 0.4."""
    return ((score - 0.4) ** 2 - (score - mean) ** 2) / (2 * 0.1**2)


def test_the_fit_finds_the_likelihood_ratio_that_the_scores_were_drawn_with() -> None:
    found = fit(trials(0), 2)
    assert found is not None
    for seconds, mean in ((3.0, 0.7), (1.0, 0.6)):
        for score in (0.4, 0.5, 0.55, 0.6, 0.7):
            assert found.log_ratio(score, seconds) == pytest.approx(truth(score, mean), abs=0.6)
    assert found.own_sd == pytest.approx(0.1, rel=0.1)
    assert found.own_mean == pytest.approx(0.7, abs=0.02)


def test_calibrated_scores_of_other_draws_cost_hardly_more_than_the_best_recalibration() -> None:
    found, other = fit(trials(0), 2), trials(100)
    assert found is not None
    tried = [
        Trial(1 / (1 + math.exp(-found.log_ratio(s, d))), bool(same))
        for s, d, same in zip(other.scores, other.seconds, other.same, strict=True)
    ]
    cost, best = cllr(tried), min_cllr(tried)
    assert cost is not None
    assert best is not None
    assert cost <= 1.1 * best


def test_scores_of_one_recording_are_lowered_to_stand_for_others() -> None:
    """The boundary between one person and two lies lower than where the scores of one recording alone would put it."""
    same, near = normal(0.8, 3.0, 500, True, 1), normal(0.8, 3.0, 500, True, 1, session=False)
    different = normal(0.3, 3.0, 500, False, 2)
    across, within = fit(joined([same, different]), 2), fit(joined([near, different]), 2)
    assert across is not None
    assert within is not None
    assert within.score_at(0.0, 3.0) < across.score_at(0.0, 3.0) - 0.02


def test_too_few_trials_give_no_calibration() -> None:
    few = joined([normal(0.8, 3.0, 19, True, 0), normal(0.3, 3.0, 500, False, 1)])
    assert fit(few, 1) is None


def test_a_score_found_for_a_ratio_has_that_ratio() -> None:
    for seconds in (0.5, 3.0, 40.0):
        assert SCALE.log_ratio(SCALE.score_at(2.5, seconds), seconds) == pytest.approx(2.5)


@given(st.floats(-1, 0.99), st.floats(0.5, 60), st.integers(1, 500), st.booleans())
def test_more_alike_is_more_likely_and_probabilities_leave_room_for_strangers(
    score: float, seconds: float, people: int, primary: bool
) -> None:
    scale = replace(SCALE, people=float(people))
    person = [Candidate(1, "Ann", primary, None)]
    (low,), (high,) = (probabilities(person, [s], seconds, scale) for s in (score, score + 0.01))
    assert low is not None
    assert high is not None
    assert 0.0 <= low <= high <= 1.0


@pytest.mark.parametrize("people", [1, 10, 200])
def test_strangers_get_a_name_no_oftener_than_promised_however_many_are_enrolled(people: int) -> None:
    """Scores of strangers are drawn as the calibration says: normal, of one deviation, at even odds where the ratio is one."""
    rng = np.random.default_rng(people)
    scale = Calibration(-16.5, 30.0, 0.0, 0.0, 0.7, 0.0, 0.1, 0.0, float(people))  # the ratio of 0.7 against 0.4, deviation 0.1
    everybody = [Candidate(k, str(k), k == 0, None) for k in range(people)]
    draws = rng.normal(0.4, 0.1, (3000, people))
    named = sum(max(p or 0.0 for p in probabilities(everybody, row, 3.0, scale)) >= 0.99 for row in draws.tolist())
    assert named / len(draws) <= 0.01 + 0.005


def test_the_ratio_a_name_needs_grows_with_the_people_enrolled() -> None:
    needs = [least_log_ratio(0.99, people) for people in (1, 2, 10, 500)]
    assert needs == sorted(needs)
    scale = replace(SCALE, people=10.0)
    score = scale.score_at(least_log_ratio(0.99, 10), 3.0)
    others = [Candidate(k, str(k), k == 0, None) for k in range(10)]
    found = probabilities(others, [-1.0, score, *[-1.0] * 8], 3.0, scale)[1]
    assert found == pytest.approx(0.99, abs=1e-4)


# -- decisions ------------------------------------------------------------------------------------------------------


def person(seed: int) -> NDArray[np.float64]:
    axis = np.random.default_rng(1000 + seed).standard_normal(D)
    return axis / np.linalg.norm(axis)


def voice(who: int, seed: int, noise: float = 0.45) -> NDArray[np.float32]:
    away = np.random.default_rng(seed).standard_normal(D)
    made = person(who) + noise * away / np.linalg.norm(away)
    return np.asarray(made / np.linalg.norm(made), np.float32)


def enrolled(who: int, name: str, *, primary: bool = False, threshold: float | None = None) -> Profile:
    windows = np.stack([voice(who, 100 * who + k) for k in range(24)])
    return profile(who, name, MODEL, windows, primary=primary, threshold=threshold)


def cohort(*numbers: int) -> tuple[CohortPerson, ...]:
    people = []
    for who in numbers:
        lengths = np.repeat([0.6, 1.5, 3.0, 6.0], 8)
        voices = np.stack([voice(who, 7000 + 100 * who + k, 0.9 / math.sqrt(d)) for k, d in enumerate(lengths)])
        people.append(CohortPerson(str(who), np.stack([voice(who, 9000 + 100 * who + k) for k in range(8)]), voices, lengths))
    return tuple(people)


PEOPLE = [enrolled(1, "Ann", primary=True), enrolled(2, "Bea")]


def calibration(profiles: list[Profile]) -> Calibration:
    shipped = cohort(11, 12, 13, 14)
    found = fit(joined([*cohort_trials(shipped, MODEL), *library_trials(profiles, shipped, MODEL)]), len(profiles))
    assert found is not None
    return found


def cast_of(turns: list[tuple[str, int]], profiles: list[Profile], limits: Limits) -> list[str | None]:
    """The decision's speaker of each cluster: None where unknown or split."""
    spoken = tuple(Turn(3.0 * k, 3.0 * k + 2.5, cluster) for k, (cluster, _) in enumerate(turns))
    spans = clusters(DiarizationResult(spoken, spoken, "test").exclusive)
    at = {(t.start, t.end): who for t, (_, who) in zip(spoken, turns, strict=True)}
    voices = [voice(at[span], round(97 * span[0])) for span in wanted(spans)]
    index = ProfileIndex(profiles, MODEL)
    evidence, vectors = build_evidence(spans, voices, index, unity=limits.calibration is not None)
    cast = decide(evidence, limits, 1, voices=vectors)
    again = decide([restore_evidence(d) for d in cast.decisions], Limits.from_record(cast.decisions[0].limits), 1)
    assert again.decisions == cast.decisions  # a replay at unchanged settings is history, exactly
    return ["split" if d.split else d.speaker for d in cast.decisions]


def test_people_are_named_strangers_are_not_and_two_in_one_is_split_whoever_they_are() -> None:
    limits = Limits.from_settings(Identify(), calibration(PEOPLE))
    assert cast_of([("A", 1)] * 6 + [("B", 2)] * 6 + [("C", 5)] * 6, PEOPLE, limits) == ["Ann", "Bea", None]
    for first, second in ((1, 2), (2, 5), (5, 6)):
        assert cast_of([("A", first), ("A", second)] * 5, PEOPLE, limits) == ["split"]
        assert cast_of([("A", first), ("A", first), ("A", second)] * 3, PEOPLE, limits) == ["split"]


def test_the_cosine_scale_and_decisions_of_before_take_no_calibration() -> None:
    scale = calibration(PEOPLE)
    limits = Limits.from_settings(Identify(scale="cosine"), scale)
    assert limits.calibration is None
    assert Limits.from_record(limits.record()) == limits
    assert not any(key.startswith("calibration.") for key in limits.record())
    kept = Limits.from_settings(Identify(), scale)
    assert Limits.from_record(kept.record()) == kept


def test_a_threshold_set_by_hand_takes_the_place_of_the_probability() -> None:
    strict = [enrolled(1, "Ann", primary=True), enrolled(2, "Bea", threshold=0.999)]
    limits = Limits.from_settings(Identify(), calibration(strict))
    assert cast_of([("A", 1)] * 6 + [("B", 2)] * 6, strict, limits) == ["Ann", None]


def test_a_person_of_the_cohort_who_is_enrolled_is_nobody_else() -> None:
    """The cohort's recording of Ann is no trial of different people against her profile."""
    twin = CohortPerson("Ann again", PEOPLE[0].exemplars[:8], PEOPLE[0].exemplars[8:], np.full(16, 3.0))
    found = library_trials(PEOPLE, [twin], MODEL)
    highest = max(float(t.scores[~t.same].max()) for t in found if (~t.same).any())
    assert highest < 0.7
    assert sum(int((~t.same).sum()) for t in found) > sum(int((~t.same).sum()) for t in library_trials(PEOPLE, [], MODEL))


def test_corrected_turns_move_the_calibration() -> None:
    near = np.stack([voice(1, 3000 + k, 1.2) for k in range(40)])
    corrected = [Corrected(v, 3.0, 1) for v in near] + [Corrected(voice(2, 5000 + k), 3.0, 2) for k in range(20)]
    parts = [*cohort_trials(cohort(11, 12, 13), MODEL), *library_trials(PEOPLE, [], MODEL)]
    before = fit(joined(parts), 2)
    after = fit(joined([*parts, *corrected_trials(PEOPLE, corrected, MODEL)]), 2)
    assert before is not None
    assert after is not None
    assert after.score_at(0.0, 3.0) < before.score_at(0.0, 3.0)


def test_a_voice_that_misses_its_own_threshold_is_reported() -> None:
    scattered = profile(3, "Cleo", MODEL, np.stack([voice(3, 300 + k, 2.5) for k in range(24)]))
    everybody = [*PEOPLE, scattered]
    found = missed(everybody, MODEL, Limits.from_settings(Identify(), calibration(everybody)))
    assert [m.name for m in found] == ["Cleo"]
    assert "Cleo's own windows of 3 s" in found[0].text
    assert [m.name for m in missed(PEOPLE, MODEL, Limits(other_threshold=0.9999))] == ["Bea"]


def spans_of(turns: list[tuple[str, float, float]]) -> tuple[ClusterSpans, ...]:
    return clusters(Turn(start, end, cluster) for cluster, start, end in turns)


def test_a_stray_cluster_is_joined_to_the_one_whose_voice_it_has() -> None:
    scale = calibration(PEOPLE)
    long = [("A", 10.0 * k, 10.0 * k + 3) for k in range(4)] + [("B", 10.0 * k + 4, 10.0 * k + 7) for k in range(4)]
    spans = spans_of([*long, ("C", 100.0, 101.2), ("D", 110.0, 111.2), ("E", 120.0, 120.3)])
    who = {"A": 1, "B": 5, "C": 5, "D": 9}
    voices = [voice(who[c.cluster], round(31 * start)) for c in spans for start, end in c.pieces if end - start >= 0.5]
    assert rejoined(spans, voices, scale) == [("C", "B")]


def test_a_stray_cluster_that_was_joined_is_no_person_of_its_own() -> None:
    said = tuple(Turn(start, end, cluster) for cluster, start, end in [("A", 0, 3), ("B", 3, 4), ("A", 4, 7)])
    made = renamed(DiarizationResult(said, said, "test"), {"B": "A"})
    assert [c.pieces for c in clusters(made.exclusive)] == [((0, 7),)]


def test_in_a_split_cluster_a_turn_without_a_voice_goes_with_its_neighbour() -> None:
    """Otherwise each would count as one more unknown person."""
    limits = Limits.from_settings(Identify(), calibration(PEOPLE))
    turns = [("A", 6.0 * k, 6.0 * k + 3) for k in range(10)] + [("A", 6.0 * k + 3.2, 6.0 * k + 3.4) for k in range(10)]
    spans = spans_of(turns)
    voices = [voice(1 + round(start / 6) % 2, round(31 * start)) for start, end in spans[0].pieces if end - start >= 0.5]
    evidence, vectors = build_evidence(spans, voices, ProfileIndex(PEOPLE, MODEL), unity=True)
    cast = decide(evidence, limits, 1, voices=vectors)
    assert cast.decisions[0].split
    assert {t.speaker for t in cast.turns} == {"Ann", "Bea"}
    assert len(cast.turns) == 20
    assert all(t.confidence is None for t in cast.turns if t.seconds < 0.5)


def test_a_turn_too_short_for_a_voice_has_no_confidence_and_an_odd_one_little() -> None:
    limits = Limits.from_settings(Identify(), calibration(PEOPLE))
    spans = spans_of([("A", 6.0 * k, 6.0 * k + 3) for k in range(9)] + [("A", 60.0, 60.3), ("A", 66.0, 66.8)])
    voices = [voice(1, round(31 * start)) for start, end in spans[0].pieces if end - start >= 1]
    evidence, vectors = build_evidence(spans, [*voices, voice(7, 1, 1.0)], ProfileIndex(PEOPLE, MODEL), unity=True)
    cast = decide(evidence, replace(limits, range_spreads=100.0, variance_spreads=1000.0), 1, voices=vectors)
    *sure, short, odd = (t.confidence for t in cast.turns)
    assert {t.speaker for t in cast.turns} == {"Ann"}
    assert min(c or 0.0 for c in sure) > 0.98
    assert short is None
    assert odd is not None
    assert odd < 0.5

"""The scorers on cases worked by hand; how sure a figure is; references in every format people have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gainstage.engine.errors import Misconfigured
from gainstage.engine.evaluation.intervals import Share, figure, paired, paired_by, pooled
from gainstage.engine.evaluation.measures import measured
from gainstage.engine.evaluation.names import (
    Prediction,
    Search,
    Trial,
    calibration_error,
    cllr,
    fnir_at_fpir,
    min_cllr,
    min_dcf,
)
from gainstage.engine.evaluation.references import Said, Talk, load_reference

TRUE = Talk("a", (Said("Ada", 0, 2, "hello there my friend"), Said("Ben", 2, 4, "good day to you")))


def test_a_perfect_result_has_no_errors() -> None:
    shares = measured(TRUE, TRUE, TRUE.parts)
    assert {key: share.errors for key, share in shares.items()} == dict.fromkeys(shares, 0.0) | {"speaker_count_right": 1.0}
    assert shares["cpwer"].of == shares["wer"].of == 8


def test_a_word_with_the_wrong_speaker_costs_speaker_rates_and_no_word_rate() -> None:
    heard = Talk("a", (Said("1", 0, 2, "hello there my"), Said("2", 2, 4, "friend good day to you")))
    shares = measured(TRUE, heard, heard.parts)
    assert shares["wer"].errors == 0
    assert (shares["cpwer"].errors, shares["wder"]) == (2, Share(1, 8))
    assert shares["der"].errors == 0


def test_words_far_from_their_place_count_only_where_time_does() -> None:
    late = Talk("a", tuple(Said(p.speaker, p.start + 60, p.end + 60, p.text) for p in TRUE.parts))
    shares = measured(TRUE, late, late.parts)
    assert (shares["cpwer"].errors, shares["tcpwer"].errors) == (0, 16)
    assert shares["der"] == Share(8, 4)


def test_nothing_heard_and_nothing_said_are_no_crash() -> None:
    nothing = Talk("a", ())
    assert measured(TRUE, nothing, ())["cpwer"] == Share(8, 8)
    assert measured(nothing, nothing, ()).keys() == {"speaker_count_right", "speaker_count_error"}
    assert measured(Talk("a", (Said("", 0, 0, "hello"),), timed=False), TRUE, TRUE.parts).keys() == {"wer"}


def test_numbers_and_spelling_are_made_equal_before_words_are_compared() -> None:
    one = Talk("a", (Said("A", 0, 1, "It's twenty-one colours, Mr. Smith!"),))
    two = Talk("a", (Said("A", 0, 1, "it is 21 colors mister smith"),))
    assert measured(one, two, two.parts)["wer"].errors == 0


# -- intervals ----------------------------------------------------------------------------------------------------------


def test_an_interval_holds_the_value_and_one_recording_has_none() -> None:
    shares = [Share(k % 5, 20) for k in range(40)]
    found = figure(shares, pooled)
    assert found.value == pytest.approx(0.1)
    assert found.low is not None
    assert found.high is not None
    assert 0.06 < found.low < 0.1 < found.high < 0.14
    alone = figure(shares[:1], pooled)
    assert (alone.value, alone.low, alone.high) == (0.0, None, None)
    assert figure([], pooled).value is None


def test_two_runs_are_compared_recording_by_recording() -> None:
    first = {str(k): Share(10 + k % 7, 100) for k in range(20)}
    better = {name: Share(share.errors - 3, share.of) for name, share in first.items()}
    found = paired(first, better)
    assert found is not None
    assert (found.difference, found.low, found.high) == pytest.approx((-0.03, -0.03, -0.03))
    assert found.p < 0.01
    same = paired(first, first)
    assert same is not None
    assert (same.difference, same.p) == (0.0, 1.0)
    assert paired(first, {"other": Share(1, 1)}) is None


def test_two_runs_are_compared_by_a_measure_that_is_no_share() -> None:
    """Of twenty recordings one stranger each: the second run is sure of every person, the first of three in four."""
    stranger = Search(0.4, right=False, enrolled=False)
    first = [[Search(0.3 if k % 4 == 0 else 0.8, right=True, enrolled=True), stranger] for k in range(20)]
    second = [[Search(0.8, right=True, enrolled=True), stranger] for _ in range(20)]

    def missed(recordings: Sequence[list[Search]]) -> float | None:
        return fnir_at_fpir([search for one in recordings for search in one])

    found = paired_by(first, second, missed, 200)
    assert found is not None
    assert found.difference == pytest.approx(-0.25)
    assert found.low < -0.25 < found.high < 0
    assert found.p == pytest.approx(2 * 0.5**5, abs=0.04), "five recordings differ: all of them one way, or all the other"
    same = paired_by(first, first, missed, 50)
    assert same is not None
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert paired_by(first[:1], second[:1], missed) is None
    assert paired_by([[stranger]] * 3, second[:3], missed) is None, "nobody to miss"


# -- names --------------------------------------------------------------------------------------------------------------


def test_people_are_missed_where_strangers_score_as_high() -> None:
    people = [Search(0.9, True, True), Search(0.7, True, True), Search(0.95, False, True), Search(0.4, True, True)]
    assert fnir_at_fpir([*people, Search(0.6, False, False)]) == 0.5  # one too low, one under a wrong name
    assert fnir_at_fpir(people) is None


def test_costs_of_perfect_and_of_useless_scores() -> None:
    good = [Trial(0.999999, True)] * 5 + [Trial(0.000001, False)] * 5
    assert cllr(good) == pytest.approx(0.0, abs=1e-4)
    assert min_cllr(good) == pytest.approx(0.0, abs=1e-6)
    assert min_dcf(good) == 0.0
    useless = [Trial(0.5, True)] * 5 + [Trial(0.5, False)] * 5
    assert cllr(useless) == pytest.approx(1.0)
    assert min_cllr(useless) == pytest.approx(1.0)
    assert min_dcf(useless) == pytest.approx(1.0)
    assert cllr([Trial(0.5, True)]) is None


def test_recalibration_never_costs_and_mends_what_is_too_sure() -> None:
    rng = np.random.default_rng(1)
    odds = np.concatenate([rng.normal(2, 2, 400), rng.normal(-2, 2, 400)])
    trials = [Trial(float(1 / (1 + np.exp(-5 * o))), bool(k < 400)) for k, o in enumerate(odds)]
    before, after = cllr(trials), min_cllr(trials)
    assert before is not None
    assert after is not None
    assert after < 0.7 * before


def test_confidence_is_compared_with_how_often_it_is_right() -> None:
    assert calibration_error([Prediction(0.8, True)] * 8 + [Prediction(0.8, False)] * 2) == pytest.approx(0.0)
    assert calibration_error([Prediction(1.0, False)] * 3) == 1.0
    assert calibration_error([]) is None


# -- references ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.stm", ";; comment\na 1 Ada 0.0 2.0 <o,f0> hello there\na 1 Ben 2.0 4.0 good day\n"),
        (
            "r.json",
            json.dumps(
                [
                    {"session_id": "a", "speaker": "Ada", "start_time": "0", "end_time": 2, "words": "hello there"},
                    {"session_id": "a", "speaker": "Ben", "start_time": 2, "end_time": 4, "words": "good day"},
                ]
            ),
        ),
        (
            "a.json",
            json.dumps(
                {
                    "segments": [
                        {"speaker": "Ada", "start": 0, "end": 2, "text": "hello there"},
                        {"speaker": "Ben", "start": 2, "end": 4, "text": "good day"},
                    ]
                }
            ),
        ),
    ],
)
def test_a_reference_is_the_same_in_every_format_with_words_and_turns(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert load_reference(tmp_path / name) == [Talk("a", (Said("Ada", 0, 2, "hello there"), Said("Ben", 2, 4, "good day")))]


def test_turns_alone_words_alone_and_text_alone(tmp_path: Path) -> None:
    (tmp_path / "r.rttm").write_text("SPEAKER a 1 1.5 2.0 <NA> <NA> Ada <NA> <NA>\n", "utf-8")
    (tmp_path / "r.ctm").write_text("a A 0.5 0.25 hello 0.9\n", "utf-8")
    (tmp_path / "a.txt").write_text("\ufeffHello there.", "utf-8")
    (tmp_path / "b.json").write_text(json.dumps({"turns": [[0, 1, "x"]], "text": "Hello there."}), "utf-8")
    assert load_reference(tmp_path / "r.rttm") == [Talk("a", (Said("Ada", 1.5, 3.5),))]
    assert load_reference(tmp_path / "r.ctm") == [Talk("a", (Said("A", 0.5, 0.75, "hello"),))]
    assert load_reference(tmp_path / "a.txt") == [Talk("a", (Said("", 0, 0, "Hello there."),), timed=False)]
    (tmp_path / "c.json").write_text(json.dumps({"turns": [[0, 1, "x"]]}), "utf-8")
    both, turns = load_reference(tmp_path / "b.json") + load_reference(tmp_path / "c.json")
    assert both == Talk("b", (Said("", 0, 0, "Hello there."),), timed=False, own_turns=(Said("x", 0, 1),))
    assert (both.turned, both.worded, both.turns) == (True, True, (Said("x", 0, 1),))
    assert turns == Talk("c", (Said("x", 0, 1),))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.stm", "a 1 Ada 0.0\n"),
        ("r.stm", "a 1 Ada five 2.0 x\n"),
        ("r.rttm", "SPEAKER a 1 1.5 -2.0 <NA> <NA> Ada <NA> <NA>\n"),
        ("r.ctm", "\n"),
        ("r.json", "{"),
        ("r.json", "[{}]"),
        ("r.json", '"text"'),
        ("r.json", '{"turns": [[0]]}'),
        ("r.docx", "x"),
        ("r.stm", "a 1 Ada nan 2.0 x\n"),
        ("r.stm", "a 1 Ada inf inf x\n"),
        ("r.rttm", "SPEAKER a 1 0 1e300 <NA> <NA> Ada <NA> <NA>\n"),
        ("r.json", "[" * 200_000),
        ("r.json", '{"text": ' + "9" * 5000 + "}"),
        ("r.json", '{"turns": [[0, ' + "9" * 400 + ', "x"]]}'),
        ("r.json", '{"turns": 7}'),
        ("r.json", '{"words": [{}], "turns": [{"speaker": "A", "start": 0, "end": 1e308}]}'),
        ("r.json", '{"segments": ["\x1b[31m"]}'),
    ],
)
def test_a_reference_that_is_none_says_so(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(Misconfigured, match=name) as caught:
        load_reference(tmp_path / name)
    assert caught.value.cause == "reference cannot be read"
    assert caught.value.hint


def test_a_missing_reference_says_so(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"gone\.stm"):
        load_reference(tmp_path / "gone.stm")

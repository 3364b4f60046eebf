"""The measures against hand-worked cases and against pyannote.metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gainstage.engine.evaluation.quality import (
    Hypothesis,
    Spoken,
    TrueWord,
    Truth,
    diarization_error,
    diarization_error_rate,
    load_truth,
    normalised,
    score,
    speaker_accuracy,
    spoken,
    word_error_rate,
    word_start_errors,
)
from gainstage.engine.terms import Provenance, SpeakerTurn, Turn, Word


def heard(*words: tuple[str, float]) -> list[Word]:
    return [Word(text, start, start + 0.2, 1.0) for text, start in words]


def true(*words: tuple[str, float]) -> list[TrueWord]:
    return [TrueWord(text, start, "Helen") for text, start in words]


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert normalised("Yes, it's the 'Old' man – isn’t it?") == ["yes", "it's", "the", "old", "man", "isn't", "it"]
    assert word_error_rate(["We", "planted", "roses."], ["we planted", "Roses"]) == 0


@pytest.mark.parametrize(
    ("truth", "words", "rate"),
    [
        ("a b c d", "a b c d", 0.0),
        ("a b c d", "a x c d", 0.25),
        ("a b c d", "a c d", 0.25),
        ("a b c d", "a b b c d", 0.25),
        ("a b c d", "", 1.0),
        ("a", "x y z", 3.0),
        ("", "", 0.0),
        ("", "x y", 2.0),
    ],
)
def test_word_error_rate_counts_every_kind_of_error_per_true_word(truth: str, words: str, rate: float) -> None:
    assert word_error_rate(truth.split(), words.split()) == rate


def test_word_starts_are_measured_on_the_words_that_match_in_order() -> None:
    found = word_start_errors(
        true(("the", 0.0), ("old", 1.0), ("the", 2.0), ("gate", 3.0)), heard(("the", 0.1), ("the", 2.3), ("gate", 3.0))
    )
    assert found.p50_s == pytest.approx(0.1)
    assert found.p90_s == pytest.approx(0.26)
    assert found.within_250ms == 0.5  # of the four true words two are near: one is missing, one is late


def test_word_starts_are_unknown_when_nothing_matches() -> None:
    found = word_start_errors(true(("the", 0.0)), heard(("gate", 0.0)))
    assert (found.p50_s, found.p90_s, found.within_250ms) == (None, None, 0.0)


def test_diarization_error_maps_labels_to_speakers_at_their_best() -> None:
    truth = [Spoken(0, 4, "Helen"), Spoken(4, 10, "Oscar")]
    found = [Spoken(0, 5, "B"), Spoken(5, 9, "A"), Spoken(11, 12, "A")]
    error = diarization_error(truth, found)
    assert (error.speech, error.missed, error.false_alarm, error.confusion) == (10, 1, 1, 1)
    assert diarization_error_rate(truth, found) == pytest.approx(0.3)


def test_overlapped_speech_counts_once_per_speaker() -> None:
    truth = [Spoken(0, 4, "Helen"), Spoken(2, 6, "Oscar")]
    assert diarization_error_rate(truth, truth) == 0
    error = diarization_error(truth, [Spoken(0, 3, "A"), Spoken(3, 6, "B")])
    assert (error.speech, error.missed, error.confusion) == (8, 2, 0)


def test_a_speaker_talking_over_himself_counts_once() -> None:
    assert diarization_error([Spoken(0, 4, "Helen"), Spoken(2, 6, "Helen")], [Spoken(0, 6, "A")]).speech == 6


def test_a_collar_forgives_what_is_near_a_true_boundary() -> None:
    truth, found = [Spoken(1, 4, "Helen")], [Spoken(0.9, 4.2, "A"), Spoken(6, 7, "A")]
    assert diarization_error_rate(truth, found) == pytest.approx(1.3 / 3)
    assert diarization_error_rate(truth, found, collar=0.25) == pytest.approx(1 / 2.5)


def test_no_speech_and_nothing_found_is_no_error() -> None:
    assert diarization_error_rate([], []) == 0
    assert diarization_error_rate([], [Spoken(0, 1, "A")]) == 1
    assert diarization_error_rate([Spoken(0, 1, "Helen")], []) == 1


def test_speech_counts_as_right_only_under_the_right_name() -> None:
    truth = [Spoken(0, 4, "Helen"), Spoken(4, 10, "Oscar")]
    assert speaker_accuracy(truth, truth) == 1
    assert speaker_accuracy(truth, [Spoken(0, 10, "Helen")]) == pytest.approx(0.4)
    assert speaker_accuracy(truth, [Spoken(0, 4, "Speaker 1"), Spoken(4, 8, "Oscar")]) == pytest.approx(0.4)
    assert speaker_accuracy(truth, []) == 0


def test_a_name_for_silence_costs_nothing() -> None:
    assert speaker_accuracy([Spoken(0, 4, "Helen")], [Spoken(0, 9, "Helen")]) == 1


def test_where_two_talk_at_once_either_name_alone_is_right_and_everybody_is_not() -> None:
    truth = [Spoken(0, 4, "Helen"), Spoken(2, 4, "Oscar")]
    assert speaker_accuracy(truth, [Spoken(0, 4, "Helen")]) == 1
    assert speaker_accuracy(truth, truth) == 1
    assert speaker_accuracy([Spoken(0, 4, "Helen")], [Spoken(0, 4, "Helen"), Spoken(0, 4, "Oscar")]) == pytest.approx(0.5)


def test_a_stranger_is_right_when_unknown_and_always_the_same_one() -> None:
    truth = [Spoken(0, 4, "Helen"), Spoken(4, 7, "Robin"), Spoken(8, 10, "Robin")]
    named = [Spoken(0, 4, "Helen"), Spoken(4, 7, "Speaker 1"), Spoken(8, 10, "Speaker 1")]
    assert speaker_accuracy(truth, named, {"Robin"}) == 1
    assert speaker_accuracy(truth, [*named[:2], Spoken(8, 10, "Speaker 2")], {"Robin"}) == pytest.approx(7 / 9)
    assert speaker_accuracy(truth, [*named[:2], Spoken(8, 10, "Helen")], {"Robin"}) == pytest.approx(7 / 9)
    assert speaker_accuracy(truth, named) == pytest.approx(4 / 9)  # were Robin enrolled, unknown would be wrong


def test_two_strangers_under_one_unknown_label_are_not_both_right() -> None:
    truth = [Spoken(0, 6, "Robin"), Spoken(6, 10, "Kim")]
    assert speaker_accuracy(truth, [Spoken(0, 10, "Speaker 1")], {"Robin", "Kim"}) == pytest.approx(0.6)


def example() -> tuple[Truth, Hypothesis]:
    truth = Truth(
        "An example", 4.0, (Spoken(0, 2, "Helen"), Spoken(2, 4, "Robin")), tuple(true(("Yes,", 0.0), ("never.", 2.0))), ("Robin",)
    )
    return truth, Hypothesis(heard(("yes", 0.1), ("ever", 2.0)), (Spoken(0, 2, "Helen"), Spoken(2, 4, "Speaker 1")))


def test_score_holds_every_measure() -> None:
    quality = score(*example())
    assert (quality.wer, quality.der, quality.speaker_accuracy, quality.within_250ms) == (0.5, 0, 1, 0.5)
    assert quality.word_start_p90_s == pytest.approx(0.1)


def test_score_takes_the_error_of_the_anonymous_turns_where_there_are_some() -> None:
    truth, result = example()
    assert score(truth, Hypothesis(result.words, result.turns, (Spoken(0, 4, "A"),))).der == 0.5


def test_what_nobody_diarized_adds_nothing_to_the_error() -> None:
    truth, result = example()
    fast = score(truth, Hypothesis(result.words, (Spoken(0, 9, "Helen"),), None))
    assert fast.der == 0
    assert (fast + score(truth, Hypothesis(result.words, result.turns, (Spoken(0, 4, "A"),)))).der == 0.5


def test_figures_of_several_recordings_add_up_by_their_weight() -> None:
    truth, result = example()
    perfect = score(truth, Hypothesis(truth.words, truth.turns))
    both = score(truth, result) + perfect
    assert (both.wer, both.der, both.words, both.within_250ms) == (0.25, 0, 4, 0.75)
    assert both.speaker_accuracy == pytest.approx(0.75)  # a stranger under his own name is not unknown


def test_turns_of_the_engine_go_by_name_or_else_by_cluster() -> None:
    named = SpeakerTurn(0, 1, "S0", "Helen", 1, 0.8, Provenance.CLUSTER)
    assert spoken([named, Turn(1, 2, "S1")]) == (Spoken(0, 1, "Helen"), Spoken(1, 2, "S1"))


def test_truth_is_read_from_its_file(tmp_path: Path) -> None:
    truth, _ = example()
    path = tmp_path / "truth.json"
    path.write_text(
        json.dumps(
            {
                "title": truth.title,
                "duration": truth.duration,
                "strangers": ["Robin"],
                "turns": [{"start": 0, "end": 2, "speaker": "Helen"}, {"start": 2, "end": 4, "speaker": "Robin"}],
                "words": [{"word": "Yes,", "start": 0.0, "speaker": "Helen"}, {"word": "never.", "start": 2.0, "speaker": "Helen"}],
            }
        )
    )
    assert load_truth(path) == truth
    assert truth.speakers == ("Helen", "Robin")

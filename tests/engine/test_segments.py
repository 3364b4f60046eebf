"""Passages: one speaker each, readable length, cut at sentence ends, nothing lost. And the balance of speech seconds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.config.settings import Segmentation
from gainstage.engine.speech.words import assign
from gainstage.engine.terms import Cast, DiarizationResult, Provenance, SpeakerTurn, Transcript, Turn, Word
from gainstage.engine.text.segments import NOBODY, balance, cut
from gainstage.engine.text.sentences import clause_end, sentence_end


def transcript(words: tuple[Word, ...] = (), language: str = "en", looped: tuple[tuple[float, float], ...] = ()) -> Transcript:
    return Transcript(words, (), language, 1.0, None, "test", looped)


def said(text: str, speaker: str | None = "A", start: float = 0.0, each: float = 0.4, gap: float = 0.1) -> tuple[Word, ...]:
    """The words of a text, one after another."""
    times = (start + k * (each + gap) for k in range(len(text.split())))
    return tuple(Word(w, t, t + each, 0.9, speaker) for w, t in zip(text.split(), times, strict=True))


def turn(start: float, end: float, speaker: str, **more: object) -> SpeakerTurn:
    fields: dict[str, object] = {"profile": None, "confidence": None, "provenance": Provenance.CLUSTER, **more}
    return SpeakerTurn(start, end, speaker, speaker, **fields)  # type: ignore[arg-type]


def texts(words: tuple[Word, ...], **settings: float) -> list[str]:
    return [s.text for s in cut(words, (), transcript(), Segmentation(**settings))]  # type: ignore[arg-type]


def test_a_speakers_sentences_become_one_passage() -> None:
    words = said("We planted the roses. They grow slowly, but they grow.")
    (only,) = cut(words, [turn(0, 6, "A")], transcript(), Segmentation())
    assert only.text == "We planted the roses. They grow slowly, but they grow."
    assert (only.start, only.end, only.speaker, only.words) == (words[0].start, words[-1].end, "A", words)


def test_a_passage_ends_where_the_speaker_changes() -> None:
    words = said("Is it far?") + said("No, it is near.", "B", start=2) + said("Thank you.", start=5)
    assert [(s.speaker, s.text) for s in cut(words, (), transcript(), Segmentation())] == [
        ("A", "Is it far?"),
        ("B", "No, it is near."),
        ("A", "Thank you."),
    ]


def test_a_pause_longer_than_the_merge_gap_ends_a_passage() -> None:
    words = said("One two.") + said("Three four.", start=0.9 + 3.0) + said("Five.", start=4.8 + 3.2)
    assert texts(words, merge_gap=3) == ["One two. Three four.", "Five."]


def test_a_passage_too_long_is_cut_at_a_sentence_end_with_true_times() -> None:
    words = said("Aa bb cc dd. Ee ff gg hh. Ii jj kk ll.")
    found = cut(words, (), transcript(), Segmentation(max_chars=50, min_chars=0, max_seconds=5))
    assert [s.text for s in found] == ["Aa bb cc dd. Ee ff gg hh.", "Ii jj kk ll."]
    assert [(s.start, s.end) for s in found] == [(words[0].start, words[7].end), (words[8].start, words[11].end)]


def test_the_cut_leaves_enough_on_both_sides_where_it_can() -> None:
    sentence = "Word " * 9 + "end. "  # 50 characters
    found = texts(said(sentence * 5 + "Short."), max_chars=252, min_chars=50)
    assert [len(t) for t in found] == [199, 56]


def test_without_a_sentence_end_it_is_cut_at_a_comma() -> None:
    assert texts(said("aa bb cc, dd ee ff gg hh ii jj kk ll mm nn oo pp qq"), max_chars=50, min_chars=0)[0] == "aa bb cc,"


def test_without_any_mark_it_is_cut_at_the_longest_pause() -> None:
    words = said("aa bb cc dd ee ff gg hh ii jj") + said("kk ll mm nn oo pp qq rr", start=6)
    assert texts(words, max_chars=50, min_chars=0) == ["aa bb cc dd ee ff gg hh ii jj", "kk ll mm nn oo pp qq rr"]


def test_a_single_word_may_pass_every_limit() -> None:
    word = Word("x" * 300, 0, 90, 0.5, "A")
    assert texts((word, Word("y.", 91, 92, 1, "A")), max_chars=50, max_seconds=5) == ["x" * 300, "y."]


def test_a_language_without_spaces_gets_none() -> None:
    words = said("天気 が いい。")
    assert cut(words, (), transcript(language="ja"), Segmentation())[0].text == "天気がいい。"


def test_words_of_nobody_are_unknown_not_lost() -> None:
    found = cut(said("Hello there.", None), (), transcript(), Segmentation())
    assert [(s.speaker, s.profile, s.confidence) for s in found] == [(NOBODY, None, None)]


def test_a_loop_is_flagged_only_where_it_is() -> None:
    words = said("One two.") + said("Three four.", start=20)
    found = cut(words, (), transcript(looped=((20.1, 20.6),)), Segmentation())
    assert [s.looped for s in found] == [False, True]


def test_a_passage_carries_what_its_turns_know() -> None:
    east, north = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    turns = [
        turn(0, 3, "A", profile=7, confidence=0.9, voice=east),
        turn(3, 4, "A", profile=7, confidence=0.5, voice=north, provenance=Provenance.SMOOTHED),
        turn(0, 4, "B", profile=8, confidence=0.1),
    ]
    words = (Word("One", 0, 3, 1, "A"), Word("two.", 3, 4, 1, "A"))
    (only,) = cut(words, turns, transcript(), Segmentation())
    assert (only.profile, only.provenance) == (7, Provenance.CLUSTER)
    assert only.confidence == pytest.approx(0.8)
    assert only.voice is not None
    assert only.voice == pytest.approx(np.array([3, 1]) / np.sqrt(10), abs=1e-6)


@pytest.mark.parametrize("word", ["wall.", 'wall."', "really?", "no!", "und…", "。", "I."])
def test_a_sentence_ends_here(word: str) -> None:
    assert sentence_end(word)
    assert clause_end(word)


@pytest.mark.parametrize("word", ["wall", "Dr.", "e.g.", "J.", "3,", "wall;"])
def test_no_sentence_ends_here(word: str) -> None:
    assert not sentence_end(word)


# -- laws ---------------------------------------------------------------------------------------------------------------

word_lists = st.lists(
    st.tuples(
        st.sampled_from(["a", "word", "sentence.", "clause,", "extraordinarily", "Mr.", "x" * 80, "End?"]),
        st.integers(0, 50),  # pause before, tenths of a second
        st.integers(1, 20),  # length
        st.sampled_from(["A", "A", "A", "B", None]),
    ),
    max_size=60,
)


@given(word_lists, st.integers(50, 300), st.integers(0, 200), st.integers(5, 40), st.integers(0, 30))
def test_no_word_is_lost_or_moved_and_every_limit_holds(
    drawn: list[tuple[str, int, int, str | None]], most: int, least: int, seconds: int, gap: int
) -> None:
    clock, words = 0.0, []
    for text, pause, length, speaker in drawn:
        clock += pause / 10
        words.append(Word(text, clock, clock + length / 10, 0.9, speaker))
        clock += length / 10
    settings = Segmentation(max_chars=most, min_chars=least, max_seconds=seconds, merge_gap=gap / 10)
    found = cut(tuple(words), (), transcript(), settings)
    assert [w for s in found for w in s.words] == words
    for segment in found:
        assert {w.speaker or NOBODY for w in segment.words} == {segment.speaker}
        assert segment.text == " ".join(w.text for w in segment.words)
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
        if len(segment.words) > 1:
            assert len(segment.text) <= most
            assert segment.end - segment.start <= seconds + 1e-9
            pauses = [b.start - a.end for a, b in pairwise(segment.words)]
            assert max(pauses) <= gap / 10 + 1e-9


turn_lists = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 200), st.sampled_from([None, 1, 2]), st.sampled_from(list(Provenance))),
    max_size=15,
)


@given(turn_lists)
def test_labelled_and_unknown_seconds_make_up_the_speech(drawn: list[tuple[int, int, int | None, Provenance]]) -> None:
    turns = tuple(turn(a / 10, (a + n) / 10, str(k), profile=p, provenance=v) for k, (a, n, p, v) in enumerate(drawn))
    found = balance(Cast(turns, ()))
    tenths = {t for a, n, *_ in drawn for t in range(a, a + n)}
    named = {t for a, n, p, v in drawn if p is not None or v is Provenance.MANUAL for t in range(a, a + n)}
    assert found.labelled + found.unknown == pytest.approx(found.speech, abs=0.01)
    assert found.speech == pytest.approx(len(tenths) / 10, abs=1e-6)
    assert found.labelled == pytest.approx(len(named) / 10, abs=1e-6)


def test_before_anybody_is_named_all_speech_is_unknown() -> None:
    heard = DiarizationResult((Turn(0, 5, "x"), Turn(4, 6, "y")), (Turn(0, 5, "x"), Turn(5, 6, "y")), "test")
    assert (balance(heard).speech, balance(heard).labelled, balance(heard).unknown) == (6, 0, 6)


def test_words_and_turns_together_never_mix_two_people_in_a_passage() -> None:
    words = said("One two three. Four five six.", None)
    turns = [turn(0, 1.4, "A"), turn(1.4, 3.0, "B")]
    found = cut(assign(words, turns), turns, transcript(), Segmentation())
    assert [(s.speaker, s.text) for s in found] == [("A", "One two three."), ("B", "Four five six.")]


# -- at the edges -------------------------------------------------------------------------------------------------------


def test_without_loops_nothing_is_looped() -> None:
    assert [s.looped for s in cut(said("One two.") + said("Three.", "B", start=3), (), transcript(), Segmentation())] == [
        False,
        False,
    ]


@pytest.mark.parametrize(("loop", "flagged"), [((0.0, 1.0), False), ((1.0, 1.5), True), ((4.0, 9.0), True), ((5.0, 9.0), False)])
def test_a_loop_that_only_touches_a_passage_is_not_in_it(loop: tuple[float, float], flagged: bool) -> None:
    words = (Word("One", 1.0, 2.0, 1, "A"), Word("two.", 2.0, 5.0, 1, "A"))
    (only,) = cut(words, (), transcript(looped=(loop,)), Segmentation())
    assert only.looped is flagged


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "。", "天気", "が", "いい。", "、"]), st.integers(0, 20), st.integers(1, 40)), max_size=40
    ),
    st.integers(50, 60),
    st.integers(0, 60),
    st.integers(5, 12),
)
def test_no_passage_is_empty_in_a_language_without_spaces(
    drawn: list[tuple[str, int, int]], most: int, least: int, seconds: int
) -> None:
    """Words without a text take no room there: every passage still holds at least one word, and none is lost."""
    clock, words = 0.0, []
    for text, pause, length in drawn:
        clock += pause / 10
        words.append(Word(text, clock, clock + length / 10, 0.9, "A"))
        clock += length / 10
    settings = Segmentation(max_chars=most, min_chars=least, max_seconds=seconds)
    found = cut(tuple(words), (), transcript(language="ja"), settings)
    assert all(s.words for s in found)
    assert [w for s in found for w in s.words] == words
    assert all(len(s.words) == 1 or s.end - s.start <= seconds + 1e-9 for s in found)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_sentence_end_before_a_passage_does_not_end_it(language: str) -> None:
    """The word before the passage ends a sentence; where any length is enough it must not be taken for an end of this one."""
    words = said("短い。 " + "天気が " * 40)
    found = cut(words, (), transcript(language=language), Segmentation(max_chars=50, min_chars=0, max_seconds=300))
    assert [w for s in found for w in s.words] == list(words)
    assert all(s.words for s in found)
    assert found[0].text == "短い。"


@pytest.mark.parametrize(("before", "after", "profile"), [(1.0, 9.0, 1), (0.5, 7.5, 2)])
def test_a_passage_beside_all_turns_of_its_speaker_takes_after_the_nearest(before: float, after: float, profile: int) -> None:
    """The passage lasts from 3 to 6; one turn ends before it, one begins after it."""
    voice = np.array([1, 0], np.float32)
    turns = [
        turn(0, before, "A", profile=1, confidence=0.9, voice=voice),
        turn(after, 20, "A", profile=2, confidence=0.5, voice=-voice),
    ]
    (only,) = cut((Word("Hello.", 3, 6, 1, "A"),), turns, transcript(), Segmentation())
    assert (only.profile, only.confidence) == (profile, 0.9 if profile == 1 else 0.5)
    assert only.voice is not None
    assert only.voice == pytest.approx(voice if profile == 1 else -voice)


def test_a_turn_that_only_touches_a_passage_lends_it_nothing() -> None:
    turns = [turn(0, 3, "A", profile=1, confidence=0.25), turn(3, 6, "A", profile=2, confidence=0.75)]
    (only,) = cut((Word("Hello.", 3, 6, 1, "A"),), turns, transcript(), Segmentation())
    assert (only.profile, only.confidence) == (2, 0.75)


def test_voices_that_cancel_out_are_no_voice() -> None:
    voice = np.array([1, 0], np.float32)
    turns = [turn(0, 2, "A", voice=voice), turn(2, 4, "A", voice=-voice)]
    (only,) = cut((Word("Hello.", 0, 4, 1, "A"),), turns, transcript(), Segmentation())
    assert only.voice is None


def test_a_passage_may_fill_its_limits_to_the_last_character_and_second() -> None:
    words = said("aaaa " * 9 + "aaaaa.")  # 9 x 5 + 6 = 51 characters
    assert len(texts(words, max_chars=51, min_chars=0)) == 1
    assert len(texts(words, max_chars=50, min_chars=0)) == 2
    timed = tuple(Word("a", 2.5 * n, 2.5 * n + 2.5, 1, "A") for n in range(4))  # 10 s
    assert len(texts(timed, max_seconds=10)) == 1
    assert len(texts(timed, max_seconds=9)) == 2
    assert [len(s.words) for s in cut(timed, (), transcript(), Segmentation(max_seconds=9))] == [3, 1]


def test_a_passage_that_fills_its_limit_may_stand_before_others() -> None:
    words = said("aaaa " * 9 + "aaaaa. bbbb bbbb")
    assert texts(words, max_chars=51, min_chars=0) == ["aaaa " * 9 + "aaaaa.", "bbbb bbbb"]
    assert len(texts(words, max_chars=50, min_chars=0)[0]) < 51
    unspaced = said("あああああああああ、 " * 4 + "ああああああああああ。 いい。")  # four of 10 characters, one of 11
    found = cut(unspaced, (), transcript(language="ja"), Segmentation(max_chars=50, min_chars=0))
    assert [len(s.text) for s in found] == [40, 14]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        # too little would be left behind either end: the later one leaves enough in this passage
        ("Hi. " + "aaaa " * 9 + "end. tail tail.", "Hi. " + "aaaa " * 9 + "end."),
        # the later end leaves enough behind it, in one word
        ("aaaa " * 4 + "end. " + "bbbb " * 4 + "end. " + "x" * 24 + ".", "aaaa " * 4 + "end. " + "bbbb " * 4 + "end."),
        # it does not, by a word: the end before it is taken
        ("aaaa " * 5 + "end. bbbbbbbbbbbbbbbb end. xx yyyyyy.", "aaaa " * 5 + "end."),
        # no end leaves enough anywhere: a sentence of one word is still an end
        ("Hi. " + "aaaa " * 14, "Hi."),
    ],
)
def test_which_sentence_end_a_passage_is_cut_at(text: str, first: str) -> None:
    assert texts(said(text), max_chars=60, min_chars=20)[0] == first


def spoken(lengths: list[int], pauses: dict[int, float]) -> tuple[Word, ...]:
    """Words of so many characters and no mark, a second each, with pauses before some."""
    clock, words = 0.0, []
    for k, length in enumerate(lengths):
        clock += pauses.get(k, 0.0)
        words.append(Word("a" * length, clock, clock + 1, 1, "A"))
        clock += 1
    return tuple(words)


def test_the_longest_pause_is_looked_for_in_the_second_half() -> None:
    """Ten words fit, 50 characters: the half is before the sixth, at 25."""
    words = spoken([4] * 9 + [5] + [4] * 5, {4: 2.5, 5: 2.0, 7: 1.0})
    assert len(texts(words, max_chars=50, min_chars=0)[0].split()) == 5
    long_first = spoken([40, 4, 4, 4], {1: 2.0, 2: 1.0})
    assert texts(long_first, max_chars=50, min_chars=0)[0] == "a" * 40


def test_of_turns_that_only_touch_a_passage_the_nearest_lends_what_it_has() -> None:
    (only,) = cut((Word("Hello.", 3, 6, 1, "A"),), [turn(0, 3, "A", confidence=0.25)], transcript(), Segmentation())
    assert only.confidence == 0.25

"""Every second of speech is accounted for: under words, judged to be none, or left and named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.speech.coverage import HOLE_S, coverage, holes, summed
from gainstage.engine.speech.gaps import PAD_S, anomalous, around, new_words, read, stretched, words_in
from gainstage.engine.speech.listening import Listening
from gainstage.engine.speech.times import EDGE_S, snapped
from gainstage.engine.speech.windows import Span, packed, seconds_of, without
from gainstage.engine.terms import Coverage, Word


def word(start: float, end: float, text: str = "word", probability: float = 0.9) -> Word:
    return Word(text, start, end, probability)


def in_order(pairs: list[tuple[float, float]]) -> list[Span]:
    """Spans made of (pause, length) pairs."""
    spans, at = [], 0.0
    for pause, length in pairs:
        spans.append((at + pause, at + pause + length))
        at += pause + length
    return spans


some_spans = st.lists(st.tuples(st.floats(0.01, 5), st.floats(0.05, 8)), max_size=12).map(in_order)


@given(some_spans, some_spans)
def test_what_is_left_and_what_is_taken_make_the_whole(spans: list[Span], taken: list[Span]) -> None:
    left = without(spans, taken)
    assert seconds_of(left) + seconds_of(without(spans, left)) == pytest.approx(seconds_of(spans))
    assert all(b > a for a, b in left)
    assert all(b <= c or d <= a for a, b in left for c, d in taken)


def test_a_hole_is_speech_of_some_length_without_a_word() -> None:
    speech = [(0.0, 4.0), (6.0, 8.0)]
    assert holes(speech, [word(0.0, 1.0), word(1.5, 4.0), word(6.0, 6.3)]) == [(6.3, 8.0)]
    assert holes(speech, []) == speech
    assert holes([(0.0, HOLE_S - 0.01)], []) == []


def test_a_short_stop_between_two_stretches_does_not_hide_a_hole() -> None:
    assert holes([(0.0, 0.4), (0.6, 1.0)], []) == [(0.0, 1.0)]


@given(some_spans, some_spans, some_spans)
def test_the_account_adds_up(speech: list[Span], words: list[Span], silent: list[Span]) -> None:
    account = coverage(speech, [word(a, b) for a, b in words], silent)
    assert account.worded_s + account.judged_silent_s + account.left_s == pytest.approx(account.speech_s)
    assert account.speech_s == pytest.approx(seconds_of(speech))
    assert min(account.worded_s, account.judged_silent_s, account.left_s) >= -1e-9
    assert seconds_of(account.left) == pytest.approx(account.left_s)


def test_what_the_recogniser_judged_silent_is_told_from_what_is_left() -> None:
    account = coverage([(0.0, 10.0)], [word(0.0, 2.0)], [(2.0, 5.0)])
    assert (account.worded_s, account.judged_silent_s, account.left_s) == (2.0, 3.0, 5.0)
    assert account.left == ((5.0, 10.0),)


def test_words_where_nobody_speaks_are_stray() -> None:
    account = coverage([(0.0, 1.0)], [word(0.0, 1.0), word(5.0, 5.5), word(7.0, 7.25)], [])
    assert (account.stray_words, account.stray_s) == (2, 0.75)


def test_a_warning_needs_seconds_and_a_share() -> None:
    assert not Coverage(speech_s=100.0, left_s=4.9).too_little
    assert Coverage(speech_s=100.0, left_s=5.1).too_little
    assert not Coverage(speech_s=1000.0, left_s=29.0).too_little
    assert Coverage(speech_s=1000.0, left_s=31.0).too_little
    assert Coverage(speech_s=10.0, stray_s=6.0).too_much


def test_accounts_add_up_to_one() -> None:
    both = summed([Coverage(3.0, 2.0, 0.5, 0.5, 1, 0.2, 1, ((2.0, 2.5),)), Coverage(1.0, 1.0)])
    assert both == Coverage(4.0, 3.0, 0.5, 0.5, 1, 0.2, 1, ((2.0, 2.5),))
    assert summed([]) == Coverage()


@given(st.lists(st.tuples(st.floats(0.0, 4), st.floats(0.1, 10)), max_size=12).map(in_order), st.floats(10, 30))
def test_packing_makes_the_fewest_windows_and_keeps_all_speech(spans: list[Span], longest: float) -> None:
    result = packed(spans, longest)
    assert all(b - a <= longest + 1e-9 for a, b in result)
    assert all(any(a <= c and d <= b for a, b in result) for c, d in spans)
    greedy: list[Span] = []
    for start, end in spans:
        if greedy and end - greedy[-1][0] <= longest:
            greedy[-1] = (greedy[-1][0], end)
        else:
            greedy.append((start, end))
    assert len(result) == len(greedy)


def test_of_equal_packings_the_one_cut_at_the_longest_pause_wins() -> None:
    assert packed([(0, 8), (8.1, 14), (16, 22)], 14) == [(0, 14), (16, 22)]
    assert packed([(0, 8), (10, 14), (14.1, 22)], 14) == [(0, 8), (10, 22)]


def test_a_word_stretched_over_a_silence_starts_after_it() -> None:
    (late,) = snapped([word(1.0, 3.0)], [(0.0, 1.2), (2.6, 4.0)])
    assert (late.start, late.end) == (pytest.approx(2.6 - EDGE_S), 3.0)
    (early,) = snapped([word(1.0, 2.65)], [(0.0, 1.5), (2.6, 4.0)])
    assert early.start == 1.0, "what reaches over the silence by less than a syllable is no part of the word"
    (whole,) = snapped([word(1.0, 2.0)], [(0.0, 1.4), (1.6, 4.0)])
    assert whole.start == 1.0, "a stop inside a word is no silence"


def test_a_word_with_seconds_of_speech_under_it_hides_others() -> None:
    assert stretched(word(0.0, 2.0), [(0.0, 5.0)])
    assert not stretched(word(0.0, 2.0), [(1.2, 5.0)])
    assert not stretched(word(0.0, 1.0), [(0.0, 5.0)])
    assert not stretched(word(0.0, 1.9, "1455,"), [(0.0, 5.0)]), "a number is several words"
    assert stretched(word(0.0, 1.9, "14"), [(0.0, 5.0)])


def test_made_up_words_are_known_by_length_and_probability() -> None:
    assert anomalous([word(0.0, 0.3, probability=0.1), word(0.3, 0.32, probability=0.1)])
    assert anomalous([word(0.0, 6.0)])
    assert not anomalous([word(0.0, 0.4), word(0.4, 0.8)])
    assert not anomalous([])


def test_words_of_a_hole_are_not_said_twice() -> None:
    known = [word(0.0, 1.0, "said,"), word(3.0, 3.4, "Stop")]
    found = [word(1.1, 1.3, "Said"), word(1.5, 2.0, "cut"), word(2.6, 2.9, "stop.")]
    assert [w.text for w in new_words(found, known)] == ["cut"]
    assert [w.text for w in new_words([word(1.9, 2.2, "said")], known)] == ["said"], "a second later it is said again"


def test_a_gap_is_recognised_with_whole_words_beside_it_in_a_short_window() -> None:
    rule = Listening(around_s=2.5, short_s=8.0)
    known = [word(0.0, 0.4), word(7.8, 8.4), word(8.4, 9.9), word(12.2, 12.6), word(12.6, 14.4), word(14.4, 16.0)]
    assert around((10.0, 12.0), known, 60.0, rule) == (pytest.approx(7.7), pytest.approx(14.5))
    low, high = around((10.0, 17.5), known, 60.0, rule)
    assert (low, high) == (10.0 - PAD_S, 17.5 + PAD_S), "too long to have words beside it"
    assert around((10.0, 12.0), known, 60.0, Listening(around_s=0.0)) == (10.0 - PAD_S, 12.0 + PAD_S)
    assert around((0.1, 0.9), [], 1.0, rule) == (0.0, 1.0), "within the block"


@given(some_spans, st.floats(0.0, 30.0), st.floats(0.6, 20.0))
def test_what_is_recognised_for_a_gap_holds_it_and_stays_short(spans: list[Span], start: float, length: float) -> None:
    rule, gap = Listening(), (start, start + length)
    low, high = around(gap, [word(*span) for span in spans], start + length + 5.0, rule)
    assert low <= gap[0] < gap[1] <= high
    assert high - low <= max(rule.short_s, length + 2 * PAD_S) + 1e-6


def test_words_beside_a_gap_are_not_taken_for_words_in_it_however_their_times_moved() -> None:
    known = [word(0.0, 0.4, "said"), word(0.4, 0.9, "happily."), word(3.0, 3.4, "I"), word(3.4, 3.8, "mean")]
    texts = ["Said", "happily", "practitioners", "endow", "it", "I", "mean"]
    found = [word(0.5 * k, 0.5 * k + 0.4, text) for k, text in enumerate(texts)]
    assert [w.text for w in words_in((0.95, 3.0), (0.0, 3.8), found, known)] == ["practitioners", "endow", "it"]
    assert [w.text for w in words_in((0.95, 3.0), (0.0, 3.8), found, ())] == ["practitioners", "endow", "it", "I"]


def test_words_under_a_stretched_neighbour_are_new_and_it_takes_its_new_time() -> None:
    """ "I" was given the time of "If the medical", which the first recognition left out, beside a gap."""
    known = [word(1.4, 2.5, "I"), word(2.5, 2.7, "said"), word(2.7, 3.3, "happily."), word(6.0, 6.2, "I"), word(6.2, 6.6, "mean")]
    texts = ["If", "the", "medical", "I", "said", "happily", "practitioners", "I", "mean"]
    starts = [1.4, 1.5, 1.7, 2.4, 2.5, 2.7, 3.6, 6.0, 6.2]
    found = [word(start, start + 0.1, text) for start, text in zip(starts, texts, strict=True)]
    reading = read((3.3, 6.0), (1.3, 6.6), found, known)
    assert [w.text for w in reading.words] == ["If", "the", "medical", "practitioners"]
    assert reading.moved == {known[0]: replace(known[0], start=2.4, end=2.5), known[2]: replace(known[2], end=pytest.approx(2.8))}
    assert [w.text for w in reading.applied(known)] == [
        "If",
        "the",
        "medical",
        "I",
        "said",
        "happily.",
        "practitioners",
        "I",
        "mean",
    ]
    assert not reading.settled


def test_a_word_found_elsewhere_moves_there_but_past_no_other() -> None:
    known = [word(1.0, 1.2, "The"), word(2.8, 3.2, "unusual"), word(3.2, 3.5, "thing")]
    found = [word(1.0, 1.1, "Is"), word(1.1, 1.2, "it"), word(1.3, 1.4, "the"), word(1.4, 1.7, "duty"), word(2.8, 3.2, "unusual")]
    reading = read((1.2, 2.8), (0.9, 3.5), found, known)
    assert " ".join(w.text for w in reading.applied(known)) == "Is it The duty unusual thing"
    crossed = [word(1.0, 1.1, "Is"), word(3.3, 3.4, "the")]
    assert read((1.2, 2.8), (0.9, 3.5), crossed, known).moved == {}


def test_a_gap_between_the_same_words_again_is_settled() -> None:
    known = [word(1.0, 1.4, "at"), word(1.4, 2.0, "hand."), word(4.0, 4.4, "Something"), word(4.4, 4.8, "is")]
    assert read((2.0, 4.0), (0.9, 4.8), known, known).settled
    assert not read((2.0, 4.0), (0.9, 4.8), known[:2], known).settled, "what follows was not found"
    assert not read((2.0, 4.0), (0.9, 4.8), [], known).settled
    over = [*known[:2], word(2.9, 4.4, "Something"), known[3]]
    assert not read((2.0, 4.0), (0.9, 4.8), over, known).settled, "a word lies over the gap now"
    assert not read((2.0, 4.0), (0.9, 4.8), [*known[:2], word(2.5, 2.9, "so"), *known[2:]], known).settled
    assert not read((2.0, 4.0), (0.9, 4.8), [word(2.5, 2.9, "so")], ()).settled

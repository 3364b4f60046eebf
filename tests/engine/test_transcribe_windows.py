"""Where the recogniser listens, and what is done about its loops and impossible times: the pure parts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech_kit import audio_of, silence, tone

from gainstage.engine.speech.loops import REPEATS, REPEATS_OF_ONE, loops
from gainstage.engine.speech.times import EDGE_S, snapped, with_valid_times
from gainstage.engine.speech.windows import blocks, joined, parted, quietest, united
from gainstage.engine.terms import Word


def said(text: str, each: float = 0.3, start: float = 0.0) -> list[Word]:
    return [Word(w, start + k * each, start + k * each + each * 0.8, 0.9) for k, w in enumerate(text.split())]


def test_the_quietest_place_is_the_middle_of_the_pause() -> None:
    samples = np.concatenate([tone(2), silence(1), tone(2)])
    assert quietest(samples) == pytest.approx(2.5, abs=0.35)
    assert 0 <= quietest(silence(0.001)) <= 0.001


def test_a_long_recording_is_held_in_blocks_cut_at_pauses(tmp_path: Path) -> None:
    audio = audio_of(tmp_path, np.concatenate([tone(9.4), silence(0.4), tone(9.6), silence(0.6), tone(7)]))
    spans = blocks(audio, 10)
    assert spans[0][0] == 0
    assert spans[-1][1] == audio.seconds
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert 9.4 < spans[0][1] < 9.8
    assert blocks(audio_of(tmp_path, tone(3)), 10) == [(0.0, 3.0)]
    assert blocks(audio_of(tmp_path, tone(0)), 10) == []


def test_pieces_are_joined_over_short_pauses_only() -> None:
    assert joined([(0, 1), (1.2, 2), (3, 4)], 0.5) == [(0, 2), (3, 4)]
    assert joined([], 0.5) == []


@given(st.floats(0, 100), st.floats(0.01, 200), st.floats(1, 30), st.floats(0, 1))
def test_a_long_span_is_parted_without_gap_and_no_part_is_too_long(
    start: float, length: float, longest: float, where: float
) -> None:
    parts = parted((start, start + length), longest, lambda low, high: low + where * (high - low))
    assert (parts[0][0], parts[-1][1]) == (start, start + length)
    assert all(a[1] == b[0] for a, b in pairwise(parts))
    assert all(0 < b - a <= longest + 1e-6 for a, b in parts)
    assert len(parts) <= 2 * length / longest + 2


def test_spans_that_overlap_are_one_while_it_is_short_enough() -> None:
    assert united([(0, 3), (2, 5), (4, 9), (9, 10)], 8.0) == [(0, 5), (0, 5), (4, 9), (9, 10)]
    assert united([(0, 3), (2, 5), (4, 8)], 8.0) == [(0, 8)] * 3
    assert united([(0, 6), (1, 2), (7, 8)], 8.0) == [(0, 6), (0, 6), (7, 8)]
    assert united([], 8.0) == []


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0.1, 10))), st.floats(1, 10))
def test_a_span_lies_within_the_one_used_in_its_place(starts_and_lengths: list[tuple[float, float]], longest: float) -> None:
    spans = [(start, start + length) for start, length in sorted(starts_and_lengths)]
    used = united(spans, longest)
    assert len(used) == len(spans)
    for (start, end), (low, high) in zip(spans, used, strict=True):
        assert low <= start < end <= high
        assert (low, high) == (start, end) or high - low <= longest


# -- loops --------------------------------------------------------------------------------------------------------------


def test_a_phrase_over_and_over_is_a_loop_and_only_it_is_flagged() -> None:
    words = said("we sailed home " + "thank you very much " * REPEATS + "and slept")
    (span,) = loops(words)
    assert span == (words[3].start, words[3 + 4 * REPEATS - 1].end)


def test_case_and_punctuation_do_not_hide_a_loop() -> None:
    assert len(loops(said("Thank you. thank you, Thank you! THANK YOU"))) == 1


def test_an_honest_repetition_is_kept() -> None:
    assert loops(said("no no no no it is true it is true he said")) == ()
    assert len(loops(said("no " * REPEATS_OF_ONE))) == 1


def test_the_same_words_minutes_apart_are_no_loop() -> None:
    assert loops(said("good morning everyone " * REPEATS, each=10)) == ()


def test_two_loops_are_two_spans() -> None:
    words = said("a b " * REPEATS + "and then on with it " + "c d e " * REPEATS)
    first, second = loops(words)
    assert first[1] < second[0]


# -- times --------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(-5, 40), st.floats(-3, 10)), max_size=30),
    st.floats(0, 10),
    st.floats(0.05, 25),
)
def test_valid_times_are_in_order_and_inside_the_utterance(times: list[tuple[float, float]], low: float, length: float) -> None:
    words = [Word(str(k), start, start + d, 0.5) for k, (start, d) in enumerate(times)]
    result = with_valid_times(words, low, low + length)
    assert [w.text for w in result] == [w.text for w in words]
    edges = [t for w in result for t in (w.start, w.end)]
    assert edges == sorted(edges)
    assert all(low - 1e-3 <= t <= low + length + 1e-3 for t in edges)


def test_times_that_hold_are_left_alone() -> None:
    words = said("all of this is fine", start=1.0)
    assert with_valid_times(words, 0.0, 5.0) == tuple(
        Word(w.text, round(w.start, 3), round(w.end, 3), w.probability) for w in words
    )


def test_a_word_that_begins_in_the_pause_before_it_is_moved_to_where_speech_begins() -> None:
    words = [Word("far", 1.0, 2.4, 0.9), Word("off", 2.4, 3.5, 0.9), Word("ghost", 6.0, 7.0, 0.9)]
    far, off, ghost = snapped(words, [(2.0, 3.0), (9.0, 10.0)])
    assert (far.start, far.end) == (2.0 - EDGE_S, 2.4)
    assert (off.start, off.end) == (2.4, 3.0 + EDGE_S)
    assert (ghost.start, ghost.end) == (6.0, 7.0)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5)), max_size=10),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5)), max_size=10),
)
def test_snapping_only_ever_shortens_a_word(drawn: list[tuple[float, float]], speech: list[tuple[float, float]]) -> None:
    words = [Word("w", a, a + n, 1.0) for a, n in drawn]
    apart: list[tuple[float, float]] = []
    for a, n in sorted(speech):
        if not apart or a > apart[-1][1]:
            apart.append((a, a + n))
    for before, after in zip(words, snapped(words, apart), strict=True):
        assert before.start <= after.start <= after.end
        assert after.end <= max(before.end, after.start)

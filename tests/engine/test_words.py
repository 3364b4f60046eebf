"""Every word gets the speaker whose turn it overlaps most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.speech.words import NEAR_S, _Spans, assign
from gainstage.engine.terms import Provenance, SpeakerTurn, Word


def turn(start: float, end: float, speaker: str) -> SpeakerTurn:
    return SpeakerTurn(start, end, speaker, speaker, None, None, Provenance.CLUSTER)


def word(start: float, end: float, text: str = "word") -> Word:
    return Word(text, start, end, 1.0)


def placed(
    start: float, end: float, *turns: SpeakerTurn, overlaps: tuple[tuple[float, float], ...] = ()
) -> tuple[str | None, bool]:
    (only,) = assign([word(start, end)], turns, overlaps)
    return only.speaker, only.overlap


def test_a_word_inside_a_turn_is_that_speakers() -> None:
    assert placed(1, 2, turn(0, 5, "A"), turn(5, 9, "B")) == ("A", False)


def test_a_word_on_the_border_goes_where_most_of_it_lies_and_is_flagged() -> None:
    assert placed(4.7, 5.1, turn(0, 5, "A"), turn(5, 9, "B")) == ("A", True)
    assert placed(4.9, 5.3, turn(0, 5, "A"), turn(5, 9, "B")) == ("B", True)


def test_two_turns_of_one_speaker_are_no_overlap() -> None:
    assert placed(4.7, 5.3, turn(0, 5, "A"), turn(5, 9, "A")) == ("A", False)


def test_shares_of_one_speaker_add_up_over_turns() -> None:
    assert placed(0, 3, turn(0, 1, "A"), turn(1, 2.2, "B"), turn(2.2, 3, "A")) == ("A", True)


def test_a_word_under_two_voices_at_once_is_flagged() -> None:
    assert placed(2, 3, turn(0, 5, "A"), overlaps=((2.5, 4.0),)) == ("A", True)
    assert placed(2, 3, turn(0, 5, "A"), overlaps=((3.0, 4.0), (0.0, 2.0))) == ("A", False)


@pytest.mark.parametrize(("gap", "speaker"), [(0.2, "B"), (NEAR_S - 0.01, "B"), (NEAR_S + 0.01, None)])
def test_a_word_beside_every_turn_goes_to_the_nearest_within_reach(gap: float, speaker: str | None) -> None:
    assert placed(10, 10.4, turn(0, 5, "A"), turn(10.4 + gap, 20, "B")) == (speaker, False)


def test_without_turns_nobody_speaks() -> None:
    assert placed(1, 2) == (None, False)


def test_a_long_turn_is_found_behind_many_short_ones() -> None:
    turns = [turn(0, 100, "A"), *(turn(t, t + 0.1, "B") for t in range(1, 90))]
    assert placed(95, 96, *turns) == ("A", False)


# -- sentences --------------------------------------------------------------------------------------------------------


def speakers(text: str, *turns: SpeakerTurn) -> str:
    """Who says each word of ``text``: 0.3 s each with 0.1 s between them; ``_`` is a pause of one word, ``-`` nobody."""
    words = [word(0.4 * i, 0.4 * i + 0.3, t) for i, t in enumerate(text.split())]
    return "".join(w.speaker or "-" for w in assign([w for w in words if w.text != "_"], turns))


def test_the_last_word_of_a_sentence_stays_when_the_turn_ends_early() -> None:
    """ "ropes." begins after the turn of its speaker and just reaches the next one."""
    assert speakers("with two white ropes. How far?", turn(0, 1.1, "A"), turn(1.4, 5, "B")) == "AAAABB"


def test_the_last_word_of_a_sentence_stays_when_a_splinter_of_somebody_else_lies_on_it() -> None:
    assert speakers("with two white ropes. How far?", turn(0, 1.3, "A"), turn(1.3, 1.55, "B"), turn(1.6, 5, "B")) == "AAAABB"


def test_the_first_word_of_a_sentence_is_not_left_with_whoever_spoke_before() -> None:
    assert speakers("So far? The sail left.", turn(0, 0.75, "A"), turn(0.78, 1.15, "A"), turn(1.15, 5, "B")) == "AABBB"


def test_a_real_turn_within_a_sentence_keeps_its_word() -> None:
    assert speakers("I went to the river yes", turn(0, 1.9, "A"), turn(1.95, 2.6, "B")) == "AAAAAB"


def test_a_sentence_of_its_own_stays_with_its_splinter() -> None:
    assert speakers("I went there. Yes. Then home.", turn(0, 1.15, "A"), turn(1.15, 1.55, "B"), turn(1.58, 5, "A")) == "AAABAA"


def test_a_pause_ends_a_sentence_that_has_no_full_stop() -> None:
    assert speakers("we went to _ _ yes", turn(0, 1.55, "A"), turn(1.9, 2.35, "B")) == "AAAB"


def test_where_a_sentence_is_two_peoples_nothing_is_moved() -> None:
    turns = (turn(0, 0.75, "A"), turn(0.75, 1.55, "B"), turn(1.58, 2.0, "A"))
    assert speakers("we went to the river", *turns) == "AABBA"


def test_words_nobody_is_found_at_stay_nobodys() -> None:
    assert speakers("a b c", turn(50, 60, "A")) == "---"


spans = st.tuples(st.integers(0, 300), st.integers(1, 60)).map(lambda p: (p[0] / 10, (p[0] + p[1]) / 10))


@given(
    st.lists(st.tuples(spans, st.sampled_from("ABC")), max_size=12),
    st.lists(spans, max_size=12),
    st.lists(spans, max_size=4),
)
def test_it_is_what_a_look_at_every_turn_says(
    turns: list[tuple[tuple[float, float], str]], words: list[tuple[float, float]], overlaps: list[tuple[float, float]]
) -> None:
    cast = sorted((turn(a, b, s) for (a, b), s in turns), key=lambda t: t.start)
    said = [word(a, b, "word.") for a, b in sorted(words)]  # each its own sentence
    result = assign(said, cast, overlaps)
    assert [(w.text, w.start, w.end) for w in result] == [(w.text, w.start, w.end) for w in said]
    for w in result:
        shares: dict[str, float] = {}
        for t in cast:
            shared = min(w.end, t.end) - max(w.start, t.start)
            if shared > 0:
                shares[t.speaker] = shares.get(t.speaker, 0) + shared
        if shares:
            assert w.speaker is not None
            assert shares[w.speaker] == max(shares.values())
        elif w.speaker is not None:
            gaps = {t.speaker: max(t.start - w.end, w.start - t.end) for t in reversed(cast)}
            assert min(max(t.start - w.end, w.start - t.end) for t in cast if t.speaker == w.speaker) <= NEAR_S
            assert gaps
        assert w.overlap == (len(shares) > 1 or (w.speaker is not None and any(a < w.end and b > w.start for a, b in overlaps)))


# -- at the edges -------------------------------------------------------------------------------------------------------


def test_of_two_turns_within_reach_the_nearer_one_counts() -> None:
    assert placed(10, 10.4, turn(0, 9, "A"), turn(10.6, 20, "B")) == ("B", False)
    assert placed(10, 10.4, turn(0, 9.9, "A"), turn(10.6, 20, "B")) == ("A", False)


def test_a_word_out_of_reach_of_every_turn_does_not_join_the_sentence_it_ends() -> None:
    """Words 8 and 9 begin more than 2 s after the only turn: nobody was found speaking there, whoever said the rest."""
    assert speakers("a b c d e f g h i j", turn(0, 0.85, "A")) == "AAAAAAAA--"


def test_a_word_in_a_splinter_and_a_real_turn_of_its_speaker_is_sure() -> None:
    """ "ropes" lies in two turns of B, of which one is a splinter: it is B's, though the rest of the sentence is A's."""
    assert speakers("with two white ropes. Far?", turn(0, 1.19, "A"), turn(1.2, 1.3, "B"), turn(1.32, 5, "B")) == "AAABB"


def test_a_single_sure_word_moves_nobody() -> None:
    assert speakers("yes ropes.", turn(0, 0.38, "A"), turn(0.4, 0.6, "B")) == "AB"
    assert speakers("yes two ropes.", turn(0, 0.78, "A"), turn(0.8, 1.0, "B")) == "AAA"


def test_a_turn_that_only_touches_a_word_has_no_share_in_it() -> None:
    assert placed(1, 2, turn(0, 1, "A"), turn(1, 3, "B")) == ("B", False)


def test_a_turn_two_seconds_away_is_within_reach() -> None:
    assert placed(3, 4, turn(0, 1, "A")) == ("A", False)
    assert placed(3, 4, turn(6, 9, "B")) == ("B", False)


def test_a_span_of_two_voices_that_holds_a_shorter_one_keeps_its_end() -> None:
    assert placed(5, 6, turn(0, 9, "A"), overlaps=((0.0, 10.0), (1.0, 2.0))) == ("A", True)
    assert placed(5, 6, turn(0, 9, "A"), overlaps=((0.0, 1.0), (1.0, 2.0), (3.0, 5.0), (6.0, 7.0))) == ("A", False)
    assert placed(5, 6, turn(0, 9, "A"), overlaps=((0.0, 2.0), (2.0, 5.5))) == ("A", True)


def test_of_two_spans_of_two_voices_the_one_after_the_end_of_the_first_counts() -> None:
    assert placed(5, 5.6, turn(0, 9, "A"), overlaps=((0.0, 5.0), (5.5, 6.0))) == ("A", True)


def test_a_word_of_one_word_is_a_sentence_too() -> None:
    assert speakers("Yes. We went home.", turn(0, 0.2, "B"), turn(0.35, 5, "A")) == "BAAA"


def loose(*turns: SpeakerTurn, pause: float = 0.0) -> str:
    """Who says the third word of a sentence whose first two are A's; words of one second."""
    words = [word(0, 1, "a"), word(1, 2, "b"), word(2 + pause, 3 + pause, "c")]
    return assign(words, (turn(0, 2, "A"), *turns))[2].speaker or "-"


def test_a_word_is_sure_from_half_of_it_and_from_half_a_second_of_a_turn_on() -> None:
    assert loose(turn(2.5, 9, "B")) == "B"
    assert loose(turn(2.53125, 9, "B")) == "A"
    assert loose(turn(2.25, 2.75, "B")) == "B"
    assert loose(turn(2.25, 2.71875, "B")) == "A"
    assert loose(turn(2.0, 2.4375, "B"), turn(2.5, 2.9375, "B")) == "A", "two splinters are no turn"


def test_a_turn_that_begins_where_the_word_ends_makes_it_no_surer() -> None:
    assert loose(turn(2.0, 2.4375, "B"), turn(2.5, 2.9375, "B"), turn(3.0, 9.0, "B")) == "A"


def test_a_pause_of_exactly_half_a_second_does_not_end_a_sentence() -> None:
    assert loose(turn(2.5, 2.9375, "B"), pause=0.5) == "A"
    assert loose(turn(2.5, 2.96875, "B"), pause=0.53125) == "B"


# -- edges of overlapped speech ---------------------------------------------------------------------------------------


def overlapped(text: str, overlap: tuple[float, float], *turns: SpeakerTurn) -> str:
    words = [word(0.4 * i, 0.4 * i + 0.3, t) for i, t in enumerate(text.split())]
    return "".join(w.speaker or "-" for w in assign(words, turns, [overlap]))


ADA_THEN_BEN = (turn(0, 3.72, "A"), turn(3.62, 9, "B"))
"""Most of the tenth word lies in Ben's turn, by the diarizer's early edge; Ada speaks in it too, and no longer in the eleventh."""


def test_a_word_at_the_edge_of_an_overlap_goes_to_the_speaker_of_its_sentence_who_speaks_there_too() -> None:
    text = "one two three four five six seven eight nine ten. Yes I do think so"
    assert overlapped(text, (50, 51), *ADA_THEN_BEN) == "AAAAAAAAABBBBBB"
    assert overlapped(text, (3.62, 3.72), *ADA_THEN_BEN) == "AAAAAAAAAABBBBB"


def test_a_word_at_the_edge_of_an_overlap_stays_where_the_sentences_speaker_is_silent() -> None:
    text = "one two three four five six seven eight nine ten eleven"
    assert overlapped(text, (3.62, 3.72), *ADA_THEN_BEN) == "AAAAAAAAAAB"
    assert overlapped(text, (3.62, 3.72), *ADA_THEN_BEN, turn(4.3, 9, "A")) == "AAAAAAAAAAB", "she begins where the word ends"
    early = (turn(0, 3.7, "A"), turn(3.62, 9, "B"), turn(3.8, 4.0, "A"))
    assert overlapped(text, (3.62, 3.7), *early) == "AAAAAAAAAAB", "she ends where the word begins"


@pytest.mark.parametrize(("second", "last"), [((0.4, 0.7), "A"), ((0.4, 0.75), "B")])
def test_a_second_from_the_edge_of_an_overlap_a_word_is_sure(second: tuple[float, float], last: str) -> None:
    """Two sure words decide; the second is one only when it ends a second or more before either edge."""
    words = [word(0, 0.3), word(*second), word(0.8, 1.1), word(1.2, 1.5), word(1.6, 2.2)]
    cast = (turn(0, 1.8, "A"), turn(1.71, 5, "B"))
    assert [w.speaker for w in assign(words, cast, [(1.71, 1.8)])] == ["A"] * 4 + [last]


def test_spans_that_touch_have_no_edge_between_them() -> None:
    spans = _Spans([(0.0, 2.0), (2.0, 5.0)])
    assert not spans.edge_near(2.0, 2.5)
    assert spans.edge_near(3.9, 4.1)


def test_a_turn_that_ends_where_the_word_begins_makes_it_no_surer() -> None:
    words = [word(0, 0.3), word(0.4, 0.7), word(0.8, 1.1)]
    cast = (turn(0, 0.75, "A"), turn(0.2, 0.8, "B"), turn(0.8, 1.1, "B"))
    assert [w.speaker for w in assign(words, cast)] == ["A", "A", "A"]

"""Speech without words is decoded again: a window that missed much of it as a whole, else the gaps, and the better reading is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from speech_kit import Samples, demo_settings, dialogue, models

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.block_recogniser import BlockRecogniser
from gainstage.engine.speech.listening import Listening
from gainstage.engine.speech.recognition import DecodedWindow, SpeechWindow
from gainstage.engine.terms import SAMPLE_RATE, Word


def decoded(start: float, end: float, log_probability: float = -0.3, without: tuple[float, float] = (0.0, 0.0)) -> DecodedWindow:
    """A word every half second of [start, end), but not in ``without``."""
    times = [start + k / 2 for k in range(round((end - start) * 2))]
    words = tuple(Word(f"word{round(10 * at)}", at, at + 0.4, 0.9) for at in times if not without[0] <= at < without[1])
    return DecodedWindow(words, tuple(range(len(words))), log_probability, 0.0, 1.0, "en", 1.0)


def recognised(
    first: DecodedWindow,
    again: DecodedWindow,
    piece: Callable[[float], DecodedWindow] = lambda _: decoded(0.0, 0.0),
    samples: Samples | None = None,
    rule: Listening | None = None,
) -> tuple[list[Word], list[float]]:
    """The words where a window is decoded as ``first``, with timestamps as ``again``, and a short piece of it as ``piece`` of its
    seconds; and the seconds of everything decoded with timestamps."""
    lengths: list[float] = []

    def submit(windows: Sequence[SpeechWindow], token: CancelToken) -> list[DecodedWindow]:
        lengths.extend(window.seconds for window in windows if window.decoding.timestamps)
        longest = Listening().short_s
        return [first if not w.decoding.timestamps else piece(w.seconds) if w.seconds <= longest else again for w in windows]

    model = models().transcriber()._model
    recogniser = BlockRecogniser(model, rule or Listening(), demo_settings().asr, "en", CancelToken(), submit)
    block = recogniser.prepared(dialogue() if samples is None else samples)
    utterances, _ = recogniser.block(block, lambda *_: None)
    return [word for one in utterances for word in one.words], lengths


def test_a_window_that_missed_much_of_its_speech_is_read_again_with_timestamps() -> None:
    words, lengths = recognised(decoded(0.0, 2.0), decoded(0.0, 15.0))
    assert lengths[0] > 8.0
    assert max(w.end for w in words) > 8.0


@pytest.mark.parametrize("again", [decoded(0.0, 2.5), decoded(0.0, 15.0, log_probability=-1.5)])
def test_the_first_reading_stays_where_the_second_finds_little_more_or_is_doubtful(again: DecodedWindow) -> None:
    words, _ = recognised(decoded(0.0, 2.0), again)
    assert max(w.end for w in words) < 2.5


def test_nothing_is_read_again_where_the_rule_of_the_model_says_so() -> None:
    _, lengths = recognised(decoded(0.0, 15.0, without=(4.0, 7.5)), decoded(0.0, 15.0), rule=Listening(again=False))
    assert not lengths


def test_a_window_with_few_gaps_has_only_those_read_again() -> None:
    _, lengths = recognised(decoded(0.0, 15.0, without=(4.0, 7.5)), decoded(0.0, 15.0))
    assert lengths
    assert all(seconds <= 8.0 for seconds in lengths)


@pytest.mark.parametrize(
    ("share", "log_probability", "taken"), [(0.3, -0.8, False), (0.3, -0.5, True), (1.0, -0.8, True)], ids=["quiet", "sure", "loud"]
)
def test_words_in_a_quiet_gap_count_only_where_the_model_is_sure(share: float, log_probability: float, taken: bool) -> None:
    """The second turn of the dialogue at a share of its level, which the first reading left out."""
    samples = dialogue()
    samples[4 * SAMPLE_RATE : round(7.5 * SAMPLE_RATE)] *= share
    first = decoded(0.0, 15.0, without=(4.0, 7.5))
    words, _ = recognised(first, first, lambda _: decoded(0.0, 10.0, log_probability), samples)
    assert any(4.5 < w.start < 7.0 for w in words) == taken


def test_a_gap_whose_words_cover_others_is_read_alone_too() -> None:
    """With the words beside it only a stretched word was found in the gap; alone, all of its words."""
    first = decoded(0.0, 15.0, without=(4.0, 6.0))
    covering = replace(decoded(0.0, 0.0), words=(Word("and", 2.2, 4.0, 0.9),), tokens=(1,))
    words, lengths = recognised(first, first, lambda seconds: covering if seconds > 4.0 else decoded(0.0, 10.0))
    assert max(lengths) > 4.0 > min(lengths)
    inside = [w for w in words if 4.2 < (w.start + w.end) / 2 < 5.8]
    assert len(inside) > 2
    assert "and" not in {w.text for w in inside}
    words, _ = recognised(first, first, lambda seconds: covering if seconds > 4.0 else decoded(0.0, 0.0))
    assert "and" in {w.text for w in words}, "what was found stays where nothing better is"

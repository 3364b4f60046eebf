"""Gaps between recognised words: which words hide others, what is recognised again, and which of its words are new. Pure.

All times are seconds in one block of a recording.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from gainstage.engine.speech.listening import Listening
from gainstage.engine.speech.windows import Span, seconds_of
from gainstage.engine.terms import Word

PAD_S = 0.2
"""Seconds kept on each side of a gap that is recognised again alone: with more, words of its neighbours return."""

EDGE_S = 0.05
"""A repeated word belongs to a gap when its middle lies inside it, or within this many seconds."""

LONG_WORD_S = 1.2
"""A word that overlaps more seconds of speech than this hides others."""

_TORN_S = 0.1
"""Kept beside a known word at the end of what is recognised again, in seconds, so that it is not cut off."""

_NEAR_S = 0.3

_ANOMALOUS_WORDS = 8
_NOT_IN_WORDS = re.compile(r"[\W_]+")


def around(gap: Span, known: Sequence[Word], seconds: float, rule: Listening) -> Span:
    """The span that is recognised for a gap in a block of ``seconds``: with the words beside it, as far as the whole stays a short
    window, because the model recognises a sentence better than a piece of one; alone where the rule asks for no words beside it.
    ``known`` are the words recognised already.
    """
    start, end = gap
    side = max(PAD_S, min(rule.around_s, (rule.short_s - (end - start)) / 2 - _TORN_S))
    low, high = max(0.0, start - side), min(seconds, end + side)
    if side > PAD_S:  # from the start of a word to the end of one
        low = max(0.0, min((w.start - _TORN_S for w in known if low <= w.start < start), default=low))
        high = min(seconds, max((w.end + _TORN_S for w in known if end < w.end <= high), default=high))
    return low, high


def words_in(gap: Span, span: Span, found: Sequence[Word], known: Sequence[Word]) -> list[Word]:
    """The words of a gap among those ``found`` in ``span``: not those that are ``known`` beside it, matched in order by their text."""
    beside = [w for w in known if span[0] - _NEAR_S <= _middle(w) <= span[1] + _NEAR_S]
    matcher = SequenceMatcher(None, [plain(w) for w in beside], [plain(w) for w in found], autojunk=False)
    matched = {block.b + k for block in matcher.get_matching_blocks() for k in range(block.size)}
    return [w for k, w in enumerate(found) if k not in matched and gap[0] - EDGE_S <= _middle(w) <= gap[1] + EDGE_S]


def anomalous(words: Sequence[Word]) -> bool:
    """Whether words are probably hallucinated: improbable, or much too short or long. faster-whisper's rule, over the first eight
    words."""

    def strange(word: Word) -> float:
        length = word.end - word.start
        return (word.probability < 0.15) + max(0.0, 0.133 - length) * 15 + max(0.0, length - 2.0)

    looked_at = words[:_ANOMALOUS_WORDS]
    score = sum(strange(w) for w in looked_at)
    return bool(looked_at) and (score >= 3 or score + 0.01 >= len(looked_at))


def new_words(words_found: Sequence[Word], known: Sequence[Word]) -> list[Word]:
    """The words of a gap without those that its neighbours already have. ``known`` in time order."""
    words = list(words_found)
    if words and (before := [w for w in known if w.start < words[0].start][-1:]) and _same(before[0], words[0]):
        words.pop(0)
    if words and (after := next((w for w in known if w.start >= words[-1].start), None)) and _same(after, words[-1]):
        words.pop()
    return words


def stretched(word: Word, speech: Sequence[Span]) -> bool:
    """Whether a word lasts so long that it must cover others, to which the alignment gave no time."""
    if word.end - word.start <= LONG_WORD_S:
        return False
    return seconds_of([(max(a, word.start), min(b, word.end)) for a, b in speech if b > word.start and a < word.end]) > LONG_WORD_S


def plain(word: Word) -> str:
    """The text of a word without case and punctuation."""
    return _NOT_IN_WORDS.sub("", word.text.lower())


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _same(a: Word, b: Word) -> bool:
    near = max(a.start, b.start) - min(a.end, b.end) < 2 * PAD_S
    return near and plain(a) == plain(b)

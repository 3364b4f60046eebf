"""Repetition loops of the recogniser: one phrase many times within seconds. They are found, flagged and kept. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gainstage.engine.terms import Word

LONGEST_PHRASE = 12
"""Longest phrase in words: loops of the recogniser repeat a phrase, seldom a whole passage."""

REPEATS = 4
REPEATS_OF_ONE = 6
"""Repeats of a phrase, or of a single word ("no, no, no, no"), from which on it counts as a loop."""

WITHIN_S = 30.0
"""The repeats of a loop lie within this many seconds: people also repeat themselves, but not as fast and as often."""


def loops(words: Sequence[Word]) -> tuple[tuple[float, float], ...]:
    """Spans (start, end in seconds) in which one phrase is repeated; in order and without overlap."""
    plain = [_plain(w.text) for w in words]
    spans: list[tuple[float, float]] = []
    at = 0
    while at < len(plain):
        length, repeats = _longest_run(plain, at)
        last = at + length * repeats - 1
        if repeats and _fast(words, at, length, repeats):
            spans.append((words[at].start, words[last].end))
            at = last + 1
        else:
            at += 1
    return tuple(spans)


def _longest_run(plain: Sequence[str], at: int) -> tuple[int, int]:
    """Phrase length and number of repeats of the loop that starts at a word; (0, 0) for none."""
    for length in range(1, min(LONGEST_PHRASE, (len(plain) - at) // 2) + 1):
        phrase = plain[at : at + length]
        repeats = 1
        while plain[at + repeats * length : at + (repeats + 1) * length] == phrase:
            repeats += 1
        if repeats >= (REPEATS_OF_ONE if length == 1 else REPEATS):
            return length, repeats
    return 0, 0


def _fast(words: Sequence[Word], at: int, length: int, repeats: int) -> bool:
    needed = REPEATS_OF_ONE if length == 1 else REPEATS
    ends = (words[at + (k + needed) * length - 1].end - words[at + k * length].start for k in range(repeats - needed + 1))
    return min(ends) <= WITHIN_S


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower() or text.strip()

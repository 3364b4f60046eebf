"""Correct impossible word times: inside their utterance, in order, where there is speech. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from gainstage.engine.terms import Word

SHORTEST_S = 0.02
"""Least duration of a word: one step of the recogniser's clock, in seconds."""

EDGE_S = 0.03
"""Speech is detected in steps of about this many seconds, so a word may extend this far beyond it."""

SILENCE_S, SYLLABLE_S = 0.3, 0.1
"""A silence of this many seconds never lies inside a word; the part of the word after it lasts at least a syllable."""


def snapped(words: Sequence[Word], speech: Sequence[tuple[float, float]]) -> list[Word]:
    """The words without the silence before, after and inside them: the recogniser often starts a sentence in the pause before it,
    and a word stretched over a silence starts after it.

    ``speech`` holds the spans of the voice activity detector, in order; a word outside all of them is unchanged.
    """
    starts = [a for a, _ in speech]
    ends = [b for _, b in speech]
    result = []
    for word in words:
        first = bisect_right(ends, word.start)
        last = bisect_left(starts, word.end) - 1
        first = _after_silence(word, speech, first, last)
        if first <= last:
            start = max(word.start, starts[first] - EDGE_S)
            end = min(word.end, ends[last] + EDGE_S)
            word = replace(word, start=start, end=max(end, start))
        result.append(word)
    return result


def _after_silence(word: Word, speech: Sequence[tuple[float, float]], first: int, last: int) -> int:
    """Index of the first span of speech that a word keeps: after a silence inside it, when enough speech follows."""
    for k in range(last, first, -1):
        spoken = min(word.end, speech[k][1]) - speech[k][0]
        if speech[k][0] - speech[k - 1][1] >= SILENCE_S and spoken >= SYLLABLE_S:
            return k
    return first


def with_valid_times(words: Sequence[Word], low: float, high: float) -> tuple[Word, ...]:
    """The words of one utterance with valid times: in order, without overlap, inside [low, high], none shorter than a step.

    The recogniser's alignment sometimes steps back or extends beyond its window. When a word has too little time left, it and the
    words before it are moved back as far as needed.
    """
    result: list[Word] = []
    earliest = low
    for word in words:
        start = min(max(word.start, earliest), high)
        end = min(max(word.end, start + SHORTEST_S), high)
        result.append(replace(word, start=round(start, 3), end=round(end, 3)))
        earliest = result[-1].end
    latest = high
    step = min(SHORTEST_S, (high - low) / max(1, len(words)))
    for k in range(len(result) - 1, -1, -1):
        word = result[k]
        end = min(word.end, latest)
        start = min(word.start, end - step)
        if (start, end) != (word.start, word.end):
            result[k] = replace(word, start=round(max(low, start), 3), end=round(end, 3))
        latest = result[k].start
    return tuple(result)

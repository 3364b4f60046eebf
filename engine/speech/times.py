"""Word times that cannot be, made possible: inside their utterance, in order, where there is speech. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from gainstage.engine.terms import Word

SHORTEST_S = 0.02
"""A word lasts at least one step of the recogniser's clock."""

EDGE_S = 0.03
"""Speech is found in steps of about this length, so a word may reach this far beyond."""

SILENCE_S, SYLLABLE_S = 0.3, 0.1
"""No word has a silence this long in it; what is left of it behind the silence lasts at least a syllable."""


def snapped(words: Sequence[Word], speech: Sequence[tuple[float, float]]) -> list[Word]:
    """The words without the silence before, after and in them: the recogniser likes to begin a sentence in the pause before, and
    a word stretched over a silence starts after it.

    ``speech`` are the spans in which the voice activity detector heard somebody, in order; a word in none of them stays.
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
    """The first span of speech of a word that is stretched over a silence: the one after it, where enough is spoken there."""
    for k in range(last, first, -1):
        spoken = min(word.end, speech[k][1]) - speech[k][0]
        if speech[k][0] - speech[k - 1][1] >= SILENCE_S and spoken >= SYLLABLE_S:
            return k
    return first


def mended(words: Sequence[Word], low: float, high: float) -> tuple[Word, ...]:
    """The words of one utterance with times that hold: in order, without overlap, inside [low, high], none shorter than a step.

    The recogniser's alignment sometimes steps back or runs past its window. Where too little time is left for a word, it and
    its predecessors are moved back just enough.
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

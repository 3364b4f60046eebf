"""Words meet turns: whose word is it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from engine.terms import SpeakerTurn, Word

NEAR_S = 2.0
"""A word outside every turn is given to the nearest one within this; farther away it belongs to nobody."""

SHORTEST_S = 0.01
"""A word is taken to last at least this, so that one of no length still has an overlap."""


def assign(words: Sequence[Word], turns: Sequence[SpeakerTurn], overlaps: Sequence[tuple[float, float]] = ()) -> tuple[Word, ...]:
    """The words with their speakers, in time order. A word takes the turn it overlaps most, else the nearest within 2 s, else
    nobody. ``overlap`` is set for a word that overlaps turns of two speakers, or lies in ``overlaps`` (start, end in seconds)
    by more than half of itself.
    """
    line = sorted(turns, key=lambda t: (t.start, t.end))
    reach = _reach(line)
    marked = sorted(overlaps)
    return tuple(_assigned(word, line, reach, marked) for word in sorted(words, key=lambda w: (w.start, w.end)))


def _reach(turns: Sequence[SpeakerTurn]) -> list[float]:
    """Latest end among the turns up to each one: tells how far back a search must look."""
    reach: list[float] = []
    for turn in turns:
        reach.append(max(turn.end, reach[-1]) if reach else turn.end)
    return reach


def _assigned(word: Word, turns: Sequence[SpeakerTurn], reach: list[float], overlaps: Sequence[tuple[float, float]]) -> Word:
    start, end = word.start, max(word.end, word.start + SHORTEST_S)
    first = bisect_left(reach, start)
    shared: dict[int, float] = {}
    for n in range(first, len(turns)):
        if turns[n].start >= end:
            break
        seconds = min(end, turns[n].end) - max(start, turns[n].start)
        if seconds > 0:
            shared[n] = seconds
    doubled = sum(min(end, b) - max(start, a) for a, b in overlaps if a < end and b > start) > 0.5 * (end - start)
    if shared:
        speakers = {turns[n].speaker for n in shared}
        best = max(shared, key=lambda n: (shared[n], -n))
        return replace(word, speaker=turns[best].speaker, overlap=len(speakers) > 1 or doubled)
    near = [n for n in (first - 1, first) if 0 <= n < len(turns)]
    if first - 1 >= 0:  # the turn that ends last before the word need not be the one that began last
        near.append(max(range(first), key=lambda n: turns[n].end))
    gap = {n: max(turns[n].start - end, start - turns[n].end, 0.0) for n in near}
    nearest = min(gap, key=lambda n: gap[n], default=None)
    if nearest is None or gap[nearest] > NEAR_S:
        return replace(word, speaker=None, overlap=doubled)
    return replace(word, speaker=turns[nearest].speaker, overlap=doubled)

"""Assign words to turns: each word gets the speaker of the turn it overlaps most, unless that turn is a splinter. Pure.

The diarizer's turns start and end some tenths of a second beside the speech, and some are splinters too short for a voice of
their own; the first or last word of a sentence would get the speaker before or after.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gainstage.engine.terms import SpeakerTurn, Word
from gainstage.engine.text.sentences import sentence_end

NEAR_S = 2.0
"""A word outside every turn gets the nearest one within this many seconds; the diarizer trims turns at their edges."""


SPLINTER_S = 0.5
"""A turn shorter than this many seconds has no voice of its own: its speaker is uncertain."""

SENTENCE_PAUSE_S = 0.5
"""A pause of this many seconds ends a sentence without punctuation."""

BORDER_S = 1.0
"""Within this many seconds of the edge of overlapped speech, a word's speaker is uncertain: the diarizer's edges are that
inexact there."""

FIRM = 2
"""Least number of words with a certain speaker in a sentence from which the other words take theirs."""


def assign(words: Sequence[Word], turns: Sequence[SpeakerTurn], overlaps: Sequence[tuple[float, float]] = ()) -> tuple[Word, ...]:
    """The words with ``speaker`` and ``overlap`` filled in.

    A word that overlaps turns of two different speakers, or a span of ``overlaps`` (two people at once), is flagged. A word
    further than :data:`NEAR_S` from every turn keeps ``speaker`` None: no speaker was detected there. ``turns`` are in time
    order and may overlap.

    A word is uncertain when its speaker's turns cover less than half of it or are splinters, or when it lies within
    :data:`BORDER_S` of the edge of overlapped speech. When all certain words of its sentence belong to one person, it gets that
    person too; at the edge of an overlap only when that person also speaks there.
    """
    index = _Index(turns)
    spoken = _Spans(overlaps)
    near = [index.around(word) for word in words]
    placed = [_placed(word, turns, spoken) for word, turns in zip(words, near, strict=True)]
    for sentence in _sentences(placed):
        edge = {k for k in sentence if spoken.edge_near(placed[k].start, placed[k].end)}
        loose = {k for k in sentence if _loose(placed[k], near[k])}
        firm = [k for k in sentence if k not in loose and k not in edge]
        people = {placed[k].speaker for k in firm}
        if FIRM <= len(firm) < len(sentence) and len(people) == 1 and None not in people:
            (person,) = people
            for k in sentence:
                if k in loose or _speaks(person, placed[k], near[k]):
                    placed[k] = replace(placed[k], speaker=person)
    return tuple(placed)


def _sentences(words: Sequence[Word]) -> Iterator[range]:
    """Ranges of word indexes, one per sentence."""
    first = 0
    for k in range(1, len(words) + 1):
        if k == len(words) or sentence_end(words[k - 1].text) or words[k].start - words[k - 1].end > SENTENCE_PAUSE_S:
            yield range(first, k)
            first = k


def _loose(word: Word, turns: Sequence[SpeakerTurn]) -> bool:
    if word.speaker is None:
        return False
    own = [t for t in turns if t.speaker == word.speaker and t.start < word.end and t.end > word.start]
    covered = sum(min(word.end, t.end) - max(word.start, t.start) for t in own)
    return covered < (word.end - word.start) / 2 or all(t.end - t.start < SPLINTER_S for t in own)


def _speaks(person: str | None, word: Word, turns: Sequence[SpeakerTurn]) -> bool:
    return any(t.speaker == person and t.start < word.end and t.end > word.start for t in turns)


def _placed(word: Word, turns: Sequence[SpeakerTurn], spoken: _Spans) -> Word:
    shares: dict[str, float] = {}
    for turn in turns:
        shared = min(word.end, turn.end) - max(word.start, turn.start)
        if shared > 0:
            shares[turn.speaker] = shares.get(turn.speaker, 0.0) + shared
    if shares:
        speaker = max(shares, key=lambda name: shares[name])
        return replace(word, speaker=speaker, overlap=len(shares) > 1 or spoken.touch(word.start, word.end))
    nearest = min(turns, key=lambda t: _distance(word, t), default=None)
    if nearest is None or _distance(word, nearest) > NEAR_S:
        return replace(word, speaker=None, overlap=False)
    return replace(word, speaker=nearest.speaker, overlap=spoken.touch(word.start, word.end))


def _distance(word: Word, turn: SpeakerTurn) -> float:
    return max(turn.start - word.end, word.start - turn.end, 0.0)


class _Index:
    """Finds the turns within reach of a word without scanning all of them."""

    def __init__(self, turns: Sequence[SpeakerTurn]) -> None:
        self.turns = sorted(turns, key=lambda t: t.start)
        self.starts = [t.start for t in self.turns]
        self.latest_end: list[float] = []  # running maximum of the ends: sorted, so bisection works
        for turn in self.turns:
            self.latest_end.append(max(turn.end, self.latest_end[-1] if self.latest_end else turn.end))

    def around(self, word: Word) -> Sequence[SpeakerTurn]:
        first = bisect_left(self.latest_end, word.start - NEAR_S)
        last = bisect_left(self.starts, word.end + NEAR_S + 1e-9)
        return self.turns[first:last]


class _Spans:
    """Joined and sorted spans, to test whether one touches a word."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []
        for start, end in sorted(spans):
            if self.ends and start <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], end)
            else:
                self.starts.append(start)
                self.ends.append(end)

    def edge_near(self, start: float, end: float) -> bool:
        """Whether a span starts or ends within :data:`BORDER_S` of a word."""
        return any(bisect_left(edges, start - BORDER_S) < bisect_left(edges, end + BORDER_S) for edges in (self.starts, self.ends))

    def touch(self, start: float, end: float) -> bool:
        k = bisect_right(self.ends, start)
        return k < len(self.starts) and self.starts[k] < end

"""Words meet turns: every word gets the speaker of the turn it overlaps most. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from engine.terms import SpeakerTurn, Word

NEAR_S = 2.0
"""A word outside every turn goes to the nearest one when it is at most this far; the diarizer trims turns at their edges."""


def assign(words: Sequence[Word], turns: Sequence[SpeakerTurn], overlaps: Sequence[tuple[float, float]] = ()) -> tuple[Word, ...]:
    """The words with ``speaker`` and ``overlap`` filled in.

    A word overlapping turns of two different speakers, or a span of ``overlaps`` (two people at once), is flagged. A word
    further than :data:`NEAR_S` from every turn keeps ``speaker`` None: nobody was found speaking there. ``turns`` are in time
    order and may overlap.
    """
    index = _Index(turns)
    spoken = _Spans(overlaps)
    return tuple(_placed(word, index.around(word), spoken) for word in words)


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
    """Finds the turns within reach of a word without looking at all of them."""

    def __init__(self, turns: Sequence[SpeakerTurn]) -> None:
        self.turns = sorted(turns, key=lambda t: t.start)
        self.starts = [t.start for t in self.turns]
        self.latest_end: list[float] = []  # of all turns up to each one: rises, so the first within reach can be searched
        for turn in self.turns:
            self.latest_end.append(max(turn.end, self.latest_end[-1] if self.latest_end else turn.end))

    def around(self, word: Word) -> Sequence[SpeakerTurn]:
        first = bisect_left(self.latest_end, word.start - NEAR_S)
        last = bisect_left(self.starts, word.end + NEAR_S + 1e-9)
        return self.turns[first:last]


class _Spans:
    """Spans joined and sorted, asked whether they touch a word."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []
        for start, end in sorted(spans):
            if self.ends and start <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], end)
            else:
                self.starts.append(start)
                self.ends.append(end)

    def touch(self, start: float, end: float) -> bool:
        k = bisect_left(self.ends, start)
        while k < len(self.starts) and self.ends[k] <= start:
            k += 1
        return k < len(self.starts) and self.starts[k] < end

"""Subtitle cues from word times: short enough to read, cut at the ends of phrases, never across a change of speaker. Pure.

Limits and rules follow the subtitle guides of the BBC and of Netflix: two lines of 42 characters, 1 to 7 s, about 21 characters
per second, two frames between cues, line breaks after punctuation and before conjunctions, preferably a longer lower line.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Literal

from gainstage.engine.terms import Segment, Word
from gainstage.engine.text.joining import columns, join, joint, runs_on
from gainstage.engine.text.sentences import clause_end, sentence_end

_LATE_S = 0.5
"""Longest delay of a cue after its first word, in seconds, when the cue before needs time to be read."""

_LINGER_S = 0.3
"""A cue stays this many seconds after its last word when there is room."""

_PAUSE_S = 1.5
"""A pause of this many seconds always ends a cue."""

_WORD_S, _LETTER_S = 0.8, 0.08
"""Longest duration of a word in seconds, fixed and per character: a longer one was stretched over a silence."""

_NAME_COLUMNS = 20

_LINKS = frozenset(
    [
        "and",
        "or",
        "but",
        "nor",
        "so",
        "yet",
        "because",
        "that",
        "which",
        "who",
        "whom",
        "whose",
        "where",
        "when",
        "while",
        "if",
        "than",
        "as",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "from",
        "with",
        "by",
        "the",
        "a",
        "an",
        "und",
        "oder",
        "aber",
        "weil",
        "dass",
        "der",
        "die",
        "das",
        "et",
        "ou",
        "mais",
        "que",
        "qui",
        "le",
        "la",
        "les",
        "y",
        "o",
        "pero",
        "porque",
        "e",
        "ma",
        "che",
        "en",
        "of",
        "maar",
        "dat",
        "i",
        "a",
        "ale",
        "że",
        "и",
        "или",
        "но",
        "что",
        "который",
    ]
)
"""Words that should start a line rather than end one."""

_WIDTHS = {"zh": 32, "yue": 32, "ko": 32, "ja": 26}
"""Columns of a line in languages where it is not 42: sixteen wide characters, thirteen in Japanese (Netflix)."""

Speakers = Literal["change", "always", "never"]


@dataclass(frozen=True, slots=True)
class CueStyle:
    """``width`` in columns (a wide character counts two; None: the usual width of the language), times in seconds, ``speed`` in
    columns per second.

    ``speakers``: name the speaker in the text of a cue when the speaker changes, always, or never.
    """

    lines: int = 2
    width: int | None = None
    shortest_s: float = 1.0
    longest_s: float = 7.0
    speed: float = 21.0
    gap_s: float = 0.083
    speakers: Speakers = "change"

    def width_in(self, language: str) -> int:
        return self.width or _WIDTHS.get(language, 42)

    def need_s(self, wide: int) -> float:
        """Seconds for which a text of ``wide`` columns should be shown."""
        return min(self.longest_s, max(self.shortest_s, wide / self.speed))


@dataclass(frozen=True, slots=True)
class Cue:
    """The text shown from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    speaker: str
    lines: tuple[str, ...]


def cues(segments: Sequence[Segment], language: str, style: CueStyle) -> tuple[Cue, ...]:
    """The words of the segments as cues in time order; every word is in exactly one cue.

    Cues always have at most ``lines`` lines of ``width``, last at most ``longest_s``, have one speaker each and do not overlap.
    ``shortest_s`` and ``speed`` hold where the speech leaves time: words spoken faster are shown at their time, up to half a second
    late.
    """
    drafts: list[_Draft] = []
    width = style.width_in(language)
    for speaker, words in _by_speaker(segments):
        first = True
        for run in _runs(unstretched([piece for word in words for piece in _pieces(word, width)])):
            if style.speakers == "always" or (style.speakers == "change" and first):
                run = [*_pieces(_name(speaker, run[0]), width), replace(run[0], text=f" {run[0].text.strip()}"), *run[1:]]
            first = False
            drafts += _CueRun(run, speaker, language, style).drafts()
    drafts.sort(key=lambda d: (d.start, d.end))
    return tuple(_timed(drafts, style))


def _by_speaker(segments: Sequence[Segment]) -> Iterator[tuple[str, list[Word]]]:
    speaker: str | None = None
    words: list[Word] = []
    for segment in segments:
        if segment.speaker != speaker and words:
            yield speaker or "", words
            words = []
        speaker = segment.speaker
        words += _worded(segment)
    if words:
        yield speaker or "", words


# -- words --------------------------------------------------------------------------------------------------------------


def _worded(segment: Segment) -> list[Word]:
    """The segment's words; without word times, the words of its text with equal shares of its time."""
    words = [w for w in segment.words if w.text.strip()]
    if words:
        return words
    texts = segment.text.split()
    total = sum(map(len, texts))
    at = segment.start
    for text in texts:
        end = at + (segment.end - segment.start) * len(text) / total
        words.append(Word(text, at, end, 1.0))
        at = end
    return words


def _name(speaker: str, word: Word) -> Word:
    name = speaker
    while columns(name) > _NAME_COLUMNS:
        name = name[:-1].rstrip()
    return Word(f"{name}{'' if name == speaker else '…'}:", word.start, word.start, 1.0)


def _pieces(word: Word, width: int) -> list[Word]:
    """A word wider than a line, split into parts that fit, each with its share of the time."""
    text = word.text.strip()
    if columns(text) <= width:
        return [word]
    parts, line = [], ""
    for cluster in re.findall(r"\s*\S[\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u200c\u200d\ufe0f]*", text):
        if line and columns(line + cluster) > width:
            parts.append(line)
            line = ""
        line += cluster
    parts.append(line)
    step = (word.end - word.start) / len(parts)
    return [replace(word, text=p, start=word.start + k * step, end=word.start + (k + 1) * step) for k, p in enumerate(parts)]


def unstretched(words: Sequence[Word]) -> list[Word]:
    """Shorten words that the recogniser stretched over a silence: a first word starts later, any other ends earlier."""
    result: list[Word] = []
    for k, word in enumerate(words):
        most = _WORD_S + _LETTER_S * len(word.text.strip())
        if word.end - word.start > most:
            opens = k == 0 or sentence_end(words[k - 1].text.strip()) or word.start - words[k - 1].end > 0.5
            word = replace(word, start=word.end - most) if opens else replace(word, end=word.start + most)
        result.append(word)
    return result


def _runs(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Runs of words without a pause that ends a cue."""
    first = 0
    for k in range(1, len(words) + 1):
        if k == len(words) or words[k].start - words[k - 1].end > _PAUSE_S:
            yield words[first:k]
            first = k


# -- where cues end -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Draft:
    start: float
    end: float
    speaker: str
    lines: tuple[str, ...]


class _CueRun:
    """Words of one speaker without a long pause, cut into cues at the least cost: a shortest path over the possible cuts."""

    def __init__(self, words: Sequence[Word], speaker: str, language: str, style: CueStyle) -> None:
        self.words, self.speaker, self.language, self.style = words, speaker, language, style
        self.texts = [w.text for w in words]
        self.bare = [t.strip() for t in self.texts]

    @cached_property
    def _joints(self) -> list[int]:
        return [0, *(len(joint(a, b, self.language)) for a, b in pairwise(self.texts))]

    @cached_property
    def _reach(self) -> list[int]:
        """Columns up to the end of each word."""
        return list(accumulate(columns(text) + gap for text, gap in zip(self.bare, self._joints, strict=True)))

    def _columns(self, a: int, b: int) -> int:
        """Width of the words [a, b) on one line."""
        return self._reach[b - 1] - (self._reach[a - 1] + self._joints[a] if a else 0)

    def _line_end(self, a: int) -> int:
        """Index of the first word after a line that starts with word ``a``."""
        before = self._reach[a - 1] + self._joints[a] if a else 0
        return max(a + 1, bisect_right(self._reach, before + self.style.width_in(self.language)))

    def drafts(self) -> list[_Draft]:
        count = len(self.words)
        costs, origin = [0.0] + [float("inf")] * count, [0] * (count + 1)
        for a in range(count):
            high = a
            for _ in range(self.style.lines):
                high = self._line_end(high) if high < count else high
            for b in range(a + 1, high + 1):
                if b > a + 1 and self.words[b - 1].end - self.words[a].start > self.style.longest_s:
                    break
                cost = costs[a] + self._cost(a, b)
                if cost < costs[b]:
                    costs[b], origin[b] = cost, a
        cuts, at = [], count
        while at:
            cuts.append((origin[at], at))
            at = origin[at]
        return [self._draft(a, b) for a, b in reversed(cuts)]

    def _draft(self, a: int, b: int) -> _Draft:
        return _Draft(self.words[a].start, max(w.end for w in self.words[a:b]), self.speaker, tuple(self._lines(a, b)))

    def _cost(self, a: int, b: int) -> float:
        """Cost of the cue [a, b): prefers few cues, then ends of sentences, of clauses, at pauses, and enough time to read."""
        cost = 3.0 + sum(1.0 for text in self.bare[a : b - 1] if sentence_end(text))
        last, ends = self.bare[b - 1], self.words[b - 1].end
        until = ends + 1.0
        if b < len(self.words):
            until = self.words[b].start
            if not sentence_end(last):
                phrase = clause_end(last) or (self.texts[b].startswith(" ") and runs_on(self.bare[b]))
                cost += 2.0 if phrase else self._open_end(last, until - ends)
        shown = max(0.05, until - self.style.gap_s - self.words[a].start)
        need = self.style.need_s(self._columns(a, b))
        return cost + (1.0 + 8.0 * (need - shown) / need if shown < need else 0.0)

    @staticmethod
    def _open_end(last: str, pause: float) -> float:
        """The cost of ending inside a clause: lower at a pause, higher after a word that belongs to the next."""
        return 6.0 - min(3.0, 5.0 * max(0.0, pause)) + (2.0 if last.lower() in _LINKS or last.endswith(":") else 0.0)

    # -- lines --------------------------------------------------------------------------------------------------------

    def _lines(self, a: int, b: int) -> Iterator[str]:
        """One line where the text fits; else the best break into two; else as many lines as needed."""
        end = self._line_end(a)
        if end < b <= self._line_end(end):
            end = min((k for k in range(a + 1, end + 1) if b <= self._line_end(k)), key=lambda k: self._break_cost(a, k, b))
        while a < b:
            end = min(end, b)
            yield join(self.texts[a:end], self.language)
            a, end = end, self._line_end(end) if end < len(self.texts) else end

    def _break_cost(self, a: int, k: int, b: int) -> float:
        last, following = self.bare[k - 1], self.bare[k].lower()
        above, below = self._columns(a, k), self._columns(k, b)
        cost = abs(below - above) / 12 + (0.5 if above > below else 0.0)
        if sentence_end(last):
            cost -= 3.0
        elif clause_end(last):
            cost -= 2.0
        elif following in _LINKS and last.lower() not in _LINKS:
            cost -= 1.0
        return cost + (1.5 if last.lower() in _LINKS else 0.0)


# -- times --------------------------------------------------------------------------------------------------------------


def _timed(drafts: Sequence[_Draft], style: CueStyle) -> Iterator[Cue]:
    """Show each cue from its first word until it can be read, but not into the next one, which may start a little late."""
    free = 0.0
    for k, draft in enumerate(drafts):
        start = max(draft.start, free)
        limit = (drafts[k + 1].start if k + 1 < len(drafts) else float("inf")) - style.gap_s
        need = start + style.need_s(columns(" ".join(draft.lines)))
        end = min(max(draft.end + _LINGER_S, need), limit)
        if end < need:
            end = min(need, limit + _LATE_S)
        end = min(max(end, start + style.gap_s), start + style.longest_s)
        yield Cue(round(start, 3), round(end, 3), draft.speaker, draft.lines)
        free = end + style.gap_s

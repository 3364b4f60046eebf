"""Gaps between recognised words: which words hide others, what is recognised again, and which of its words are new. Pure.

All times are seconds in one block of a recording.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from gainstage.engine.speech.coverage import HOLE_S, holes
from gainstage.engine.speech.listening import Listening
from gainstage.engine.speech.windows import Span, seconds_of
from gainstage.engine.terms import Word

PAD_S = 0.2
"""Seconds kept on each side of a gap that is recognised again alone: with more, words of its neighbours return."""

EDGE_S = 0.05
"""A repeated word belongs to a gap when its middle lies inside it, or within this many seconds."""

LONG_WORD_S = 1.2
"""A word that overlaps more seconds of speech than this hides others; a number may take :data:`DIGIT_S` for each digit."""

DIGIT_S = 0.5

_TORN_S = 0.1
"""Kept beside a known word at the end of what is recognised again, in seconds, so that it is not cut off."""

_NEAR_S = 0.3

SHRUNK_S = 0.3
"""A known word that another reading has shorter by more than this covered words that were not recognised."""

_JITTER_S = 0.1
"""How much longer a word may be in another reading of the same speech, in seconds."""

MISSED_SHARE = 0.4
"""A window with more than this share of its speech in gaps missed more than words: to recognise its gaps costs as much as the window
again, which under noise finds more words than pieces of it do."""

QUIET_DB, UNSURE = 4.0, -0.65
"""A gap that is quieter than the words around by more than this holds background, unless the model writes its words with a higher mean
log-probability than this: a person farther away, and no noise."""

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


@dataclass(frozen=True, slots=True)
class GapReading:
    """What recognition of a gap with the words beside it says: ``words`` are new, ``moved`` has known words with their better times.
    ``settled`` says that the same words as before were found on both sides, and none between them.
    """

    words: tuple[Word, ...]
    moved: Mapping[Word, Word] = field(default_factory=dict)
    settled: bool = False

    def applied(self, known: Sequence[Word]) -> list[Word]:
        """The known words together with these, in time order."""
        return sorted([*(self.moved.get(w, w) for w in known), *self.words], key=lambda w: w.start)


def read(gap: Span, span: Span, found: Sequence[Word], known: Sequence[Word]) -> GapReading:
    """The words of a gap among those ``found`` in ``span``: not those that are ``known`` beside it, matched in order by their text.

    Where the first recognition left words out, it often gave their time to a neighbour. A known word that lies elsewhere now, or is
    much shorter, takes its new time, and the words found in its former time are new as well.
    """
    pairs, fresh = _matched(span, found, known)
    beside = _beside(span, known)
    moved = _in_order(beside, {w: replace(w, start=f.start, end=f.end) for w, f in pairs if _misplaced(w, f)})
    free = [gap, *((w.start, w.end) for w in moved)]
    words = tuple(w for w in fresh if any(_within(w, one) for one in free))
    sides = [[_middle(w) < gap[0] for w in lot] for lot in (beside, [w for w, _ in pairs])]
    both = [(any(side), not all(side)) for side in sides]
    covered = seconds_of([(max(gap[0], w.start), min(gap[1], w.end)) for w in found if w.end > gap[0] and w.start < gap[1]])
    return GapReading(words, moved, settled=bool(pairs) and both[0] == both[1] and not words and not moved and covered < HOLE_S)


def words_in(gap: Span, span: Span, found: Sequence[Word], known: Sequence[Word]) -> list[Word]:
    """The words of a gap among those ``found`` in ``span``: not those that are ``known`` beside it, matched in order by their text."""
    return [w for w in _matched(span, found, known)[1] if _within(w, gap)]


def _beside(span: Span, known: Sequence[Word]) -> list[Word]:
    return [w for w in known if span[0] - _NEAR_S <= _middle(w) <= span[1] + _NEAR_S]


def _matched(span: Span, found: Sequence[Word], known: Sequence[Word]) -> tuple[list[tuple[Word, Word]], list[Word]]:
    """Pairs of a known word in or beside a span and its match among those found there, and the words found without a match."""
    beside = _beside(span, known)
    matcher = SequenceMatcher(None, [plain(w) for w in beside], [plain(w) for w in found], autojunk=False)
    places = [(m.a + k, m.b + k) for m in matcher.get_matching_blocks() for k in range(m.size)]
    taken = {b for _, b in places}
    return [(beside[a], found[b]) for a, b in places], [w for k, w in enumerate(found) if k not in taken]


def _within(word: Word, span: Span) -> bool:
    return span[0] - EDGE_S <= _middle(word) <= span[1] + EDGE_S


def _in_order(words: Sequence[Word], moved: Mapping[Word, Word]) -> dict[Word, Word]:
    """The moves after which ``words`` still begin one after the other."""
    kept = dict(moved)
    while True:
        starts = [kept.get(w, w).start for w in words]
        crossed = [w for k, w in enumerate(words) if w in kept and not max(starts[:k], default=0.0) <= starts[k] <= min(starts[k:])]
        if not crossed:
            return kept
        for word in crossed:
            del kept[word]


def _misplaced(known: Word, found: Word) -> bool:
    """Whether a known word, found again, lies elsewhere or is much shorter."""
    length, new = known.end - known.start, found.end - found.start
    apart = found.start >= known.end or found.end <= known.start
    return (apart and new <= length + _JITTER_S) or length - new > SHRUNK_S


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


def unworded(window: Span, words: Sequence[Word], speech: Sequence[Span]) -> tuple[float, float]:
    """Seconds of a window's speech in gaps, and all of its speech; ``words`` and ``speech`` in order."""
    inside = [(max(a, window[0]), min(b, window[1])) for a, b in speech if b > window[0] and a < window[1]]
    return seconds_of(holes(inside, [w for w in words if not stretched(w, speech)])), seconds_of(inside)


def stretched(word: Word, speech: Sequence[Span]) -> bool:
    """Whether a word lasts so long that it must cover others, to which the alignment gave no time."""
    longest = max(LONG_WORD_S, DIGIT_S * sum(map(str.isdigit, word.text)))
    if word.end - word.start <= longest:
        return False
    return seconds_of([(max(a, word.start), min(b, word.end)) for a, b in speech if b > word.start and a < word.end]) > longest


def plain(word: Word) -> str:
    """The text of a word without case and punctuation."""
    return _NOT_IN_WORDS.sub("", word.text.lower())


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _same(a: Word, b: Word) -> bool:
    near = max(a.start, b.start) - min(a.end, b.end) < 2 * PAD_S
    return near and plain(a) == plain(b)

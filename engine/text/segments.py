"""Passages to store: words of one speaker joined to readable length, cut at sentence ends. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np

from gainstage.config.settings import Segmentation
from gainstage.engine.terms import (
    UNKNOWN_PREFIX,
    Balance,
    Cast,
    DiarizationResult,
    Provenance,
    Segment,
    SpeakerTurn,
    Transcript,
    Turn,
    Vector,
    Word,
)
from gainstage.engine.text.joining import join, joint, runs_on
from gainstage.engine.text.sentences import clause_end, sentence_end, spaced

NOBODY = f"{UNKNOWN_PREFIX}?"
"""The speaker of words where the diarizer found no speech."""


def cut(words: Sequence[Word], turns: Sequence[SpeakerTurn], transcript: Transcript, settings: Segmentation) -> tuple[Segment, ...]:
    """Cut words, which have their speakers, into passages in time order.

    Every word is in exactly one passage, no passage mixes speakers, and none is longer than ``max_chars`` or ``max_seconds``
    unless it is a single word. ``turns`` give each passage its confidence, provenance and voice.
    """
    by_speaker: dict[str, list[SpeakerTurn]] = {}
    for turn in sorted(turns, key=lambda t: t.start):
        by_speaker.setdefault(turn.speaker, []).append(turn)
    return tuple(
        _segment(passage, by_speaker.get(passage[0].speaker or NOBODY, ()), transcript)
        for run in _runs(words, settings.merge_gap)
        for passage in _passages(run, settings, transcript.language)
    )


def balance(result: Cast | DiarizationResult) -> Balance:
    """How the seconds of speech divide: speech is the union of the turns, labelled is the part with a person's name."""
    turns: Sequence[SpeakerTurn | Turn] = result.turns if isinstance(result, Cast) else result.exclusive
    speech = _union((t.start, t.end) for t in turns)
    labelled = _union((t.start, t.end) for t in turns if isinstance(t, SpeakerTurn) and _named(t))
    return Balance(speech=speech, labelled=labelled, unknown=speech - labelled)


def _named(turn: SpeakerTurn) -> bool:
    return turn.profile is not None or turn.provenance is Provenance.MANUAL


def _union(spans: Iterator[tuple[float, float]]) -> float:
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _runs(words: Sequence[Word], gap_s: float) -> Iterator[Sequence[Word]]:
    """Runs of words of one speaker without a pause longer than ``gap_s``."""
    first = 0
    for k in range(1, len(words) + 1):
        if k == len(words) or words[k].speaker != words[k - 1].speaker or words[k].start - words[k - 1].end > gap_s:
            yield words[first:k]
            first = k


def _passages(run: Sequence[Word], settings: Segmentation, language: str) -> Iterator[Sequence[Word]]:
    """Cut a run into passages within the limits, each at the best possible end."""
    between = 1 if spaced(language) else 0
    after = [len(joint(a.text, b.text, language)) for a, b in pairwise(run)] + [between]
    chars = [0, *accumulate(len(w.text.strip()) + gap for w, gap in zip(run, after, strict=True))]  # before each word
    first = 0
    while first < len(run):
        fits = bisect_right(chars, chars[first] + settings.max_chars + between) - 1
        late = run[first].start + settings.max_seconds
        while fits > first + 1 and run[fits - 1].end > late:
            fits -= 1
        fits = max(fits, first + 1)
        end = len(run) if fits == len(run) else _best_end(run, chars, first, fits, settings.min_chars)
        yield run[first:end]
        first = end


def _best_end(run: Sequence[Word], chars: Sequence[int], first: int, fits: int, least: int) -> int:
    """Index at which a passage that starts at ``first`` ends (exclusive); at most ``fits``.

    A sentence end is preferred to a clause end, and that to the longest pause. For each, an end that leaves ``least`` characters
    both in this passage and in the rest of the run is preferred, then one that leaves them in this passage, then any.
    """
    enough = bisect_left(chars, chars[first] + least)
    leaves = bisect_right(chars, chars[-1] - least) - 1
    reaches: list[tuple[int, int]] = [(enough, min(fits, leaves)), (enough, fits), (first + 1, fits)]

    def phrase_end(k: int) -> bool:  # where only a space marks it, as in Thai
        return clause_end(run[k - 1].text) or (run[k].text.startswith(" ") and runs_on(run[k].text.strip()))

    ends: tuple[Callable[[int], bool], ...] = (lambda k: sentence_end(run[k - 1].text), phrase_end)
    for is_end in ends:
        for low, high in reaches:
            for k in range(high, max(low, first + 1) - 1, -1):
                if is_end(k):
                    return k
    half = max(first + 1, bisect_left(chars, (chars[first] + chars[fits]) // 2))
    return max(range(min(half, fits), fits + 1), key=lambda k: (run[k].start - run[k - 1].end, k))


def _segment(words: Sequence[Word], turns: Sequence[SpeakerTurn], transcript: Transcript) -> Segment:
    start, end = words[0].start, words[-1].end
    weighted = _shares(turns, start, end)
    main = max(weighted, key=lambda pair: pair[1])[0] if weighted else None
    return Segment(
        start=start,
        end=end,
        speaker=words[0].speaker or NOBODY,
        profile=main.profile if main else None,
        confidence=_mean_confidence(weighted),
        provenance=main.provenance if main else Provenance.CLUSTER,
        text=join([w.text for w in words], transcript.language),
        words=tuple(words),
        looped=any(a < end and b > start for a, b in transcript.looped),
        voice=_mean_voice(weighted),
    )


def _shares(turns: Sequence[SpeakerTurn], start: float, end: float) -> list[tuple[SpeakerTurn, float]]:
    """The speaker's turns that overlap a passage, with the seconds of each; the nearest turn when none overlaps."""
    shared = [(t, min(t.end, end) - max(t.start, start)) for t in turns]
    under = [(t, seconds) for t, seconds in shared if seconds > 0]
    if under or not shared:
        return under
    return [(max(shared, key=lambda pair: pair[1])[0], 1.0)]


def _mean_confidence(weighted: Sequence[tuple[SpeakerTurn, float]]) -> float | None:
    known = [(t.confidence, s) for t, s in weighted if t.confidence is not None]
    return sum(c * s for c, s in known) / sum(s for _, s in known) if known else None


def _mean_voice(weighted: Sequence[tuple[SpeakerTurn, float]]) -> Vector | None:
    voices = [(t.voice, s) for t, s in weighted if t.voice is not None]
    if not voices:
        return None
    mean = np.sum([np.asarray(v, np.float64) * s for v, s in voices], axis=0)
    length = float(np.linalg.norm(mean))
    return (mean / length).astype(np.float32) if length > 1e-8 else None

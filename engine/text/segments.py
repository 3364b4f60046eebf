"""Passages: the words of one speaker in a row, as long as they are worth finding and no longer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from config.settings import Segmentation
from engine.terms import Balance, Cast, Provenance, Segment, SpeakerTurn, Transcript, Vector, Word

NOBODY = "Unknown"
"""Who says a word that lies far from every turn."""

SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")
CLOSERS = "\"'”’)]»"


def cut(words: Sequence[Word], turns: Sequence[SpeakerTurn], transcript: Transcript, settings: Segmentation) -> tuple[Segment, ...]:
    """Segments in time order: every word in exactly one, none mixes two speakers.

    A passage goes on while the speaker stays, the gap is at most ``merge_gap`` and neither ``max_chars`` nor ``max_seconds`` is
    passed; once it has ``min_chars`` it ends with its sentence. One that must be cut is cut after its last sentence end where
    there is one, else before the word that does not fit. A single word longer than the limits stands alone.
    """
    passages: list[list[Word]] = []
    for run in _runs(words, settings.merge_gap):
        passages += _passages(run, settings)
    voices = _Voices(turns)
    return tuple(_segment(p, voices, transcript.looped) for p in passages)


def joined(words: Iterable[Word]) -> str:
    """The text of words as written; a recogniser's words bring their own leading space."""
    return " ".join(text for w in words if (text := w.text.strip()))


def _runs(words: Sequence[Word], merge_gap: float) -> list[list[Word]]:
    """Words in a row of one speaker without a long gap."""
    runs: list[list[Word]] = []
    for word in words:
        last = runs[-1][-1] if runs else None
        if last is None or last.speaker != word.speaker or word.start - last.end > merge_gap:
            runs.append([])
        runs[-1].append(word)
    return runs


def _passages(run: list[Word], settings: Segmentation) -> list[list[Word]]:
    """One run cut by its length."""
    passages: list[list[Word]] = []
    current: list[Word] = []
    for word in run:
        while current and not _fits([*current, word], settings):
            head, current = _split(current)
            passages.append(head)
        current.append(word)
        if _ends_sentence(word) and len(joined(current)) >= settings.min_chars:
            passages.append(current)
            current = []
    if current:
        previous = passages[-1] if passages else None
        if previous is not None and len(joined(current)) < settings.min_chars and _fits([*previous, *current], settings):
            passages[-1] = [*previous, *current]  # a short rest is better off with what it belongs to
        else:
            passages.append(current)
    return passages


def _fits(words: Sequence[Word], settings: Segmentation) -> bool:
    return len(joined(words)) <= settings.max_chars and words[-1].end - words[0].start <= settings.max_seconds


def _split(words: list[Word]) -> tuple[list[Word], list[Word]]:
    """After the last sentence end inside, else everything."""
    for n in range(len(words) - 1, 0, -1):
        if _ends_sentence(words[n - 1]):
            return words[:n], words[n:]
    return words, []


def _ends_sentence(word: Word) -> bool:
    return word.text.strip().rstrip(CLOSERS).endswith(SENTENCE_ENDS)


@dataclass(frozen=True, slots=True)
class _Share:
    turn: SpeakerTurn
    seconds: float


class _Voices:
    """Finds what turns a passage rests on."""

    def __init__(self, turns: Sequence[SpeakerTurn]) -> None:
        self._of: dict[str, list[SpeakerTurn]] = defaultdict(list)
        for turn in sorted(turns, key=lambda t: t.start):
            self._of[turn.speaker].append(turn)

    def shares(self, speaker: str, start: float, end: float) -> list[_Share]:
        """The speaker's turns inside a span, the nearest one where none is."""
        turns = self._of.get(speaker, [])
        shares = [_Share(t, min(end, t.end) - max(start, t.start)) for t in turns if t.start < end and t.end > start]
        if shares or not turns:
            return shares
        return [_Share(min(turns, key=lambda t: max(t.start - end, start - t.end)), 1e-3)]


def _segment(words: list[Word], voices: _Voices, looped: Sequence[tuple[float, float]]) -> Segment:
    start, end = words[0].start, max(w.end for w in words)
    speaker = words[0].speaker or NOBODY
    shares = voices.shares(speaker, start, end)
    main = max(shares, key=lambda s: s.seconds, default=None)
    known = [(s.turn.confidence, s.seconds) for s in shares if s.turn.confidence is not None]
    weight = sum(seconds for _, seconds in known)
    return Segment(
        start,
        end,
        speaker,
        main.turn.profile if main else None,
        sum(c * seconds for c, seconds in known) / weight if weight else None,
        main.turn.provenance if main else Provenance.CLUSTER,
        joined(words),
        tuple(words),
        looped=any(a < end and b > start for a, b in looped),
        voice=_mean_voice(shares),
    )


def _mean_voice(shares: Sequence[_Share]) -> Vector | None:
    """The voices of the turns averaged by their seconds; None when no turn has one."""
    voices = [s.turn.voice * np.float32(s.seconds) for s in shares if s.turn.voice is not None]
    if not voices:
        return None
    mean: Vector = np.asarray(np.sum(voices, axis=0), np.float32)
    norm = float(np.linalg.norm(mean))
    return np.asarray(mean / np.float32(norm), np.float32) if norm > 1e-6 else None


def balance(cast: Cast) -> Balance:
    """Where the speech seconds went: speech is what any turn covers, labelled what a turn with a profile or a name given by
    hand covers, unknown the rest, so that labelled + unknown = speech exactly.
    """
    speech = _covered((t.start, t.end) for t in cast.turns)
    labelled = _covered((t.start, t.end) for t in cast.turns if t.profile is not None or t.provenance is Provenance.MANUAL)
    return Balance(speech, labelled, speech - labelled)


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds of the union of spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total

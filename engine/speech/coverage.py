"""Which speech has words and which has none: the gaps to recognise again, and the account of every second. Pure.

All times are seconds from the start of the recording; ``speech`` is the result of the voice activity detector.
"""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.engine.speech.windows import Span, joined, seconds_of, without
from gainstage.engine.terms import Coverage, RecordingWarning, Word

HOLE_S = 0.6
"""Speech of this many seconds without a word is a gap ("hole"); shorter ones occur between the words of a sentence."""

NEAR_S = 0.3
"""Spans of speech this close, in seconds, are joined: the pause between them is part of the speech."""


def holes(speech: Sequence[Span], words: Sequence[Word]) -> list[Span]:
    """Spans of speech of at least :data:`HOLE_S` without a word, in order."""
    return [s for s in without(joined(speech, NEAR_S), _spans(words)) if s[1] - s[0] >= HOLE_S]


def coverage(speech: Sequence[Span], words: Sequence[Word], silent: Sequence[Span], heard_again: int = 0) -> Coverage:
    """The coverage after every gap was recognised again; ``silent`` are the gaps that the recogniser judged to have no speech.

    Speech between words closer than :data:`HOLE_S` counts as covered. A word is stray when it overlaps no speech.
    """
    unworded = [s for hole in holes(speech, words) for s in _inside(speech, hole)]
    left = without(unworded, silent)
    judged = without(unworded, left)
    total = seconds_of(speech)
    stray = [w for w in words if not _inside(speech, (w.start, w.end))]
    return Coverage(
        speech_s=total,
        worded_s=total - seconds_of(judged) - seconds_of(left),
        judged_silent_s=seconds_of(judged),
        left_s=seconds_of(left),
        stray_words=len(stray),
        stray_s=sum(w.end - w.start for w in stray),
        heard_again=heard_again,
        left=tuple(left),
    )


def summed(parts: Sequence[Coverage]) -> Coverage:
    """The coverage of several blocks or recordings together."""
    return Coverage(
        speech_s=sum(p.speech_s for p in parts),
        worded_s=sum(p.worded_s for p in parts),
        judged_silent_s=sum(p.judged_silent_s for p in parts),
        left_s=sum(p.left_s for p in parts),
        stray_words=sum(p.stray_words for p in parts),
        stray_s=sum(p.stray_s for p in parts),
        heard_again=sum(p.heard_again for p in parts),
        left=tuple(span for p in parts for span in p.left),
    )


def _spans(words: Sequence[Word]) -> list[Span]:
    return [(w.start, w.end) for w in words]


def _inside(spans: Sequence[Span], within: Span) -> list[Span]:
    """The parts of ``spans`` that lie inside ``within``."""
    cut = [(max(a, within[0]), min(b, within[1])) for a, b in spans]
    return [(a, b) for a, b in cut if b > a]


def coverage_warnings(account: Coverage) -> tuple[RecordingWarning, ...]:
    """What an operator should know of the account of a recording's speech seconds."""
    warnings = []
    if account.too_little:
        warnings.append(
            RecordingWarning(
                "speech without words",
                f"{account.left_s:.0f} s of {account.speech_s:.0f} s of speech have no words",
                "Play the places that show and detail name; a larger asr.model hears more.",
            )
        )
    if account.too_much:
        warnings.append(
            RecordingWarning(
                "words without speech",
                f"{account.stray_words} words ({account.stray_s:.0f} s) lie where no speech was found",
                "Play them; the recogniser may have made them up.",
            )
        )
    return tuple(warnings)

"""Where the recogniser listens: long audio in blocks, speech in windows of the model's length. Pure, seconds throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.terms import SAMPLE_RATE, Audio

Span = tuple[float, float]

_FRAME_S = 0.02


def blocks(audio: Audio, target_s: float) -> list[Span]:
    """The recording in parts of about ``target_s`` that are held in memory one at a time, cut where it is quietest.

    Reads a tenth of each part to find the place; the parts join without gap or overlap.
    """
    spans: list[Span] = []
    start = 0.0
    while audio.seconds - start > 1.25 * target_s:
        low, high = start + 0.9 * target_s, start + target_s
        cut = low + quietest(audio.read(low, high))
        spans.append((start, cut))
        start = cut
    if audio.seconds > start:
        spans.append((start, audio.seconds))
    return spans


def quietest(samples: NDArray[np.float32], around_s: float = 0.3) -> float:
    """The middle of the quietest stretch of ``around_s`` seconds, in seconds from the first sample."""
    frame = round(_FRAME_S * SAMPLE_RATE)
    frames = len(samples) // frame
    if frames == 0:
        return len(samples) / SAMPLE_RATE / 2
    energy = np.square(samples[: frames * frame].reshape(frames, frame)).mean(axis=1)
    wide = max(1, min(frames, round(around_s / _FRAME_S)))
    smooth = np.convolve(energy, np.ones(wide), mode="valid")
    return (int(smooth.argmin()) + wide / 2) * _FRAME_S


def windows(pieces: Sequence[Span], longest_s: float, gap_s: float) -> list[Span]:
    """Neighbouring pieces of speech joined while the whole is at most ``longest_s`` and the pause at most ``gap_s``.

    ``pieces`` are in order, do not overlap and are each at most ``longest_s``.
    """
    joined: list[Span] = []
    for start, end in pieces:
        if joined and start - joined[-1][1] <= gap_s and end - joined[-1][0] <= longest_s:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def even(seconds: float, longest_s: float, quiet: Callable[[float, float], float]) -> list[Span]:
    """[0, seconds) without regard to speech: windows of at most ``longest_s``, each cut at ``quiet(low, high)``."""
    spans: list[Span] = []
    start = 0.0
    while seconds - start > longest_s:
        cut = quiet(start + 0.6 * longest_s, start + longest_s)
        spans.append((start, cut))
        start = cut
    if seconds > start:
        spans.append((start, seconds))
    return spans


def shifted(spans: Iterable[Span], by: float) -> list[Span]:
    return [(a + by, b + by) for a, b in spans]

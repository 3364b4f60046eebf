"""Windows for the recogniser: long audio in blocks, speech in windows of the model's length. Pure, all times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.terms import SAMPLE_RATE, Audio

Span = tuple[float, float]

_FRAME_S = 0.02

LONG_PAUSE_S = 2.0
"""A pause longer than this, in seconds, is not a better place to cut."""


def blocks(audio: Audio, target_s: float) -> list[Span]:
    """The recording in parts of about ``target_s``, held in memory one at a time and cut where it is quietest.

    A tenth of each part is read to find the cut; the parts join without gap or overlap.
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


def quietest(samples: NDArray[np.float32], around_s: float = 0.4) -> float:
    """The middle of the quietest piece of ``around_s`` seconds, in seconds from the first sample."""
    frame = round(_FRAME_S * SAMPLE_RATE)
    frames = len(samples) // frame
    if frames == 0:
        return len(samples) / SAMPLE_RATE / 2
    energy = np.square(samples[: frames * frame].reshape(frames, frame)).mean(axis=1)
    wide = max(1, min(frames, round(around_s / _FRAME_S)))
    smooth = np.convolve(energy, np.ones(wide), mode="valid")
    return (int(smooth.argmin()) + wide / 2) * _FRAME_S


def joined(pieces: Sequence[Span], gap_s: float) -> list[Span]:
    """Spans of speech, in order, joined with their neighbours when the pause between is at most ``gap_s``."""
    result: list[Span] = []
    for start, end in pieces:
        if result and start - result[-1][1] <= gap_s:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def united(spans: Sequence[Span], longest_s: float) -> list[Span]:
    """For each span, in order, the one to use in its place: neighbours that overlap are one while it is at most ``longest_s``."""
    result: list[Span] = []
    for start, end in spans:
        if result and start < result[-1][1] and (whole := max(end, result[-1][1])) - result[-1][0] <= longest_s:
            before = result[-1]
            result = [(before[0], whole) if one == before else one for one in result]
            result.append(result[-1])
        else:
            result.append((start, end))
    return result


def parted(span: Span, longest_s: float, quiet: Callable[[float, float], float]) -> list[Span]:
    """A span in parts of at most ``longest_s`` that join without gap, each cut at ``quiet(low, high)`` in its second half."""
    start, end = span
    parts: list[Span] = []
    while end - start > longest_s:
        high = start + longest_s
        low = start + longest_s / 2
        if end - high < longest_s / 2:  # late enough for the rest to fit one window
            low = max(low, end - longest_s)
        cut = min(max(quiet(low, high), low), high)
        parts.append((start, cut))
        start = cut
    parts.append((start, end))
    return parts


def packed(spans: Sequence[Span], longest_s: float) -> list[Span]:
    """Join spans, in order and each at most ``longest_s``, with the pauses between them into the fewest windows of at most that
    length; of all such divisions, the one cut at the longest pauses.
    """
    best: list[tuple[int, float, int]] = [
        (0, 0.0, 0)
    ]  # for the first k spans: (windows, minus the pauses cut at, first span of the last window)
    for k in range(1, len(spans) + 1):
        ways = []
        first = k - 1
        while first >= 0 and (spans[k - 1][1] - spans[first][0] <= longest_s or first == k - 1):
            count, pauses, _ = best[first]
            pause = spans[first][0] - spans[first - 1][1] if first else 0.0
            ways.append((count + 1, pauses - min(pause, LONG_PAUSE_S), first))
            first -= 1
        best.append(min(ways))
    result: list[Span] = []
    k = len(spans)
    while k:
        first = best[k][2]
        result.append((spans[first][0], spans[k - 1][1]))
        k = first
    return result[::-1]


def without(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """The parts of ``spans`` outside ``taken``; ``spans`` in order and without overlap, ``taken`` in any order."""
    cuts = joined(sorted(taken), 0.0)
    result: list[Span] = []
    first = 0
    for start, end in spans:
        while first < len(cuts) and cuts[first][1] <= start:
            first += 1
        at, k = start, first
        while k < len(cuts) and cuts[k][0] < end:
            if cuts[k][0] > at:
                result.append((at, cuts[k][0]))
            at = max(at, cuts[k][1])
            k += 1
        if at < end:
            result.append((at, end))
    return result


def seconds_of(spans: Sequence[Span]) -> float:
    """Total length of the spans, in seconds."""
    return sum(end - start for start, end in spans)

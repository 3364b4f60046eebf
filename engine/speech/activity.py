"""Voice activity in decoded audio, by the detector that comes with faster-whisper (Silero VAD)."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet
from gainstage.engine.terms import SAMPLE_RATE, Audio

Span = tuple[float, float]

_BLOCK_S = 600.0
_SHORTEST_MS, _PAUSE_MS = 250, 300


def speech_spans(audio: Audio, token: CancelToken) -> tuple[Span, ...]:
    """Spans of speech in seconds, in order, without overlap. Reads the audio in blocks: memory does not grow with it."""
    spans: list[Span] = []
    start = 0.0
    while start < audio.seconds:
        token.check()
        samples = audio.read(start, start + _BLOCK_S)
        if samples.any():
            with quiet.working():
                from faster_whisper.vad import VadOptions, get_speech_timestamps

                options = VadOptions(min_speech_duration_ms=_SHORTEST_MS, min_silence_duration_ms=_PAUSE_MS, speech_pad_ms=0)
                pieces = get_speech_timestamps(samples, options)
            spans += [(start + p["start"] / SAMPLE_RATE, start + p["end"] / SAMPLE_RATE) for p in pieces]
        start += _BLOCK_S
    return tuple(spans)


def seconds_of(spans: Sequence[Span]) -> float:
    """Seconds that the spans last together."""
    return sum(end - start for start, end in spans)


def shared(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """The spans in which both have speech, in seconds."""
    result: list[Span] = []
    k = 0
    for start, end in one:
        while k < len(other) and other[k][1] <= start:
            k += 1
        at = k
        while at < len(other) and other[at][0] < end:
            result.append((max(start, other[at][0]), min(end, other[at][1])))
            at += 1
    return result

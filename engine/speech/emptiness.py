"""Why a recording has no words: silence, a very low level, sound without speech, or speech that was not recognised."""

from __future__ import annotations

import math

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.activity import seconds_of, speech_spans
from gainstage.engine.terms import Audio, RecordingWarning

_QUIET = 0.01
"""-40 dBFS: louder audio is audible."""

_SPEECH_S = 1.0


def why_nothing(audio: Audio, token: CancelToken) -> RecordingWarning:
    """The warning of a recording in which no word was recognised."""
    peak, start = 0.0, 0.0
    while start < audio.seconds:
        token.check()
        peak = max(peak, float(abs(audio.read(start, start + 600.0)).max(initial=0.0)))
        start += 600.0
    if peak == 0.0:
        return RecordingWarning(
            "silent", "it is digital silence from beginning to end", "Look for the sound in another file or track."
        )
    spoken = seconds_of(speech_spans(audio, token))
    if spoken >= _SPEECH_S:
        message = f"{spoken:.0f} s sound like speech, and no word was recognised"
        return RecordingWarning("no words", message, "Check asr.language and asr.model against what is spoken.")
    if peak < _QUIET:
        return RecordingWarning("no speech", f"nobody is heard: its loudest sound is at {20 * math.log10(peak):.0f} dBFS")
    return RecordingWarning("no speech", "nobody speaks in it")

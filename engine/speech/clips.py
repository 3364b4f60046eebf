"""A stretch of a media file as a sound file of its own, for people to hear."""

from __future__ import annotations

import secrets
import wave
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from av.audio.resampler import AudioResampler

from gainstage.config.whole_files import keep_whole
from gainstage.engine.errors import Permanent
from gainstage.engine.speech import media

RATE = 24_000
"""Samples per second of a clip."""

BEFORE_S = 2.0
"""Decoding begins this many seconds before the clip: a seek lands on a packet before or after the time."""


def write_clip(source: Path, start: float, end: float, target: Path) -> Path:
    """Write [start, end) seconds of the best audio stream of ``source`` to ``target`` (mono WAV), whole or not at all.

    Raises :class:`Permanent` as :func:`gainstage.engine.speech.decode.decode_recording` does, and with the cause "nothing there" for
    a stretch outside the audio; :class:`gainstage.engine.errors.Transient` for faults of the disk.
    """
    draft = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        if not _written(source, start, end, draft):
            raise Permanent(
                f"{source.name} has nothing from {start:.1f} to {end:.1f} s", cause="nothing there", hint="Choose another time."
            )
        with media.writing(target.parent):
            keep_whole(draft, target)
    finally:
        with suppress(OSError):
            draft.unlink()
    return target


def _written(source: Path, start: float, end: float, draft: Path) -> bool:
    """Decode the stretch into ``draft`` as it comes, in the memory of a frame; False where there is none."""
    with media.opened(source) as file, ExitStack() as stack:
        head = file.read(16)
        file.seek(0)
        sound = None
        with media.container(source, file, head) as container, media.reading(source):
            stream = media.audio_streams(source, container)[0]
            origin = (container.start_time or 0) / 1_000_000
            if start > BEFORE_S:
                container.seek(int((origin + start - BEFORE_S) * 1_000_000))
            resampler = AudioResampler("s16", "mono", RATE)
            for frame in container.decode(stream):
                at = (frame.time or 0.0) - origin
                if at >= end:
                    break
                samples = np.concatenate([f.to_ndarray().ravel() for f in resampler.resample(frame)] or [np.zeros(0, np.int16)])
                first, last = round((start - at) * RATE), round((end - at) * RATE)
                if last > 0 and first < len(samples):
                    with media.writing(draft.parent):
                        sound = sound or stack.enter_context(_sound(draft))
                        sound.writeframes(samples[max(0, first) : last].tobytes())
        with media.writing(draft.parent):
            stack.close()  # writes the length
    return sound is not None


def _sound(path: Path) -> wave.Wave_write:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = wave.open(str(path), "wb")  # noqa: SIM115  (closed by the caller's stack)
    sound.setnchannels(1)
    sound.setsampwidth(2)
    sound.setframerate(RATE)
    return sound

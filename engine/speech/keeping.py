"""Keep the audio of a recording: as Opus, or the media as it was fetched. Written whole or not at all, once per audio."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame

from gainstage.engine.errors import Cancelled, EngineError, Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech import media as reading
from gainstage.engine.store.kept_audio import OPUS_BITS, Keep, kept_file
from gainstage.engine.terms import SAMPLE_RATE, Audio, RecordingWarning

BLOCK = 60 * SAMPLE_RATE


def kept_or_warned(media: Path, audio: Audio, folder: Path, how: Keep, token: CancelToken) -> tuple[RecordingWarning, ...]:
    """Keep the audio; a warning where it cannot be kept. Raises :class:`gainstage.engine.errors.Cancelled`."""
    try:
        keep_audio(media, audio, folder, how, token)
    except Cancelled:
        raise
    except EngineError as error:
        return (RecordingWarning("audio not kept", error.message, error.hint or ""),)
    return ()


def keep_audio(media: Path, audio: Audio, folder: Path, how: Keep, token: CancelToken) -> Path | None:
    """The kept file; None for "never". What is kept already is not written again.

    Raises :class:`gainstage.engine.errors.Transient` for faults of the disk, :class:`Permanent` where Opus cannot be written,
    :class:`gainstage.engine.errors.Cancelled`.
    """
    if how == "never":
        return None
    if (kept := kept_file(folder, audio.fingerprint)) is not None:
        return kept
    with reading.writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = folder / f"{audio.fingerprint}{'.ogg' if how == 'opus' else '.media'}"
        draft = target.with_name(f".{secrets.token_hex(6)}.part")
        try:
            if how == "opus":
                _opus(audio, draft, token)
            else:
                shutil.copyfile(media, draft)
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return target


def _opus(audio: Audio, target: Path, token: CancelToken) -> None:
    try:
        with av.open(str(target), "w", format="ogg") as container:
            stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
            stream.bit_rate = OPUS_BITS
            for first in range(0, audio.samples, BLOCK):
                token.check()
                pcm = np.memmap(audio.path, np.int16, "r", offset=2 * first, shape=(min(BLOCK, audio.samples - first),))
                frame = AudioFrame.from_ndarray(np.asarray(pcm)[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts = SAMPLE_RATE, first
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        raise Permanent(
            f"Opus cannot be written: {error}", cause="audio not kept", hint="Set store.keep_audio = original."
        ) from error

"""Media files, decoded audio and the bundled models, for the tests of speech, text and models."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from gainstage.config.settings import Settings, changed
from gainstage.engine.models.selftest import clip
from gainstage.engine.runtime.models import Models
from gainstage.engine.terms import SAMPLE_RATE, Audio

Samples = NDArray[np.float32]

DEMO = {
    "asr.model": "demo:asr",
    "diarization.model": "demo:diarization",
    "voice.model": "demo:voice",
    "embed.model": "demo:text",
    "asr.device": "cpu",
    "diarization.device": "cpu",
    "voice.device": "cpu",
    "embed.device": "cpu",
}


def demo_settings(**changes: object) -> Settings:
    """Settings with the bundled models; ``asr__beam=2`` changes ``asr.beam``."""
    settings = Settings()
    for key, value in {**DEMO, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        settings = changed(settings, key, value)
    return settings


@cache
def models() -> Models:
    """The bundled models, loaded once per test process as they are asked for."""
    folder = tempfile.mkdtemp(prefix="gainstage-models-")  # of what was hashed
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Models(demo_settings, Path(folder))


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> Samples:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def dialogue() -> Samples:
    """Two people in turn, each heard twice, with pauses: 15 s. The turns begin at 0.3, 4.1, 7.8 and 11.7 s."""
    parts = [silence(0.3)]
    for name in ("one_a", "other", "one_b", "other"):
        parts += [clip(name), silence(0.6)]
    return np.concatenate(parts)


def audio_of(folder: Path, samples: Samples, name: str = "audio") -> Audio:
    """Samples as decoded audio."""
    pcm = (np.clip(samples, -1, 32767 / 32768) * 32768).astype("<i2").tobytes()
    path = folder / f"{name}.pcm"
    path.write_bytes(pcm)
    return Audio(path, len(pcm) // 2, hashlib.sha256(pcm).hexdigest())


def write_media(
    path: Path,
    samples: Samples,
    *,
    rate: int = SAMPLE_RATE,
    channels: int = 1,
    codec: str | None = None,
    video: bool = False,
    audio: bool = True,
    starts_at: float = 0.0,
) -> Path:
    """A real media file in the container its name asks for, by the codec usual there."""
    usual = {"wav": "pcm_s16le", "mp3": "libmp3lame", "opus": "libopus", "flac": "flac", "webm": "libopus", "ogg": "flac"}
    codec = codec or usual.get(path.suffix[1:], "aac")
    with av.open(str(path), "w", format={"opus": "ogg", "m4a": "ipod"}.get(path.suffix[1:])) as container:
        pictures = container.add_stream("mpeg4", rate=10) if video else None
        sound = container.add_stream(codec, rate=rate, layout={1: "mono", 2: "stereo"}[channels]) if audio else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for k in range(round(10 * (starts_at + len(samples) / rate))):
                picture = av.VideoFrame.from_ndarray(np.full((72, 64), k % 255, np.uint8), format="yuv420p")
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        if sound is not None:
            pcm = (np.repeat(samples[:, None], channels, 1) * 32767).astype(np.int16)
            for at in range(0, len(pcm), 960):
                frame = av.AudioFrame.from_ndarray(pcm[at : at + 960].reshape(1, -1), format="s16", layout=sound.layout.name)
                frame.rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = at + round(starts_at * rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


class WarningLog:
    """A progress callback that remembers."""

    def __init__(self, then: Callable[[float], None] | None = None) -> None:
        self.shares: list[float] = []
        self._then = then

    def __call__(self, share: float) -> None:
        self.shares.append(share)
        if self._then is not None:
            self._then(share)

    @property
    def rises(self) -> bool:
        return self.shares == sorted(self.shares) and all(0 <= s <= 1 for s in self.shares)


def registry(tmp_path: Path, **changes: object) -> tuple[Models, list[tuple[str, str]]]:
    """A registry of its own, and the (level, text) of what it writes to the journal."""
    told: list[tuple[str, str]] = []
    settings = demo_settings(**changes)
    return Models(lambda: settings, tmp_path, lambda level, text, **data: told.append((level, text))), told

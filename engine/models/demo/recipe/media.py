"""Sound to file and back, through the same FFmpeg libraries the engine decodes with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.terms import SAMPLE_RATE

_CODECS: dict[str, tuple[str, int | None]] = {
    ".opus": ("libopus", 32_000),
    ".webm": ("libopus", 32_000),
    ".m4a": ("aac", 48_000),
    ".mp3": ("libmp3lame", 48_000),
    ".flac": ("flac", None),
    ".wav": ("pcm_s16le", None),
}
"""Codec and bits per second by file name; lossless without a rate."""


def write(path: Path, samples: Samples, bit_rate: int | None = None) -> None:
    """Encode 16 kHz mono samples by the ending of ``path``. ``KeyError`` for an ending that is not known."""
    codec, usual_rate = _CODECS[path.suffix]
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if rate := bit_rate or usual_rate:
            stream.bit_rate = rate
        wanted = stream.codec_context.format.name if stream.codec_context.format else "s16"
        resampler = av.AudioResampler(format=wanted, layout="mono", rate=SAMPLE_RATE, frame_size=stream.frame_size or 0)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        for ready in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))


def read(path: Path) -> Samples:
    """The audio of a file as 16 kHz mono float32."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    parts: list[NDArray[np.int16]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return (np.concatenate(parts) / 32768).astype(np.float32)

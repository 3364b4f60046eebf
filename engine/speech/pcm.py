"""Write decoded frames as 16 kHz mono PCM to disk: resampling, the clock of the stream, silence for gaps, levels by channel."""

from __future__ import annotations

import hashlib
from array import array
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from gainstage.engine.errors import Rejected
from gainstage.engine.speech.media import reading, writing
from gainstage.engine.terms import SAMPLE_RATE, Audio

_GAP_S = 0.1
"""Gaps in the timestamps of at least this many seconds are filled with silence, so that times stay correct."""

_STEP_S = 1.0
"""A clock that steps back by more seconds than this was reset."""

_UNPROVEN_S, _LONGEST_S = 30.0, 600.0
"""Longest gap, in seconds, that is filled on the evidence of the timestamps alone, and when a stated duration confirms it."""

_MOST_CHANNELS = 8
"""More channels are averaged here: FFmpeg does not have a down-mix for every larger count."""

WINDOW_S = 0.05
"""Length of the windows whose energies are compared, in seconds."""


class Clock:
    """Compares the timestamps of a stream with the audio written so far.

    ``origin`` is the container's first timestamp in seconds; ``promised_s`` the length its header states, None when unknown.
    """

    def __init__(self, origin: float, promised_s: float | None) -> None:
        self._origin = origin
        self._promised = promised_s
        self._filled = 0.0
        self.jumps: list[tuple[float, float]] = []  # (position, size) in seconds of steps that were treated as clock faults

    def hole(self, time: float, seconds: float) -> float:
        """Seconds of silence to insert before a frame with timestamp ``time``, after ``seconds`` of audio."""
        gap = time - self._origin - seconds
        if -_STEP_S <= gap <= _GAP_S:
            return 0.0
        if gap > _GAP_S and self._is_real(gap, seconds):
            self._filled += gap
            return gap
        self._origin += gap
        if abs(gap) > _UNPROVEN_S:
            self.jumps.append((seconds, gap))
        return 0.0

    def _is_real(self, gap: float, seconds: float) -> bool:
        if self._promised is not None:
            return gap <= _STEP_S or (gap <= _LONGEST_S and seconds + gap <= self._promised + 2.0)
        return gap <= _UNPROVEN_S and self._filled + gap <= 2 * _UNPROVEN_S + seconds


class Levels:
    """Mean squares by channel, and of the channels' mean, in windows of about :data:`WINDOW_S`."""

    def __init__(self) -> None:
        self._rows: dict[int, array[float]] = {}
        self._sums: NDArray[np.float64] | None = None
        self._count = 0

    def add(self, samples: NDArray[np.float32], rate: int) -> None:
        """``(channels, n) float32``."""
        squares = np.append(np.einsum("cn,cn->c", samples, samples), np.square(samples.mean(axis=0)).sum())
        if self._sums is None or len(self._sums) != len(squares):
            self._sums, self._count = np.zeros(len(squares)), 0
        self._sums += squares
        self._count += samples.shape[1]
        if self._count >= WINDOW_S * rate:
            self._rows.setdefault(len(squares), array("f")).extend(self._sums / self._count)
            self._sums, self._count = None, 0

    def table(self) -> NDArray[np.float32]:
        """``(windows, channels + 1)`` for the most frequent channel count; the last column is the mean of the channels."""
        width = max(self._rows, key=lambda n: len(self._rows[n]), default=1)
        return np.asarray(self._rows.get(width, array("f")), np.float32).reshape(-1, width)


class PcmWriter:
    """One mono PCM file (int16, 16 kHz) with its fingerprint, length and peak.

    ``channel`` takes that channel of every frame instead of the down-mix; ``gain`` multiplies before rounding. Raises
    :class:`Rejected` "too long" above ``max_seconds``.
    """

    def __init__(
        self,
        source: Path,
        path: Path,
        out: BinaryIO,
        *,
        max_seconds: float | None = None,
        channel: int | None = None,
        gain: float = 1.0,
        levels: Levels | None = None,
    ) -> None:
        self.source, self.path, self.channel = source, path, channel
        self.number: int | None = 0  # of the track; None for a mix of several
        self.samples = self.peak = 0
        self.loudest = 0.0  # before the gain, if any
        self._out = out
        self._digest = hashlib.sha256()
        self._most = None if max_seconds is None else round(max_seconds * SAMPLE_RATE)
        self._gain, self._levels = gain, levels
        self._floats = Floats()
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def audio(self) -> Audio:
        return Audio(self.path, self.samples, self._digest.hexdigest())

    def frame(self, frame: AudioFrame) -> None:
        with reading(self.source):
            frame = self._prepared(frame)
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # some broadcasts change from stereo to mono and back
            self.flush()
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            self._kind = kind
        frame.pts = None
        assert self._resampler is not None
        with reading(self.source):
            frames = self._resampler.resample(frame)
        self._write(frames)

    def _prepared(self, frame: AudioFrame) -> AudioFrame:
        """The resampler's input: the frame itself, or one channel computed here."""
        channels = frame.layout.nb_channels
        as_it_is = self.channel is None and self._gain == 1.0 and channels <= _MOST_CHANNELS
        if as_it_is and (self._levels is None or channels == 1):
            return frame
        samples = self._floats.of(frame)
        if self._levels is not None and channels > 1:
            self._levels.add(samples, frame.sample_rate)
        if as_it_is:
            return frame
        one = samples.mean(axis=0) if self.channel is None else samples[min(self.channel, channels - 1)]
        self.loudest = max(self.loudest, float(np.abs(one).max(initial=0.0)))
        made = AudioFrame.from_ndarray(np.ascontiguousarray(one * np.float32(self._gain))[None], format="fltp", layout="mono")
        made.sample_rate, made.time_base = frame.sample_rate, Fraction(1, frame.sample_rate)
        return made

    def flush(self) -> None:
        if self._resampler is not None:
            with reading(self.source):
                frames = self._resampler.resample(None)
            self._resampler = None
            self._write(frames)

    def silence(self, seconds: float) -> None:
        self.flush()  # audio still in the resampler comes before the gap
        left, block = round(seconds * SAMPLE_RATE), 60 * SAMPLE_RATE
        while left > 0:
            self.put(bytes(2 * min(left, block)))
            left -= block
        self._kind = None

    def _write(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self.put(memoryview(frame.planes[0])[: 2 * frame.samples])

    def put(self, pcm: bytes | memoryview) -> None:
        with writing(self.path.parent):
            self._out.write(pcm)
        self._digest.update(pcm)
        self.samples += len(pcm) // 2
        if len(pcm):
            values = np.frombuffer(pcm, np.int16)
            self.peak = max(self.peak, int(values.max()), -int(values.min()))
        if self._most is not None and self.samples > self._most:
            raise Rejected(
                f"{self.source.name} is longer than {self._most / SAMPLE_RATE:.0f} s",
                cause="too long",
                hint="Raise fetch.max_duration to take it.",
            )


class Floats:
    """Converts frames of any sample format to ``(channels, n) float32``.

    FFmpeg first converts them to one plane: PyAV crashes on eight or more planes, because it searches for the end of their list.
    """

    def __init__(self) -> None:
        self._converter: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None

    def of(self, frame: AudioFrame) -> NDArray[np.float32]:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind or self._converter is None:
            self._converter = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
            self._kind = kind
        frame.pts = None
        channels = frame.layout.nb_channels
        made = [
            np.frombuffer(memoryview(f.planes[0])[: 4 * channels * f.samples], np.float32) for f in self._converter.resample(frame)
        ]
        values = np.concatenate(made) if made else np.zeros(0, np.float32)
        return np.nan_to_num(values.reshape(-1, channels).T, nan=0.0, posinf=1.0, neginf=-1.0)

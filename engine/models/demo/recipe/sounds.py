"""What is in a recording besides speech: room noise, wind, a tune."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.terms import SAMPLE_RATE

_CHORDS = ((220.0, 277.2, 329.6), (246.9, 293.7, 370.0), (196.0, 246.9, 293.7), (220.0, 277.2, 440.0))
"""A major, B minor, G major and A again, in Hz."""


def hiss(count: int, level: float, rng: np.random.Generator) -> Samples:
    """``count`` samples of white noise; ``level`` is its standard deviation."""
    return (rng.standard_normal(count) * level).astype(np.float32)


def wind(seconds: float, level: float, rng: np.random.Generator, *, cutoff_hz: float = 250.0) -> Samples:
    """Low rumbling noise that swells and falls."""
    count = round(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / (1 + (frequency / cutoff_hz) ** 2), count)
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.23 * np.arange(count) / SAMPLE_RATE)
    return np.asarray(noise / noise.std() * level * swell * _edges(count), np.float32)


def tune(seconds: float, level: float, *, key: float = 1.0, note_s: float = 0.3) -> Samples:
    """Broken chords on a plucked string; ``level`` is its peak, ``key`` multiplies every pitch."""
    count = round(seconds * SAMPLE_RATE)
    time = np.arange(round(4 * note_s * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(count + len(time))
    for k in range(int(seconds / note_s)):
        pitch = key * _CHORDS[k // 6 % len(_CHORDS)][(0, 1, 2, 1, 2, 1)[k % 6]]
        note = sum(np.sin(2 * np.pi * pitch * n * time) * 0.5**n * np.exp(-time * (2 + 2 * n)) for n in range(1, 5))
        at = round(k * note_s * SAMPLE_RATE)
        sound[at : at + len(time)] += note * np.minimum(1, time / 0.005)
    sound = sound[:count] * _edges(count)
    return np.asarray(sound / np.abs(sound).max() * level, np.float32)


def _edges(count: int) -> NDArray[np.float64]:
    """Fades in and out over half a second."""
    at = np.arange(count)
    return np.minimum(1, np.minimum(at, count - 1 - at) / (SAMPLE_RATE / 2))

"""From text to speech with true word and phone times: espeak-ng through its library, flite through its command."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from gainstage.engine.models.demo.recipe import espeak, flite
from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.models.demo.recipe.voices import Voice
from gainstage.engine.terms import SAMPLE_RATE

MARGIN_S = 0.03
"""Near-silence kept on either side of the speech; it counts as silence in every truth."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One spoken sentence: float32 samples at 16 kHz (peak 0.5), and (text, start in seconds) of its words and phones."""

    samples: Samples
    words: tuple[tuple[str, float], ...]
    phones: tuple[tuple[str, float], ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def resampled(samples: Samples, ratio: Fraction) -> Samples:
    """``samples`` at ``ratio`` times their rate (polyphase filter)."""
    from scipy.signal import resample_poly

    if ratio == 1:
        return samples
    return np.asarray(resample_poly(samples, ratio.numerator, ratio.denominator), np.float32)


def speak(text: str, voice: Voice) -> Clip:
    """``text`` in ``voice``, silence trimmed from both ends."""
    raw = (espeak if voice.engine == "espeak" else flite).render(text, voice)
    samples, slower = resampled(raw.samples, Fraction(SAMPLE_RATE, raw.rate)), 1.0
    if voice.shift != 1.0:
        ratio = Fraction(100, round(100 * voice.shift))
        samples, slower = resampled(samples, ratio), float(ratio)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    margin = round(MARGIN_S * SAMPLE_RATE)
    first = max(0, int(loud[0]) - margin)
    samples = samples[first : int(loud[-1]) + margin]
    samples = (samples / np.abs(samples).max() * 0.5).astype(np.float32)

    def timed(marks: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
        return tuple((mark, round(max(0.0, at * slower - first / SAMPLE_RATE), 3)) for mark, at in marks)

    return Clip(samples, timed(raw.words), timed([(f"{voice.engine[0]}:{phone}", at) for phone, at in raw.phones]))

"""Self-tests at load: known pairs that a model must judge correctly before its results are used.

An encoder with random or wrong weights returns vectors that look normal; only a comparison of known cases reveals it.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.errors import Misconfigured

CLIPS = Path(__file__).parent / "demo" / "selftest"
"""Two clips of one voice and one of another, 16 kHz."""

SENTENCE = "My sister planted seven yellow roses near the stone wall."
PARAPHRASE = "Near the wall there are yellow roses that my sister planted."
UNRELATED = "The captain left the harbour at night because of a storm."

VOICE_LEAD = 0.2
TEXT_LEAD = 0.1
"""Least lead of the known pair over the other one, in cosine. Encoders with random weights find all speech similar: their lead
on the clips was at most 0.11 in 16 trials, that of a trained one 0.85."""

Encode = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def clip(name: str) -> NDArray[np.float32]:
    """One of the bundled clips as ``(samples,) float32``."""
    with wave.open(str(CLIPS / f"{name}.wav"), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / np.float32(32768)


def check_voices(model: str, embed: Encode) -> str:
    """Two clips of one speaker must be more similar than clips of two. Returns the figures; raises :class:`Misconfigured`."""
    one, again, other = (embed(clip(name)[None])[0] for name in ("one_a", "one_b", "other"))
    far = max(float(one @ other), float(again @ other))
    return _check("voice", model, ("same speaker", float(one @ again)), ("other speaker", far), VOICE_LEAD)


def check_texts(model: str, encode: Callable[[Sequence[str]], NDArray[np.float32]]) -> str:
    """A sentence must be closer to its paraphrase than to an unrelated one. Returns the figures; raises :class:`Misconfigured`."""
    said, again, other = encode([SENTENCE, PARAPHRASE, UNRELATED])
    return _check("embed", model, ("paraphrase", float(said @ again)), ("unrelated", float(said @ other)), TEXT_LEAD)


def _check(role: str, model: str, near: tuple[str, float], far: tuple[str, float], lead: float) -> str:
    figures = f"{near[0]} {near[1]:.2f}, {far[0]} {far[1]:.2f}"
    if not near[1] >= far[1] + lead:  # also fails when either is NaN
        raise Misconfigured(
            f"{role} model {model} fails its self-test: {figures}",
            cause="self-test failed",
            hint=f"Its weights are not what they should be: fetch it again, or set {role}.model to another one.",
        )
    return figures

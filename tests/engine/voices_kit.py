"""Audio of two real (synthetic) voices and the bundled voice model, for the tests of voices."""

from __future__ import annotations

import hashlib
import sys
import threading
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.models.resolve import find
from gainstage.engine.models.selftest import CLIPS
from gainstage.engine.models.voice import VoiceEncoder, load_voice_encoder
from gainstage.engine.terms import SAMPLE_RATE, Audio

_loading = threading.Lock()
_PLACEHOLDERS = ("LazyModule", "DeprecatedModuleRedirect")


@cache
def _encoder() -> VoiceEncoder:
    import torch

    torch.set_num_threads(1)
    loaded = load_voice_encoder(find("voice", "demo:voice", None, Path(), download=False), "cpu")
    # speechbrain leaves placeholders among the modules that import optional packages when hypothesis looks at them
    for name in [name for name, module in sys.modules.items() if type(module).__name__ in _PLACEHOLDERS]:
        del sys.modules[name]
    return loaded


def encoder() -> VoiceEncoder:
    """The bundled voice model, loaded once per test process."""
    with _loading:
        return _encoder()


def clip(name: str) -> NDArray[np.float32]:
    """A bundled clip: ``one_a`` and ``one_b`` are one person, ``other`` another."""
    with wave.open(str(CLIPS / f"{name}.wav"), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def speech(who: str, seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """``seconds`` of "one" or "other" speaking: their clips in turn, each at another loudness, over a little noise."""
    rng = np.random.default_rng(seed)
    clips = [clip("one_a"), clip("one_b")] if who == "one" else [clip("other")]
    count, parts = 0, [np.zeros(0, np.float32)]
    while count < seconds * SAMPLE_RATE:
        parts.append(clips[(len(parts) + seed) % len(clips)] * 10 ** (rng.uniform(-8, 0) / 20))
        count += len(parts[-1])
    x = np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]
    return (x + 1e-3 * rng.standard_normal(len(x))).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def audio_of(folder: Path, parts: Sequence[NDArray[np.float32]], name: str = "audio") -> Audio:
    """The parts one after another, as decoded audio."""
    pcm = (np.clip(np.concatenate(parts), -1, 32767 / 32768) * 32768).astype("<i2")
    path = folder / f"{name}.pcm"
    path.write_bytes(pcm.tobytes())
    return Audio(path, len(pcm), hashlib.sha256(pcm.tobytes()).hexdigest())

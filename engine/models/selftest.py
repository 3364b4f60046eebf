"""Self-tests at load: known cases that a model must judge correctly before its results are used.

A model with random or wrong weights returns results that look normal; only a comparison of known cases reveals it.
"""

from __future__ import annotations

import math
import re
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.errors import Misconfigured

CLIPS = Path(__file__).parent / "demo" / "selftest"
"""Two clips of one voice and one of another, 16 kHz."""

SENTENCE = "My sister planted seven yellow roses near the stone wall."
PARAPHRASE = "Near the wall there are yellow roses that my sister planted."
UNRELATED = "The captain left the harbour at night because of a storm."

SPOKEN = "My sister planted seven yellow roses near the stone wall."
"""The words of the clip "one_a"."""

SPOKEN_IN = "en"
LEAST_WORDS = 0.5
"""Least share of the words of a clip that a recogniser must find. Whisper base, tiny and the bundled one find all of them, random
weights none."""

REPETITIVE = 2.4
"""Text with a higher ratio of its size to its compressed size repeats itself: Whisper's own rule."""

PAUSE_S, TAIL_S = 0.6, 4.0
LEAST_SPOKEN, MOST_SILENT, MOST_SPEAKERS = 0.5, 0.5, 4
"""Turns of a conversation of two clips must cover this share of its speech, at most that of its silence, by at most so many people."""

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


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a recogniser made of a clip."""

    words: tuple[str, ...]
    log_probability: float
    compression: float


def check_words(model: str, recognised: Recognised, *, claims: bool) -> str:
    """The words of the clip "one_a" must be found where the model ``claims`` to know their language; its figures must be numbers, and
    its text no single sign repeated. Returns the figures; raises :class:`Misconfigured`."""
    said = [re.sub(r"\W", "", word.lower()) for word in recognised.words]
    if not math.isfinite(recognised.log_probability):
        raise _failed("asr", model, f"the log-probability of its words is {recognised.log_probability}")
    if recognised.compression > REPETITIVE or (len("".join(said)) > 3 and len(set("".join(said))) == 1):
        raise _failed("asr", model, f"it repeats itself: {' '.join(recognised.words)[:60]}")
    wanted = [re.sub(r"\W", "", word.lower()) for word in SPOKEN.split()]
    share = sum(word in said for word in wanted) / len(wanted)
    figures = f"{share:.0%} of the words of its self-test"
    if claims and share < LEAST_WORDS:
        recognised_text = " ".join(recognised.words)[:80] or "nothing"
        more = "A model of one other language passes when asr.language names it."
        raise _failed("asr", model, f"of {SPOKEN!r} it recognises {recognised_text!r}", more)
    return figures if claims else ""


def conversation() -> tuple[NDArray[np.float32], tuple[tuple[float, float], ...]]:
    """Two people in turn, then silence: ``(samples,) float32`` at 16 kHz, and the spans of speech in seconds."""
    parts, spans, at = [np.zeros(round(PAUSE_S * 16_000), np.float32)], [], PAUSE_S
    for name in ("one_a", "other", "one_b", "other"):
        samples = clip(name)
        spans.append((at, at + len(samples) / 16_000))
        parts += [samples, np.zeros(round(PAUSE_S * 16_000), np.float32)]
        at = spans[-1][1] + PAUSE_S
    return np.concatenate([*parts, np.zeros(round(TAIL_S * 16_000), np.float32)]), tuple(spans)


def check_turns(model: str, turns: Sequence[tuple[float, float, str]], embed: Encode) -> str:
    """The turns (start, end, cluster) of :func:`conversation` must be plausible, and the speaker network's vectors finite.

    Returns the figures; raises :class:`Misconfigured`.
    """
    if not all(np.isfinite(embed(clip(name)[None])).all() for name in ("one_a", "other")):
        raise _failed("diarization", model, "its speaker network makes vectors that are no numbers")
    samples, spans = conversation()
    seconds = len(samples) / 16_000
    grid = np.arange(0.0, seconds, 0.02)
    speech = np.any([(grid >= a) & (grid < b) for a, b in spans], axis=0)
    turned = np.any([(grid >= a) & (grid < b) for a, b, _ in turns], axis=0) if turns else np.zeros_like(speech)
    spoken, silent = float(turned[speech].mean()), float(turned[~speech].mean())
    speakers = len({cluster for *_, cluster in turns})
    figures = f"{speakers} speakers, turns over {spoken:.0%} of speech and {silent:.0%} of silence"
    if spoken < LEAST_SPOKEN or silent > MOST_SILENT or not 1 <= speakers <= MOST_SPEAKERS:
        raise _failed("diarization", model, figures)
    return figures


def _failed(role: str, model: str, why: str, more: str = "") -> Misconfigured:
    hint = f"Its weights are not what they should be: fetch it again, or set {role}.model to another one."
    return Misconfigured(
        f"{role} model {model} fails its self-test: {why}", cause="self-test failed", hint=f"{hint} {more}".strip()
    )


def _check(role: str, model: str, near: tuple[str, float], far: tuple[str, float], lead: float) -> str:
    figures = f"{near[0]} {near[1]:.2f}, {far[0]} {far[1]:.2f}"
    if not near[1] >= far[1] + lead:  # also fails when either is NaN
        raise _failed(role, model, figures)
    return figures

"""One call of the recogniser: windows of any recordings in, words out. The result of a window depends on that window alone.

It uses faster-whisper's steps (features, prompt, search, alignment) without the state that its pipelines carry from window to
window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.models import quiet
from gainstage.engine.models.oom import out_of_memory_named
from gainstage.engine.terms import Word
from gainstage.engine.text.joining import same_word
from gainstage.engine.text.sentences import spaced

NO_SPEECH, DOUBT, REPETITIVE = 0.6, -1.0, 2.4
"""Whisper's own rules: above this probability of silence and below this mean log-probability a window has no speech; text with a
higher compression ratio than this repeats itself."""

FULL_CONTEXT_S = 30
"""Seconds of audio that Whisper's encoder takes."""

_SENTENCE_END = ".。!！?？"
_PREPENDED, _APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"
_LONGEST_USUAL_S = 0.7
_LATEST_START_S = 1.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a window is decoded; only windows with equal decoding share a call.

    With ``language`` None the model detects it per window. ``timestamps`` lets the model write times among the words, which ends a
    short window earlier. ``context_s`` is the length in seconds that windows are padded to: the encoder's cost grows faster than
    it.
    """

    language: str | None
    beam: int
    task: Literal["transcribe", "translate"] = "transcribe"
    hotwords: str = ""
    prompt: str = ""
    timestamps: bool = False
    context_s: int = 30


@dataclass(frozen=True, slots=True, eq=False)
class SpeechWindow:
    """A piece of audio as model input: ``features`` (mels, frames) float32, ``seconds`` long."""

    features: NDArray[np.float32]
    seconds: float
    decoding: Decoding
    done: Callable[[DecodedWindow], object] = lambda _: None  # called with the result, on the thread of the call

    @property
    def share(self) -> float:
        """What it takes of the room in a call: one for a window padded to :data:`FULL_CONTEXT_S`, a third for one padded to ten."""
        return self.decoding.context_s / FULL_CONTEXT_S


@dataclass(frozen=True, slots=True)
class DecodedWindow:
    """The result of a window. Word times are seconds from its start; ``no_speech`` is the probability of silence, ``compression``
    the ratio of the text's size to its compressed size."""

    words: tuple[Word, ...]
    tokens: tuple[int, ...]
    log_probability: float
    no_speech: float
    compression: float
    language: str
    language_probability: float

    @property
    def silent(self) -> bool:
        """Whether there is no speech by Whisper's own rule."""
        return not self.words or (self.no_speech > NO_SPEECH and self.log_probability < DOUBT)

    @property
    def doubtful(self) -> bool:
        """Whether the words fail Whisper's rules for reliable text."""
        return self.log_probability < DOUBT or self.compression > REPETITIVE


@dataclass(slots=True)
class _WindowTokens:
    """The tokens of one window before alignment."""

    tokens: tuple[int, ...]
    log_probability: float
    no_speech: float
    compression: float


def features_of(model: Any, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (mels, frames) of the samples, unpadded; the call pads them to the model's window."""
    features: NDArray[np.float32] = model.feature_extractor(samples)[..., :-1]
    return features


def decode(model: Any, windows: Sequence[SpeechWindow], device: str) -> list[DecodedWindow]:
    """The result of each window, in order; all must have equal decoding. Raises :class:`gainstage.engine.errors.OutOfMemory`."""
    from faster_whisper.audio import pad_or_trim

    with quiet.working(), out_of_memory_named(f"recogniser on {device}"):
        how = windows[0].decoding
        frames = how.context_s * model.frames_per_second
        encoded = model.encode(np.stack([pad_or_trim(window.features, frames) for window in windows]))
        languages = _languages(model, encoded, len(windows), how.language)
        texts = _texts(model, encoded, [language for language, _ in languages], how)
        words = _aligned(model, encoded, windows, texts, [language for language, _ in languages], how)
    return [
        DecodedWindow(said, text.tokens, text.log_probability, text.no_speech, text.compression, language, probability)
        for said, text, (language, probability) in zip(words, texts, languages, strict=True)
    ]


def calls_of(windows: Sequence[SpeechWindow], most: float | None) -> list[Sequence[SpeechWindow]]:
    """The windows, in order, in calls whose shares sum to at most ``most``, or of one window; None is one call."""
    if not windows:
        return []
    if most is None:
        return [windows]
    starts, taken = [0], 0.0
    for k, window in enumerate(windows):
        if k > starts[-1] and taken + window.share > most:
            starts.append(k)
            taken = 0.0
        taken += window.share
    return [windows[a:b] for a, b in pairwise([*starts, len(windows)])]


def _languages(model: Any, encoded: Any, count: int, language: str | None) -> list[tuple[str, float]]:
    if language is not None:
        return [(language, 1.0)] * count
    return [(detected[0][0][2:-2], float(detected[0][1])) for detected in model.model.detect_language(encoded)]


def _tokenizer(model: Any, language: str, task: str) -> Any:
    from faster_whisper.tokenizer import Tokenizer

    return Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task=task, language=language)


def _texts(model: Any, encoded: Any, languages: Sequence[str], how: Decoding) -> list[_WindowTokens]:
    """The most probable tokens of each window."""
    tokenizers = {language: _tokenizer(model, language, how.task) for language in dict.fromkeys(languages)}
    prompts = [_prompt(model, tokenizers[language], how) for language in languages]
    return _searched(model, encoded, prompts, tokenizers[languages[0]], how)


def _prompt(model: Any, tokenizer: Any, how: Decoding) -> list[int]:
    before = tokenizer.encode(" " + how.prompt.strip()) if how.prompt else []
    room = model.max_length // 2 - len(tokenizer.encode(" " + how.hotwords.strip())) if how.hotwords else model.max_length // 2
    before = before[-room:] if room > 0 else []
    prompt: list[int] = model.get_prompt(tokenizer, before, without_timestamps=not how.timestamps, hotwords=how.hotwords or None)
    return prompt


def _searched(model: Any, encoded: Any, prompts: Sequence[list[int]], tokenizer: Any, how: Decoding) -> list[_WindowTokens]:
    from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens

    results = model.model.generate(
        encoded,
        list(prompts),
        max_length=model.max_length,
        return_scores=True,
        return_no_speech_prob=True,
        suppress_tokens=list(get_suppressed_tokens(tokenizer, [-1])),
        max_initial_timestamp_index=round(_LATEST_START_S / model.time_precision),
        beam_size=how.beam,
    )
    texts = []
    for result in results:
        tokens = tuple(result.sequences_ids[0])
        text = tokenizer.decode(list(tokens)).strip()
        log_probability = float(result.scores[0]) * len(tokens) / (len(tokens) + 1)
        compression = get_compression_ratio(text) if text else 0.0
        texts.append(_WindowTokens(tokens, log_probability, float(result.no_speech_prob), compression))
    return texts


# -- words --------------------------------------------------------------------------------------------------------------


def _aligned(
    model: Any,
    encoded: Any,
    windows: Sequence[SpeechWindow],
    texts: Sequence[_WindowTokens],
    languages: Sequence[str],
    how: Decoding,
) -> list[tuple[Word, ...]]:
    """The words of each window with times, by cross-attention.

    CTranslate2 takes the mean of the attention over the longest text of a call, so a window's times depend on the other windows (by
    up to 0.2 s). On a CPU each window is aligned alone, at no extra cost; on a GPU all are aligned together, one call per language.
    """
    frames = [math.ceil(window.seconds) * model.frames_per_second for window in windows]
    words: list[tuple[Word, ...]] = [()] * len(windows)
    for language in dict.fromkeys(languages):
        tokenizer = _tokenizer(model, language, how.task)
        tokens = [[token for token in text.tokens if token < tokenizer.eot] for text in texts]
        if model.model.device == "cpu":
            rows = [k for k, one in enumerate(languages) if one == language]
            timings = {k: model.find_alignment(tokenizer, [tokens[k]], _row(encoded, k), [frames[k]])[0] for k in rows}
        else:
            timings = dict(enumerate(model.find_alignment(tokenizer, tokens, encoded, frames)))
        for k, one in enumerate(languages):
            if one == language:
                words[k] = _words(timings[k], windows[k].seconds, joined_up=not spaced(language))
    return words


def _row(encoded: Any, k: int) -> Any:
    """One window's row of the encoder output, on the CPU."""
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.asarray(encoded)[k : k + 1])


def _words(timings: list[dict[str, Any]], seconds: float, *, joined_up: bool) -> tuple[Word, ...]:
    """Words of an alignment: punctuation is attached, overlong words at sentence ends and at the window's start are shortened."""
    from faster_whisper.transcribe import merge_punctuations

    lengths = [t["end"] - t["start"] for t in timings if t["end"] > t["start"]]
    usual = min(_LONGEST_USUAL_S, float(np.median(lengths))) if lengths else 0.0
    for before, timing in pairwise(timings):
        if timing["end"] - timing["start"] > 2 * usual:
            if timing["word"] in _SENTENCE_END:
                timing["end"] = timing["start"] + 2 * usual
            elif before["word"] in _SENTENCE_END:
                timing["start"] = timing["end"] - 2 * usual
    merge_punctuations(timings, _PREPENDED, _APPENDED)
    spoken = [t for t in timings if t["word"].strip()]
    if spoken and spoken[0]["end"] - spoken[0]["start"] > 2 * usual and spoken[0]["end"] > 4 * usual:
        spoken[0]["start"] = max(0.0, spoken[0]["end"] - 2 * usual)
    words: list[Word] = []
    for timing in spoken:
        text, end, probability = timing["word"], min(float(timing["end"]), seconds), float(timing["probability"])
        led = text.startswith(" ")
        if (
            words and not led and (not joined_up or same_word(words[-1].text, text.strip()))
        ):  # the rest of a word: "-one" after "twenty"
            last = words[-1]
            words[-1] = Word(last.text + text.strip(), last.start, end, min(last.probability, probability))
        else:
            lead = " " if joined_up and led and words else ""  # in a script without spaces, a space is part of the text
            words.append(Word(lead + text.strip(), min(float(timing["start"]), end), end, probability))
    return tuple(words)

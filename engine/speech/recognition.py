"""One call of the recogniser: windows of any recordings in, words out, each a function of its own window alone.

Built on faster-whisper's own steps (features, prompt, search, alignment), without the state its pipelines carry from one window
to the next.
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
"""Whisper's own rules: above this probability of silence and below this average log-probability a window said nothing; text that
compresses better than this repeats itself."""

_SENTENCE_END = ".。!！?？"
_PREPENDED, _APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"
_LONGEST_USUAL_S = 0.7
_LATEST_START_S = 1.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a window is decoded; only windows of equal decoding share a call.

    ``language`` None has the model tell it per window. ``timestamps`` lets the model write times among the words, which ends a
    short window sooner. ``context_s`` is the length windows are padded to: the encoder's cost grows faster than it.
    """

    language: str | None
    beam: int
    task: Literal["transcribe", "translate"] = "transcribe"
    hotwords: str = ""
    prompt: str = ""
    timestamps: bool = False
    context_s: int = 30


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of audio as the model hears it: ``features`` (mels, frames) float32, ``seconds`` long."""

    features: NDArray[np.float32]
    seconds: float
    decoding: Decoding
    done: Callable[[float], object] = lambda _: None  # told ``seconds`` when the window was decoded, on the caller's thread


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a window said. Word times are seconds from its start; ``no_speech`` is the probability of silence, ``compression`` the
    ratio of text to its packed form."""

    words: tuple[Word, ...]
    tokens: tuple[int, ...]
    log_probability: float
    no_speech: float
    compression: float
    language: str
    language_probability: float

    @property
    def silent(self) -> bool:
        """Whether Whisper's own rule says that nobody spoke."""
        return not self.words or (self.no_speech > NO_SPEECH and self.log_probability < DOUBT)

    @property
    def doubtful(self) -> bool:
        """Whether the words break Whisper's rules for words to keep."""
        return self.log_probability < DOUBT or self.compression > REPETITIVE


@dataclass(slots=True)
class _Text:
    """The tokens of one window before their words have times."""

    tokens: tuple[int, ...]
    log_probability: float
    no_speech: float
    compression: float


def features_of(model: Any, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(mels, frames) of samples, as long as they are; the call pads them to the model's window."""
    features: NDArray[np.float32] = model.feature_extractor(samples)[..., :-1]
    return features


def decode(model: Any, windows: Sequence[Window], device: str) -> list[Decoded]:
    """What each window said; all of equal decoding. Raises :class:`gainstage.engine.errors.OutOfMemory`."""
    from faster_whisper.audio import pad_or_trim

    with quiet.working(), out_of_memory_named(f"recogniser on {device}"):
        how = windows[0].decoding
        frames = how.context_s * model.frames_per_second
        encoded = model.encode(np.stack([pad_or_trim(window.features, frames) for window in windows]))
        languages = _languages(model, encoded, len(windows), how.language)
        texts = _texts(model, encoded, [language for language, _ in languages], how)
        words = _aligned(model, encoded, windows, texts, [language for language, _ in languages], how)
    return [
        Decoded(said, text.tokens, text.log_probability, text.no_speech, text.compression, language, probability)
        for said, text, (language, probability) in zip(words, texts, languages, strict=True)
    ]


def _languages(model: Any, encoded: Any, count: int, asked: str | None) -> list[tuple[str, float]]:
    if asked is not None:
        return [(asked, 1.0)] * count
    return [(told[0][0][2:-2], float(told[0][1])) for told in model.model.detect_language(encoded)]


def _tokenizer(model: Any, language: str, task: str) -> Any:
    from faster_whisper.tokenizer import Tokenizer

    return Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task=task, language=language)


def _texts(model: Any, encoded: Any, languages: Sequence[str], how: Decoding) -> list[_Text]:
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


def _searched(model: Any, encoded: Any, prompts: Sequence[list[int]], tokenizer: Any, how: Decoding) -> list[_Text]:
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
        texts.append(_Text(tokens, log_probability, float(result.no_speech_prob), compression))
    return texts


# -- words --------------------------------------------------------------------------------------------------------------


def _aligned(
    model: Any, encoded: Any, windows: Sequence[Window], texts: Sequence[_Text], languages: Sequence[str], how: Decoding
) -> list[tuple[Word, ...]]:
    """The words of each window with times, by cross-attention.

    CTranslate2 takes the mean of the attention over the longest text of a call, so a window's times move with its company (up to
    0.2 s). On a CPU each window is aligned by itself, which costs nothing; on a GPU all are at once, one call per language.
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
    """The encoder's output of one window of a call on the CPU."""
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.asarray(encoded)[k : k + 1])


def _words(timings: list[dict[str, Any]], seconds: float, *, joined_up: bool) -> tuple[Word, ...]:
    """Words of an alignment: punctuation joined to them, overlong ones at sentence ends and at the window's start cut short."""
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
    heard = [t for t in timings if t["word"].strip()]
    if heard and heard[0]["end"] - heard[0]["start"] > 2 * usual and heard[0]["end"] > 4 * usual:
        heard[0]["start"] = max(0.0, heard[0]["end"] - 2 * usual)
    words: list[Word] = []
    for timing in heard:
        text, end, probability = timing["word"], min(float(timing["end"]), seconds), float(timing["probability"])
        led = text.startswith(" ")
        if (
            words and not led and (not joined_up or same_word(words[-1].text, text.strip()))
        ):  # the rest of a word: "-one" after "twenty"
            last = words[-1]
            words[-1] = Word(last.text + text.strip(), last.start, end, min(last.probability, probability))
        else:
            lead = " " if joined_up and led and words else ""  # in a script that runs on, a space is part of what was said
            words.append(Word(lead + text.strip(), min(float(timing["start"]), end), end, probability))
    return tuple(words)

"""Recognition of one block of a recording: speech in windows, gaps recognised again, every second accounted for."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gainstage.config.settings import Asr
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.models import quiet
from gainstage.engine.speech.coverage import coverage, holes
from gainstage.engine.speech.gaps import (
    MISSED_SHARE,
    PAD_S,
    QUIET_DB,
    UNSURE,
    anomalous,
    around,
    new_words,
    read,
    stretched,
    unworded,
    words_in,
)
from gainstage.engine.speech.listening import Listening
from gainstage.engine.speech.recognition import DecodedWindow, Decoding, SpeechWindow, features_of
from gainstage.engine.speech.times import snapped
from gainstage.engine.speech.windows import Span, joined, packed, parted, quietest, united
from gainstage.engine.terms import SAMPLE_RATE, Coverage, Word

Submit = Callable[[Sequence[SpeechWindow], CancelToken], Sequence[Any]]
"""Takes windows and returns, in the same order, a :class:`DecodedWindow` for each, or an exception in its place."""

SHORTEST_S = 0.1
"""A shorter piece of speech, in seconds, is a click."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The result of one window, with the times of its words in the block."""

    span: Span
    words: tuple[Word, ...]
    decoded: DecodedWindow

    def moved(self, by: float) -> Utterance:
        """The same result ``by`` seconds later."""
        words = tuple(replace(w, start=w.start + by, end=w.end + by) for w in self.words)
        return Utterance((self.span[0] + by, self.span[1] + by), words, self.decoded)


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a recording in memory; times are seconds from its start. ``speech`` holds the spans of detected speech,
    ``features`` the model's input for windows where it is computed already."""

    samples: NDArray[np.float32]
    speech: Sequence[Span]
    features: dict[Span, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def cut(self, span: Span) -> NDArray[np.float32]:
        """The samples of a span."""
        return self.samples[round(span[0] * SAMPLE_RATE) : round(span[1] * SAMPLE_RATE)]

    def level(self, span: Span) -> float:
        """The level of a span in decibels of full scale, at least -120."""
        samples = self.cut(span)
        return 10 * math.log10(float(np.dot(samples, samples)) / max(1, len(samples)) + 1e-12)

    def padded(self, spans: Sequence[Span], pad_s: float) -> list[Span]:
        """The spans with ``pad_s`` seconds around them, within the block."""
        return [(max(0.0, a - pad_s), min(self.seconds, b + pad_s)) for a, b in spans]

    def windows(self, spans: Sequence[Span], rule: Listening) -> list[Span]:
        """The spans joined or split into windows of the model's length."""

        def quiet_place(low: float, high: float) -> float:
            return low + quietest(self.cut((low, high)))

        near = joined(self.padded(spans, rule.pad_s), rule.pause_s or 0.0)
        parts = [part for span in near for part in parted(span, rule.window_s, quiet_place)]
        whole = packed(parts, rule.window_s) if rule.pause_s is None else parts
        return [span for span in whole if span[1] - span[0] >= SHORTEST_S]


def speech_in(samples: NDArray[np.float32]) -> list[Span]:
    """Spans of speech in seconds, by the voice activity detector that comes with faster-whisper."""
    if not samples.any():
        return []
    with quiet.working():
        from faster_whisper.vad import VadOptions, get_speech_timestamps

        options = VadOptions(min_speech_duration_ms=round(1000 * SHORTEST_S), min_silence_duration_ms=160, speech_pad_ms=0)
        pieces = get_speech_timestamps(samples, options)
    return [(p["start"] / SAMPLE_RATE, p["end"] / SAMPLE_RATE) for p in pieces]


class BlockRecogniser:
    """Recognition of one recording, block after block.

    With ``language`` None the model detects it: every window of the first block with speech detects one while it is decoded, the
    majority in seconds is used, and windows with another language are decoded again. With ``asr.multilingual`` each window keeps
    its own language.
    """

    def __init__(
        self,
        model: Any,
        rule: Listening,
        settings: Asr,
        language: str | None,
        token: CancelToken,
        submit: Submit,
        kept: KeptResults | None = None,
    ) -> None:
        self._model = model
        self._rule = rule
        self._whole = not settings.vad
        self._how = Decoding(language, settings.beam, settings.task, settings.hotwords.strip(), settings.prompt.strip())
        self._language = language
        self._several = settings.multilingual and language is None
        self._token = token
        self._submit = submit
        self._kept = kept
        self._votes: dict[str, float] = {}
        self._certain: dict[str, float] = {}
        self.language: tuple[str, float] | None = None if language is None else (language, 1.0)
        """The recording's language and its probability; None before any speech. Read by the thread that prepares blocks."""

    def speech(self, samples: NDArray[np.float32]) -> list[Span]:
        """Spans of speech of a block, see :func:`speech_in`."""
        key = key_of(samples, "speech")
        payload = self._kept.get(key) if self._kept is not None else None
        if payload is not None:
            return [(float(start), float(end)) for start, end in json.loads(payload)]
        spans = speech_in(samples)
        if self._kept is not None:
            self._kept.put(key, json.dumps(spans).encode())
        return spans

    def prepared(self, samples: NDArray[np.float32]) -> Block:
        """A block with its speech and the features of its windows, but for windows whose result is kept. May run on another thread
        than :meth:`block`. Raises :class:`gainstage.engine.errors.Cancelled`.
        """
        self._token.check()
        block = Block(samples, self.speech(samples))
        name = self._name()
        for start, end in self._windows(block):
            self._token.check()
            window = block.cut((start, end))
            if self._kept is None or self._kept.get(key_of(window, repr(self._decoding(end - start, name)))) is None:
                block.features[start, end] = features_of(self._model, window)
        return block

    def block(self, block: Block, done: Callable[[float, float], object]) -> tuple[list[Utterance], Coverage]:
        """The utterances of a block in time order, and its coverage. ``done`` is called with seconds decoded and total seconds."""
        first = self._first(block, self._windows(block), done)
        sure = [u for u in first if not u.decoded.doubtful]
        firm = [w for u in sure for w in u.words if not stretched(w, block.speech)]
        again, moved = self._again(block, firm) if self._rule.again else ([], {})
        kept = self._better([u for u in first if u.decoded.doubtful], [u for u in again if u.words])
        sure = [_without_replaced(u, block.speech, [k.span for k in again if k.words]) for u in sure]
        sure = [_moved(u, moved) for u in sure]
        utterances = sorted((u for u in [*sure, *kept] if u.words), key=lambda u: u.words[0].start)
        silent = [u.span for u in again if not u.words and u.decoded.silent]
        words = [word for u in utterances for word in u.words]
        return utterances, coverage(block.speech, words, silent, heard_again=len(again))

    def _windows(self, block: Block) -> list[Span]:
        listen_to = [(0.0, block.seconds)] if self._whole and block.samples.any() else list(block.speech)
        return block.windows(listen_to, self._rule)

    def _name(self) -> str | None:
        """The language to decode with; None where it is to be detected."""
        detected = self.language
        return detected[0] if detected is not None and not self._several else None

    def _decoding(self, seconds: float, language: str | None, *, timestamps: bool = False) -> Decoding:
        return replace(self._how, language=language, timestamps=timestamps, context_s=self._rule.context_of(seconds))

    def _first(self, block: Block, spans: Sequence[Span], done: Callable[[float, float], object]) -> list[Utterance]:
        name = self._name()
        total = sum(end - start for start, end in spans)
        decoded = self._decoded(block, spans, name, lambda seconds: done(seconds, total))
        if name is None and spans:
            for span, one in zip(spans, decoded, strict=True):
                length = span[1] - span[0]
                self._votes[one.language] = self._votes.get(one.language, 0.0) + length
                self._certain[one.language] = self._certain.get(one.language, 0.0) + length * one.language_probability
            detected = self.language = self._majority()
            other = [k for k, one in enumerate(decoded) if detected is not None and one.language != detected[0]]
            if other and detected is not None and not self._several:
                redone = self._decoded(block, [spans[k] for k in other], detected[0])
                for k, one in zip(other, redone, strict=True):
                    decoded[k] = one
        return self._with_timestamps(block, [_utterance(span, one, block.speech) for span, one in zip(spans, decoded, strict=True)])

    def _with_timestamps(self, block: Block, windows: list[Utterance]) -> list[Utterance]:
        """The windows, and in place of those that missed much of their speech another reading of the whole window, with timestamps,
        where it leaves at most half of that: it goes through the window in order, where the first one may follow one speaker only.
        """
        if not self._rule.timestamps:
            return windows
        gaps = [unworded(one.span, one.words, block.speech) for one in windows]
        missed = [k for k, (left, speech) in enumerate(gaps) if windows[k].words and left > MISSED_SHARE * speech]
        for k, one in zip(missed, self._read(block, [windows[k].span for k in missed]), strict=True):
            if not one.decoded.doubtful and unworded(one.span, one.words, block.speech)[0] <= gaps[k][0] / 2:
                windows[k] = one
        return windows

    def _majority(self) -> tuple[str, float]:
        most = max(self._votes, key=lambda name: self._votes[name])
        return most, self._certain[most] / sum(self._votes.values())

    def _again(self, block: Block, known: Sequence[Word]) -> tuple[list[Utterance], dict[Word, Word]]:
        """Recognise every gap between the ``known`` words again: with the words beside it, and alone where that leaves it open: two
        readings in place of the temperature steps of Whisper, whose random words would differ from run to run. Gaps whose spans
        overlap share one reading while that is a short window.

        Returns for each gap its words when they are reliable enough, else none, and the known words that have other times now.
        """
        words = sorted(known, key=lambda w: w.start)
        parts = [part for hole in holes(block.speech, words) for part in block_parts(block, hole, self._rule)]
        usual = float(np.median([block.level((w.start, w.end)) for w in words if w.end - w.start >= SHORTEST_S] or [-math.inf]))
        quiet = [block.level(part) < usual - QUIET_DB for part in parts]
        alone = block.padded(parts, PAD_S)
        wide = [around(part, words, block.seconds, self._rule) for part in parts]
        result: dict[int, Utterance] = {}
        left_open: dict[int, tuple[Word, ...]] = {}  # a word found there covers others; without it
        moved: dict[Word, Word] = {}
        beside = [k for k in range(len(parts)) if wide[k] != alone[k]]
        shared = united([wide[k] for k in beside], self._rule.short_s)
        spans = list(dict.fromkeys(shared))
        found = dict(zip(spans, self._read(block, spans), strict=True))
        for k, span in zip(beside, shared, strict=True):
            one = found[span]
            if quiet[k] and one.decoded.log_probability < UNSURE:
                result[k] = replace(one, span=parts[k], words=())
                continue
            reading = read(parts[k], span, one.words, words)
            if one.decoded.doubtful or anomalous(reading.words):
                continue
            firm = tuple(w for w in reading.words if not stretched(w, block.speech))
            words = replace(reading, words=firm).applied(words)
            moved = {w: reading.moved.get(now, now) for w, now in moved.items()} | dict(reading.moved)
            if reading.words or reading.settled:
                result[k] = replace(one, span=parts[k], words=reading.words)
            if firm != reading.words:
                left_open[k] = firm
        rest = [k for k in range(len(parts)) if k not in result or k in left_open]
        for k, one in zip(rest, self._read(block, [alone[k] for k in rest]), strict=True):
            inside = words_in(parts[k], alone[k], one.words, words if self._rule.around_s else ())
            heard = not quiet[k] or one.decoded.log_probability >= UNSURE
            good = heard and not one.decoded.doubtful and not anomalous(inside)
            new = tuple(new_words(inside, words)) if good else ()
            if new or k not in left_open:
                result[k] = replace(one, span=parts[k], words=tuple(sorted((*left_open.get(k, ()), *new), key=lambda w: w.start)))
        return [_moved(result[k], moved) for k in range(len(parts))], moved

    def _read(self, block: Block, spans: Sequence[Span]) -> list[Utterance]:
        decoded = self._decoded(block, spans, self._name(), timestamps=self._rule.timestamps)
        return [_utterance(span, one, block.speech) for span, one in zip(spans, decoded, strict=True)]

    @staticmethod
    def _better(doubtful: Sequence[Utterance], again: Sequence[Utterance]) -> list[Utterance]:
        """For each window that broke the rules, the more probable of its own words and those recognised in its gaps."""
        kept = list(again)
        for window in doubtful:
            rivals = [u for u in again if window.span[0] <= sum(u.span) / 2 <= window.span[1]]
            tokens = sum(len(u.decoded.tokens) for u in rivals)
            if not tokens or (
                sum(u.decoded.log_probability * len(u.decoded.tokens) for u in rivals) / tokens <= window.decoded.log_probability
            ):
                kept = [u for u in kept if u not in rivals] + [window]
        return kept

    def _decoded(
        self,
        block: Block,
        spans: Sequence[Span],
        language: str | None,
        done: Callable[[float], object] = lambda _: None,
        *,
        timestamps: bool = False,
    ) -> list[DecodedWindow]:
        if not spans:
            return []
        self._token.check()
        decoded: dict[int, DecodedWindow] = {}
        windows: dict[int, SpeechWindow] = {}
        with quiet.working():
            for n, (start, end) in enumerate(spans):
                how = self._decoding(end - start, language, timestamps=timestamps)
                samples = block.cut((start, end))
                key = key_of(samples, repr(how))
                payload = self._kept.get(key) if self._kept is not None else None
                if payload is not None:
                    decoded[n] = decoded_from(payload)
                    done(end - start)
                    continue
                finished = partial(self._finished, key, end - start, done)
                features = block.features.get((start, end))
                if features is None:
                    features = features_of(self._model, samples)
                windows[n] = SpeechWindow(features, end - start, how, finished)
        results = self._submit(list(windows.values()), self._token) if windows else ()
        for n, one in zip(windows, results, strict=True):
            if isinstance(one, Exception):
                raise one
            decoded[n] = one
        return [decoded[n] for n in range(len(spans))]

    def _finished(self, key: bytes, seconds: float, done: Callable[[float], object], result: DecodedWindow) -> None:
        if self._kept is not None:
            self._kept.put(key, payload_of(result))
        done(seconds)


def key_of(samples: NDArray[np.float32], how: str) -> bytes:
    """The key of a kept result: what was listened to, and how."""
    digest = hashlib.blake2b(how.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples).data)
    return digest.digest()


def payload_of(result: DecodedWindow) -> bytes:
    """A result as bytes, exact to the last bit."""
    words = [[w.text, float(w.start), float(w.end), float(w.probability)] for w in result.words]
    rest = asdict(replace(result, words=(), tokens=tuple(map(int, result.tokens))))
    return json.dumps({**rest, "words": words}).encode()


def decoded_from(payload: bytes) -> DecodedWindow:
    """The inverse of :func:`payload_of`."""
    values = json.loads(payload)
    return DecodedWindow(**{**values, "words": tuple(Word(*word) for word in values["words"]), "tokens": tuple(values["tokens"])})


def block_parts(block: Block, hole: Span, rule: Listening) -> list[Span]:
    """A gap in parts that fit the model's window together with their padding."""
    return parted(hole, rule.window_s - 2 * PAD_S, lambda low, high: low + quietest(block.cut((low, high))))


def _moved(utterance: Utterance, moved: Mapping[Word, Word]) -> Utterance:
    return replace(utterance, words=tuple(moved.get(w, w) for w in utterance.words))


def _without_replaced(utterance: Utterance, speech: Sequence[Span], again: Sequence[Span]) -> Utterance:
    """The utterance without the stretched words whose time was recognised again with words as a result."""
    words = tuple(
        w for w in utterance.words if not (stretched(w, speech) and any(a <= (w.start + w.end) / 2 <= b for a, b in again))
    )
    return replace(utterance, words=words)


def _utterance(span: Span, decoded: DecodedWindow, speech: Sequence[Span]) -> Utterance:
    placed = [replace(w, start=w.start + span[0], end=w.end + span[0]) for w in ([] if decoded.silent else decoded.words)]
    return Utterance(span, tuple(snapped(placed, speech)), decoded)

"""What is said: words with times, by one shared faster-whisper model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gainstage.config.settings import Asr
from gainstage.engine.errors import Misconfigured
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet
from gainstage.engine.models.oom import out_of_memory_named
from gainstage.engine.models.rate import Rate
from gainstage.engine.speech.loops import loops
from gainstage.engine.speech.times import mended, snapped
from gainstage.engine.speech.windows import Span, blocks, joined, parted, quietest
from gainstage.engine.terms import SAMPLE_RATE, Audio, Transcript, Word
from gainstage.engine.text.sentences import spaced

GAP_SHARE = 0.03
"""Speech on both sides of a pause longer than this share of the model's window is recognised in windows of its own: 0.3 s of
10 s, 0.9 s of 30 s. On demo dialogues: word error rate 0.9 % against 2.2 % with pauses left inside."""

PAD_S = 0.2
"""Kept on each side of detected speech; with 0.4 s the error of the first word's start grows by a quarter."""

SHORTEST_S = 0.1
"""A piece of speech shorter than this is a click."""

NO_SPEECH, DOUBT = 0.6, -1.0
"""Whisper's own rule: a window it takes for silence with this probability, and of whose words it is this unsure, said nothing."""

BLOCK_S = (300.0, 1800.0)
"""Bounds of what is held in memory of a long recording; within them, two full batches."""


@dataclass(frozen=True, slots=True)
class _Utterance:
    """One window as recognised."""

    span: Span
    words: tuple[Word, ...]
    log_probability: float


class Transcriber:
    """A recogniser on one device, shared by every slot: several threads may transcribe at once."""

    def __init__(self, model: Any, label: str, device: str, compute: str) -> None:
        self._model = model
        self.label = label
        self.device = device
        self.compute = compute
        self.rate = Rate("audio")
        self.window_s = float(model.feature_extractor.chunk_length)

    def transcribe(
        self,
        audio: Audio,
        settings: Asr,
        *,
        token: CancelToken,
        progress: Callable[[float], None] | None = None,
    ) -> Transcript:
        """The words of a recording; none where nobody speaks.

        Long recordings are worked through in blocks of minutes, so that memory does not grow with them. Raises
        :class:`Misconfigured` for a language the model does not speak, :class:`gainstage.engine.errors.OutOfMemory`,
        :class:`gainstage.engine.errors.Cancelled`.
        """
        language, probability = self._asked_language(settings), 1.0
        said: list[_Utterance] = []
        low, high = BLOCK_S
        for start, end in blocks(audio, min(high, max(low, 2 * settings.batch * self.window_s))):
            token.check()
            samples = audio.read(start, end)
            speech = self._speech(samples, settings)
            spans = self._windows(samples, speech)
            if spans and language is None:
                language, probability = self._detect(samples, spans)
            with self.rate.timed(end - start):
                for found in self._utterances(samples, spans, settings, language, token):
                    said.append(_placed(found, speech, start))
                    if progress is not None:
                        progress(min(1.0, (start + found.span[1]) / audio.seconds))
            if progress is not None:
                progress(end / audio.seconds)
        return self._transcript(said, audio.seconds, language or "en", probability if said else 0.0)

    def _transcript(self, said: Sequence[_Utterance], seconds: float, language: str, probability: float) -> Transcript:
        words: list[Word] = []
        utterances: list[tuple[int, int]] = []
        for found in said:
            low = max(found.span[0], words[-1].end if words else 0.0)
            fresh = mended(found.words, low, max(low, min(found.span[1], seconds)))
            utterances.append((len(words), len(words) + len(fresh)))
            words.extend(fresh)
        weight = sum(len(u.words) for u in said)
        return Transcript(
            words=tuple(words),
            utterances=tuple(utterances),
            language=language,
            language_probability=probability,
            average_log_probability=sum(u.log_probability * len(u.words) for u in said) / weight if weight else None,
            model=self.label,
            looped=loops(words),
        )

    # -- windows ----------------------------------------------------------------------------------------------------

    def _windows(self, samples: NDArray[np.float32], speech: Sequence[Span]) -> list[Span]:
        """Speech with a little around it, joined over short pauses, in parts no longer than the model's window."""
        seconds = len(samples) / SAMPLE_RATE
        padded = [(max(0.0, a - PAD_S), min(seconds, b + PAD_S)) for a, b in speech]

        def quiet_place(low: float, high: float) -> float:
            return low + quietest(_cut(samples, (low, high)))

        spans = joined(padded, GAP_SHARE * self.window_s)
        return [part for span in spans for part in parted(span, self.window_s, quiet_place) if part[1] - part[0] >= SHORTEST_S]

    def _speech(self, samples: NDArray[np.float32], settings: Asr) -> list[Span]:
        """Where somebody speaks, by the voice activity detector that comes with faster-whisper; everywhere without it."""
        if not samples.any():
            return []
        if not settings.vad:
            return [(0.0, len(samples) / SAMPLE_RATE)]
        with quiet.working():
            from faster_whisper.vad import VadOptions, get_speech_timestamps

            options = VadOptions(min_speech_duration_ms=round(1000 * SHORTEST_S), min_silence_duration_ms=160, speech_pad_ms=0)
            pieces = get_speech_timestamps(samples, options)
        return [(p["start"] / SAMPLE_RATE, p["end"] / SAMPLE_RATE) for p in pieces]

    # -- recognition ------------------------------------------------------------------------------------------------

    def _utterances(
        self, samples: NDArray[np.float32], spans: Sequence[Span], settings: Asr, language: str | None, token: CancelToken
    ) -> Iterator[_Utterance]:
        for at in range(0, len(spans), settings.batch):
            token.check()
            batch = spans[at : at + settings.batch]
            heard = self._recognise(samples, batch, settings.batch, settings.beam, language)
            doubtful = [k for k, u in enumerate(heard) if u.words and u.log_probability < settings.refine_below]
            if doubtful:
                token.check()
                wider = min(10, 2 * settings.beam)
                again = self._recognise(samples, [batch[k] for k in doubtful], settings.batch, wider, language)
                for k, second in zip(doubtful, again, strict=True):
                    if second.log_probability > heard[k].log_probability:
                        heard[k] = second
            yield from (u for u in heard if u.words)

    def _recognise(
        self, samples: NDArray[np.float32], spans: Sequence[Span], batch: int, beam: int, language: str | None
    ) -> list[_Utterance]:
        """One utterance per window, in order; without words where the recogniser heard none."""
        from faster_whisper import BatchedInferencePipeline

        with quiet.working(), out_of_memory_named(f"recogniser on {self.device}"):
            # the pipeline keeps state between its windows, so each call has its own over the shared model
            segments, _ = BatchedInferencePipeline(self._model).transcribe(
                samples,
                language=language,
                beam_size=beam,
                batch_size=batch,
                word_timestamps=True,
                vad_filter=False,
                clip_timestamps=[{"start": a, "end": b} for a, b in spans],
            )
            by_window: list[list[Any]] = [[] for _ in spans]
            starts = [round(int(a * SAMPLE_RATE) / SAMPLE_RATE * 100) for a, _ in spans]
            for segment in segments:
                by_window[_window_of(starts, segment.seek)].append(segment)
        joined_up = not spaced(language or "en")
        return [_utterance(span, parts, joined_up) for span, parts in zip(spans, by_window, strict=True)]

    # -- language ---------------------------------------------------------------------------------------------------

    def _asked_language(self, settings: Asr) -> str | None:
        asked = None if settings.language == "auto" else settings.language
        if asked is None:
            return None if self._model.model.is_multilingual else "en"
        if asked not in self._model.supported_languages:
            spoken = ", ".join(self._model.supported_languages)
            raise Misconfigured(
                f"recogniser {self.label} does not speak {asked!r}",
                cause="unknown language",
                hint=f"Set asr.language to auto or one of: {spoken}.",
            )
        return asked

    def _detect(self, samples: NDArray[np.float32], spans: Sequence[Span]) -> tuple[str, float]:
        """The language of the first windows that hold speech: the most probable of up to four of them."""
        with quiet.working(), out_of_memory_named(f"recogniser on {self.device}"):
            told = [self._model.detect_language(_cut(samples, span))[:2] for span in spans[:4]]
        language, probability = max(told, key=lambda t: t[1])
        return str(language), float(probability)


def _cut(samples: NDArray[np.float32], span: Span) -> NDArray[np.float32]:
    return samples[round(span[0] * SAMPLE_RATE) : round(span[1] * SAMPLE_RATE)]


def _window_of(starts: Sequence[int], seek: int) -> int:
    """Which window a segment came from: its ``seek`` is the window's start in hundredths of a second."""
    return min(range(len(starts)), key=lambda k: abs(starts[k] - seek))


def _utterance(span: Span, segments: Sequence[Any], joined_up: bool) -> _Utterance:
    words: list[Word] = []
    segments = [s for s in segments if s.no_speech_prob <= NO_SPEECH or s.avg_logprob >= DOUBT]
    for heard in (word for segment in segments for word in segment.words or ()):
        text = heard.word.strip()
        if words and text and not joined_up and not heard.word.startswith(" "):  # the rest of a word: "-one" after "twenty"
            last = words[-1]
            probability = min(last.probability, float(heard.probability))
            words[-1] = Word(last.text + text, last.start, float(heard.end), probability)
        elif text:
            words.append(Word(text, float(heard.start), float(heard.end), float(heard.probability)))
    tokens = sum(len(s.tokens) for s in segments)
    log_probability = sum(s.avg_logprob * len(s.tokens) for s in segments) / tokens if tokens else float("-inf")
    return _Utterance(span, tuple(words), log_probability)


def _placed(found: _Utterance, speech: Sequence[Span], by: float) -> _Utterance:
    """The utterance of a block at its place in the recording."""
    words = tuple(Word(w.text, w.start + by, w.end + by, w.probability) for w in snapped(found.words, speech))
    return _Utterance((found.span[0] + by, found.span[1] + by), words, found.log_probability)

"""Transcription: words with times, from one shared faster-whisper model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gainstage.config.settings import Asr
from gainstage.engine.errors import Misconfigured
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.models import quiet
from gainstage.engine.models.made_by import made_by
from gainstage.engine.models.rate import Rate
from gainstage.engine.speech.activity import speech_spans
from gainstage.engine.speech.ahead import ahead
from gainstage.engine.speech.block_recogniser import BlockRecogniser, Submit, Utterance
from gainstage.engine.speech.coverage import summed
from gainstage.engine.speech.listening import Listening
from gainstage.engine.speech.loops import loops
from gainstage.engine.speech.recognition import DecodedWindow, Decoding, SpeechWindow, calls_of, decode, features_of
from gainstage.engine.speech.times import with_valid_times
from gainstage.engine.speech.windows import blocks
from gainstage.engine.terms import SAMPLE_RATE, Audio, Coverage, Transcript, Word

BLOCK_S = (300.0, 1800.0)
"""Least and most seconds of a long recording in memory; within them, two full batches."""


class Transcriber:
    """A recogniser on one device, shared by all slots: several threads may transcribe at once."""

    def __init__(
        self,
        model: Any,
        label: str,
        device: str,
        compute: str,
        listening: Listening | None = None,
        *,
        together: int | None = None,
        identity: str = "",
    ) -> None:
        self._model = model
        self.label = label
        self.identity = identity or label  # tells its weights from those of every other model
        self.together = together
        self.device = device
        self.compute = compute
        self.rate = Rate("audio")
        self.listening = listening or Listening()

    def decode(self, windows: Sequence[SpeechWindow], between: Callable[[], object] = lambda: None) -> list[DecodedWindow]:
        """The results of windows of equal decoding, from calls of at most ``together`` full windows; ``between`` is called before
        each. Raises :class:`gainstage.engine.errors.OutOfMemory`.
        """
        result: list[DecodedWindow] = []
        for part in calls_of(windows, self.together):
            between()
            with self.rate.timed(sum(window.seconds for window in part)):
                decoded = decode(self._model, part, self.device)
            for window, one in zip(part, decoded, strict=True):
                window.done(one)
            result += decoded
        return result

    def sample(self, samples: NDArray[np.float32], language: str) -> DecodedWindow:
        """The result for a short clip at 16 kHz. Raises :class:`gainstage.engine.errors.OutOfMemory`."""
        seconds = len(samples) / SAMPLE_RATE
        how = Decoding(language, 1, context_s=self.listening.context_of(seconds))
        return self.decode([SpeechWindow(features_of(self._model, samples), seconds, how)])[0]

    def transcribe(
        self,
        audio: Audio,
        settings: Asr,
        *,
        token: CancelToken,
        progress: Callable[[float], None] | None = None,
        submit: Submit | None = None,
        kept: KeptResults | None = None,
    ) -> Transcript:
        """The words of a recording; none where nobody speaks. ``submit`` lets its windows share calls with other recordings.
        Results in ``kept`` are not computed again, new ones are added to it.

        Long recordings are processed in blocks of minutes, so that memory does not grow with them; speech and features of the next
        block are found while the present one is recognised. Speech in which a window found
        no words is recognised again, alone. Raises :class:`Misconfigured` for a language the model does not support,
        :class:`gainstage.engine.errors.OutOfMemory`, :class:`gainstage.engine.errors.Cancelled`.
        """
        language = self._asked_language(settings)
        recognition = BlockRecogniser(
            self._model, self.listening, settings, language, token, submit or self._alone(settings.batch), kept
        )
        shown = _Progress(audio.seconds, progress)
        said: list[Utterance] = []
        accounts: list[Coverage] = []
        low, high = BLOCK_S
        parts = blocks(audio, min(high, max(low, 2 * settings.batch * self.listening.window_s)))
        with closing(ahead(lambda part: recognition.prepared(audio.read(*part)), parts)) as prepared:
            for (start, end), block in zip(parts, prepared, strict=True):
                token.check()
                utterances, account = recognition.block(block, shown.part(start, end))
                said += [utterance.moved(start) for utterance in utterances]
                accounts.append(replace(account, left=tuple((a + start, b + start) for a, b in account.left)))
                shown.reached(end)
        return self._transcript(said, audio.seconds, recognition.language or ("en", 0.0), summed(accounts))

    def _transcript(self, said: Sequence[Utterance], seconds: float, language: tuple[str, float], account: Coverage) -> Transcript:
        words: list[Word] = []
        utterances: list[tuple[int, int]] = []
        for low, high, run in _runs(said):
            low = max(low, words[-1].end if words else 0.0)
            fresh = with_valid_times(run, low, max(low, min(high, seconds)))
            utterances.append((len(words), len(words) + len(fresh)))
            words.extend(fresh)
        weight = sum(len(u.words) for u in said)
        return Transcript(
            words=tuple(words),
            utterances=tuple(utterances),
            language=language[0],
            language_probability=language[1] if said else 0.0,
            average_log_probability=sum(u.decoded.log_probability * len(u.words) for u in said) / weight if weight else None,
            model=self.label,
            looped=loops(words),
            coverage=account,
        )

    def _alone(self, batch: int) -> Submit:
        """Submit windows of one recording in calls of their own."""

        def submit(windows: Sequence[SpeechWindow], token: CancelToken) -> list[DecodedWindow]:
            result: dict[int, DecodedWindow] = {}
            groups: dict[Decoding, list[int]] = {}
            for k, window in enumerate(windows):
                groups.setdefault(window.decoding, []).append(k)
            for group in groups.values():
                decoded: list[DecodedWindow] = []
                for part in calls_of([windows[k] for k in group], batch):
                    token.check()
                    decoded += self.decode(part)
                result |= zip(group, decoded, strict=True)
            return [result[k] for k in range(len(windows))]

        return submit

    def header(self, audio: Audio, settings: Asr) -> dict[str, Any]:
        """All that kept results of a recording depend on."""
        values = settings.model_dump(include={"language", "beam", "vad", "task", "multilingual", "hotwords", "prompt"})
        model = [self.identity, self.device, self.compute, repr(self.listening)]
        return {"audio": audio.fingerprint, "model": model, "settings": values, "made by": made_by("faster-whisper", "ctranslate2")}

    @property
    def multilingual(self) -> bool:
        """Whether it knows more than English."""
        return bool(self._model.model.is_multilingual)

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages it recognises."""
        return tuple(self._model.supported_languages)

    def knows(self, language: str) -> bool:
        """Whether it recognises a language, given as a code; "auto" always."""
        return language == "auto" or language in self._model.supported_languages

    def language_of(self, audio: Audio, token: CancelToken) -> str:
        """The language, as a two-letter code, that the model detects in the first speech of a recording."""
        if not self.multilingual:
            return "en"
        spans = speech_spans(audio, token)
        start = spans[0][0] if spans else 0.0
        with quiet.working():
            return str(self._model.detect_language(audio.read(start, start + self.listening.window_s))[0])

    def _asked_language(self, settings: Asr) -> str | None:
        language = None if settings.language == "auto" else settings.language
        if language is None:
            return None if self._model.model.is_multilingual else "en"
        if not self.knows(language):
            spoken = ", ".join(self._model.supported_languages)
            raise Misconfigured(
                f"recogniser {self.label} does not speak {language!r}",
                cause="unknown language",
                hint=f"Set asr.language to auto or one of: {spoken}.",
            )
        return language


class _Progress:
    """Reports how much of a recording is done; several threads may decode its windows."""

    def __init__(self, seconds: float, report: Callable[[float], None] | None) -> None:
        self._seconds = seconds
        self._report = report
        self._lock = threading.Lock()
        self._share = 0.0

    def part(self, start: float, end: float) -> Callable[[float, float], None]:
        """The callback for the windows of a block; each call passes the decoded seconds and the total."""
        done = 0.0

        def more(seconds: float, total: float) -> None:
            nonlocal done
            with self._lock:
                done += seconds
                share = start + (end - start) * min(1.0, done / total)
            self.reached(share)

        return more

    def reached(self, seconds: float) -> None:
        """Report everything up to here as done."""
        if self._report is not None and self._seconds > 0:
            with self._lock:
                self._share = max(self._share, min(1.0, seconds / self._seconds))
                self._report(self._share)


def _runs(said: Sequence[Utterance]) -> Iterator[tuple[float, float, list[Word]]]:
    """The words of all windows in time order, in runs of one window each: its start, end and words."""
    words = sorted(((word, u.span) for u in said for word in u.words), key=lambda pair: pair[0].start)
    for span, run in groupby(words, key=lambda pair: pair[1]):
        yield span[0], span[1], [word for word, _ in run]

"""Voices (speaker embeddings) of spans of audio, in batches of equal length formed across all recordings in flight."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.clean import counted
from gainstage.engine.errors import EngineError, Transient
from gainstage.engine.flow.batcher import Batcher, BatchRecord
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.device_calls import DEVICE, free_cached
from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.terms import Audio, ModelId, Vector
from gainstage.engine.views.snapshot import BatcherView
from gainstage.engine.voices.evidence import TOO_SHORT, Refusal
from gainstage.engine.voices.spans import SHORTEST_VOICE_S
from gainstage.engine.voices.vectors import SMALLEST_NORM
from gainstage.engine.voices.windows import PREPROCESSING, VoiceWindow, batch_of, samples_of, windows

if TYPE_CHECKING:
    from gainstage.engine.telemetry.journal import Journal
    from gainstage.engine.voices.cache import VoiceCache

LINGER_S = 0.005
"""Seconds to wait for more windows. It is short: a recording submits all its windows at once, and those of other recordings
arrive while the model is busy."""

RUNNERS = 2
"""While one call runs on a GPU, the next one is read and assembled; on a CPU two calls run side by side."""

CPU_BATCH_S = 8.0
"""Seconds of audio per call on a CPU, where a larger call needs more memory and is no faster. Full-size ECAPA-TDNN, CPU ms per
second of audio on one thread: windows of 1.2 s in calls of 1, 4, 16, 32: 106, 79, 67, 74; of 3.7 s in calls of 1, 2, 8, 16: 82,
78, 99, 74."""

SILENT = Refusal("silent")
NO_VOICE = Refusal("no finite voice")

Span = tuple[float, float]
"""Start and end in seconds; rounded to the millisecond."""


class Encoder(Protocol):
    """The interface of a voice model: see :class:`gainstage.engine.models.voice.VoiceEncoder`."""

    id: ModelId
    device: str

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class WindowVoice:
    """The voice of one window and the number of the model call that made it."""

    voice: NDArray[np.float32]  # (d,); NaN when the model returned no finite voice
    call: int


VoiceBatcher = Batcher[VoiceWindow, WindowVoice]


@dataclass(frozen=True, slots=True)
class Extraction:
    """Voices in the order of the spans, and the work they took."""

    voices: tuple[Vector | Refusal, ...]
    model: ModelId
    windows: int
    batches: int  # model calls that held windows of this recording
    seconds: float  # wall time
    hits: int  # spans found in the cache


def voice_batcher(
    encoder: Callable[[], Encoder],
    budget: Callable[[], float],
    *,
    on_batch: Callable[[BatchRecord], object] | None = None,
    linger_s: float = LINGER_S,
    wall: Callable[[], float] = time.time,
) -> VoiceBatcher:
    """The batcher that makes voices: each call holds windows of one length and at most ``budget()`` seconds of audio.

    When memory runs out, the call is halved and the same windows are tried again; later calls grow back to the budget.
    """
    calls, turn = itertools.count(1), threading.Lock()

    def run(batch: list[VoiceWindow]) -> list[WindowVoice | Exception]:
        model, call = encoder(), next(calls)
        cpu = model.device.startswith("cpu")
        most = max(1, int(CPU_BATCH_S / batch[0].seconds)) if cpu else len(batch)
        voices = []
        for i in range(0, len(batch), most):
            rows = batch_of(batch[i : i + most])
            with nullcontext() if cpu else turn:
                voices.append(model.embed(rows))
        return [WindowVoice(voice, call) for part in voices for voice in part]

    return Batcher(
        "voices",
        run,
        cost=lambda w: w.seconds,
        budget=budget(),
        linger_s=linger_s,
        key=lambda w: w.length,
        padded=lambda w: w.length,
        unit="s of audio",
        is_oom=is_out_of_memory,
        on_oom=free_cached,
        device=DEVICE,
        on_batch=on_batch,
        runners=RUNNERS,
        wall=wall,
    )


class VoiceExtractor:
    """Extracts voices for all recordings. Thread-safe. ``encoder`` returns the model in use, ``cache`` may be None."""

    def __init__(
        self,
        encoder: Callable[[], Encoder],
        batcher: VoiceBatcher,
        cache: VoiceCache | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.batcher = batcher
        self.cache = cache
        self._encoder = encoder
        self._journal = journal
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()

    @property
    def model(self) -> ModelId:
        """The model that makes voices at present."""
        return self._encoder().id

    def extract(
        self,
        audio: Audio,
        spans: Sequence[Span],
        *,
        token: CancelToken,
        fingerprint: str | None = None,
        recording: str | None = None,
        cached: bool = True,
    ) -> Extraction:
        """The voice (d,) of each span, or the reason why it has none; equal spans are extracted once.

        ``fingerprint`` is the cache key (default: that of the audio); without ``cached`` the cache is neither read nor written.
        Raises :class:`gainstage.engine.errors.EngineError` when a model call fails, among them
        :class:`gainstage.engine.errors.OutOfMemory` and :class:`gainstage.engine.errors.Cancelled`.
        """
        began = time.monotonic()
        model, key = self.model, fingerprint or audio.fingerprint
        wanted = [(round(start * 1000), round(end * 1000)) for start, end in spans]
        known: dict[tuple[int, int], Vector | Refusal] = {
            span: TOO_SHORT for span in set(wanted) if span[1] - span[0] < 1000 * SHORTEST_VOICE_S
        }
        short = len(known)
        uncertain = list(dict.fromkeys(span for span in wanted if span not in known))
        cache = self.cache if cached else None
        if cache is not None and uncertain:
            known |= cache.get(key, uncertain, model, PREPROCESSING)
        missing = [span for span in uncertain if span not in known]
        made, count, calls = self._make(audio, missing, model, token)
        if cache is not None and made:
            cache.put(key, made, model, PREPROCESSING)
        known |= made
        voices = tuple(known[span] for span in wanted)
        extraction = Extraction(voices, model, count, calls, time.monotonic() - began, len(known) - short - len(made))
        self._account(extraction, recording)
        return extraction

    def known(self, fingerprint: str, spans: Sequence[Span]) -> bool:
        """Whether the cache has an entry for each span, by the model in use."""
        if self.cache is None:
            return False
        spans_ms = list(dict.fromkeys((round(start * 1000), round(end * 1000)) for start, end in spans))
        return len(self.cache.get(fingerprint, spans_ms, self.model, PREPROCESSING)) == len(spans_ms)

    def _make(
        self, audio: Audio, spans: Sequence[tuple[int, int]], model: ModelId, token: CancelToken
    ) -> tuple[dict[tuple[int, int], Vector | Refusal], int, int]:
        """Extract spans that are not cached: their voices, the number of windows, and the number of calls."""
        requested: list[VoiceWindow] = []
        owners: list[int] = []
        if not spans:
            return {}, 0, 0
        samples = samples_of(audio)
        for number, span in enumerate(spans):
            token.check()
            audible = [w for w in windows(samples, *span) if not w.silent()]
            requested += audible
            owners += [number] * len(audible)
        voices: list[NDArray[np.float32]] = []
        calls: set[int] = set()
        for result in self.batcher.submit(requested, token=token):
            if isinstance(result, Exception):
                raise result if isinstance(result, EngineError) else _failed(result)
            calls.add(result.call)
            voices.append(result.voice)
        averages = averaged(np.stack(voices) if voices else np.zeros((0, model.dimension), np.float32), owners, len(spans))
        return dict(zip(spans, averages, strict=True)), len(requested), len(calls)

    def _account(self, extraction: Extraction, recording: str | None) -> None:
        refused = Counter(v.reason for v in extraction.voices if isinstance(v, Refusal))
        with self._lock:
            self._refused += refused
        if self._journal is not None:
            without = ", ".join(f"{n} {reason}" for reason, n in sorted(refused.items()))
            self._journal.log(
                "info",
                f"{counted(len(extraction.voices), 'segment')}: {counted(extraction.windows, 'window')} in "
                f"{counted(extraction.batches, 'batch', 'batches')}, {extraction.hits} from the cache, "
                f"{extraction.seconds:.2f} s" + (f"; no voice: {without}" if without else ""),
                kind="voices",
                stage="identify",
                recording=recording,
                segments=len(extraction.voices),
                windows=extraction.windows,
                batches=extraction.batches,
                seconds=extraction.seconds,
                hits=extraction.hits,
                refused=dict(refused),
            )

    def view(self) -> BatcherView:
        """The figures of the batcher, the cache and the refusals."""
        with self._lock:
            refused = self._refused.total()
        view = self.batcher.view()
        hits, misses = (None, None) if self.cache is None else (self.cache.hits, self.cache.misses)
        return replace(view, refused=view.refused + refused, cache_hits=hits, cache_misses=misses)

    def close(self) -> None:
        """Stop the batcher's threads; safe to call twice."""
        self.batcher.close()


def averaged(voices: NDArray[np.float32], owners: Sequence[int], count: int) -> list[Vector | Refusal]:
    """The voice of each of ``count`` spans: the normalised mean of its windows' voices ((n, d), NaN where there is none).

    ``owners`` (n,) is the span index of each window; a span without a window is silent.
    """
    own = np.asarray(owners, np.intp)
    finite = np.isfinite(voices).all(axis=1)
    sums = np.zeros((count, voices.shape[1]))
    np.add.at(sums, own[finite], voices[finite].astype(np.float64))
    norms = np.linalg.norm(sums, axis=1)
    units = (sums / np.maximum(norms, SMALLEST_NORM)[:, None]).astype(np.float32)
    window_counts = np.bincount(own, minlength=count)
    return [units[i] if norms[i] >= SMALLEST_NORM else NO_VOICE if window_counts[i] else SILENT for i in range(count)]


def _failed(error: Exception) -> EngineError:
    return Transient(
        f"voice extraction failed: {type(error).__name__}: {error}", cause="voice extraction failed", hint="It is tried again."
    )

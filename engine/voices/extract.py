"""Voices of spans of audio, in batches of equal length formed across all recordings in flight."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError, Transient
from engine.flow.batcher import Batcher, BatchRecord
from engine.flow.cancel import CancelToken
from engine.models.oom import is_out_of_memory
from engine.terms import Audio, ModelId, Vector
from engine.voices.evidence import TOO_SHORT, Refusal
from engine.voices.spans import SHORTEST_VOICE_S
from engine.voices.vectors import BadVoice, mean_voice
from engine.voices.windows import PREPROCESSING, Window, windows
from engine.watch.snapshot import BatcherView

if TYPE_CHECKING:
    from engine.voices.cache import VoiceCache
    from engine.watch.journal import Journal

LINGER_S = 0.02
"""A recording hands in all its windows at once; mates from other recordings come while the model is busy."""

CPU_BATCH_S = 8.0
"""On a CPU a larger call is no faster, only larger in memory. Full-size ECAPA-TDNN, processor ms per second of audio on one
thread: windows of 1.2 s in calls of 1, 4, 16, 32: 106, 79, 67, 74; of 3.7 s in calls of 1, 2, 8, 16: 82, 78, 99, 74."""

SILENT = Refusal("silent")
NO_VOICE = Refusal("no finite voice")

Span = tuple[float, float]
"""Start and end in seconds; taken to the millisecond."""


class Encoder(Protocol):
    """What is needed of a voice model: see :class:`engine.models.voice.VoiceEncoder`."""

    id: ModelId
    device: str

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Heard:
    """The voice of one window and the number of the call it was made in."""

    voice: NDArray[np.float32]  # (d,), NaN when the model found none
    call: int


VoiceBatcher = Batcher[Window, Heard]


@dataclass(frozen=True, slots=True)
class Extraction:
    """Voices in the order of the spans, and what they cost."""

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
) -> VoiceBatcher:
    """The batcher voices are made in: windows of one length per call, ``budget()`` seconds of audio at most.

    Out of memory halves a call and tries the same windows again; later calls grow back towards the budget.
    """
    calls = itertools.count(1)

    def run(batch: list[Window]) -> list[Heard | Exception]:
        model, call = encoder(), next(calls)
        most = len(batch)
        if model.device.startswith("cpu"):
            most = max(1, int(CPU_BATCH_S / batch[0].seconds))
        parts = [batch[i : i + most] for i in range(0, len(batch), most)]
        voices = [model.embed(np.stack([w.read() for w in part])) for part in parts]
        return [Heard(voice, call) for part in voices for voice in part]

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
        on_oom=_free_device_memory,
        on_batch=on_batch,
    )


def _free_device_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class VoiceExtractor:
    """Thread-safe. ``encoder`` gives the model in use, ``cache`` may be None."""

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
        """The model voices are made by at present."""
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
        """The voice of each span, or why it has none; equal spans are listened to once.

        ``fingerprint`` keys the cache (default: the audio's own), which is left alone without ``cached``. Raises :class:`engine.errors.EngineError` when a model call
        failed, among them :class:`engine.errors.OutOfMemory` and :class:`engine.errors.Cancelled`.
        """
        began = time.monotonic()
        model, key = self.model, fingerprint or audio.fingerprint
        wanted = [(round(start * 1000), round(end * 1000)) for start, end in spans]
        known: dict[tuple[int, int], Vector | Refusal] = {
            span: TOO_SHORT for span in set(wanted) if span[1] - span[0] < 1000 * SHORTEST_VOICE_S
        }
        short = len(known)
        asked = list(dict.fromkeys(span for span in wanted if span not in known))
        cache = self.cache if cached else None
        if cache is not None and asked:
            known |= cache.get(key, asked, model, PREPROCESSING)
        missing = [span for span in asked if span not in known]
        made, count, calls = self._make(audio, missing, model, token)
        if cache is not None and made:
            cache.put(key, made, model, PREPROCESSING)
        known |= made
        voices = tuple(known[span] for span in wanted)
        found = Extraction(voices, model, count, calls, time.monotonic() - began, len(known) - short - len(made))
        self._account(found, recording)
        return found

    def _make(
        self, audio: Audio, spans: Sequence[tuple[int, int]], model: ModelId, token: CancelToken
    ) -> tuple[dict[tuple[int, int], Vector | Refusal], int, int]:
        """Voices of spans that nobody knows yet, how many windows they took, and in how many calls."""
        made: dict[tuple[int, int], Vector | Refusal] = dict.fromkeys(spans, SILENT)
        asked: list[tuple[tuple[int, int], Window]] = []
        for span in spans:
            token.check()
            asked += [(span, w) for w in windows(audio, *span) if not w.silent()]
        heard: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
        calls: set[int] = set()
        for (span, _), result in zip(asked, self.batcher.submit([w for _, w in asked], token=token), strict=True):
            if isinstance(result, Exception):
                raise result if isinstance(result, EngineError) else _failed(result)
            calls.add(result.call)
            heard.setdefault(span, []).append(result.voice)
        for span, voices in heard.items():
            made[span] = _voice(voices, model)
        return made, len(asked), len(calls)

    def _account(self, found: Extraction, recording: str | None) -> None:
        refused = Counter(v.reason for v in found.voices if isinstance(v, Refusal))
        with self._lock:
            self._refused += refused
        if self._journal is not None:
            without = ", ".join(f"{n} {reason}" for reason, n in sorted(refused.items()))
            self._journal.log(
                "info",
                f"{len(found.voices)} segments: {found.windows} windows in {found.batches} batches, {found.hits} from the cache, "
                f"{found.seconds:.2f} s" + (f"; no voice: {without}" if without else ""),
                kind="voices",
                stage="identify",
                recording=recording,
                segments=len(found.voices),
                windows=found.windows,
                batches=found.batches,
                seconds=found.seconds,
                hits=found.hits,
                refused=dict(refused),
            )

    def view(self) -> BatcherView:
        """The batcher's figures with the cache's and the refusals."""
        with self._lock:
            refused = self._refused.total()
        view = self.batcher.view()
        hits, misses = (None, None) if self.cache is None else (self.cache.hits, self.cache.misses)
        return replace(view, refused=view.refused + refused, cache_hits=hits, cache_misses=misses)

    def close(self) -> None:
        """End the batcher's threads; safe to call twice."""
        self.batcher.close()


def _voice(voices: Sequence[NDArray[np.float32]], model: ModelId) -> Vector | Refusal:
    """One voice of a span's windows: those that are finite, averaged."""
    sound = [v for v in voices if v.shape == (model.dimension,) and np.isfinite(v).all()]
    if not sound:
        return NO_VOICE
    try:
        return mean_voice(np.stack(sound))
    except BadVoice:
        return NO_VOICE


def _failed(error: Exception) -> EngineError:
    return Transient(f"voice extraction failed: {type(error).__name__}: {error}", cause="voice extraction failed")

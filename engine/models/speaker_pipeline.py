"""pyannote's speaker diarization without repeated work: the speaker network processes audio once per chunk, or once per recording,
instead of once per chunk and speaker; audio is read in blocks, so that hours of it need disk space and not memory.

Segmentation, clustering and reconstruction are pyannote's own. Imported late, inside
:func:`gainstage.engine.models.quiet.importing`.
"""

from __future__ import annotations

import io
import math
import zlib
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import SlidingWindow, SlidingWindowFeature

from gainstage.engine.models.cpu_threads import cores_of_a_diarizer, keep_to
from gainstage.engine.models.device_calls import DEVICE
from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.models.shared_filters import SharedFilters
from gainstage.engine.models.speaker_frames import FrameReader, Pooled
from gainstage.engine.terms import SAMPLE_RATE, Audio

Floats = NDArray[np.float32]

TOGETHER_S = 10.0
"""Most new audio in calls of a network on a CPU at once by default, in seconds, so that little is lost when the engine is killed."""

MOST_CLUSTERED = 6000
"""Most vectors that are clustered; of more, evenly spaced ones are, and all are assigned to the clusters. The libraries' clustering takes
memory and time with the square of their number, and holds all threads of the engine meanwhile: 0.9 s and 0.4 GB for 6,000, 87 s and more
than 7 GB for the 43,000 of six hours of the demo."""

FEWEST = 4
"""Chunks of a call that is not worth dividing: steps of a recurrent network cost nearly the same for one row as for four."""

EngineName = Literal["stock", "stacked", "once"]
"""How speaker vectors are computed: ``stock`` as pyannote does, ``stacked`` with one pass of the network per chunk (the same
vectors up to rounding), ``once`` with one pass per recording (nearly the same vectors)."""


class Budget(Protocol):
    """The size of a batch: :class:`gainstage.engine.flow.adaptive_budget.AdaptiveBudget`, which this package may not import."""

    setting: float
    now: float

    def reset(self, setting: float) -> None: ...
    def ran_out(self, cost: float, items: int) -> None: ...
    def fitted(self, cost: float) -> None: ...


class Kept(Protocol):
    """Results by key, see :class:`gainstage.engine.flow.kept.KeptResults`, which this package may not import."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, payload: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class CallPlan:
    """How a step calls its network: ``calls`` at once, each of ``chunks`` and on ``threads`` threads of PyTorch."""

    chunks: int
    calls: int = 1
    threads: int = 1

    @classmethod
    def of(cls, own: int, step_s: float, device: torch.device, cores: int) -> CallPlan:
        """For a model that wants ``own`` chunks in a call. On a CPU calls beside each other use cores better than one call on several
        threads, and together hold at most :data:`TOGETHER_S` of new audio.
        """
        if device.type != "cpu":
            return cls(own)
        chunks = max(1, min(own, int(TOGETHER_S / step_s)))
        calls = max(1, min(cores, chunks // FEWEST))
        return cls(chunks // calls, calls, max(1, cores // calls))

    def pool(self) -> AbstractContextManager[ThreadPoolExecutor | None]:
        """Threads for calls on several cores; None where the caller's own is enough."""
        if self.calls == self.threads == 1:
            return nullcontext()
        return ThreadPoolExecutor(self.calls, "diarizer", keep_to, (self.threads,))


@dataclass(slots=True)
class Work:
    """The state of one recording in the pipeline. ``step`` is a share of a chunk, None uses the model's own; ``batch`` returns the
    present setting of chunks per call, None uses the default of the device.
    """

    audio: Audio
    new_budget: Callable[[float], Budget]
    engine: EngineName = "stacked"
    step: float | None = None
    batch: Callable[[], int | None] = lambda: None
    kept: Kept | None = None  # results of an earlier attempt; new ones are added
    on_oom: Callable[[str, int], object] = lambda step, chunks: None  # told of each call that did not fit
    budgets: dict[str, Budget] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)  # model calls by step, for the benchmark

    def recalled(self, step: str, total: int) -> list[Floats]:
        """The kept results of the first chunks of a step, without a gap."""
        parts: list[Floats] = []
        while self.kept is not None and len(parts) < total and (payload := self.kept.get(_key(step, len(parts)))) is not None:
            parts.append(np.load(io.BytesIO(zlib.decompress(payload)), allow_pickle=False))
        return parts

    def keep(self, step: str, first: int, results: Floats) -> None:
        """Keep the results of chunks from ``first`` on, one record a chunk."""
        for n, result in enumerate(results if self.kept is not None else (), first):
            file = io.BytesIO()
            np.save(file, result, allow_pickle=False)
            self.kept.put(_key(step, n), zlib.compress(file.getvalue(), 1))  # type: ignore[union-attr]

    def batches(
        self, step: str, total: int, plan: CallPlan, call: Callable[[int, int], Any], first: int = 0
    ) -> Generator[tuple[int, int, Any], None, None]:
        """``(first, last, call(first, last))`` over ``range(first, total)``, in order, in batches of the setting, else of the plan;
        after an out-of-memory error the batch is halved and tried again; a single chunk with no other call on the device. Results are
        kept. Closing it waits for the calls under way.
        """
        under_way: deque[tuple[int, int, Callable[..., Any]]] = deque()
        with plan.pool() as pool:
            while first < total or under_way:
                while first < total and len(under_way) < plan.calls:
                    last = min(total, first + self._size(step, plan))
                    one = partial(self._computed, step, call, first, last)
                    under_way.append((first, last, one if pool is None else pool.submit(one).result))
                    first = last
                begin, end, done = under_way.popleft()
                try:
                    result = done()
                except Exception as error:  # its traceback, which keeps its memory, ends with this block
                    if not is_out_of_memory(error):
                        raise
                    fits = False
                else:
                    fits = True
                if not fits:
                    self.on_oom(step, end - begin)
                    while under_way:  # what ran beside it may have failed too, and is done again
                        with suppress(Exception):
                            under_way.popleft()[2]()
                    first = begin
                    if end - begin > 1:
                        self.budgets[step].ran_out(end - begin, end - begin)
                        continue
                    result, first = self._computed(step, call, begin, end, DEVICE.alone()), end
                self.budgets[step].fitted(end - begin)
                self.calls[step] = self.calls.get(step, 0) + 1
                yield begin, end, result

    def _computed(
        self, step: str, call: Callable[[int, int], Any], first: int, last: int, room: AbstractContextManager[None] | None = None
    ) -> Any:
        """A call, kept as soon as it has ended. On a thread of its own, which does not take over that gradients are off."""
        with room or DEVICE.beside(), torch.inference_mode():
            result = call(first, last)
        self.keep(step, first, result)
        return result

    def _size(self, step: str, plan: CallPlan) -> int:
        setting = float(self.batch() or plan.chunks)
        budget = self.budgets.get(step) or self.budgets.setdefault(step, self.new_budget(setting))
        if budget.setting != setting:
            budget.reset(setting)
        return max(1, int(budget.now))


def _key(step: str, chunk: int) -> bytes:
    return f"{step} {chunk}".encode()


class SharedSpeakerDiarization(SpeakerDiarization):  # type: ignore[misc]
    """The stock pipeline for a file with a :class:`Work` under ``"work"``; other files are processed by the stock code, but for the
    clustering, which is bounded for all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.clustering.filter_embeddings = partial(thinned, self.clustering.filter_embeddings)

    def get_segmentations(self, file: Any, hook: Callable[..., None] | None = None) -> SlidingWindowFeature:
        """``(chunks, frames, speakers)``: as pyannote's ``Inference.slide``, reading the audio batch by batch."""
        work: Work | None = file.get("work")
        if work is None:
            return super().get_segmentations(file, hook=hook)
        inference = self._segmentation
        window = int(inference.model.audio.get_num_samples(inference.duration))
        step_s = inference.duration * work.step if work.step else inference.step
        step = round(step_s * SAMPLE_RATE)
        whole, total = chunk_counts(work.audio.samples, window, step)
        before = work.recalled("segmentation", whole)
        outputs = [np.stack(before)] if before else []

        shares = inference.device.type == "cpu" and SharedFilters.fit(inference.model, step)
        shared = SharedFilters(inference.model, window, step) if shares else None

        def infer(first: int, last: int) -> Floats:
            block = read_chunk(work.audio, first * step, (last - first - 1) * step + window)
            if shared is not None:
                result: Floats = inference.conversion(shared(torch.from_numpy(block))).numpy()
            else:
                chunks = np.lib.stride_tricks.sliding_window_view(block, window)[::step].copy()
                result = inference.infer(torch.from_numpy(chunks)[:, None])
            return result

        if hook is not None:
            hook("segmentation", None, total=total, completed=len(before))
        plan = CallPlan.of(self.segmentation_batch_size, step_s, inference.device, cores_of_a_diarizer())
        with closing(work.batches("segmentation", whole, plan, infer, len(before))) as batches:
            for _, last, output in batches:
                outputs.append(output)
                if hook is not None:
                    hook("segmentation", None, total=total, completed=last)
        if total > whole:  # the rest, padded with silence, in a separate call as in the stock pipeline
            kept = work.recalled("rest", 1)
            rest = [output for _, _, output in work.batches("rest", 1, CallPlan(1), lambda *_: infer(whole, total), len(kept))]
            outputs += [np.stack(kept)] if kept else rest
            if hook is not None:
                hook("segmentation", None, total=total, completed=total)
        return SlidingWindowFeature(np.vstack(outputs), SlidingWindow(start=0.0, duration=inference.duration, step=step_s))

    def get_embeddings(
        self,
        file: Any,
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,
        hook: Callable[..., None] | None = None,
    ) -> NDArray[Any]:
        """``(chunks, speakers, d)``: one vector per chunk and speaker."""
        work: Work | None = file.get("work")
        if work is None:
            return super().get_embeddings(file, binary_segmentations, exclude_overlap=exclude_overlap, hook=hook)  # type: ignore[no-any-return]
        window = int(binary_segmentations.sliding_window.duration * SAMPLE_RATE)
        step_s = binary_segmentations.sliding_window.step
        masks = self._masks(binary_segmentations, exclude_overlap)
        total = len(masks)
        before = work.recalled("embeddings", total)
        report = hook or _no_report
        report("embeddings", None, total=total, completed=len(before))
        model = self._embedding.model_
        rows: list[NDArray[Any]] = [np.stack(before)] if before else []
        with torch.inference_mode():
            if work.engine == "once" and FrameReader.can_read(model):
                reader = FrameReader(model, work.audio, self._embedding.device)
                reader.start_at(len(before) * step_s)
                pooled = Pooled(reader, masks, binary_segmentations.sliding_window.duration, step_s)
                plan = CallPlan.of(self.embedding_batch_size, step_s, self._embedding.device, 1)  # frames are read forward in time

                def pool(first: int, last: int) -> NDArray[Any]:
                    try:
                        return pooled.vectors(first, last)
                    except Exception as error:
                        if is_out_of_memory(error):
                            reader.block_s /= 2  # the frames of a block take the memory, however few chunks are pooled
                        raise

                for _, last, vectors in work.batches("embeddings", total, plan, pool, len(before)):
                    rows.append(vectors)
                    report("embeddings", None, total=total, completed=last)
                    reader.forget_before(last * step_s)
                work.calls["embeddings"] = reader.blocks
            else:
                step = step_s * SAMPLE_RATE

                def embed(first: int, last: int) -> NDArray[Any]:
                    chunks = np.stack([read_chunk(work.audio, math.floor(n * step), window) for n in range(first, last)])
                    return stacked(
                        model, torch.from_numpy(chunks)[:, None], torch.from_numpy(masks[first:last]), self._embedding.device
                    )

                with closing(work.batches("embeddings", total, self._plan(step_s), embed, len(before))) as batches:
                    for _, last, vectors in batches:
                        rows.append(vectors)
                        report("embeddings", None, total=total, completed=last)
        return np.concatenate(rows)

    def _plan(self, step_s: float) -> CallPlan:
        """Calls of the speaker network: on a CPU of one chunk, as measured (a ResNet34 takes 0.55 s per chunk alone and 0.85 s in
        batches of 8, whose activations do not fit the cache); elsewhere, and for encoders that group by length, the model's own.
        """
        device, cores = self._embedding.device, cores_of_a_diarizer()
        if device.type == "cpu" and hasattr(self._embedding.model_, "forward_frames"):
            return CallPlan(1, cores)
        return CallPlan.of(self.embedding_batch_size, step_s, device, cores)

    def _masks(self, segmentations: SlidingWindowFeature, exclude_overlap: bool) -> Floats:
        """``(chunks, speakers, frames)``: where each speaker is active; alone, where that leaves enough (as in the stock
        pipeline)."""
        masks = np.nan_to_num(segmentations.data, nan=0.0).astype(np.float32)
        if exclude_overlap:
            samples = segmentations.sliding_window.duration * self._embedding.sample_rate
            least = math.ceil(masks.shape[1] * self._embedding.min_num_samples / samples)
            alone = np.nan_to_num(segmentations.data * (1.0 * (segmentations.data.sum(axis=2, keepdims=True) < 2)), nan=0.0)
            enough = alone.sum(axis=1, keepdims=True) > least
            masks = np.where(enough, alone, masks).astype(np.float32)
        return np.ascontiguousarray(masks.transpose(0, 2, 1))


def thinned(select: Callable[..., tuple[NDArray[Any], ...]], *args: Any, **options: Any) -> tuple[NDArray[Any], ...]:
    """What ``select`` returns (vectors to cluster, their chunks, their speakers), evenly thinned to :data:`MOST_CLUSTERED` rows."""
    rows = select(*args, **options)
    every = math.ceil(len(rows[0]) / MOST_CLUSTERED) or 1
    return tuple(part[::every] for part in rows)


def stacked(model: Any, chunks: torch.Tensor, masks: torch.Tensor, device: torch.device) -> NDArray[Any]:
    """Vectors ``(chunks, speakers, d)`` of ``(chunks, 1, samples)`` with masks ``(chunks, speakers, frames)``: the network runs
    once per chunk when the model can pool the same frames with several masks, else once per mask.
    """
    if hasattr(model, "forward_frames") and hasattr(model, "forward_embedding"):
        frames = model.forward_frames(chunks.to(device))
        vectors = model.forward_embedding(frames, weights=masks.to(device))
    else:
        count, speakers, _ = masks.shape
        repeated = chunks.to(device).repeat_interleave(speakers, dim=0)
        vectors = model(repeated, weights=masks.reshape(count * speakers, -1).to(device)).reshape(count, speakers, -1)
    result: NDArray[Any] = vectors.cpu().numpy()
    return result


def chunk_counts(samples: int, window: int, step: int) -> tuple[int, int]:
    """(chunks inside the recording, the same with the padded last one)."""
    whole = (samples - window) // step + 1 if samples >= window else 0
    return whole, whole + (samples < window or (samples - window) % step > 0)


def read_chunk(audio: Audio, start: int, window: int) -> Floats:
    """``(window,) float32`` from sample ``start``, padded with zeros behind the end."""
    samples = audio.read(start / SAMPLE_RATE, (start + window) / SAMPLE_RATE)
    return samples if len(samples) == window else np.pad(samples, (0, window - len(samples)))


def _no_report(*_: object, **__: object) -> None:
    """Default progress hook: does nothing."""

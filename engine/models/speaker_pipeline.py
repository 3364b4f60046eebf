"""pyannote's speaker diarization without repeated work: the speaker network processes audio once per chunk, or once per recording,
instead of once per chunk and speaker; audio is read in blocks, so that hours of it need disk space and not memory.

Segmentation, clustering and reconstruction are pyannote's own. Imported late, inside
:func:`gainstage.engine.models.quiet.importing`.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import SlidingWindow, SlidingWindowFeature

from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.models.speaker_frames import FrameReader, Pooled
from gainstage.engine.terms import SAMPLE_RATE, Audio

Floats = NDArray[np.float32]

TOGETHER_S = 10.0
"""Most new audio of a call of a network on a CPU by default, in seconds, so that little is lost when the engine is killed in it."""

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
        self, step: str, total: int, own: int, call: Callable[[int, int], Any], first: int = 0
    ) -> Iterator[tuple[int, int, Any]]:
        """``(first, last, call(first, last))`` over ``range(first, total)`` in batches of the setting, else of ``own``; after an
        out-of-memory error the batch is halved and tried again. Results are kept.
        """
        while first < total:
            setting = float(self.batch() or own)
            budget = self.budgets.get(step) or self.budgets.setdefault(step, self.new_budget(setting))
            if budget.setting != setting:
                budget.reset(setting)
            last = min(total, first + max(1, int(budget.now)))
            try:
                result = call(first, last)
            except (RuntimeError, MemoryError) as error:
                if last - first == 1 or not is_out_of_memory(error):
                    raise
                budget.ran_out(last - first, last - first)
                continue
            budget.fitted(last - first)
            self.calls[step] = self.calls.get(step, 0) + 1
            self.keep(step, first, result)
            yield first, last, result
            first = last


def _key(step: str, chunk: int) -> bytes:
    return f"{step} {chunk}".encode()


class SharedSpeakerDiarization(SpeakerDiarization):  # type: ignore[misc]
    """The stock pipeline for a file with a :class:`Work` under ``"work"``; other files are processed by the stock code."""

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

        def infer(first: int, last: int) -> Floats:
            chunks = read_chunks(work.audio, first, last, window, step)
            result: Floats = inference.infer(torch.from_numpy(chunks)[:, None])
            return result

        if hook is not None:
            hook("segmentation", None, total=total, completed=len(before))
        own = together(self.segmentation_batch_size, step_s, inference.device)
        for _, last, output in work.batches("segmentation", whole, own, infer, len(before)):
            outputs.append(output)
            if hook is not None:
                hook("segmentation", None, total=total, completed=last)
        if total > whole:  # the rest, padded with silence, in a separate call as in the stock pipeline
            outputs.append(infer(whole, total))
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
                own = together(self.embedding_batch_size, step_s, self._embedding.device)
                for _, last, vectors in work.batches("embeddings", total, own, pooled.vectors, len(before)):
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

                for _, last, vectors in work.batches("embeddings", total, self._own_batch(step_s), embed, len(before)):
                    rows.append(vectors)
                    report("embeddings", None, total=total, completed=last)
        return np.concatenate(rows)

    def _own_batch(self, step_s: float) -> int:
        """Chunks per call of the speaker network: on a CPU one, as measured (a ResNet34 takes 0.55 s per chunk alone and 0.85 s in
        batches of 8, whose activations do not fit the cache); elsewhere, and for encoders that group by length, the model's own.
        """
        alone = self._embedding.device.type == "cpu" and hasattr(self._embedding.model_, "forward_frames")
        return 1 if alone else together(self.embedding_batch_size, step_s, self._embedding.device)

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


def together(own: int, step_s: float, device: torch.device) -> int:
    """Chunks per call where the model wants ``own``: on a CPU at most :data:`TOGETHER_S` of new audio."""
    return max(1, min(own, int(TOGETHER_S / step_s))) if device.type == "cpu" else own


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


def read_chunks(audio: Audio, first: int, last: int, window: int, step: int) -> Floats:
    """Chunks ``first`` to ``last`` (exclusive) as ``(n, window) float32``; audio that they share is read once."""
    block = read_chunk(audio, first * step, (last - first - 1) * step + window)
    return np.lib.stride_tricks.sliding_window_view(block, window)[::step].copy()


def _no_report(*_: object, **__: object) -> None:
    """Default progress hook: does nothing."""

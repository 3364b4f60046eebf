"""Frames of a speaker network over a whole recording: computed once, in blocks with enough context on both sides, and pooled with
the masks of every chunk that contains them.

Results are not bit-identical to a pass per chunk: at a chunk's edges the network gets the recording instead of padding, features
are centred by a running mean instead of the chunk's own, and a chunk starts at the nearest frame (80 ms apart).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gainstage.engine.terms import SAMPLE_RATE, Audio

BLOCK_S, CPU_BLOCK_S = 48.0, 24.0
"""Seconds of new audio per pass of the network. Longer blocks save little: the context is 3 s. On a CPU a pass takes many seconds, and
one that a killed engine broke off is done again."""

MEAN_S = 10.0
"""Span of the running mean in seconds: the length of a chunk, whose mean the stock pipeline uses."""

_TOO_LITTLE = 1e-6


class FrameReader:
    """Frames ``(features, n)`` of a WeSpeaker ResNet on its device, kept only while a chunk may need them."""

    @staticmethod
    def can_read(model: Any) -> bool:
        """Whether the model has the parts used here: features by window, a ResNet, statistics pooling, one last layer."""
        resnet = getattr(model, "resnet", None)
        return (
            resnet is not None
            and hasattr(model, "_fbank")
            and not getattr(resnet, "two_emb_layer", True)
            and type(getattr(resnet, "pool", None)).__name__ == "TSTP"
        )

    def __init__(self, model: Any, audio: Audio, device: torch.device) -> None:
        self.model = model
        self.audio = audio
        self.device = device
        self.hop: int = round(model.hparams.sample_rate * model.hparams.frame_shift * 0.001)  # samples per feature
        self.width: int = round(model.hparams.sample_rate * model.hparams.frame_length * 0.001)
        self.stride = self._stride()  # features per frame of the network
        self.blocks = 0
        self.block_s = CPU_BLOCK_S if device.type == "cpu" else BLOCK_S
        self.features = max(0, (audio.samples - self.width) // self.hop + 1)
        self.frames = -(-self.features // self.stride)
        reach = model.resnet.receptive_field_size(1) // 2 + 1  # context of the network on either side, in features
        self._context = -(-reach // self.stride)  # in frames
        self._first = 0
        self._kept: torch.Tensor | None = None

    def start_at(self, seconds: float) -> None:
        """Read nothing that ends before this time; to be called before the first :meth:`read`."""
        self._first = min(self.frames, int(seconds / self.seconds_per_frame))

    def _stride(self) -> int:
        few, more = (int(self.model.resnet.num_frames(n)) for n in (4096, 8192))
        return round(4096 / (more - few))

    @property
    def seconds_per_frame(self) -> float:
        return self.stride * self.hop / SAMPLE_RATE

    def read(self, first: int, last: int) -> torch.Tensor:
        """Frames ``first`` to ``last`` (exclusive) as ``(features, n)``; fewer at the end of the recording. Calls must go forward
        in time."""
        last = min(last, self.frames)
        while self._end() < last:
            start = self._end()
            self._append(start, min(self.frames, max(last, start + round(self.block_s / self.seconds_per_frame))))
        if self._kept is None or last <= first:
            return torch.zeros((0, 0), device=self.device)
        return self._kept[:, first - self._first : last - self._first]

    def forget_before(self, seconds: float) -> None:
        """Discard frames that end before this time in seconds."""
        edge = min(self._end(), int(seconds / self.seconds_per_frame))
        if self._kept is not None and edge > self._first:
            self._kept = self._kept[:, edge - self._first :].clone()
            self._first = edge

    def _end(self) -> int:
        return self._first + (0 if self._kept is None else self._kept.shape[1])

    def _append(self, first: int, last: int) -> None:
        a, b = max(0, first - self._context), min(self.frames, last + self._context)
        frames = self.model.resnet.forward_frames(self._centred(a * self.stride, min(self.features, b * self.stride))[None])[0]
        new = frames.flatten(0, 1)[:, first - a : last - a]
        self._kept = new if self._kept is None else torch.cat([self._kept, new], dim=1)
        self.blocks += 1

    def _centred(self, first: int, last: int) -> torch.Tensor:
        """Features ``first`` to ``last`` as ``(n, bands)``, minus the mean of the 10 s around each (at the ends: of the first and
        last)."""
        half = round(MEAN_S * SAMPLE_RATE / self.hop / 2)
        a, b = max(0, first - 2 * half), min(self.features, last + 2 * half)
        samples = self.audio.read(a * self.hop / SAMPLE_RATE, ((b - 1) * self.hop + self.width) / SAMPLE_RATE)
        wave = torch.from_numpy(samples)[None].to(self.device) * (1 << 15)
        features: torch.Tensor = self.model._fbank(wave)
        sums = F.pad(features.double().cumsum(0), (0, 0, 1, 0))
        centre = torch.arange(first, last, device=self.device).clamp(
            min(half, self.features // 2), max(self.features - half, self.features // 2)
        )
        low, high = (centre - half).clamp(min=0) - a, (centre + half).clamp(max=self.features) - a
        mean = (sums[high] - sums[low]) / (high - low)[:, None]
        centred: torch.Tensor = features[first - a : last - a] - mean.to(features.dtype)
        return centred


class Pooled:
    """Vectors of chunks from shared frames. ``masks``: ``(chunks, speakers, mask frames)``, chunks of ``chunk_s`` seconds
    ``step_s`` apart.
    """

    def __init__(self, reader: FrameReader, masks: NDArray[np.float32], chunk_s: float, step_s: float) -> None:
        self.reader = reader
        self.masks = masks
        self.step_s = step_s
        self._length = int(reader.model.num_frames(round(chunk_s * SAMPLE_RATE)))  # frames of a chunk

    def vectors(self, first: int, last: int) -> NDArray[Any]:
        """``(chunks, speakers, d)`` of chunks ``first`` to ``last``; NaN for a speaker who does not speak in a chunk."""
        reader = self.reader
        starts = [round(n * self.step_s / reader.seconds_per_frame) for n in range(first, last)]
        length = self._length
        frames = reader.read(starts[0], starts[-1] + length)
        width = frames.shape[1]
        if width == 0:  # shorter than one feature
            return np.full((last - first, self.masks.shape[1], reader.model.resnet.seg_1.out_features), np.nan, np.float32)
        masks = torch.from_numpy(self.masks[first:last]).to(reader.device)
        masks = F.interpolate(masks, size=length, mode="nearest")
        count, speakers, _ = masks.shape
        weights = torch.zeros((count, speakers, width), device=reader.device)
        for row, start in enumerate(starts):
            here = start - starts[0]
            room = max(0, min(length, width - here))
            weights[row, :, here : here + room] = masks[row, :, :room]
        return self._embed(frames, weights.flatten(0, 1)).reshape(count, speakers, -1)

    def _embed(self, frames: torch.Tensor, weights: torch.Tensor) -> NDArray[Any]:
        """Weighted mean and unbiased deviation (pyannote's ``StatsPool``) for all masks together, then the last layer."""
        v1 = weights.sum(1) + 1e-8
        v2 = weights.square().sum(1)
        mean = (weights @ frames.T) / v1[:, None]
        square = (weights @ frames.square().T) / v1[:, None]
        spread = (square - mean.square()).clamp(min=0) * v1[:, None] / (v1 - v2 / v1 + 1e-8)[:, None]
        vectors = self.reader.model.resnet.seg_1(torch.cat([mean, spread.sqrt()], dim=1))
        vectors[v1 < _TOO_LITTLE] = torch.nan
        result: NDArray[Any] = vectors.cpu().numpy()
        return result

"""pyannote's segmentation network (PyanNet) over overlapping chunks: its first filters process each second of audio once, not once for
every chunk that contains it.

The network normalises a chunk by its own mean and deviation, filters it, takes magnitudes, and keeps the largest of every few in a row.
Filters are linear: those of a normalised chunk are those of the audio, scaled and shifted. So the largest magnitude is that of the
largest or the smallest value, and both are found once for all chunks that begin in the same phase. Results differ from the network's
own by rounding, about 1e-6 of their scale; everything after the first filters is pyannote's own code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pyannote.audio.models.segmentation import PyanNet
from torch import nn


class SharedFilters:
    """A PyanNet for chunks of ``window`` samples, ``step`` samples apart. Thread-safe, as the network is."""

    @staticmethod
    def fit(model: Any, step: int) -> bool:
        """Whether the model is a PyanNet as pyannote builds it, and chunks begin where its filters do."""
        if type(model) is not PyanNet or isinstance(model.specifications, tuple):
            return False
        net = model.sincnet
        first, norm, pool = net.conv1d[0], net.wav_norm1d, net.pool1d[0]
        return (
            type(first).__name__ == "Encoder"
            and type(first.filterbank).__name__ == "ParamSincFB"
            and first.padding == 0
            and step % first.stride == 0
            and type(norm) is nn.InstanceNorm1d
            and norm.affine
            and not norm.track_running_stats
            and type(pool) is nn.MaxPool1d
            and (pool.padding, pool.dilation, pool.ceil_mode) == (0, 1, False)
            and pool.stride == pool.kernel_size
        )

    def __init__(self, model: Any, window: int, step: int) -> None:
        self.model = model
        self.window = window
        self.step = step

    @torch.inference_mode()
    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        """The network's output ``(chunks, frames, classes)`` for all chunks of ``(samples,)``."""
        net = self.model.sincnet
        chunks = F.leaky_relu(net.norm1d[0](self._pooled(audio)))
        for convolution, pool, norm in list(zip(net.conv1d, net.pool1d, net.norm1d, strict=True))[1:]:
            chunks = F.leaky_relu(norm(pool(convolution(chunks))))
        output: torch.Tensor = PyanNet.forward(_WithFeatures(self.model, chunks), chunks)
        return output

    def _pooled(self, audio: torch.Tensor) -> torch.Tensor:
        """The largest magnitudes ``(chunks, filters, n)`` of each chunk's first filters."""
        first, size = self.model.sincnet.conv1d[0], self.model.sincnet.pool1d[0].kernel_size
        filtered = first(audio[None, None])
        scale, shift = self._normalising(audio)
        offset = shift[:, None] * first(torch.ones(1, 1, first.filterbank.kernel_size, device=audio.device)).flatten()
        starts = [n * self.step // first.stride for n in range(len(scale))]
        length = ((self.window - first.filterbank.kernel_size) // first.stride + 1) // size
        phases = sorted({start % size for start in starts})
        highest = {phase: F.max_pool1d(filtered[..., phase:], size)[0] for phase in phases}
        lowest = {phase: F.max_pool1d(-filtered[..., phase:], size)[0] for phase in phases}  # of the negated values
        result = torch.empty(len(starts), filtered.shape[1], length, device=audio.device)
        for row, start, factor, added in zip(result, starts, scale, offset[..., None], strict=True):
            place = slice(start // size, start // size + length)
            torch.addcmul(added, factor, highest[start % size][:, place], out=row)
            torch.maximum(row, torch.addcmul(-added, factor, lowest[start % size][:, place]), out=row)
        return result

    def _normalising(self, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``scale`` and ``shift``, both ``(chunks,)``: a normalised chunk is ``scale * chunk + shift``."""
        norm = self.model.sincnet.wav_norm1d
        exact = audio.double()
        sums, squares = (F.pad(values.cumsum(0), (1, 0)) for values in (exact, exact.square()))
        begin = torch.arange(0, len(audio) - self.window + 1, self.step, device=audio.device)
        mean = (sums[begin + self.window] - sums[begin]) / self.window
        variance = ((squares[begin + self.window] - squares[begin]) / self.window - mean.square()).clamp(min=0)
        scale = norm.weight.double() / (variance + norm.eps).sqrt()
        return scale.float(), (norm.bias.double() - scale * mean).float()


class _WithFeatures:
    """A PyanNet whose filters are done: for ``PyanNet.forward``."""

    def __init__(self, model: Any, features: torch.Tensor) -> None:
        self._model = model
        self._features = features

    def sincnet(self, _: torch.Tensor) -> torch.Tensor:
        return self._features

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

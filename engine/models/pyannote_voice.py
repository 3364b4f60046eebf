"""Our voice encoder as the embedding model of a pyannote pipeline.

pyannote.audio 4.0 passes speechbrain 1.1 arguments that it no longer accepts, and chooses its wrapper by words in a path. A
pipeline does accept a ready ``Model`` object, so the encoder is wrapped as one and no code of either library is changed. Imported
late, inside :func:`gainstage.engine.models.quiet.importing`.
"""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F
from pyannote.audio import Model

from gainstage.engine.models.voice import VoiceEncoder
from gainstage.engine.terms import SAMPLE_RATE

GRID = 1600
"""Samples (0.1 s): the speech of a chunk is cut to a multiple, so that batches of equal length form and need no padding."""


class EncoderAsModel(Model):  # type: ignore[misc]
    """``(batch, 1, samples)`` and a mask ``(batch, frames)`` to raw voices ``(batch, d)``; NaN where too little speech is left."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        super().__init__(sample_rate=SAMPLE_RATE, num_channels=1)
        self._encoder = (encoder,)  # in a tuple, so that it is no submodule and `to` does not move the shared weights

    @property
    def dimension(self) -> int:
        return self._encoder[0].id.dimension

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        encoder = self._encoder[0]
        signals = waveforms[:, 0]
        if weights is None:
            if signals.shape[1] < encoder.min_seconds * SAMPLE_RATE:
                raise ValueError("too short")  # a pipeline finds the shortest possible input this way
            return torch.from_numpy(encoder.raw(signals))
        masks = F.interpolate(weights[:, None], size=signals.shape[1], mode="nearest")[:, 0] > 0.5
        vectors = torch.full((len(signals), self.dimension), torch.nan)
        groups: dict[int, list[int]] = defaultdict(list)
        for row, samples in enumerate(masks.sum(1).tolist()):
            if samples >= encoder.min_seconds * SAMPLE_RATE:
                groups[samples - samples % GRID].append(row)
        for length, rows in groups.items():
            batch = torch.stack([signals[row][masks[row]][:length] for row in rows])
            vectors[rows] = torch.from_numpy(encoder.raw(batch))
        return vectors

"""Our voice encoder in the place where a pyannote pipeline expects its own embedding model.

pyannote.audio 4.0 hands speechbrain 1.1 arguments it no longer takes, and picks its wrapper by words in a path. A pipeline
does accept a ready ``Model`` object, so the encoder is wrapped as one and no code of either library is changed. Imported
late, under :func:`gainstage.engine.models.quiet.importing`.
"""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F
from pyannote.audio import Model

from gainstage.engine.models.voice import VoiceEncoder
from gainstage.engine.terms import SAMPLE_RATE

GRID = 1600
"""Samples (0.1 s) that the speech of a chunk is cut to, so that batches form of equal length and need no padding."""


class EncoderAsModel(Model):  # type: ignore[misc]
    """``(batch, 1, samples)`` and a mask ``(batch, frames)`` to raw voices ``(batch, d)``; NaN where too little is left."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        super().__init__(sample_rate=SAMPLE_RATE, num_channels=1)
        self._encoder = (encoder,)  # in a tuple: not a submodule, so that `to` leaves the shared weights where they are

    @property
    def dimension(self) -> int:
        return self._encoder[0].id.dimension

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        encoder = self._encoder[0]
        signals = waveforms[:, 0]
        if weights is None:
            if signals.shape[1] < encoder.min_seconds * SAMPLE_RATE:
                raise ValueError("too short")  # how a pipeline finds out the least it may ask for
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

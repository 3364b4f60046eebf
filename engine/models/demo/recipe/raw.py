"""What a synthesiser hands back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Mono sound, one number per sample, about -1 to 1."""


class Raw(NamedTuple):
    """Float32 samples at ``rate`` and (text, start in seconds) of words and phones."""

    samples: Samples
    rate: int
    words: list[tuple[str, float]]
    phones: list[tuple[str, float]]

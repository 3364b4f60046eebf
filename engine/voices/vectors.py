"""Voices (speaker embeddings) as vectors: validation and similarity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gainstage.engine.errors import Misconfigured, Permanent
from gainstage.engine.terms import ModelId, Vector

DECIMALS = 4
"""Similarities are rounded to this many decimals before any decision, so that decisions use the numbers that are shown."""

SMALLEST_NORM = 1e-6
UNIT = 1e-6


class BadVoice(Permanent):
    """A vector that is not a valid voice: NaN, infinite, zero, or of the wrong shape."""


class ForeignVoice(Misconfigured):
    """A vector of another dimension or model revision than the one in use: it is neither truncated nor compared."""


def checked(vectors: ArrayLike, dimension: int | None = None, *, what: str = "voice") -> NDArray[np.float32]:
    """``vectors`` ((d,) or (n, d)) as float32 unit vectors of the same shape.

    Raises :class:`BadVoice` for NaN, infinite and zero vectors, :class:`ForeignVoice` for another dimension.
    """
    try:
        array = np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise BadVoice(f"{what} is not a vector of numbers: {error}", cause="not a voice") from None
    if array.ndim not in (1, 2) or array.size == 0:
        raise BadVoice(f"{what} has the shape {array.shape}", cause="not a voice")
    if dimension is not None and array.shape[-1] != dimension:
        raise ForeignVoice(
            f"{what} has {array.shape[-1]} numbers, the model in use {dimension}",
            cause="voice of another dimension",
            hint="Enrol it again with this model, or use the model that made it.",
        )
    if not np.isfinite(array).all():
        raise BadVoice(f"{what} holds NaN or infinite numbers", cause="not a voice")
    norms = np.linalg.norm(array.astype(np.float64), axis=-1, keepdims=True)
    if (norms < SMALLEST_NORM).any():
        raise BadVoice(f"{what} is a zero vector", cause="not a voice")
    norms[np.abs(norms - 1.0) < UNIT] = 1.0  # keeps unit vectors identical bit by bit, however often they are checked
    unit: NDArray[np.float32] = (array / norms).astype(np.float32)
    return unit


def same_model(stored: ModelId, wanted: ModelId, *, what: str) -> None:
    """Raise :class:`ForeignVoice` unless both vectors come from the same model: its name, revision and dimension, or its weights."""
    if not stored.is_same(wanted):
        raise ForeignVoice(
            f"{what} was made by {stored.name} {stored.revision[:12]} ({stored.dimension} numbers), "
            f"in use is {wanted.name} {wanted.revision[:12]} ({wanted.dimension})",
            cause="voice of another model",
            hint="Enrol it again with this model, or set voice.model to the one that made it.",
        )


def mean_voice(voices: NDArray[np.float32], weights: NDArray[Any] | None = None) -> Vector:
    """The normalised mean of ``voices`` ((n, d) unit vectors), weighted by ``weights`` (n,) when given; (d,), of unit length.

    Raises :class:`BadVoice` when the voices cancel out.
    """
    return checked(np.average(voices.astype(np.float64), axis=0, weights=weights), what="mean of the voices")

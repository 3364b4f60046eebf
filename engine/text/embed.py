"""The text model: passages to vectors (a sentence-transformers model on one device)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.models import quiet
from gainstage.engine.models.oom import out_of_memory_named
from gainstage.engine.models.rate import Rate
from gainstage.engine.models.resolve import Found
from gainstage.engine.terms import ModelId

_QUERY_PREFIX = {"BAAI/bge-": "Represent this sentence for searching relevant passages: "}
"""What a model family wants before a search (never before a passage), where its folder does not say so itself."""


class TextEncoder:
    """A text-embedding model. Safe to call from several threads: calls take turns (the tokenizer cannot be shared)."""

    def __init__(self, model: Any, id: ModelId, device: str, dtype: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self.id = id
        self.device = device
        self.dtype = dtype
        self.rate = Rate("texts")

    def modules(self) -> tuple[Any, ...]:
        """Its PyTorch modules, for an account of memory."""
        return (self._model,)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """``(n, d) float32``, L2-normalised, one row per text; a text of no known word gives a zero row.

        ``query`` puts the model's own search prompt in front. Raises :class:`gainstage.engine.errors.OutOfMemory`.
        """
        if not texts:
            return np.zeros((0, self.id.dimension), np.float32)
        where = f"text vectors on {self.device}"
        with self._lock, quiet.working(), out_of_memory_named(where), self.rate.timed(len(texts)):
            vectors = np.asarray(
                self._model.encode(
                    list(texts),
                    batch_size=len(texts),
                    prompt=self._prompt() if query else None,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                ),
                np.float32,
            )
        return _normalised(vectors)

    def _prompt(self) -> str | None:
        own = (self._model.prompts or {}).get("query")
        return own or next((prefix for family, prefix in _QUERY_PREFIX.items() if self.id.name.startswith(family)), None)


def load_text_encoder(found: Found, device: str, dtype: str) -> TextEncoder:
    """The model in ``found.folder`` on ``device``; ``dtype`` "auto" is float16 on a GPU, else float32."""
    dtype = dtype if dtype != "auto" else "float16" if device.startswith("cuda") else "float32"
    with quiet.importing():
        import torch
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(found.folder), device=device, local_files_only=True, trust_remote_code=False)
        model.to(getattr(torch, dtype))
        model.eval()
    encoder = TextEncoder(model, ModelId(found.name, found.revision or "", 0), device, dtype)
    encoder.id = ModelId(found.name, found.revision or "", encoder.encode(["dimension"]).shape[1])
    return encoder


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: NDArray[np.float32] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-8)
    return result

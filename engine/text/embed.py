"""The text model: passages to vectors (a sentence-transformers model on one device)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.errors import Misconfigured
from gainstage.engine.models import quiet
from gainstage.engine.models.cpu_threads import follow
from gainstage.engine.models.oom import out_of_memory_named
from gainstage.engine.models.rate import Rate
from gainstage.engine.models.resolve import ResolvedModel
from gainstage.engine.terms import ModelId

_QUERY_PREFIX = {"BAAI/bge-": "Represent this sentence for searching relevant passages: "}
"""Prefix that a model family needs before a search query (never before a passage), when its folder does not define one."""


class TextEncoder:
    """A text-embedding model. Thread-safe: calls run one after the other, because the tokenizer cannot be shared."""

    def __init__(self, model: Any, id: ModelId, device: str, dtype: str, family: str = "") -> None:
        self._model = model
        self._family = family or id.name
        self._lock = threading.Lock()
        self.id = id
        self.device = device
        self.dtype = dtype
        self.rate = Rate("texts")

    def modules(self) -> tuple[Any, ...]:
        """Its PyTorch modules, for measuring memory."""
        return (self._model,)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """``(n, d) float32``, L2-normalised, one row per text; a text without known words gives a zero row.

        ``query`` adds the model's prompt for search queries. Raises :class:`gainstage.engine.errors.OutOfMemory`.
        """
        if not texts:
            return np.zeros((0, self.id.dimension), np.float32)
        where = f"text vectors on {self.device}"
        follow()
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
        return own or next((prefix for family, prefix in _QUERY_PREFIX.items() if self._family.startswith(family)), None)


MODULES = {"Transformer", "Pooling", "Normalize", "Dense", "StaticEmbedding"}
"""Modules of sentence_transformers that a text model may consist of."""

ACTIVATIONS = {"Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "Identity", "LeakyReLU"}
"""Classes of torch.nn that may follow a Dense module."""


def check_folder(resolved: ResolvedModel) -> None:
    """Refuse a folder that would load more than text models. sentence-transformers imports the classes that a folder names, some
    from any package, and may run modelling code stored with the weights. Raises :class:`Misconfigured`."""
    try:
        modules = json.loads((resolved.folder / "modules.json").read_text("utf-8"))
        types, places = [str(m["type"]) for m in modules], [str(m.get("path", "")) for m in modules]
        for kind, place in zip(types, places, strict=True):
            if not kind.startswith("sentence_transformers.") or kind.rpartition(".")[2] not in MODULES:
                raise _unsafe(resolved, f"modules.json asks for {kind}")
            folder = (resolved.folder / place).absolute()
            if ".." in Path(place).parts or not folder.is_relative_to(resolved.folder.absolute()):
                raise _unsafe(resolved, f"modules.json points out of the folder, to {place}")
            config = _json(folder / "config.json")
            if "auto_map" in config:
                raise _unsafe(resolved, "config.json asks for code of its own (auto_map)")
            activation = str(config.get("activation_function", ""))
            if kind.endswith(".Dense") and not (
                activation.startswith("torch.nn.") and activation.rpartition(".")[2] in ACTIVATIONS
            ):
                raise _unsafe(resolved, f"a Dense module asks for {activation}")
        for file in resolved.folder.rglob("*.json"):
            if "attn_implementation" in (text := file.read_text("utf-8", "replace")) and re.search(
                r'"_?attn_implementation"\s*:\s*"[^"]*[/:]', text
            ):
                raise _unsafe(resolved, f"{file.name} asks for a kernel from elsewhere")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Misconfigured(
            f"embed model {resolved.name} cannot be loaded from {resolved.folder}: {type(error).__name__}: {error}",
            cause="model cannot be loaded",
            hint="Choose the folder of a sentence-transformers model, or fetch it again.",
        ) from error


def _json(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return content if isinstance(content, dict) else {}


def _unsafe(resolved: ResolvedModel, why: str) -> Misconfigured:
    return Misconfigured(
        f"embed model {resolved.name} is not safe to load: {why}",
        cause="model not safe to load",
        hint="Only the modules of a text model are loaded; choose another model.",
    )


def load_text_encoder(resolved: ResolvedModel, device: str, dtype: str, family: str = "") -> TextEncoder:
    """The model in ``resolved.folder`` on ``device``; ``dtype`` "auto" is float16 on a GPU, else float32. ``family`` is the hub
    name that decides about its prompt for queries, where it is not its own."""
    check_folder(resolved)
    dtype = dtype if dtype != "auto" else "float16" if device.startswith("cuda") else "float32"
    with quiet.importing():
        import torch
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(resolved.folder), device=device, local_files_only=True, trust_remote_code=False)
        model.to(getattr(torch, dtype))
        model.eval()
    encoder = TextEncoder(model, ModelId(resolved.name, resolved.revision or "", 0), device, dtype, family)
    encoder.id = ModelId(resolved.name, resolved.revision or "", encoder.encode(["dimension"]).shape[1], resolved.content)
    return encoder


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: NDArray[np.float32] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-8)
    return result

"""The voice model: spans of audio to speaker vectors (speechbrain's ECAPA-TDNN or another encoder of its kind)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.errors import Misconfigured
from gainstage.engine.models import quiet
from gainstage.engine.models.cpu_threads import follow
from gainstage.engine.models.oom import out_of_memory_named
from gainstage.engine.models.rate import Rate
from gainstage.engine.models.resolve import ResolvedModel
from gainstage.engine.terms import SAMPLE_RATE, ModelId

if TYPE_CHECKING:
    import torch


class VoiceEncoder:
    """A speaker-embedding model on one device. Thread-safe: nothing in it changes after loading.

    A voice depends on its span alone when all spans of a batch have equal length, so only such batches are accepted.
    """

    min_seconds = 0.2
    """Shorter spans are refused by :meth:`embed`: a few frames do not identify a speaker."""

    def __init__(self, classifier: Any, resolved: ResolvedModel, device: str) -> None:
        self._classifier = classifier
        self.device = device
        self.rate = Rate("audio")
        dimension = self.raw(np.zeros((1, SAMPLE_RATE), np.float32)).shape[1]
        self.id = ModelId(resolved.name, resolved.revision or "", dimension, resolved.content)

    def modules(self) -> tuple[torch.nn.Module, ...]:
        """Its PyTorch modules, for measuring memory."""
        return (self._classifier,)

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Voices of spans of equal length: ``(n, samples) float32`` at 16 kHz to ``(n, d) float32``, L2-normalised.

        A row whose voice is not finite or is zero is returned as NaN; the other rows are not affected.
        Raises :class:`gainstage.engine.errors.OutOfMemory`; ``ValueError`` for another shape or spans under ``min_seconds``.
        """
        batch = np.asarray(batch, np.float32)
        if batch.ndim != 2 or batch.shape[1] < self.min_seconds * SAMPLE_RATE:
            raise ValueError(f"voices need (n, samples) with at least {self.min_seconds} s each, not {batch.shape}")
        if len(batch) == 0:
            return np.zeros((0, self.id.dimension), np.float32)
        with self.rate.timed(batch.size / SAMPLE_RATE):
            raw = self.raw(batch)
        length = np.linalg.norm(raw, axis=1, keepdims=True)
        sound = np.isfinite(length) & (length > 1e-8)
        return np.where(sound, raw / np.where(sound, length, 1.0), np.nan).astype(np.float32)

    def raw(self, batch: NDArray[np.float32] | torch.Tensor) -> NDArray[np.float32]:
        """Like :meth:`embed`, without normalisation and checks: the input that a diarizer's PLDA was trained on."""
        import torch

        follow()
        with torch.inference_mode(), out_of_memory_named(f"voices on {self.device}"):
            features = self._features(self._tensor(batch))
            lengths = torch.ones(len(features), device=features.device)
            vectors: NDArray[np.float32] = self._classifier.mods.embedding_model(features, lengths).squeeze(1).cpu().numpy()
        return vectors

    def _tensor(self, batch: NDArray[np.float32] | torch.Tensor) -> torch.Tensor:
        import torch

        return torch.as_tensor(batch, dtype=torch.float32, device=self.device)

    def _features(self, waveforms: torch.Tensor) -> torch.Tensor:
        import torch

        lengths = torch.ones(len(waveforms), device=waveforms.device)
        features: torch.Tensor = self._classifier.mods.mean_var_norm(self._classifier.mods.compute_features(waveforms), lengths)
        return features


def check_folder(resolved: ResolvedModel) -> None:
    """Refuse a folder that lacks a part of a voice encoder, or asks for more than one, before anything is loaded. Raises
    :class:`Misconfigured`."""
    from gainstage.engine.models.hyperparams import read
    from gainstage.engine.models.weights import Forbidden

    try:
        weights = read((resolved.folder / "hyperparams.yaml").read_text("utf-8")).weights_of("embedding_model", resolved.folder)
    except Forbidden as error:
        raise Misconfigured(
            f"voice model {resolved.name} is not safe to load: it asks for {error}",
            cause="model not safe to load",
            hint="Only the classes of a voice encoder are built; choose another model.",
        ) from error
    if weights is None or not weights.is_file():
        raise Misconfigured(
            f"voice model {resolved.name}: {resolved.folder} holds no {'weights' if weights is None else weights.name}",
            cause="model files do not fit",
            hint="Take all files of one model: fetch it again, or choose another voice.model.",
        )


def load_classifier(resolved: ResolvedModel, device: str) -> torch.nn.Module:
    """The weights in ``found.folder`` on ``device`` ("cpu", "cuda", "cuda:1"), for any number of :class:`VoiceEncoder`.

    Raises :class:`Misconfigured` for a folder that names classes outside a voice encoder or lacks its weights, and PyTorch's errors
    for broken files.
    """
    with quiet.importing():
        check_folder(resolved)
        from gainstage.engine.models.hyperparams import build_encoder
        from gainstage.engine.models.weights import Forbidden

        try:
            classifier = build_encoder((resolved.folder / "hyperparams.yaml").read_text("utf-8"), resolved.folder, device)
        except Forbidden as error:
            raise Misconfigured(
                f"voice model {resolved.name} is not safe to load: it asks for {error}",
                cause="model not safe to load",
                hint="Only the classes of a voice encoder are built; choose another model.",
            ) from error
        skip_empty_padding(classifier)
    return classifier


def skip_empty_padding(classifier: torch.nn.Module) -> None:
    """Let convolutions over a single frame take their input as it is: speechbrain pads it by nothing first, which copies it. The
    voices stay the same to the bit; ECAPA-TDNN needs a sixth less time on a CPU.
    """
    from speechbrain.nnet.CNN import Conv1d

    for module in classifier.modules():
        if isinstance(module, Conv1d) and module.kernel_size == 1 and module.padding == "same":
            module.padding = "valid"


def load_voice_encoder(resolved: ResolvedModel, device: str) -> VoiceEncoder:
    """One encoder with its own weights; the registry shares weights between encoders instead."""
    return VoiceEncoder(load_classifier(resolved, device), resolved, device)

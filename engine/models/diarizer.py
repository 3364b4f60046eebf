"""The diarizer's weights, loaded once and shared: every slot builds its own pyannote pipeline over them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from gainstage.engine.errors import Misconfigured
from gainstage.engine.models import quiet
from gainstage.engine.models.rate import Rate
from gainstage.engine.models.resolve import Found
from gainstage.engine.models.voice import VoiceEncoder

_PIPELINE = "pyannote.audio.pipelines.SpeakerDiarization"

VoiceAt = Callable[[str, Path], VoiceEncoder]
"""Gives the encoder for the name a config states and the folder the config lies in."""


@dataclass(frozen=True, slots=True)
class DiarizerParts:
    """What slots share: models on their device, the options and the tuned parameters of the pipeline."""

    label: str  # name@revision
    device: str
    segmentation: Any
    embedding: Any
    plda: Any
    options: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    pad_s: float = 0.0  # what a model that ends turns too early asks for, in its config.yaml under `gainstage`
    rate: Rate = field(default_factory=lambda: Rate("audio"))

    def modules(self) -> tuple[Any, ...]:
        """The PyTorch modules all slots share, for an account of memory."""
        return (self.segmentation, self.embedding)

    def pipeline(self) -> Any:
        """A new pipeline over the shared weights."""
        with quiet.importing():
            import torch
            from pyannote.audio.pipelines import SpeakerDiarization

            pipeline = SpeakerDiarization(segmentation=self.segmentation, embedding=self.embedding, plda=self.plda, **self.options)
            pipeline.instantiate(self.parameters)
            return pipeline.to(torch.device(self.device))

    def set_threshold(self, pipeline: Any, threshold: float | None) -> None:
        """Cluster with ``threshold``, or with the model's own when None."""
        clustering = dict(self.parameters.get("clustering", {}))
        if threshold is not None:
            clustering["threshold"] = threshold
        pipeline.instantiate({**self.parameters, "clustering": clustering})


def load_diarizer(found: Found, device: str, voice_at: VoiceAt) -> DiarizerParts:
    """Everything in ``found.folder``, as its config.yaml says. Raises :class:`Misconfigured`."""
    config = yaml.safe_load((found.folder / "config.yaml").read_text("utf-8"))
    try:
        pipeline = dict(config["pipeline"])
        options = dict(pipeline.get("params", {}))
        parts = {name: options.pop(name) for name in ("segmentation", "embedding", "plda")}
    except (KeyError, TypeError) as error:
        raise _unusable(found, f"config.yaml lacks {error}") from error
    if pipeline.get("name") != _PIPELINE:
        raise _unusable(found, f"its pipeline is {pipeline.get('name')}, not {_PIPELINE}")
    for name in ("token", "cache_dir"):
        options.pop(name, None)
    with quiet.importing():
        from pyannote.audio.core.plda import PLDA

        try:
            return DiarizerParts(
                label=f"{found.name}@{found.revision}" if found.revision else found.name,
                device=device,
                segmentation=_model(found, parts["segmentation"]),
                embedding=_embedding(found, parts["embedding"], voice_at),
                plda=PLDA.from_pretrained(_beside(found, parts["plda"])),
                options=options,
                parameters=dict(config.get("params", {})),
                pad_s=float(config.get("gainstage", {}).get("pad_s", 0.0)),
            )
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise _unusable(found, str(error)) from error


def _embedding(found: Found, name: Any, voice_at: VoiceAt) -> Any:
    if isinstance(name, str) and not name.startswith("$model/"):
        from gainstage.engine.models.pyannote_voice import EncoderAsModel

        return EncoderAsModel(voice_at(name, found.folder))
    return _model(found, name)


def _model(found: Found, name: Any) -> Any:
    """A pyannote model from a folder beside the config.

    pyannote unpickles without limits. So the file is first read by PyTorch's restricted loader, which lets through tensors,
    plain values and the five classes below, and refuses anything that could run code; then pyannote gets the same bytes.
    """
    import pickle

    import torch
    from pyannote.audio import Model
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    path = _beside(found, name) / "pytorch_model.bin"
    data = path.read_bytes()
    known = [Problem, Resolution, Specifications, torch.torch_version.TorchVersion]
    try:
        with torch.serialization.safe_globals(known):
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Misconfigured(
            f"diarization model {found.name}: {path.name} holds more than weights: {error}",
            cause="model not safe to load",
            hint="Choose another model, or fetch this one again from its own page.",
        ) from error
    model = Model.from_pretrained(io.BytesIO(data), strict=False)
    model.eval()
    return model


def _beside(found: Found, name: Any) -> Path:
    if not isinstance(name, str) or not name.startswith("$model/"):
        raise ValueError(f"config.yaml points to {name!r}, which is not a folder beside it ($model/...)")
    folder = (found.folder / name.removeprefix("$model/")).resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no {folder}")
    return folder


def _unusable(found: Found, why: str) -> Misconfigured:
    return Misconfigured(
        f"diarization model {found.name} cannot be loaded from {found.folder}: {why}",
        cause="model cannot be loaded",
        hint="Choose a pyannote pipeline folder of version 4, such as pyannote/speaker-diarization-community-1.",
    )

"""The diarizer's weights, loaded once and shared: every slot builds its own pyannote pipeline over them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from gainstage.config.regular_files import read_regular
from gainstage.engine.errors import Misconfigured
from gainstage.engine.models import quiet
from gainstage.engine.models.rate import Rate
from gainstage.engine.models.resolve import ResolvedModel
from gainstage.engine.models.voice import VoiceEncoder
from gainstage.engine.models.weights import Forbidden, read_weights

_PIPELINE = "pyannote.audio.pipelines.SpeakerDiarization"

ARCHITECTURES = {
    ("pyannote.audio.models.segmentation.PyanNet", "PyanNet"),
    ("pyannote.audio.models.segmentation", "PyanNet"),
    ("pyannote.audio.models.embedding.wespeaker", "WeSpeakerResNet34"),
    ("pyannote.audio.models.embedding.wespeaker", "WeSpeakerResNet152"),
    ("pyannote.audio.models.embedding.wespeaker", "WeSpeakerResNet221"),
    ("pyannote.audio.models.embedding.wespeaker", "WeSpeakerResNet293"),
    ("pyannote.audio.models.embedding", "WeSpeakerResNet34"),
    ("pyannote.audio.models.embedding.xvector", "XVectorSincNet"),
    ("pyannote.audio.models.embedding.xvector", "XVectorMFCC"),
}
"""Module and class of the models a diarizer may consist of; others could import code that a file names, or download weights."""

OPTIONS = {
    "legacy", "segmentation_step", "embedding_exclude_overlap", "clustering", "embedding_batch_size", "segmentation_batch_size",
    "der_variant",
}  # fmt: skip
"""Options of a pipeline that its config may contain."""

MOST_CONFIG = 256 * 1024
MOST_PLDA = 64 * 1024 * 1024
DEEPEST, MOST_VALUES = 8, 20_000
"""Limits of a config, in bytes, levels and values."""

VoiceAt = Callable[[str, Path], VoiceEncoder]
"""Returns the encoder for the name in a config and the folder of that config."""


@dataclass(frozen=True, slots=True)
class DiarizerParts:
    """The parts that slots share: models on their device, the options and the tuned parameters of the pipeline."""

    label: str  # name@revision
    device: str
    segmentation: Any
    embedding: Any
    plda: Any
    options: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    pad_s: float = 0.0  # seconds to extend turns for a model that ends them too early; in its config.yaml under `gainstage`
    rate: Rate = field(default_factory=lambda: Rate("audio"))

    def __post_init__(self) -> None:
        """Take the shared modules to their device, where they stay: the constructor of a pipeline takes its speaker network to the CPU,
        and moving a recurrent network copies its weights, both under the hands of the slots that run them."""
        import torch

        for module in self.modules():
            type(module).to(module, torch.device(self.device))  # its class's own: it may be kept from moving already
            module.to = partial(_stays, module)

    def modules(self) -> tuple[Any, ...]:
        """The PyTorch modules that all slots share."""
        return (self.segmentation, self.embedding)

    def pipeline(self) -> Any:
        """A new pipeline over the shared weights, which may be in use."""
        with quiet.importing():
            import torch

            from gainstage.engine.models.speaker_pipeline import SharedSpeakerDiarization

            pipeline = SharedSpeakerDiarization(
                segmentation=self.segmentation, embedding=self.embedding, plda=self.plda, **self.options
            )
            pipeline.instantiate(self.parameters)
            return pipeline.to(torch.device(self.device))

    def set_threshold(self, pipeline: Any, threshold: float | None) -> None:
        """Cluster with ``threshold``, or with the model's own when None."""
        clustering = dict(self.parameters.get("clustering", {}))
        if threshold is not None:
            clustering["threshold"] = threshold
        pipeline.instantiate({**self.parameters, "clustering": clustering})


def _stays(module: Any, *_: object, **__: object) -> Any:
    """``Module.to`` of a module that others use."""
    return module


@dataclass(frozen=True, slots=True)
class _Config:
    """A checked config.yaml: the places of the parts, options and tuned parameters."""

    parts: dict[str, Any]
    options: dict[str, Any]
    parameters: dict[str, Any]
    pad_s: float


def check_folder(resolved: ResolvedModel) -> None:
    """Refuse a folder that is no pipeline of version 4, or lacks a part, before anything is loaded. Raises
    :class:`Misconfigured`."""
    config = _config(resolved)
    for name, file in (("segmentation", "pytorch_model.bin"), ("embedding", "pytorch_model.bin"), ("plda", "plda.npz")):
        place = config.parts[name]
        if name == "embedding" and isinstance(place, str) and not place.startswith("$model/"):
            continue  # a voice model of its own, which is found like every model
        try:
            missing = not (_beside(resolved, place) / file).is_file()
        except (OSError, ValueError) as error:
            raise _unusable(resolved, str(error)) from error
        if missing:
            raise _unusable(resolved, f"{place} holds no {file}")


def load_diarizer(resolved: ResolvedModel, device: str, voice_at: VoiceAt) -> DiarizerParts:
    """Load everything in ``resolved.folder`` as its config.yaml says. Raises :class:`Misconfigured`."""
    check_folder(resolved)
    config = _config(resolved)
    with quiet.importing():
        try:
            return DiarizerParts(
                label=f"{resolved.name}@{resolved.revision}" if resolved.revision else resolved.name,
                device=device,
                segmentation=_model(resolved, config.parts["segmentation"]),
                embedding=_embedding(resolved, config.parts["embedding"], voice_at),
                plda=_plda(_beside(resolved, config.parts["plda"])),
                options=config.options,
                parameters=config.parameters,
                pad_s=config.pad_s,
            )
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise _unusable(resolved, str(error)) from error


def _plda(folder: Path) -> Any:
    """``PLDA.from_pretrained`` of a local folder, which leaves its files open and takes a FIFO for one."""
    from pyannote.audio.core.plda import PLDA

    try:
        return PLDA(*(io.BytesIO(read_regular(folder / name, MOST_PLDA)) for name in ("xvec_transform.npz", "plda.npz")))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{folder.name} holds no arrays, or is broken: {error}") from error


def _config(resolved: ResolvedModel) -> _Config:
    try:
        config = yaml.safe_load(read_regular(resolved.folder / "config.yaml", MOST_CONFIG).decode("utf-8"))
    except (yaml.YAMLError, RecursionError, ValueError, OSError) as error:  # ValueError: a date or a number that is none
        raise _unusable(resolved, f"config.yaml cannot be read: {str(error)[:300]}") from error
    try:
        pipeline = dict(config["pipeline"])
        options = dict(pipeline.get("params", {}))
        parts = {name: options.pop(name) for name in ("segmentation", "embedding", "plda")}
        pad_s = float(config.get("gainstage", {}).get("pad_s", 0.0))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        old = " (a pipeline of version 3 has none; gainstage needs one of version 4)" if error.args == ("plda",) else ""
        raise _unusable(resolved, f"config.yaml lacks {error}{old}") from error
    if pipeline.get("name") != _PIPELINE:
        raise _unusable(resolved, f"its pipeline is {pipeline.get('name')}, not {_PIPELINE}")
    for name in ("token", "cache_dir"):
        options.pop(name, None)
    if strange := sorted(set(options) - OPTIONS):
        raise _unusable(resolved, f"config.yaml has options that such a pipeline does not take: {', '.join(map(str, strange))}")
    if not _plain(options) or not _plain(config.get("params", {})):
        raise _unsafe(resolved, "config.yaml has parameters that are no plain values")
    return _Config(parts, options, dict(config.get("params", {})), pad_s)


def _embedding(resolved: ResolvedModel, name: Any, voice_at: VoiceAt) -> Any:
    if isinstance(name, str) and not name.startswith("$model/"):
        from gainstage.engine.models.pyannote_voice import EncoderAsModel

        return EncoderAsModel(voice_at(name, resolved.folder))
    return _model(resolved, name)


def _model(resolved: ResolvedModel, name: Any) -> Any:
    """A pyannote model from a folder next to the config.

    pyannote unpickles without limits, imports the module that the file names, and passes its parameters to a loader that can
    call other functions. So the file is first read by PyTorch's restricted loader, which accepts tensors, plain values and the
    four classes below; architecture and parameters are checked; and pyannote gets the checked content, written to a new file.
    """
    import torch
    from pyannote.audio import Model
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    path = _beside(resolved, name) / "pytorch_model.bin"
    try:
        content = read_weights(path, (Problem, Resolution, Specifications, torch.torch_version.TorchVersion))
    except Forbidden as error:
        raise _unsafe(resolved, str(error)) from error
    checked = io.BytesIO()
    torch.save(_checked(resolved, path.name, content), checked)
    checked.seek(0)
    model = Model.from_pretrained(checked, strict=False)
    model.eval()
    return model


def _checked(resolved: ResolvedModel, file: str, content: Any) -> dict[str, Any]:
    """The parts of a checkpoint that pyannote needs, after its architecture and parameters were checked."""
    import torch

    try:
        description, parameters = dict(content["pyannote.audio"]), dict(content["hyper_parameters"])
        architecture = (description["architecture"]["module"], description["architecture"]["class"])
        state = content["state_dict"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no pyannote model: it lacks {error}") from error
    if architecture not in ARCHITECTURES:
        raise _unsafe(resolved, f"{file} asks for {'.'.join(map(str, architecture))}")
    for key, value in parameters.items():
        if not isinstance(key, str) or key.startswith("_") or not _plain(value):
            raise _unsafe(resolved, f"{file} has a parameter {key!r} that is no plain value")
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise _unsafe(resolved, f"{file} has weights that are no tensors")
    return {
        "pyannote.audio": description,
        "hyper_parameters": parameters,
        "state_dict": state,
        "pytorch-lightning_version": str(content.get("pytorch-lightning_version", "2.0.0")),
    }


def _plain(value: Any) -> bool:
    """Whether a value is made of texts, numbers, lists and tables alone. An alias that stands in many places counts in each of them,
    so that few lines cannot name billions of values."""
    waiting, seen = [(value, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > DEEPEST or seen > MOST_VALUES:
            return False
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                return False
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += [(inner, depth + 1) for inner in value]
        elif not (value is None or isinstance(value, (bool, int, float, str))):
            return False
    return True


def _unsafe(resolved: ResolvedModel, why: str) -> Misconfigured:
    return Misconfigured(
        f"diarization model {resolved.name} is not safe to load: {why}",
        cause="model not safe to load",
        hint="Choose another model, or fetch this one again from its own page.",
    )


def _beside(resolved: ResolvedModel, name: Any) -> Path:
    if not isinstance(name, str) or not name.startswith("$model/"):
        raise ValueError(f"config.yaml points to {name!r}, which is not a folder beside it ($model/...)")
    folder = (resolved.folder / name.removeprefix("$model/")).resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no {folder}")
    return folder


def _unusable(resolved: ResolvedModel, why: str) -> Misconfigured:
    return Misconfigured(
        f"diarization model {resolved.name} cannot be loaded from {resolved.folder}: {why}",
        cause="model cannot be loaded",
        hint="Choose a pyannote pipeline folder of version 4, such as pyannote/speaker-diarization-community-1.",
    )

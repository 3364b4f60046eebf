"""Training of the voice model: a small ECAPA-TDNN told apart some 240 synthetic people, none of them of the demo."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gainstage.engine.models import quiet
from gainstage.engine.models.demo.recipe import sounds
from gainstage.engine.models.demo.recipe.bank import Bank
from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.models.demo.recipe.synth import resampled
from gainstage.engine.models.demo.recipe.voices import PEOPLE
from gainstage.engine.terms import SAMPLE_RATE

_CHANNELS, _NUMBERS = 128, 96
_SECONDS = (0.8, 1.2, 1.6, 2.0, 2.5)
_BATCH = 48
_SHIFTS = (100, 90, 111)
"""A voice resampled to 90 or 111 % of its pitch counts as another person."""

_HYPERPARAMS = """\
# Tiny ECAPA-TDNN trained on synthetic voices, for the demo and the tests only.
# The pretrainer has no `paths`: every part is <this folder>/<name>.ckpt, so the folder can be moved.
n_mels: 80
out_n_neurons: {classes}
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
    sample_rate: 16000
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [{channels}, {channels}, {channels}, {channels}, {last}]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: {half}
    res2net_scale: 4
    se_channels: {half}
    lin_neurons: {numbers}
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: {numbers}
    lin_neurons: {numbers}
    out_neurons: !ref <out_n_neurons>
mean_var_norm_emb: !new:speechbrain.processing.features.InputNormalization
    norm_type: global
    std_norm: False
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
"""


def train(bank: Bank, folder: Path, minutes: float, *, report: Callable[[str], None]) -> None:
    """Train from nothing for so many minutes of CPU time and write a folder for speechbrain's ``EncoderClassifier``."""
    torch.manual_seed(1)
    torch.set_flush_denormal(True)
    crops = _Crops(bank, seed=1)
    with quiet.importing():
        features, encoder, classifier, loss_of = _parts(len(crops.people))
        optimizer = torch.optim.AdamW([*encoder.parameters(), *classifier.parameters()], lr=1e-3, weight_decay=1e-4)
        began, steps, recent = time.process_time(), 0, 0.0
        while (share := (time.process_time() - began) / 60 / minutes) < 1:
            for group in optimizer.param_groups:
                group["lr"] = 1.5e-3 * min(1, (steps + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
            sound, people = crops.batch()
            loss = loss_of(classifier(encoder(features(sound))), people[:, None])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*encoder.parameters(), *classifier.parameters()], 5.0)
            optimizer.step()
            steps, recent = steps + 1, recent + loss.item()
            if steps % 50 == 0:
                report(f"voice {share * minutes:5.1f} min, step {steps}: loss {recent / 50:.3f}")
                recent = 0.0
    encoder.eval()
    _save(folder, encoder, classifier, crops.people)


class _Crops:
    """Cuts of one person's clips in a row, at some loudness and mostly with noise."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self._bank = bank
        self._rng, self._noise = random.Random(seed), np.random.default_rng(seed)
        self.people = [(voice, shift) for voice in sorted(bank.by_voice) if voice not in PEOPLE for shift in _SHIFTS]

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, samples) of equal length and (n,) who it is."""
        count = round(self._rng.choice(_SECONDS) * SAMPLE_RATE)
        chosen = [self._rng.randrange(len(self.people)) for _ in range(_BATCH)]
        return torch.from_numpy(np.stack([self._crop(person, count) for person in chosen])), torch.tensor(chosen)

    def _crop(self, person: int, count: int) -> Samples:
        rng = self._rng
        voice, shift = self.people[person]
        needed, sound = count * shift // 100 + 8, np.zeros(0, np.float32)
        while len(sound) < needed:
            entry = rng.choice(self._bank.by_voice[voice])
            start = rng.randint(0, max(0, entry.count - needed))
            pause = np.zeros(rng.randint(0, 2400), np.float32)
            sound = np.concatenate([sound, self._bank.clip(entry, start, start + needed), pause])
        sound = resampled(sound[:needed], Fraction(100, shift))[:count] * np.float32(10 ** (rng.uniform(-15, 3) / 20))
        if rng.random() < 0.8:
            sound = sound + sounds.hiss(count, 10 ** rng.uniform(-4.5, -2.2), self._noise)
        return sound


def _parts(people: int) -> tuple[Callable[[torch.Tensor], torch.Tensor], Any, Any, Any]:
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
    from speechbrain.nnet.losses import AdditiveAngularMargin, LogSoftmaxWrapper
    from speechbrain.processing.features import InputNormalization

    bank, norm = Fbank(n_mels=80, sample_rate=SAMPLE_RATE), InputNormalization(norm_type="sentence", std_norm=False)
    encoder = ECAPA_TDNN(
        input_size=80,
        channels=[_CHANNELS] * 4 + [3 * _CHANNELS],
        kernel_sizes=[5, 3, 3, 3, 1],
        dilations=[1, 2, 3, 4, 1],
        attention_channels=_CHANNELS // 2,
        res2net_scale=4,
        se_channels=_CHANNELS // 2,
        lin_neurons=_NUMBERS,
    )
    classifier = Classifier(input_size=_NUMBERS, lin_neurons=_NUMBERS, out_neurons=people)

    def features(sound: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = norm(bank(sound), torch.ones(len(sound)))
        return normed

    return features, encoder, classifier, LogSoftmaxWrapper(AdditiveAngularMargin(margin=0.2, scale=30))


def _save(folder: Path, encoder: Any, classifier: Any, people: list[tuple[str, int]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(encoder.state_dict(), folder / "embedding_model.ckpt")
    torch.save(classifier.state_dict(), folder / "classifier.ckpt")
    statistics: dict[str, object] = {"count": 0, "glob_mean": torch.tensor([0.0]), "glob_std": torch.tensor([0.0])}
    statistics |= {f"spk_dict_{name}": {} for name in ("mean", "std", "count")}
    torch.save(statistics, folder / "mean_var_norm_emb.ckpt")
    labels = "".join(f"'{voice}_{shift}' => {k}\n" for k, (voice, shift) in enumerate(people))
    (folder / "label_encoder.ckpt").write_text(f"{labels}================\n'starting_index' => 0\n")
    (folder / "hyperparams.yaml").write_text(
        _HYPERPARAMS.format(classes=len(people), channels=_CHANNELS, last=3 * _CHANNELS, half=_CHANNELS // 2, numbers=_NUMBERS)
    )

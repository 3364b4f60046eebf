"""Training of the diarizer's segmentation model on made-up talk by one to three people, over noise, wind and music."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gainstage.engine.models import quiet
from gainstage.engine.models.demo.recipe import sounds
from gainstage.engine.models.demo.recipe.bank import Bank
from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.terms import SAMPLE_RATE

TRAINED_S = (2.0, 2.0, 5.0)
"""Lengths of the training chunks, one per batch at random."""
USED_S = 2.0
"""Length of the chunks the model asks for when used: short ones leave the question of who speaks to the voice model, which is
much the better judge of it (DER 20-32 % at 5 s, 5.7 % at 2 s in a first trial)."""
_SPEAKERS, _AT_ONCE = 3, 2
_BATCH_S = 120.0
_SHORT_S = 1.6


class _Talk:
    """Makes chunks: float32 samples and who is active, (3, samples) of 0 or 1."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self._bank = bank
        self._voices = sorted(bank.by_voice)
        self._short = {voice: [e for e in entries if e.seconds < _SHORT_S] for voice, entries in bank.by_voice.items()}
        self._rng, self._noise = random.Random(seed), np.random.default_rng(seed)

    def batch(self) -> tuple[Samples, Samples]:
        """(n, samples) and (n, 3, samples), all of one length."""
        seconds = self._rng.choice(TRAINED_S)
        chunks = [self.chunk(seconds) for _ in range(round(_BATCH_S / seconds))]
        return np.stack([sound for sound, _ in chunks]), np.stack([active for _, active in chunks])

    def chunk(self, seconds: float) -> tuple[Samples, Samples]:
        """At most two people at once: the model knows no more."""
        while (made := self._chunk(seconds))[1].sum(0).max() > _AT_ONCE:
            pass
        return made

    def _chunk(self, seconds: float) -> tuple[Samples, Samples]:
        rng, count = self._rng, round(seconds * SAMPLE_RATE)
        sound, active = np.zeros(count, np.float32), np.zeros((_SPEAKERS, count), np.float32)
        people = rng.sample(self._voices, rng.choice((1, 2, 2, 2, 3)))
        if rng.random() < 0.93:
            self._speak(people, sound, active)
        if rng.random() < 0.3:
            self._accompany(sound)
        if rng.random() < 0.95:
            sound += sounds.hiss(count, 10 ** rng.uniform(-4.5, -2.2), self._noise)
        if rng.random() < 0.15:  # digital silence where nobody speaks
            quiet_from = rng.randrange(count)
            sound[quiet_from:][~active[:, quiet_from:].any(0)] = 0
        return sound * np.float32(10 ** (rng.uniform(-12, 0) / 20)), active

    def _speak(self, people: list[str], sound: Samples, active: Samples) -> None:
        rng, count = self._rng, len(sound)
        fast = len(people) > 1 and rng.random() < 0.25  # a back-and-forth in turns of about a second
        clips = self._short if fast and all(self._short[person] for person in people) else self._bank.by_voice
        loudness = [10 ** (rng.uniform(-9, 3) / 20) for _ in people]
        at, speaker = -rng.randint(0, 3 * SAMPLE_RATE), rng.randrange(len(people))
        while at < count:
            entry = rng.choice(clips[people[speaker]])
            start, end = max(at, 0), min(at + entry.count, count)
            if end > start:
                sound[start:end] += self._bank.clip(entry, start - at, end - at) * loudness[speaker]
                active[speaker, start:end] = (
                    1  # margins included: taught the bare speech, the model misses its edges (DER 6 % for 2)
                )
            others = [k for k in range(len(people)) if k != speaker] or [speaker]
            following = rng.choice(others) if fast or rng.random() < 0.5 else speaker
            pause = rng.choice((rng.uniform(0.02, 0.3), rng.uniform(0.1, 0.8), rng.uniform(0.5, 2.5)))
            if fast:
                pause = rng.uniform(0.05, 0.4)
            elif following != speaker and rng.random() < 0.3:
                pause = -rng.uniform(0.2, min(1.5, entry.seconds * 0.7))
            at, speaker = at + entry.count + round(pause * SAMPLE_RATE), following

    def _accompany(self, sound: Samples) -> None:
        """Music or wind over some of the chunk; loud only where it is not over speech."""
        rng = self._rng
        seconds = rng.uniform(1, len(sound) / SAMPLE_RATE)
        at = rng.randrange(len(sound) - round(seconds * SAMPLE_RATE) + 1)
        level = 10 ** rng.uniform(-2, -0.6)
        if rng.random() < 0.6:
            piece = sounds.tune(seconds, level, key=rng.uniform(0.6, 1.7), note_s=rng.uniform(0.12, 0.6))
        else:
            piece = sounds.wind(seconds, level / 4, self._noise, cutoff_hz=rng.uniform(120, 1500))
        over = sound[at : at + len(piece)]
        if np.abs(over).max() > 0.02:
            piece *= np.float32(rng.uniform(0.02, 0.15) / level)
        over += piece


def train(bank: Bank, folder: Path, minutes: float, *, start: Path | None, report: Callable[[str], None]) -> None:
    """Train for so many minutes of CPU time, from a checkpoint or from nothing, and write ``folder/pytorch_model.bin``."""
    torch.manual_seed(2)
    torch.set_flush_denormal(True)
    with quiet.importing():
        model = _fresh()
        if start:
            checkpoint = torch.load(start / "pytorch_model.bin", weights_only=False)
            model.load_state_dict(checkpoint["state_dict"])
        loss_of = _Loss(model)
        talk = _Talk(bank, seed=2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
        model.train()
        began, steps, recent = time.process_time(), 0, 0.0
        while (share := (time.process_time() - began) / 60 / minutes) < 1:
            peak = 1.5e-3 if start else 3e-3
            for group in optimizer.param_groups:
                group["lr"] = peak * min(1, (steps + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
            loss = loss_of(*talk.batch())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps, recent = steps + 1, recent + loss.item()
            if steps % 50 == 0:
                report(f"segmentation {share * minutes:5.1f} min, step {steps}: loss {recent / 50:.3f}")
                recent = 0.0
        model.eval()
        _save(model, folder)


def _fresh() -> Any:
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    model = PyanNet(
        sincnet={"stride": 10},
        lstm={"hidden_size": 64, "num_layers": 2, "bidirectional": True},
        linear={"hidden_size": 64, "num_layers": 1},
    )
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=max(TRAINED_S),
        warm_up=(0.0, 0.0),
        classes=[f"speaker#{k + 1}" for k in range(_SPEAKERS)],
        powerset_max_classes=_AT_ONCE,
        permutation_invariant=True,
    )
    model.build()
    return model


class _Loss:
    """Cross-entropy over the sets of speakers who are active, under the best order of the speakers of each chunk."""

    def __init__(self, model: Any) -> None:
        from pyannote.audio.utils.powerset import Powerset

        self._model, self._powerset = model, Powerset(_SPEAKERS, _AT_ONCE)
        self._orders = list(itertools.permutations(range(_SPEAKERS)))

    def __call__(self, sounds: Samples, active: Samples) -> torch.Tensor:
        """``(n, samples)`` and ``(n, 3, samples)``."""
        predicted = self._model(torch.from_numpy(sounds)[:, None])
        field, count = self._model.receptive_field, sounds.shape[1]
        middles = np.arange(predicted.shape[1]) * field.step + field.start + field.duration / 2
        truth = torch.from_numpy(active[:, :, (middles * SAMPLE_RATE).astype(int).clip(0, count - 1)]).permute(0, 2, 1)
        losses = []
        for order in self._orders:
            classes = self._powerset.to_powerset(truth[..., list(order)]).argmax(-1)
            each = F.nll_loss(predicted.flatten(0, 1), classes.flatten(), reduction="none")
            losses.append(each.view(len(sounds), -1).mean(1))
        return torch.stack(losses, 1).min(1).values.mean()


def _save(model: Any, folder: Path) -> None:
    import dataclasses

    import lightning

    folder.mkdir(parents=True, exist_ok=True)
    model.specifications = dataclasses.replace(model.specifications, duration=USED_S)
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,
    }
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "pytorch_model.bin")

"""Training of the recogniser: next-token cross-entropy, with two teachers that make so small a model learn at all.

One says which phone every encoder frame is (a linear layer that is thrown away), the other where every token is heard (two
cross-attention heads, which faster-whisper then reads word times from).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from gainstage.engine.models.demo.recipe import asr_model
from gainstage.engine.models.demo.recipe.asr_model import ALIGNED_HEADS, ALIGNED_LAYER, HEAD, POSITIONS, WIDTH
from gainstage.engine.models.demo.recipe.asr_tokens import Tokens
from gainstage.engine.models.demo.recipe.asr_windows import Window, Windows
from gainstage.engine.models.demo.recipe.bank import Bank

_FRAME_RATE = 50
_PHONES, _PLACES = 1.0, 0.5
"""Weights of the two teachers beside the cross-entropy."""

Report = Callable[[str], None]


class Stage(NamedTuple):
    """A stretch of training: minutes of this process's CPU time, windows per batch, whether padded to 30 s, peak rate."""

    name: str
    minutes: float
    windows: int
    padded: bool
    peak: float


def train(bank: Bank, tokens: Tokens, folder: Path, stages: Sequence[Stage], *, start: Path | None, report: Report) -> None:
    """Train from the CTranslate2 folder ``start``, or from nothing, and write ``folder`` after every stage and now and then before."""
    torch.manual_seed(1)
    torch.set_flush_denormal(True)
    windows = Windows(bank, tokens, seed=1)
    trainer = _Trainer(asr_model.unpacked(start, tokens) if start else asr_model.fresh(tokens), windows, tokens)
    for stage in stages:
        trainer.run(stage, report, lambda: asr_model.export(trainer.model, tokens, folder))


class _Trainer:
    def __init__(self, model: Any, windows: Windows, tokens: Tokens) -> None:
        self.model, self._windows, self._tokens = model, windows, tokens
        self._encoder, self._decoder = model.model.encoder, model.model.decoder
        self._phones = torch.nn.Linear(WIDTH, windows.phone_classes)
        self._encoder.embed_positions.weight.requires_grad_(False)
        self._parameters = [p for part in (model, self._phones) for p in part.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
        self._seen: dict[str, torch.Tensor] = {}
        attention = self._decoder.layers[ALIGNED_LAYER].encoder_attn
        attention.q_proj.register_forward_hook(lambda _module, _input, output: self._seen.__setitem__("query", output))
        attention.k_proj.register_forward_hook(lambda _module, _input, output: self._seen.__setitem__("key", output))

    def run(self, stage: Stage, report: Report, save: Callable[[], None]) -> None:
        """Train for the time of a stage: a short warm-up, then half a cosine down to 3 % of the peak."""
        self.model.train()
        began, steps = time.process_time(), 0
        sums = torch.zeros(4)
        while (share := (time.process_time() - began) / 60 / stage.minutes) < 1:
            falling = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share))
            for group in self._optimizer.param_groups:
                group["lr"] = stage.peak * min(1, (steps + 1) / 40) * falling
            losses = self._losses([self._windows.window() for _ in range(stage.windows)], stage.padded)
            total = losses[0] + _PHONES * losses[1] + _PLACES * losses[2]
            self._optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            steps += 1
            sums += torch.stack([*(loss.detach() for loss in losses), torch.ones(())])
            if steps % 100 == 0:
                words, phones, places = (sums[:3] / sums[3]).tolist()
                minutes = share * stage.minutes
                report(f"{stage.name} {minutes:5.1f} min, step {steps}: words {words:.3f} phones {phones:.3f} places {places:.3f}")
                sums.zero_()
                save()
        save()

    def _losses(self, batch: list[Window], padded: bool) -> list[torch.Tensor]:
        """Cross-entropies of tokens and of phones, and how little the taught heads look where tokens are."""
        features, inputs, labels = self._stacked(batch, padded)
        with torch.autocast("cpu", torch.bfloat16):
            frames = self._encode(features)
            states = self._decoder(input_ids=inputs, encoder_hidden_states=frames, use_cache=False).last_hidden_state
            scores = self.model.proj_out(states).flatten(0, 1)
        words = F.cross_entropy(scores.float(), labels.flatten(), ignore_index=-100)
        return [words, self._phone_loss(batch, frames.float()), self._place_loss(batch)]

    def _stacked(self, batch: list[Window], padded: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (n, 80, frames), zero beyond each window as in faster-whisper, decoder inputs and labels (n, tokens)."""
        longest = max(window.features.shape[1] for window in batch)
        frames = 2 * POSITIONS if padded else math.ceil(longest / 64) * 64
        tokens = max(len(window.inputs) for window in batch)
        features = torch.zeros(len(batch), 80, frames)
        inputs = torch.full((len(batch), tokens), self._tokens.end)
        labels = torch.full((len(batch), tokens), -100)
        for row, window in enumerate(batch):
            features[row, :, : window.features.shape[1]] = window.features
            inputs[row, : len(window.inputs)] = torch.tensor(window.inputs)
            labels[row, : len(window.labels)] = torch.tensor(window.labels)
        return features, inputs, labels

    def _encode(self, features: torch.Tensor) -> torch.Tensor:
        """As the encoder's own forward, which insists on 3000 frames."""
        encoder = self._encoder
        frames = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).transpose(1, 2)
        frames = frames + encoder.embed_positions.weight[: frames.shape[1]]
        for layer in encoder.layers:
            out = layer(frames, None)
            frames = out[0] if isinstance(out, tuple) else out
        normed: torch.Tensor = encoder.layer_norm(frames)
        return normed

    def _phone_loss(self, batch: list[Window], frames: torch.Tensor) -> torch.Tensor:
        truth = torch.full(frames.shape[:2], -100)
        for row, window in enumerate(batch):
            if window.phones:
                truth[row, : window.features.shape[1] // 2] = 0
            for phone, start, end in window.phones:
                truth[row, round(start * _FRAME_RATE) : round(end * _FRAME_RATE)] = phone
        if (truth < 0).all():
            return torch.zeros(())
        return F.cross_entropy(self._phones(frames).flatten(0, 1), truth.flatten(), ignore_index=-100)

    def _place_loss(self, batch: list[Window]) -> torch.Tensor:
        """Words: some of the attention lies where they are heard. Pauses: it is spread over all of their time."""
        query, key = self._seen["query"].float(), self._seen["key"].float()
        time_of_frame = torch.arange(key.shape[1])
        losses: list[torch.Tensor] = []
        for row, window in enumerate(batch):
            if not window.aligned:
                continue
            rows = torch.tensor([mark.row for mark in window.aligned])
            start = torch.tensor([mark.start * _FRAME_RATE for mark in window.aligned])[:, None]
            end = torch.tensor([max(mark.end, mark.start + 0.04) * _FRAME_RATE for mark in window.aligned])[:, None]
            pause = torch.tensor([mark.pause for mark in window.aligned])
            inside = (time_of_frame >= start - ~pause[:, None] * 1.0) & (time_of_frame <= end + ~pause[:, None] * 1.0)
            for head in ALIGNED_HEADS:
                part = slice(head * HEAD, (head + 1) * HEAD)
                looks = (query[row, rows, part] @ key[row, :, part].T * HEAD**-0.5).log_softmax(-1)
                somewhere = -looks.masked_fill(~inside, -1e9).logsumexp(-1)
                count = inside.sum(-1).clamp(min=1)
                everywhere = -(looks * inside).sum(-1) / count - count.log()
                losses.append(torch.where(pause, everywhere, somewhere))
        return torch.cat(losses).mean() if losses else torch.zeros(())

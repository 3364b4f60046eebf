"""Training windows of the recogniser: up to ten seconds of talk by the people of the demo, with everything known about it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from gainstage.engine.models.demo.recipe import sounds
from gainstage.engine.models.demo.recipe.asr_tokens import Tokens
from gainstage.engine.models.demo.recipe.bank import Bank, Entry
from gainstage.engine.models.demo.recipe.voices import PEOPLE
from gainstage.engine.terms import SAMPLE_RATE

WINDOW_S = 10.0
_PAUSES = {"e:_", "e:_:", "f:pau"}
_SHORT_S = 1.6


class Aligned(NamedTuple):
    """Decoder row ``row`` predicts a token that is heard from start to end (seconds); ``pause`` tokens own all of that time."""

    row: int
    start: float
    end: float
    pause: bool


@dataclass(frozen=True, slots=True)
class Window:
    """One example: (80, frames) log-mel, decoder inputs, labels (-100 is not asked for), alignment, and (phone, start, end)."""

    features: torch.Tensor
    inputs: list[int]
    labels: list[int]
    aligned: list[Aligned]
    phones: list[tuple[int, float, float]]


@dataclass(frozen=True, slots=True)
class _Part:
    """Words [first, last) of a clip, placed at ``at`` seconds of the window."""

    entry: Entry
    first: int
    last: int
    at: float

    @property
    def begin(self) -> float:
        return 0.0 if self.first == 0 else self.entry.words[self.first][1]

    @property
    def stop(self) -> float:
        return self.entry.seconds if self.last == len(self.entry.words) else self.entry.words[self.last][1]

    @property
    def end(self) -> float:
        return self.at + self.stop - self.begin


class Windows:
    """Makes windows without end. ``share`` of the clips are by the people of the demo, the rest by the crowd."""

    def __init__(self, bank: Bank, tokens: Tokens, seed: int, share: float = 0.93) -> None:
        self._bank, self._tokens, self._share = bank, tokens, share
        self._rng, self._noise = random.Random(seed), np.random.default_rng(seed)
        self._people = [entry for person in PEOPLE for entry in bank.by_voice[person]]
        self._short = [entry for entry in self._people if entry.seconds < _SHORT_S]
        self._crowd = [entry for entry in bank.entries if entry.voice not in PEOPLE]
        names = sorted({phone for entry in bank.entries for phone, _ in entry.phones} - _PAUSES)
        self._phone_ids = {phone: k for k, phone in enumerate(names, 1)}
        self.phone_classes = len(names) + 1
        self._spelled = {entry.text: tokens.encode(entry.text) for entry in bank.entries}
        self.used_tokens = sorted({token.id for spelled in self._spelled.values() for token in spelled})

    def window(self) -> Window:
        """One more."""
        return self._nothing() if self._rng.random() < 0.06 else self._talk()

    def _nothing(self) -> Window:
        seconds = self._rng.uniform(0.05, self._rng.choice((0.6, WINDOW_S)))
        loud = self._rng.choice((0.0, 10 ** self._rng.uniform(-4.5, -2)))
        sound = sounds.hiss(round(seconds * SAMPLE_RATE), loud, self._noise)
        start, silent, end = self._tokens.start, self._tokens.no_speech, self._tokens.end
        return Window(log_mel(sound), [start, silent], [silent, end], [], [])

    def _talk(self) -> Window:
        parts = self._parts()
        total = min(WINDOW_S, parts[-1].end + self._rng.choice((0.0, 0.02, self._rng.uniform(0, 0.8))))
        sound = np.zeros(round(total * SAMPLE_RATE), np.float32)
        for part in parts:
            clip = self._bank.clip(part.entry, round(part.begin * SAMPLE_RATE), round(part.stop * SAMPLE_RATE))
            at = round(part.at * SAMPLE_RATE)
            clip = clip[: len(sound) - at] * 10 ** (self._rng.uniform(-12, 3) / 20)
            sound[at : at + len(clip)] += clip
        if self._rng.random() < 0.7:
            sound += sounds.hiss(len(sound), 10 ** self._rng.uniform(-4.5, -2.3), self._noise)
        features = log_mel(sound, ceiling=self._rng.choice((0.0, 0.0, self._rng.uniform(0, 0.6))))
        if self._rng.random() < 0.4:
            low = self._rng.randint(0, 70)
            features[low : low + self._rng.randint(1, 8)] = features.mean()
        inputs, labels, aligned = self._written(parts, total)
        phones = [
            (
                self._phone_ids.get(phone, 0),
                part.at + max(start, part.begin) - part.begin,
                part.at + min(end, part.stop) - part.begin,
            )
            for part in parts
            for phone, start, end in _phone_spans(part.entry)
            if start < part.stop and end > part.begin
        ]
        return Window(features, inputs, labels, aligned, phones)

    def _parts(self) -> list[_Part]:
        """Clips after one another: by one person for a while, or short ones by two in turn; the ends may be cut between words."""
        rng = self._rng
        fast = rng.random() < 0.15
        target = rng.uniform(2, WINDOW_S) if rng.random() < 0.5 else WINDOW_S
        at = rng.choice((0.0, 0.02, rng.uniform(0, 0.5)))
        parts: list[_Part] = []
        while not parts or parts[-1].end < target:
            before = parts[-1].entry if parts else None
            entry = rng.choice(self._short) if fast else self._following(before)
            words = len(entry.words)
            first = rng.randrange(words) if before is None and rng.random() < 0.1 else 0
            part = _Part(entry, first, words, at)
            if part.end > WINDOW_S:
                fitting = [k for k in range(first + 1, words) if at + entry.words[k][1] - part.begin <= WINDOW_S]
                if fitting and (before is None or rng.random() < 0.4):
                    parts.append(_Part(entry, first, rng.choice(fitting), at))
                if parts:
                    break
                continue
            parts.append(part)
            at = part.end + rng.choice((0.05, rng.uniform(0.05, 0.6), rng.uniform(0.2, 1.2)))
        return parts

    def _following(self, before: Entry | None) -> Entry:
        if before is not None and self._rng.random() < 0.6:
            return self._rng.choice(self._bank.by_voice[before.voice])
        return self._rng.choice(self._people if self._rng.random() < self._share else self._crowd)

    def _written(self, parts: Sequence[_Part], total: float) -> tuple[list[int], list[int], list[Aligned]]:
        tokens = self._tokens
        with_times = self._rng.random() < 0.35 and all(part.first == 0 and part.stop == part.entry.seconds for part in parts)
        ids = [tokens.start] if with_times else [tokens.start, tokens.no_timestamps]
        given = len(ids) - 1  # the prompt is never asked for
        aligned: list[Aligned] = []
        for k, part in enumerate(parts):
            following = parts[k + 1].at if k + 1 < len(parts) else total
            if with_times:
                ids.append(tokens.timestamp(part.at))
            starts = [at for _, at in part.entry.words] + [part.entry.seconds]
            for token in self._spelled[part.entry.text]:
                if not part.first <= token.word < part.last:
                    continue
                start, end = (part.at + starts[token.word + side] - part.begin for side in (0, 1))
                if not token.is_word:  # a pause belongs to the punctuation, so that the next word starts when it is heard
                    final = token.word + 1 == len(part.entry.words)
                    start, end = (end - 0.06, max(end, following)) if final else (end - 0.12, end)
                aligned.append(Aligned(len(ids) - 1, start, end, not token.is_word))
                ids.append(token.id)
            if with_times:
                ids.append(tokens.timestamp(part.end))
        ids.append(tokens.end)
        return ids[:-1], [-100] * given + ids[1 + given :], aligned


def _phone_spans(entry: Entry) -> list[tuple[str, float, float]]:
    ends = [at for _, at in entry.phones[1:]] + [entry.seconds]
    return [(phone, at, end) for (phone, at), end in zip(entry.phones, ends, strict=True)]


def log_mel(sound: np.ndarray[tuple[int, ...], np.dtype[np.float32]], ceiling: float = 0.0) -> torch.Tensor:
    """(80, frames) as faster-whisper's feature extractor makes it, before padding; ``ceiling`` plays a louder moment elsewhere."""
    samples = torch.nn.functional.pad(torch.from_numpy(sound), (0, 160))
    power = torch.stft(samples, 400, 160, window=_hann(), return_complex=True)[..., :-1].abs() ** 2
    level = torch.log10(torch.clamp(_mel_filters() @ power, min=1e-10))
    return (torch.maximum(level, level.max() + ceiling - 8.0) + 4.0) / 4.0


@cache
def _hann() -> torch.Tensor:
    return torch.from_numpy(np.hanning(401)[:-1].astype(np.float32))


@cache
def _mel_filters() -> torch.Tensor:
    from faster_whisper.feature_extractor import FeatureExtractor

    return torch.from_numpy(FeatureExtractor(feature_size=80).mel_filters)

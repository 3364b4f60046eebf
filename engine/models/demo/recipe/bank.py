"""The clip bank: some ten hours of synthetic speech with true word and phone times, for training and for tests.

Two files per split: the samples as one int16 array, and an index with a line of JSON per clip.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.models.demo.recipe import grammar
from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.models.demo.recipe.synth import speak
from gainstage.engine.models.demo.recipe.voices import PEOPLE, Voice, crowd
from gainstage.engine.terms import SAMPLE_RATE

_BATCH = 60
"""Clips made by one job."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip of a bank: ``count`` samples from ``offset``, and (text, start in seconds) of its words and phones."""

    voice: str
    text: str
    offset: int
    count: int
    words: tuple[tuple[str, float], ...]
    phones: tuple[tuple[str, float], ...]

    @property
    def seconds(self) -> float:
        return self.count / SAMPLE_RATE


class Bank:
    """A split of the bank, opened: ``entries`` in order and ``by_voice``."""

    def __init__(self, folder: Path, split: str) -> None:
        self._samples: NDArray[np.int16] = np.load(folder / f"{split}.npy", mmap_mode="r")
        with (folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
            self.entries = [_entry(json.loads(line)) for line in lines]
        self.by_voice: dict[str, list[Entry]] = {}
        for entry in self.entries:
            self.by_voice.setdefault(entry.voice, []).append(entry)

    def clip(self, entry: Entry, start: int = 0, end: int | None = None) -> Samples:
        """Samples [start, end) of a clip as float32."""
        stop = entry.count if end is None else min(end, entry.count)
        return (self._samples[entry.offset + start : entry.offset + stop] / 32768).astype(np.float32)


def _entry(line: dict[str, object]) -> Entry:
    timed = {name: tuple((str(text), float(at)) for text, at in line.pop(name)) for name in ("words", "phones")}  # type: ignore[attr-defined]
    return Entry(**line, **timed)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Job:
    voice: Voice
    count: int
    split: str
    seed: int


def build(folder: Path, *, per_person: int = 1500, per_voice: int = 80, processes: int = 2) -> None:
    """Make both splits in ``folder``: about 6 minutes on two cores and 1.3 GB.

    The training split holds ``per_person`` clips of everybody in the demo and ``per_voice`` of each training voice of the crowd,
    in sentences that are not held out, spoken a little faster or slower from clip to clip. The test split holds held-out
    sentences by everybody, by the held-out voices, and a few by the training voices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train, held = crowd()
    people = list(PEOPLE.values())
    test = [_Job(voice, 25, "test", 9000 + k) for k, voice in enumerate([*people, *held])]
    test += [_Job(voice, 6, "test", 9500 + k) for k, voice in enumerate(train)]
    jobs = [_Job(voice, _BATCH, "train", 1000 * k + j) for k, voice in enumerate(people) for j in range(per_person // _BATCH)]
    jobs += [_Job(voice, per_voice, "train", 500_000 + k) for k, voice in enumerate(train)]
    random.Random(0).shuffle(jobs)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for split, work in (("test", test), ("train", jobs)):
            _write(folder, split, (clip for clips in pool.imap(_spoken, work) for clip in clips))


def _spoken(job: _Job) -> list[tuple[NDArray[np.int16], Entry]]:
    rng = random.Random(job.seed)
    clips = []
    for _ in range(job.count):
        if job.split == "test":
            text, voice = grammar.unseen_sentence(rng), job.voice
        else:
            text, voice = grammar.training_sentence(rng), job.voice.varied(rng)
        clip = speak(text, voice)
        clips.append(
            ((clip.samples * 32767).astype(np.int16), Entry(voice.id, text, 0, len(clip.samples), clip.words, clip.phones))
        )
    return clips


def _write(folder: Path, split: str, clips: Iterable[tuple[NDArray[np.int16], Entry]]) -> None:
    parts: list[NDArray[np.int16]] = []

    def lines() -> Iterator[str]:
        offset = 0
        for samples, entry in clips:
            parts.append(samples)
            yield json.dumps(asdict(entry) | {"offset": offset}) + "\n"
            offset += len(samples)

    with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as index:
        index.writelines(lines())
    np.save(folder / f"{split}.npy", np.concatenate(parts))

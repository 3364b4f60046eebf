"""The recordings: what is in each, how it is written, and the truth beside it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gainstage.engine.models.demo.recipe import dialogs, grammar, media, sounds
from gainstage.engine.models.demo.recipe.dialogs import Line, Memory, Spoke
from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.models.demo.recipe.synth import speak
from gainstage.engine.models.demo.recipe.voices import HOST, PEOPLE, STRANGER, crowd
from gainstage.engine.terms import SAMPLE_RATE

_HISS = 1e-3
Compose = Callable[[random.Random, Memory], Spoke]


@dataclass(frozen=True, slots=True)
class Piece:
    """A recording to make. ``merged`` speakers share one cluster in a hand-written diarization beside it."""

    file: str
    title: str
    compose: Compose
    seed: int
    merged: tuple[str, ...] = ()


def _spoken(lines: Callable[[random.Random, Memory], list[Line]]) -> Compose:
    return lambda rng, memory: dialogs.render(lines(rng, memory))


def _filled(spoke: Spoke, sound: Samples) -> Spoke:
    return Spoke(np.concatenate([spoke.samples, sound]), spoke.turns, spoke.words)


def monologue(topic: str, seconds: float, host: str = HOST) -> Compose:
    return _spoken(lambda rng, memory: dialogs.monologue(host, topic, seconds, rng, memory))


def talk(cast: Sequence[str], topic: str, seconds: float, overlap: float = 0.0) -> Compose:
    return _spoken(lambda rng, memory: dialogs.conversation(cast, topic, seconds, rng, memory, overlap=overlap))


def interrupted(cast: Sequence[str], topic: str) -> Compose:
    """Talk, twelve seconds of silence, talk, a tune, a gust of wind, talk."""

    def compose(rng: random.Random, memory: Memory) -> Spoke:
        noise = np.random.default_rng(rng.randrange(2**32))
        parts = [dialogs.render(dialogs.conversation(cast, topic, 12, rng, memory)) for _ in range(3)]
        silence = np.zeros(12 * SAMPLE_RATE, np.float32)
        between = (silence, np.concatenate([sounds.tune(7, 0.2), sounds.wind(5, 0.03, noise)]), np.zeros(0, np.float32))
        return dialogs.joined([_filled(part, sound) for part, sound in zip(parts, between, strict=True)])

    return compose


def late_guest(host: str, guest: str, topic: str) -> Compose:
    """The host alone for 45 s, then a guest who stays."""

    def compose(rng: random.Random, memory: Memory) -> Spoke:
        alone = dialogs.render(dialogs.monologue(host, topic, 45, rng, memory))
        return dialogs.joined([alone, dialogs.render(dialogs.conversation((host, guest, guest), topic, 25, rng, memory))])

    return compose


def fast(cast: Sequence[str], turns: int) -> Compose:
    return _spoken(lambda rng, memory: dialogs.back_and_forth(cast, turns, rng, memory))


def runs(cast: Sequence[str], topic: str, seconds: float) -> Compose:
    """Every speaker in turn says three sentences."""

    def lines(rng: random.Random, memory: Memory) -> list[Line]:
        people = [cast[k % len(cast)] for k in range(round(seconds / 10))]
        return [
            Line(person, dialogs.statement(topic, rng, memory, person), rng.uniform(0.4, 0.9) if j == 0 else rng.uniform(0.2, 0.4))
            for person in people
            for j in range(3)
        ]

    return _spoken(lines)


BUNDLED = (
    Piece("garden-monologue.opus", "Helen on her garden", monologue("garden", 45), 11),
    Piece("sea-interview.m4a", "Helen asks Oscar about sailing", talk((HOST, "Oscar"), "sea", 55), 12),
    Piece("sky-talk.mp3", "Helen, Martin and a stranger on the night sky", talk((HOST, "Martin", STRANGER), "sky", 60), 13),
    Piece(
        "garden-interrupted.flac", "Helen and Clara, with a silence, a tune and wind", interrupted((HOST, "Clara"), "garden"), 14
    ),
    Piece(
        "sea-two-in-one.webm", "Helen, Victor and Oscar at sea", runs((HOST, "Victor", "Oscar"), "sea", 60), 15, (HOST, "Victor")
    ),
)
"""In the demo."""

HARD = (
    Piece("late-guest.opus", "A guest who appears late", late_guest(HOST, "Victor", "sky"), 21),
    Piece("back-and-forth.opus", "A fast back-and-forth", fast((HOST, "Oscar"), 24), 22),
)
"""In the test set."""


def fresh(seed: int) -> Piece:
    """Another recording by the same generator: kind, people and topic follow from the seed."""
    rng = random.Random(f"fresh {seed}")
    topic = rng.choice(("garden", "sky", "sea"))
    guests = rng.sample(("Oscar", "Martin", "Victor", "Clara", STRANGER), 3)
    kind, compose = (
        ("monologue", monologue(topic, 50)),
        ("interview", talk((HOST, guests[0]), topic, 55)),
        ("talk", talk((HOST, *guests[:2]), topic, 60)),
        ("round", talk((HOST, *guests), topic, 65)),
        ("overlapping", talk((HOST, *guests[:2]), topic, 60, overlap=0.2)),
        ("interrupted", interrupted((HOST, guests[0]), topic)),
    )[seed % 6]
    ending = rng.choice((".opus", ".m4a", ".mp3", ".webm"))
    return Piece(f"fresh-{seed:04d}-{kind}{ending}", f"Fresh {kind} {seed} on the {topic}", compose, 1000 + seed)


def make(piece: Piece, folder: Path, *, bit_rate: int | None = None) -> Path:
    """Write a recording, its truth, and its hand-written diarization if it has one; the path of the recording.

    The same seed says the same sentences; espeak-ng's sound differs by a few samples from process to process.
    """
    rng = random.Random(piece.seed)
    spoke = piece.compose(rng, Memory())
    noise = sounds.hiss(len(spoke.samples), _HISS, np.random.default_rng(piece.seed))
    path = folder / piece.file
    folder.mkdir(parents=True, exist_ok=True)
    media.write(path, spoke.samples + noise, bit_rate)
    _write_json(path.with_suffix(".json"), truth(piece.title, piece.file, spoke))
    if piece.merged:
        _write_json(path.with_suffix(".turns.json"), _hand_written(spoke, piece.merged))
    return path


def make_voice(person: str, folder: Path, *, seconds: float = 52.0) -> Path:
    """Write an enrolment clip; the same hiss as in the recordings, no truth."""
    spoke = dialogs.render(dialogs.enrolment(person, seconds, random.Random(f"voice of {person}")))
    noise = sounds.hiss(len(spoke.samples), _HISS, np.random.default_rng(len(spoke.samples)))
    path = folder / f"{person}.opus"
    folder.mkdir(parents=True, exist_ok=True)
    media.write(path, spoke.samples + noise)
    return path


def make_people(folder: Path) -> Path:
    """Write the panel for same-or-different tests: everybody of the demo and the held-out voices, each in one stretch, with a list
    of who speaks when beside it. Low bit rate: it is a test asset."""
    panel = [(voice, "demo", 18.0) for voice in PEOPLE.values()] + [(voice, "held out", 12.0) for voice in crowd()[1]]
    parts: list[Samples] = []
    rows: list[dict[str, object]] = []
    at = 0
    for voice, group, seconds in panel:
        rng = random.Random(f"panel {voice.id}")
        sound = np.zeros(0, np.float32)
        while len(sound) < seconds * SAMPLE_RATE:
            pause = np.zeros(round(rng.uniform(0.1, 0.3) * SAMPLE_RATE), np.float32)
            loudness = np.float32(10 ** (rng.uniform(-9, 3) / 20))
            sound = np.concatenate([sound, speak(grammar.unseen_sentence(rng), voice.varied(rng)).samples * loudness, pause])
        sound = sound[: round(seconds * SAMPLE_RATE)]
        rows.append({"voice": voice.id, "group": group, "start": at / SAMPLE_RATE, "end": (at + len(sound)) / SAMPLE_RATE})
        parts.append(sound)
        at += len(sound)
    samples = np.concatenate(parts)
    path = folder / "people.opus"
    folder.mkdir(parents=True, exist_ok=True)
    media.write(path, samples + sounds.hiss(len(samples), _HISS, np.random.default_rng(0)), bit_rate=24_000)
    _write_json(path.with_suffix(".panel.json"), {"title": "Who is who", "audio": path.name, "voices": rows})
    return path


def truth(title: str, file: str, spoke: Spoke) -> dict[str, object]:
    """The truth as it is written; CARD.md describes the shape."""
    return {
        "title": title,
        "audio": file,
        "duration": round(spoke.seconds, 3),
        "strangers": [STRANGER] if any(turn.speaker == STRANGER for turn in spoke.turns) else [],
        "turns": [{"start": turn.start, "end": turn.end, "speaker": turn.speaker} for turn in spoke.turns],
        "words": [{"word": word.text, "start": word.start, "speaker": word.speaker} for word in spoke.words],
    }


def _hand_written(spoke: Spoke, merged: tuple[str, ...]) -> dict[str, object]:
    others = sorted({turn.speaker for turn in spoke.turns} - set(merged))
    cluster = dict.fromkeys(merged, "SPEAKER_00") | {person: f"SPEAKER_{k:02d}" for k, person in enumerate(others, 1)}
    return {"turns": [{"start": turn.start, "end": turn.end, "cluster": cluster[turn.speaker]} for turn in spoke.turns]}


def _write_json(path: Path, data: dict[str, object]) -> None:
    """One turn or word per line, so that a difference can be read."""
    lines = []
    for key, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            lines.append(f'  "{key}": [\n{rows}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value)}')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

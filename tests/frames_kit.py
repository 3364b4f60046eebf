"""Random frames: every figure that may be unknown is unknown now and then, every count may be nothing."""

from __future__ import annotations

import types
from dataclasses import fields, is_dataclass
from random import Random
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gainstage.engine.stages import STAGES
from gainstage.engine.views.snapshot import SCHEMA, Snapshot, StageView

NUMBERS = (0, 0, 0, 1, 2, 3, 10, 1000, 10**9)
FIGURES = (0.0, 0.0, 1e-9, 0.05, 0.5, 0.9, 1.0, 59.9, 600.0, 86_400.0, 1e9)
TEXTS = ("", "a", "transcribe", "unknown", "two words", "\x9b31mred\u202e", "天気", "x" * 300)
WORDS = {
    "state": ("closed", "open", "trial", "busy", "idle", "retiring", "loading", "ready", "failed", "not loaded"),
    "stage": STAGES,
    "side_stage": ("diarize",),
    "role": ("asr", "diarization", "voice", "embed"),
    "unit": ("s of audio", "texts"),
}
"""Fields whose words are the engine's own."""


def random_frame(random: Random, *, seq: int = 1, wall: float = 1_790_000_000.0) -> Snapshot:
    """A frame of an engine that speaks this schema, with all its stages."""
    made = _value(random, Snapshot, "frame")
    stages = tuple(_stage(random, name) for name in STAGES)
    some = stages if random.random() < 0.9 else tuple(random.sample(stages, random.randrange(len(stages))))
    return _replaced(made, schema=SCHEMA, seq=seq, wall=wall, monotonic=wall - 1e9, engine="engine-1", stages=some)


def story(random: Random, frames: int) -> list[Snapshot]:
    """Frames of one engine, a second or some minutes apart. Each may differ from the one before in everything."""
    wall, made = 1_790_000_000.0, []
    for seq in range(1, frames + 1):
        wall += random.choice((0.2, 1.0, 30.0, 600.0))
        made.append(random_frame(random, seq=seq, wall=wall))
    return made


def _stage(random: Random, name: str) -> StageView:
    view = _value(random, StageView, "stage")
    return _replaced(view, name=name, capacity=max(1, view.capacity))  # type: ignore[no-any-return]


def _replaced(value: Any, **changes: Any) -> Any:
    return type(value)(**{f.name: changes.get(f.name, getattr(value, f.name)) for f in fields(value)})


def _value(random: Random, kind: Any, name: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _value(random, random.choice(args), name)
    if origin is Literal:
        return random.choice(args)
    if origin is tuple and args[-1] is Ellipsis:
        return tuple(_value(random, args[0], name) for _ in range(random.choice((0, 0, 1, 3, 20))))
    if origin is tuple:
        return tuple(_value(random, arg, name) for arg in args)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{f.name: _value(random, hints[f.name], f.name) for f in fields(kind)})  # type: ignore[operator]
    if kind is type(None):
        return None
    if kind is bool:
        return random.random() < 0.5
    if kind is int:
        return random.choice(NUMBERS)
    if kind is float:
        return random.choice(FIGURES)
    if kind is str:
        return random.choice(WORDS.get(name, TEXTS))
    return random.choice((None, 1, 2.5, "text"))  # Any

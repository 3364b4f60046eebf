"""Frames for tests: one of an engine at work, and random ones, in which every figure may be unknown and every count nothing."""

from __future__ import annotations

import types
from dataclasses import fields, is_dataclass
from random import Random
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gainstage.engine.stages import ROLES, STAGES
from gainstage.engine.views.machine import DeviceView, HostView
from gainstage.engine.views.snapshot import (
    SCHEMA,
    BatcherView,
    Bottleneck,
    DatabaseView,
    DecisionsView,
    FlightView,
    Forecast,
    ModelView,
    Run,
    Snapshot,
    StageView,
    Verdict,
)

GIB = 1024**3

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


# -- an engine at work ------------------------------------------------------------------------------------------------------


def busy_frame() -> Snapshot:
    """An engine on a GPU with 24 recordings in flight, in the middle of a queue: transcribe is the bottleneck and has room to grow."""
    wall = 1_790_000_000.0
    served = [_flight(n, "transcribe", wait_s=None, side="diarize") for n in range(2)]
    waiting = [_flight(n, "transcribe", wait_s=20.0 * n) for n in range(2, 20)]
    others = [_flight(20 + n, name, wait_s=None) for n, name in enumerate(("fetch", "fetch", "decode", "identify"))]
    run = Run(
        state="running", source="https://example.org/shows", started_wall=wall - 600, state_since_wall=wall - 600, by=None,
        reason=None, queued=76, running=24, stored=24, failed=1, skipped=0, cancelled=0, retrying=0, audio_done_s=24 * 600.0,
        audio_left_s=100 * 600.0, rtfx=150.0, rtfx_history=(140.0, 160.0, 150.0, 150.0), errors_10m=1, finished_10m=25,
        audio_stored_s=24 * 600.0, work_s=600.0,
    )  # fmt: skip
    return Snapshot(
        schema=SCHEMA, seq=600, engine="engine-1", version="1.0", pid=4711, wall=wall, monotonic=600.0, revision=3, run=run,
        verdict=Verdict("healthy", "", None, Bottleneck(None, "none", ""), None, Forecast(None, None, None)),
        stages=tuple(_busy_stage(*row) for row in _BUSY),
        batchers=(_batcher("voices", 120.0, "s of audio"), _batcher("texts", 64.0, "texts")),
        flights=(*served, *waiting, *others),
        decisions=DecisionsView(60, 50, 6, 1, 3, 2, 1, 0.011, 0.35, split_share_24h=0.1),
        devices=(
            DeviceView(
                0, "NVIDIA H100", sm=0.55, memory_used=35 * GIB, memory_total=80 * GIB, memory_ours=30 * GIB, temperature=60.0,
                throttle=(), sm_history=(0.5, 0.6) * 6, sm_measured=True,
            ),
        ),
        host=HostView("gpu-1", cpu=0.44, cores=8, engine_cpu=0.8, disk_free=500 * GIB, disk_total=1000 * GIB),
        database=DatabaseView(True, "embedded", True, latency_p50_s=0.003, latency_p95_s=0.012),
        models=tuple(ModelView(role, f"{role} model", None, "cuda", "ready", load_s=3.0) for role in ROLES),
    )  # fmt: skip


_BUSY = (  # name, capacity, busy, depth, share, audio seconds per second of a slot
    ("fetch", 8, 2, 0, 0.3, 60.0), ("decode", 2, 1, 0, 0.2, 400.0), ("transcribe", 2, 2, 18, 0.99, 77.5),
    ("diarize", 3, 2, 0, 0.6, 90.0), ("identify", 4, 1, 0, 0.2, 300.0), ("segment", 2, 0, 0, 0.05, 5000.0),
    ("embed", 2, 0, 0, 0.1, 2000.0), ("store", 2, 0, 0, 0.1, 1000.0),
)  # fmt: skip


def _busy_stage(name: str, capacity: int, busy: int, depth: int, share: float, rtfx: float) -> StageView:
    return StageView(
        name, capacity, busy, depth, 400.0 if depth else None, paused=False, done=25, failed=0, per_minute=2.5, wait_p50_s=1.0,
        wait_p95_s=9.0, service_p50_s=600 / rtfx, service_p95_s=1200 / rtfx, rtfx=rtfx, busy_share=share, starved_share=1 - share,
        blocked_share=0.0,
    )  # fmt: skip


def _flight(n: int, stage: str, wait_s: float | None, side: str | None = None) -> FlightView:
    return FlightView(
        f"rec-{n:02d}", f"Episode {n}", "https://example.org/shows", 600.0, stage, waiting=wait_s is not None,
        progress=None if wait_s is not None else 0.5, in_stage_s=wait_s or 4.0, in_engine_s=30.0, expected_p95_s=16.0, attempt=1,
        attempts=3, priority=0, side_stage=side,
    )  # fmt: skip


def _batcher(name: str, budget: float, unit: str) -> BatcherView:
    return BatcherView(
        name, 100, 2000, 0, budget, unit, 20.0, 30.0, 40, 0.8, 0.1, 200.0, 0.05, 0.1, 0.2, 0.3, out_of_memory=0, refused=0
    )

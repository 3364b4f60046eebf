"""The events of the scripted story: 12 minutes from the loading of the models to the last recording.

The story's operator acts through the same settings as a real one; a setting that a real command has already changed is left
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gainstage.engine.desk.scripted.world import MODELS, World
from gainstage.engine.views.snapshot import SCHEMA

STORY: dict[str, float] = {
    "warm-up": 14.0,
    "burst": 50.0,
    "bottleneck": 190.0,
    "after-change": 296.0,
    "oom": 352.0,
    "throttled": 424.0,
    "massive": 492.0,
    "split": 508.0,
    "outage": 577.0,
    "drain": 672.0,
    "done": 718.0,
}
"""Named moments of the story in seconds; the screenshots show them."""

LENGTH_S = 720.0
AUDIO_S = 160_500.0
"""Seconds of audio in the story: enough to keep four transcribe slots busy until the end."""

_MIDDLE = STORY["bottleneck"]
SPECIAL: dict[str, dict[str, Any]] = {
    "no-engine": {"engine": False, "start_at": STORY["burst"]},
    "starting": {"start_at": STORY["warm-up"]},
    "empty": {"empty": True, "start_at": 60.0},
    "done": {"start_at": STORY["done"]},
    "stale": {"frame_age_s": 2.3, "start_at": _MIDDLE},
    "offline": {"frame_age_s": 12.0, "start_at": _MIDDLE},
    "no-gpu": {"gpus": 0, "start_at": _MIDDLE},
    "two-gpus": {"gpus": 2, "start_at": _MIDDLE},
    "no-profiles": {"profiles": False, "start_at": _MIDDLE},
    "no-decisions": {"start_at": 26.0},
    "schema": {"schema": SCHEMA + 1, "start_at": _MIDDLE},
    "read-only": {"read_only": True, "start_at": _MIDDLE},
    "many": {"more": 100_000, "start_at": _MIDDLE},
    "dropped": {"events": 60, "start_at": _MIDDLE},
    "database-down": {"start_at": STORY["outage"]},
}
"""States that every console screen supports, as options of :class:`gainstage.engine.desk.scripted.desk.ScriptedDesk`."""

OPERATOR = "dana"
FILE = {
    "workers.diarize": 3,
    "workers.fetch": 8,
    "identify.primary": "Dana Whitfield",
    "identify.scale": "cosine",
    "retry.attempts": 3,
    "fetch.rate": 900,
}
"""Settings in the story's settings file."""

_OOM = """Traceback (most recent call last):
  File "engine/voices/extract.py", line 118, in _embed
    vectors = model.encode_batch(waves, lengths)
  File "speechbrain/inference/speaker.py", line 96, in encode_batch
    embeddings = self.mods.embedding_model(feats, wav_lens)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.20 GiB. GPU 0 has a total capacity of 79.11 GiB of which
812.00 MiB is free."""

_DOWN = """Traceback (most recent call last):
  File "engine/store/recordings.py", line 74, in replace
    with pool.connection(timeout=5) as connection:
psycopg.OperationalError: connection failed: connection to server at "10.0.4.12", port 5432 failed: Connection refused"""


def schedule(world: World, change: Callable[[str, Any, str], None]) -> None:
    """Put the story's events into the world's calendar. ``change`` sets a setting as the story's operator."""
    at = 1.5
    world.at(0.0, lambda: world.log_event("info", "state", "engine started, one NVIDIA H100 80GB"))
    for role, name, _, takes, _ in MODELS:
        world.at(at, partial(_load, world, role, name, takes))
        at += takes + 0.4
    world.at(at, partial(_start, world))
    world.at(204.0, lambda: change("workers.transcribe", 4, OPERATOR))
    world.at(338.0, partial(_out_of_memory, world))
    world.at(346.5, partial(_out_of_memory, world))
    world.at(395.0, partial(_grow, world))
    world.at(404.0, partial(_storm, world, True))
    world.at(446.0, partial(_storm, world, False))
    world.at(482.0, lambda: world.wants.append("massive"))
    world.at(499.0, lambda: world.wants.append("split"))
    world.at(540.0, partial(_outage, world))
    world.at(586.0, partial(_back, world))
    world.at(640.0, partial(_drain, world))


def _load(world: World, role: str, name: str, takes: float) -> None:
    world.loading = (role, world.now, takes)
    world.log_event("info", "model", f"loading {role} {name}")
    world.at(world.now + takes, partial(_ready, world, role, takes))


def _ready(world: World, role: str, takes: float) -> None:
    world.loaded[role] = takes
    world.loading = None
    world.log_event("info", "model", f"{role} ready in {takes:.1f} s on cuda:0, known-pair self-test passed")


def _start(world: World) -> None:
    if world.state == "starting":
        world.become("running", None, None)
        world.fill()


def _out_of_memory(world: World) -> None:
    voices = world.voices
    if voices.budget <= 15 or world.state in ("done", "stopped"):
        return
    old = voices.budget
    voices.budget = old / 2
    voices.out_of_memory += 1
    gate = world.gates["identify"]
    gate.retries += 1
    item = next((one.item for one in gate.slots.values()), None)
    text = f"out of memory: voice batch {old:.0f} s -> {old / 2:.0f} s, the same 48 voices tried again: ok"
    world.log_event("warning", "batch", text, item, "identify", slot=0, traceback=_OOM, batch_s=old, retry_s=old / 2)


def _grow(world: World) -> None:
    voices = world.voices
    if voices.budget < float(world.settings["voice.batch_seconds"]):
        voices.budget *= 2
        world.log_event("info", "batch", f"voice batch grows again: {voices.budget:.0f} s fits", stage="identify", slot=0)


def _storm(world: World, on: bool) -> None:
    world.storm = on


def _outage(world: World) -> None:
    world.database_down = world.now
    world.gates["store"].last_error = "connection refused"
    world.log_event(
        "error", "database", "Postgres: connection refused; finished recordings wait", stage="store", slot=0, traceback=_DOWN
    )
    world.at(world.now + 8, partial(_still_down, world, 1))


def _still_down(world: World, tries: int) -> None:
    if world.database_down is not None:
        world.log_event("warning", "database", f"Postgres: connection refused ({tries} tries, next in 8 s)", stage="store", slot=0)
        world.at(world.now + 8, partial(_still_down, world, tries + 1))


def _back(world: World) -> None:
    down = world.now - (world.database_down or world.now)
    world.database_down = None
    world.reconnects += 1
    world.log_event("info", "database", f"Postgres is back after {down:.0f} s; nothing was lost", stage="store", slot=0)
    world.fill()


def _drain(world: World) -> None:
    """Have the story's operator drain the engine once the queue is empty."""
    if world.state != "running":
        return
    if world.counts["queued"] or any("fetch" in item.passes for item in world.active.values()):
        world.at(world.now + 1.0, partial(_drain, world))
        return
    world.become("draining", OPERATOR, None)
    world.fill()

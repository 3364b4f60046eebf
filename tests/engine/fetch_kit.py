"""An engine that fetches its recordings for real and stores them as simulated ones; as a process of its own, to be killed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine_kit import make_engine

from gainstage.engine.pipeline import fetch
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.simulated import simulated_segments, store
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording

LOCAL: dict[str, Any] = {"fetch__allow_private": True, "fetch__sleep": 0, "fetch__timeout": 30, "queue__stalled": 5}


def fetched(flight: Flight, context: EngineContext) -> None:
    """A flow: the real fetch stage, and a note of what it brought."""
    with context.work.open(flight.recording.id) as folder:
        media, _ = fetch(flight, context, folder)
        digest_at(context.paths.data, flight.recording.id).write_text(hashlib.sha256(media.read_bytes()).hexdigest())
        store(flight, context, simulated_segments(flight.recording))


def digest_at(home: Path, id: str) -> Path:
    return home / f"{id}.sha256"


def remote(url: str, id: str, how: str = "http") -> Recording:
    return Recording(id=id, key=f"url:{id}", source=url, title=id, duration=60.0, extra={"fetch": how})


@contextmanager
def engine_process(url: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The engine in a process of its own; killed at the end if it still runs."""
    root = Path(__file__).parents[2]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GAINSTAGE_")} | {"PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, __file__, url, str(home), json.dumps(LOCAL)], env=environ, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def main(url: str, home: str, settings: str) -> None:
    with Database.open(url, Path(home)) as database:
        make_engine(database, Path(home), flow=fetched, **json.loads(settings)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])

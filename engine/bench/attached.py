"""An engine that keeps every core busy and counts its work, to measure how much an attached console slows it down.

``python -m gainstage.engine.bench.attached URL COUNTER`` runs it until it is killed. COUNTER is a file of eight bytes, the number
of units of work done so far; a unit is the same product of matrices every time.
"""

from __future__ import annotations

import argparse
import itertools
import mmap
import os
import struct
import tempfile
from pathlib import Path

import numpy as np

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.simulated import simulated_recordings, simulated_segments, store
from gainstage.engine.store.database import Database

UNITS_EACH = 60
SIDE = 384
"""Rows of the matrices: a unit takes a few milliseconds, outside the interpreter's lock like the models' work."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("counter", type=Path)
    options = parser.parse_args()
    os.nice(5)  # like every engine
    cores = os.cpu_count() or 2
    numbers = itertools.count(1)
    matrix = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    with options.counter.open("r+b") as file, tempfile.TemporaryDirectory(prefix="gainstage-bench-") as home:
        done = mmap.mmap(file.fileno(), 8)

        def busy(flight: Flight, context: EngineContext) -> None:
            with context.work.open(flight.recording.id), flight.stage("transcribe", token=flight.token) as slot:
                for unit in range(UNITS_EACH):
                    flight.token.check()
                    matrix @ matrix
                    done[:] = struct.pack("<q", next(numbers))
                    slot.progress = (unit + 1) / UNITS_EACH
            store(flight, context, simulated_segments(flight.recording))

        with Database.open(options.url, Path(home)) as database:
            settings = load(
                environ={},
                overrides={"fetch.disk_floor": 0, "in_flight": 24, "workers.transcribe": cores, "queue.heartbeat": 1},
            )
            engine = Engine(settings, Paths.of(Path(home)), database, flow=busy, models=False)
            try:
                engine.run()
            finally:
                engine.close()
    return 0


ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment of the process: its threads are the slots, so the matrix library must not add more."""


def backlog(database: Database, count: int = 50_000) -> None:
    """Queue more recordings than a measurement can finish."""
    from gainstage.engine.queue.backlog import Backlog

    Backlog(database).add(simulated_recordings(count))


if __name__ == "__main__":
    raise SystemExit(main())

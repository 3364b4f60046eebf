"""Several simulated engines in one process, each with connections, threads and a home of its own, until SIGTERM.

``python -m gainstage.engine.bench.fleet_engines HOME COUNT``; the database is named by the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.simulated import simulated
from gainstage.engine.store.database import Database

SETTINGS = {"fetch.disk_floor": 0, "watch.record": False, "in_flight": 1}
"""One recording in flight, whose stages take as long as those of a fast card: the claims of an engine are those of a card."""

TIMES = {"fetch": 0.4, "decode": 0.2, "transcribe": 3.4, "diarize": 2.4, "identify": 0.4, "embed": 0.4, "store": 0.0}
"""Seconds of each stage: 4.8 s for a recording of twelve minutes, 150 times real time."""


def main(home: Path, count: int) -> int:
    """Run ``count`` engines; exit status 0."""
    os.nice(10)  # they stand for other machines: the server and the claims that are timed come first
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    url = os.environ["GAINSTAGE_STORE__DATABASE"]
    with ExitStack() as stack:
        engines, threads = [], []
        for n in range(count):
            paths = Paths.of(home).member(f"engine-{n}")
            database = stack.enter_context(Database.open(url, paths.database, engine=True))
            engine = Engine(load(environ={}, overrides=SETTINGS), paths, database, flow=simulated, models=False)
            stack.callback(engine.close)
            threads.append(threading.Thread(target=engine.run, name=f"engine-{n}"))
            engines.append(engine)
        for thread in threads:
            thread.start()
        ending.wait()
        for engine in engines:
            engine.run_state.stop("bench")
        for thread in threads:
            thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))

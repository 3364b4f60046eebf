"""What an engine that keeps every core busy gets done beside a console, and without."""

from __future__ import annotations

import contextlib
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gainstage.tui.bench.terminal import on_terminal

SETTLE_S = 3.0
"""How long a console runs before its window begins."""

PAUSE_S = 0.5
"""Between the end of a console and the window without one."""


class Counter:
    """Work an engine of :mod:`gainstage.engine.bench.attached` has done."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.path = path

    @property
    def units(self) -> int:
        value: int = struct.unpack("<q", self.path.read_bytes())[0]
        return value

    def rate(self, seconds: float, meanwhile: Callable[[], object]) -> float:
        """Units a second over the next ``seconds``."""
        began, before = time.monotonic(), self.units
        while time.monotonic() < began + seconds:
            meanwhile()
        return (self.units - before) / (time.monotonic() - began)


def engine_ratio(limit_s: float = 120.0, window_s: float = 4.0, most: int = 8) -> float:
    """Throughput of an engine that saturates every core with a console attached, over that without: the median of up to ``most``
    windows, each set against the mean of the windows without before and after it, so that a drifting machine does not count.

    No window begins that would end after ``limit_s``. :class:`TimeoutError` when there is no time for one.
    """
    from gainstage.engine.bench import attached
    from gainstage.engine.store.database import Database
    from gainstage.engine.store.embedded import EmbeddedPostgres

    def wait() -> None:
        time.sleep(0.05)

    until, pair_s = time.monotonic() + limit_s, SETTLE_S + window_s + PAUSE_S + window_s
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gainstage-bench-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        url = stack.enter_context(EmbeddedPostgres(folder / "postgres")).url
        with Database.open(url, folder) as database:
            attached.backlog(database)
        counter = Counter(folder / "counter")
        log = stack.enter_context((folder / "engine.log").open("wb"))
        command = [sys.executable, "-P", "-m", "gainstage.engine.bench.attached", url, str(counter.path)]
        env = {**os.environ, **attached.ENVIRONMENT}
        engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        stack.callback(engine.wait)
        stack.callback(engine.kill)
        while counter.units < 100:
            if engine.poll() is not None:
                raise RuntimeError(f"the engine ended: {(folder / 'engine.log').read_text()[-2000:]}")
            if time.monotonic() + window_s + pair_s > until:
                raise TimeoutError(f"the engine was not at work early enough for one window in {limit_s:.0f} s")
            time.sleep(0.1)
        time.sleep(2.0)
        alone = [counter.rate(window_s, wait)]
        watched: list[float] = []
        while len(watched) < most and (not watched or time.monotonic() + pair_s < until):
            with on_terminal([sys.executable, "-P", "-m", "gainstage.tui.cli", "attach", url], folder / "out.json") as console:
                console.watch(SETTLE_S)
                watched.append(counter.rate(window_s, partial(console.read, 0.05)))
            time.sleep(PAUSE_S)
            alone.append(counter.rate(window_s, wait))
        return statistics.median(w / ((a + b) / 2) for w, a, b in zip(watched, alone, alone[1:], strict=False))

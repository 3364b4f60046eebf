"""What the console costs, measured in a real terminal of 160 x 48 on recorded frames of the scripted story.

A child process (:mod:`gainstage.tui.bench.tape`) runs the console; the parent is the terminal. ``python -m gainstage.tui.bench.console`` prints the
figures, ``--json`` as one line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gainstage.engine.views.frame_json import dumps
from gainstage.tui.bench.attached import engine_ratio
from gainstage.tui.bench.terminal import Child, on_terminal

_ROW = re.compile(rb"\x1b\[(\d+);\d+H")


@contextlib.contextmanager
def started(folder: Path, frames: Path, *arguments: str) -> Iterator[Child]:
    """A child on a pseudo terminal."""
    out = folder / f"out-{time.monotonic_ns()}.json"
    command = [sys.executable, "-P", "-m", "gainstage.tui.bench.tape", "--frames", str(frames), "--out", str(out), *arguments]
    with on_terminal(command, out) as child:
        yield child


def record(path: Path, seconds: int = 60) -> None:
    """Frames of the story, a second apart: everything in them changes from one to the next."""
    from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk

    desk = ScriptedDesk()
    desk.advance(STORY["after-change"])
    with path.open("w", encoding="utf-8") as file:
        for _ in range(seconds):
            desk.advance(1.0)
            frame = desk.snapshot()
            assert frame is not None
            file.write(dumps(frame) + "\n")


def process_to_frame(folder: Path, frames: Path, times: int = 5) -> float:
    """Seconds from starting a process, interpreter and imports included, to the Deck with a verdict on it: the median."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        with started(folder, frames, "--seconds", "60") as child:
            seen = b""
            while b"BOTTLENECK" not in seen and child.process.poll() is None:
                seen += child.read(0.1)
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def key_latencies(child: Child, presses: int) -> list[float]:
    """Seconds from a cursor key to the first repaint of table rows, with a picture that is otherwise still."""
    first_table_row = 30
    child.watch(4.0)
    latencies: list[float] = []
    for n in range(presses):
        while child.read(0.03):
            pass
        began = time.perf_counter()
        os.write(child.master, b"j" if n % 16 < 8 else b"k")
        while time.perf_counter() - began < 5.0:
            got = child.read(0.5)
            if any(int(row) >= first_table_row for row in _ROW.findall(got)):
                latencies.append(time.perf_counter() - began)
                break
    return latencies


@contextlib.contextmanager
def saturated() -> Iterator[None]:
    """Every core busy with work of the engine's priority."""
    code = "import os\nos.nice(5)\nwhile True:\n sum(i * i for i in range(10000))"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 2)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run(seconds: float = 12.0) -> dict[str, Any]:
    """The figures of the console."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = folder / "frames.jsonl"
        record(frames)
        with started(folder, frames, "--hz", "5", "--seconds", "0.2", "--settle", "0.2") as warm:
            warm.drain()
        begun_s = process_to_frame(folder, frames)
        with started(folder, frames, "--hz", "5", "--seconds", str(seconds), "--settle", "3") as deck:
            busy = deck.drain()
        with started(folder, frames, "--hz", "4", "--seconds", str(seconds), "--settle", "3", "--still") as idle:
            calm = idle.drain()
        with saturated(), started(folder, frames, "--hz", "4", "--seconds", "600", "--settle", "1", "--still", "--keys") as typed:
            latencies = key_latencies(typed, 80)
        figures: dict[str, Any] = {}
        for mode in ("hour", "table"):
            with started(folder, frames, "--mode", mode) as other:
                figures[mode] = other.drain()
    ordered = sorted(latencies)
    return {
        "first_frame_s": round(busy["first_frame_s"], 3),
        "process_to_frame_s": round(begun_s, 3),
        "deck_cpu_share": round(busy["cpu"], 4),
        "idle_cpu_share": round(calm["cpu"], 4),
        "key_p50_ms": round(1000 * statistics.median(ordered), 1) if ordered else None,
        "key_p95_ms": round(1000 * ordered[int(0.95 * (len(ordered) - 1))], 1) if ordered else None,
        "rss_mb": round(figures["hour"]["rss"] / 1e6, 1),
        "engine_ratio": round(engine_ratio(), 4),
        "tick_ms": round(busy["tick_ms"], 2),
        "scroll_100k_ms": round(figures["table"]["scroll_ms"], 1),
        "filter_100k_ms": round(figures["table"]["filter_ms"], 1),
        "ring_mb": round(figures["hour"]["ring"] / 1e6, 1),
        "cores": os.cpu_count(),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures of :func:`run` as plain text, with the goals."""
    lines = []
    for name, value in figures.items():
        note = ""
        if value is not None and name in GOALS:
            note = f"   goal <= {GOALS[name]:g}   {'reached' if value <= GOALS[name] else 'missed'}"
        elif value is not None and name == "engine_ratio":
            note = f"   goal >= {GOAL_RATIO:g}   {'reached' if value >= GOAL_RATIO else 'missed'}"
        lines.append(f"{name:18} {'unknown' if value is None else value!s:>10}{note}")
    return "\n".join(lines)


GOALS = {"first_frame_s": 0.4, "deck_cpu_share": 0.10, "idle_cpu_share": 0.02, "key_p95_ms": 100.0, "rss_mb": 80.0, "scroll_100k_ms": 50.0, "filter_100k_ms": 50.0}  # fmt: skip
"""What the figures should stay below."""

GOAL_RATIO = 0.98
"""What ``engine_ratio`` should stay above."""


def main(arguments: list[str] | None = None) -> int:
    """``python -m gainstage.tui.bench.console [--json]``"""
    parser = argparse.ArgumentParser(prog="python -m gainstage.tui.bench.console", description=main.__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = run()
    print(json.dumps(figures) if options.json else table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

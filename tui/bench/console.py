"""What the console costs, measured in a real terminal of 160 x 48 on recorded frames of the scripted story.

A child process (:mod:`gainstage.tui.bench.tape`) runs the console; the parent is the terminal. Every phase has a time limit: one that
takes longer, on a machine with other work, gives no figure, and the next begins.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gainstage.engine.views.frame_json import dumps
from gainstage.tui.bench.attached import engine_ratio
from gainstage.tui.bench.terminal import Child, on_terminal

T = TypeVar("T")

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


def process_to_frame(folder: Path, frames: Path, times: int = 5, limit_s: float = 60.0) -> float:
    """Seconds from starting a process, interpreter and imports included, to the Deck with a verdict on it: the median of up to
    ``times``, none started after ``limit_s``. :class:`TimeoutError` when one takes longer than that."""
    took: list[float] = []
    until = time.monotonic() + limit_s
    while len(took) < times and (not took or time.monotonic() < until):
        began = time.perf_counter()
        with started(folder, frames, "--seconds", "60") as child:
            seen = b""
            while b"BOTTLENECK" not in seen and child.process.poll() is None:
                seen += child.read(0.1)
                if time.perf_counter() - began > limit_s:
                    raise TimeoutError(f"no verdict was drawn within {limit_s:.0f} s")
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def key_latencies(child: Child, presses: int, limit_s: float = 60.0) -> list[float]:
    """Seconds from a cursor key to the first repaint below the header, whose clock is all that moves in a still picture: of up to
    ``presses`` keys, none pressed after ``limit_s``."""
    header_rows = 2
    until = time.monotonic() + limit_s
    child.watch(4.0)
    latencies: list[float] = []
    for n in range(presses):
        while time.monotonic() < until and child.read(0.03):
            pass
        if time.monotonic() >= until:
            break
        began = time.perf_counter()
        os.write(child.master, b"j" if n % 16 < 8 else b"k")
        while time.perf_counter() - began < 5.0:
            got = child.read(0.5)
            if any(int(row) > header_rows for row in _ROW.findall(got)):
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


def phase(name: str, limit_s: float, measure: Callable[[float], T]) -> T | None:
    """The result of a phase, which is told its limit; None when it did not keep it. What is measured is said on stderr."""
    print(f"{name}, at most {limit_s:.0f} s", file=sys.stderr, flush=True)
    try:
        return measure(limit_s)
    except TimeoutError as error:
        print(f"  not measured: {error}", file=sys.stderr, flush=True)
        return None


def run(seconds: float = 10.0) -> dict[str, Any]:
    """The figures of the console; None where a phase took too long. Without that it takes two minutes, with it three."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = folder / "frames.jsonl"
        record(frames)

        def child(*arguments: str) -> Callable[[float], dict[str, Any]]:
            def measure(limit_s: float) -> dict[str, Any]:
                with started(folder, frames, *arguments) as console:
                    return console.drain(limit_s)

            return measure

        def type_keys(limit_s: float) -> list[float]:
            with (
                saturated(),
                started(folder, frames, "--hz", "4", "--seconds", "600", "--settle", "1", "--still", "--keys") as typed,
            ):
                return sorted(key_latencies(typed, 80, limit_s))

        length = ("--seconds", str(seconds), "--settle", "3")
        phase("one console, so that every file is in memory", 10, child("--hz", "5", "--seconds", "0.2", "--settle", "0.2"))
        begun_s = phase("start of a process", 12, lambda limit_s: process_to_frame(folder, frames, limit_s=limit_s))
        busy = phase("a Deck that changes", seconds + 8, child("--hz", "5", *length)) or {}
        calm = phase("a Deck that stands still", seconds + 8, child("--hz", "4", *length, "--still")) or {}
        latencies = phase("keys, with every core busy", 16, type_keys)
        hour = phase("an hour of frames", 45, child("--mode", "hour")) or {}
        long = phase("100,000 recordings", 12, child("--mode", "table")) or {}
        ratio = phase("an engine with and without a console", 60, engine_ratio)
    return {
        "first_frame_s": _rounded(busy.get("first_frame_s"), 3),
        "process_to_frame_s": _rounded(begun_s, 3),
        "deck_cpu_share": _rounded(busy.get("cpu"), 4),
        "idle_cpu_share": _rounded(calm.get("cpu"), 4),
        "key_p50_ms": round(1000 * statistics.median(latencies), 1) if latencies else None,
        "key_p95_ms": round(1000 * latencies[int(0.95 * (len(latencies) - 1))], 1) if latencies else None,
        "keys": len(latencies or ()),
        "rss_mb": _rounded(hour.get("rss"), 1, 1e-6),
        "engine_ratio": _rounded(ratio, 4),
        "tick_ms": _rounded(busy.get("tick_ms"), 2),
        "scroll_100k_ms": _rounded(long.get("scroll_ms"), 1),
        "filter_100k_ms": _rounded(long.get("filter_ms"), 1),
        "ring_mb": _rounded(hour.get("ring"), 1, 1e-6),
        "cores": os.cpu_count(),
    }


def _rounded(value: float | None, digits: int, times: float = 1.0) -> float | None:
    return None if value is None else round(times * value, digits)


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

"""What the console costs, measured in a real terminal of 160 x 48 on recorded frames of the scripted story.

A child process runs the console on a desk that only plays frames from a file, so that the figures are the console's alone; the
parent is the terminal. ``python -m tui.bench_console`` prints the figures, ``--json`` as one line.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.desk import Ack, Command, DeskError, EngineRow, Event, Events, Query, RecordingPage, RecordingRow, SettingRow
from engine.watch.snapshot import Snapshot, dumps, loads

SIZE = (160, 48)
ROWS = 100_000
_ROW = re.compile(rb"\x1b\[(\d+);\d+H")


class TapeDesk:
    """Frames of a file, one every ``1 / hz`` seconds round and round, as if the engine had just written them."""

    live, read_only, label = True, False, "bench"

    def __init__(self, path: Path, hz: float, *, still: bool = False) -> None:
        self._frames = [loads(line) for line in path.read_text("utf-8").splitlines()]
        self._hz, self._still = hz, still
        self._start = time.monotonic()
        self._titles: list[str] = []

    def now(self) -> float:
        return time.time()

    def snapshot(self) -> Snapshot | None:
        from dataclasses import replace

        seq = int((time.monotonic() - self._start) * self._hz)
        frame = self._frames[0 if self._still else seq % len(self._frames)]
        return replace(frame, seq=seq, wall=self.now())

    def history(self, seconds: float) -> tuple[Snapshot, ...]:
        return ()

    def engines(self) -> tuple[EngineRow, ...]:
        return ()

    def events(self, after: int, limit: int = 500) -> Events:
        if self._still:
            return Events((), after, 0)
        seq = int((time.monotonic() - self._start) * self._hz * 2)
        items = tuple(
            Event(n, self.now(), "info", "stored", f"recording {n} stored: 12 segments", "store") for n in range(after + 1, seq + 1)
        )
        return Events(items[-limit:], seq, 0)

    def settings(self) -> tuple[SettingRow, ...]:
        return ()

    def recordings(self, query: Query) -> RecordingPage:
        if not self._titles:
            self._titles = [_title(i) for i in range(ROWS)]
        if not query.text:
            return RecordingPage(tuple(_row(i) for i in range(query.offset, min(ROWS, query.offset + query.limit))), ROWS, ROWS)
        found = [i for i, title in enumerate(self._titles) if query.text in title]
        return RecordingPage(tuple(_row(i) for i in found[query.offset : query.offset + query.limit]), ROWS, len(found))

    def failures(self) -> tuple[Any, ...]:
        return ()

    def recording(self, id: str) -> Any:
        raise DeskError(f"no detail of {id} in a benchmark")

    def send(self, command: Command) -> Ack:
        raise DeskError("a benchmark takes no commands")


def _title(i: int) -> str:
    return f"recording number {i} about topic {i % 977}"


def _row(i: int) -> RecordingRow:
    return RecordingRow(f"rec{i:08d}", _title(i), "", "stored", 60.0 + i % 4000, None, 1, 5, 0, 0.0, 0.0, 12, 2, None, None, None)


# -- the child


def child(options: argparse.Namespace) -> int:
    """The console on a tape; what it measured goes into a file when it ends."""
    import psutil

    from tui.app import GainstageApp

    desk: Any = TapeDesk(options.frames, options.hz, still=options.still)
    app = GainstageApp(desk, refresh_hz=options.hz, log=options.out.with_suffix(".log"))
    marks: dict[str, float] = {}

    def mark(name: str) -> None:
        marks[name] = time.process_time()
        marks[f"{name}_wall"] = time.monotonic()

    def settled() -> None:
        mark("from")
        app.counts.ticks, app.counts.tick_s = 0, 0.0
        app.set_timer(options.seconds, finished)

    def finished() -> None:
        mark("to")
        if not options.keys:
            app.exit(0)

    app.call_later(lambda: app.set_timer(options.settle, settled))
    app.run()
    out: dict[str, Any] = {"first_frame_s": app.first_frame_s, "rss": psutil.Process().memory_info().rss}
    if "to" in marks:
        out["cpu"] = (marks["to"] - marks["from"]) / (marks["to_wall"] - marks["from_wall"])
        out["tick_ms"] = 1000 * app.counts.tick_s / max(1, app.counts.ticks)
    options.out.write_text(json.dumps(out))
    return 0


def hour(options: argparse.Namespace) -> int:
    """An hour of frames through a console that is not on any terminal: what it holds in memory at the end."""
    import asyncio
    from dataclasses import replace

    import psutil

    from tui.app import GainstageApp

    desk: Any = TapeDesk(options.frames, 1.0)
    frames = desk._frames
    app = GainstageApp(desk, manual=True, log=options.out.with_suffix(".log"))

    async def run() -> dict[str, Any]:
        async with app.run_test(size=SIZE) as pilot:
            start = time.time()
            for second in range(3600):
                frame = replace(frames[second % len(frames)], seq=second + 1, wall=start + second)
                desk.snapshot = lambda frame=frame: frame
                desk.events = lambda after, limit=500, second=second: Events(
                    tuple(
                        Event(n, start + second, "info", "stored", f"recording {n} stored: {n % 40} segments", "store")
                        for n in range(3 * second + 1, 3 * second + 4)
                    ),
                    3 * second + 3,
                    0,
                )
                app.pump.poll()
                app.tick()
                if second % 20 == 0:
                    await pilot.pause()
            return {
                "rss": psutil.Process().memory_info().rss,
                "ring": app.pump.ring.bytes,
                "frames": len(app.pump.ring),
                "events": len(app.events),
            }

    options.out.write_text(json.dumps(asyncio.run(run())))
    return 0


def long_list(options: argparse.Namespace) -> int:
    """Scrolling and filtering 100,000 recordings: from the key to the drawn rows."""
    import asyncio

    from tui.app import GainstageApp

    desk: Any = TapeDesk(options.frames, 1.0, still=True)
    app = GainstageApp(desk, manual=True, log=options.out.with_suffix(".log"))

    async def run() -> dict[str, Any]:
        async with app.run_test(size=SIZE) as pilot:
            app.pump.poll()
            app.tick()
            screen: Any = await app.go("recordings")
            await pilot.pause()
            app.pump.poll()
            app.tick()

            def drawn() -> None:
                app.pump.poll()
                app.tick()
                for y in range(screen.rows.size.height):
                    screen.rows.render_line(y)

            scroll, filtered = [], []
            for _ in range(40):
                await pilot.pause()
                began = time.perf_counter()
                screen.rows.move_by(700)
                drawn()
                scroll.append(time.perf_counter() - began)
                await pilot.pause()
                drawn()
            for topic in range(10):
                await pilot.pause()
                began = time.perf_counter()
                screen.do_filter(f"topic {topic}")
                drawn()
                filtered.append(time.perf_counter() - began)
            return {"scroll_ms": 1000 * statistics.median(scroll), "filter_ms": 1000 * statistics.median(filtered)}

    options.out.write_text(json.dumps(asyncio.run(run())))
    return 0


# -- the parent


@dataclass(slots=True)
class Child:
    """A console on a terminal of ours."""

    process: subprocess.Popen[bytes]
    master: int
    out: Path

    def read(self, seconds: float) -> bytes:
        """What it wrote, waiting at most so long for it."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return b""
        with contextlib.suppress(OSError):
            return os.read(self.master, 1 << 16)
        return b""

    def watch(self, seconds: float) -> None:
        """Read for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.read(0.1)

    def drain(self) -> dict[str, Any]:
        """Read until it ends; what it measured."""
        while self.process.poll() is None:
            self.read(0.1)
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found


@contextlib.contextmanager
def started(folder: Path, frames: Path, *arguments: str) -> Iterator[Child]:
    """A child on a pseudo terminal."""
    out = folder / f"out-{time.monotonic_ns()}.json"
    command = [sys.executable, "-m", "tui.bench_console", "--frames", str(frames), "--out", str(out), *arguments]
    with on_terminal(command, out) as child:
        yield child


@contextlib.contextmanager
def on_terminal(command: list[str], out: Path) -> Iterator[Child]:
    """A program on a pseudo terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
    os.close(slave)
    try:
        yield Child(process, master, out)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)


def record(path: Path, seconds: int = 60) -> None:
    """Frames of the story, a second apart: everything in them changes from one to the next."""
    from engine.watch.scripted import STORY, ScriptedDesk

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
    found: list[float] = []
    for n in range(presses):
        while child.read(0.03):
            pass
        began = time.perf_counter()
        os.write(child.master, b"j" if n % 16 < 8 else b"k")
        while time.perf_counter() - began < 5.0:
            got = child.read(0.5)
            if any(int(row) >= first_table_row for row in _ROW.findall(got)):
                found.append(time.perf_counter() - began)
                break
    return found


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


class Counter:
    """Work an engine of :mod:`engine.bench.attached` has done."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.path = path

    @property
    def units(self) -> int:
        found: int = struct.unpack("<q", self.path.read_bytes())[0]
        return found

    def rate(self, seconds: float, meanwhile: Callable[[], object]) -> float:
        """Units a second over the next ``seconds``."""
        began, before = time.monotonic(), self.units
        while time.monotonic() < began + seconds:
            meanwhile()
        return (self.units - before) / (time.monotonic() - began)


def engine_ratio(pairs: int = 8, window_s: float = 4.0) -> float:
    """Throughput of an engine that saturates every core with a console attached, over that without: the median of ``pairs``
    windows, each set against the mean of the windows without before and after it, so that a drifting machine does not count."""
    from engine.bench import attached
    from engine.store.database import Database
    from engine.store.embedded import EmbeddedPostgres

    def wait() -> None:
        time.sleep(0.05)

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gainstage-bench-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        url = stack.enter_context(EmbeddedPostgres(folder / "postgres")).url
        with Database.open(url, folder) as database:
            attached.backlog(database)
        counter = Counter(folder / "counter")
        log = stack.enter_context((folder / "engine.log").open("wb"))
        command = [sys.executable, "-m", "engine.bench.attached", url, str(counter.path)]
        env = {**os.environ, **attached.ENVIRONMENT}
        engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        stack.callback(engine.wait)
        stack.callback(engine.kill)
        while counter.units < 100:
            if engine.poll() is not None:
                raise RuntimeError(f"the engine ended: {(folder / 'engine.log').read_text()[-2000:]}")
            time.sleep(0.1)
        time.sleep(2.0)
        alone = [counter.rate(window_s, wait)]
        watched = []
        for _ in range(pairs):
            with on_terminal([sys.executable, "-m", "tui.cli", "attach", url], folder / "out.json") as console:
                console.watch(3.0)
                watched.append(counter.rate(window_s, partial(console.read, 0.05)))
            time.sleep(0.5)
            alone.append(counter.rate(window_s, wait))
        return statistics.median(w / ((a + b) / 2) for w, a, b in zip(watched, alone, alone[1:], strict=False))


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
    """``python -m tui.bench_console [--json]``"""
    parser = argparse.ArgumentParser(prog="python -m tui.bench_console", description=main.__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mode", choices=("child", "hour", "table"), default="child", help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--hz", type=float, default=5.0, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=12.0, help=argparse.SUPPRESS)
    parser.add_argument("--settle", type=float, default=3.0, help=argparse.SUPPRESS)
    parser.add_argument("--still", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keys", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.frames is not None:
        return {"child": child, "hour": hour, "table": long_list}[options.mode](options)
    figures = run()
    print(json.dumps(figures) if options.json else table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

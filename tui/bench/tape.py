"""The console under measurement, in a process of its own, on a desk that only plays recorded frames: the figures are its alone.

``python -m gainstage.tui.bench.tape`` is started by :mod:`gainstage.tui.bench.console` and writes what it measured into a file.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.events import Event, Events
from gainstage.engine.views.experiments import NoExperiments
from gainstage.engine.views.frame_json import loads
from gainstage.engine.views.rows import (
    ChangeRow,
    EngineRow,
    FailureGroup,
    FleetRow,
    PredictedEffect,
    Preview,
    ProfileRow,
    Query,
    RecordingDetail,
    RecordingPage,
    RecordingRow,
    SettingRow,
    WhatIf,
)
from gainstage.engine.views.snapshot import DecisionRow, Snapshot
from gainstage.tui.bench.terminal import SIZE
from gainstage.tui.state.collector import COLLECT_EVERY

if TYPE_CHECKING:
    from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff, CorrectionUndone, StoredTranscript
    from gainstage.engine.views.playing import Playable
    from gainstage.engine.views.search_rows import ContextLine, IndexHealth, SearchResult
    from gainstage.tui.console.app import GainstageApp

ROWS = 100_000


class TapeDesk(NoExperiments, Desk):
    """Frames of a file, one every ``1 / hz`` seconds round and round, as if the engine had just written them."""

    live, read_only, engine, label, playback = True, False, None, "bench", None

    def __init__(self, path: Path, hz: float, *, still: bool = False) -> None:
        self.frames = [loads(line) for line in path.read_text("utf-8").splitlines()]
        self._hz, self._still = hz, still
        self._start = time.monotonic()
        self._titles: list[str] = []

    def now(self) -> float:
        return time.time()

    def snapshot(self) -> Snapshot | None:
        seq = int((time.monotonic() - self._start) * self._hz)
        frame = self.frames[0 if self._still else seq % len(self.frames)]
        return replace(frame, seq=seq, wall=self.now())

    def history(self, seconds: float) -> tuple[Snapshot, ...]:
        return ()

    def engines(self) -> tuple[EngineRow, ...]:
        return ()

    def fleet(self) -> tuple[FleetRow, ...]:
        return ()

    def narrow(self, engine: str | None) -> None:
        self._refuse()

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

    def changes(self, limit: int = 200) -> tuple[ChangeRow, ...]:
        return ()

    def predict(self, changes: dict[str, Any]) -> dict[str, PredictedEffect]:
        return {}

    def profiles(self) -> tuple[ProfileRow, ...]:
        return ()

    def decisions(self, limit: int = 500, recording: str | None = None) -> tuple[DecisionRow, ...]:
        return ()

    def recordings(self, query: Query) -> RecordingPage:
        if not self._titles:
            self._titles = [_title(i) for i in range(ROWS)]
        if not query.text:
            return RecordingPage(tuple(_row(i) for i in range(query.offset, min(ROWS, query.offset + query.limit))), ROWS, ROWS)
        matching = [i for i, title in enumerate(self._titles) if query.text in title]
        return RecordingPage(tuple(_row(i) for i in matching[query.offset : query.offset + query.limit]), ROWS, len(matching))

    def failures(self) -> tuple[FailureGroup, ...]:
        return ()

    def recording(self, id: str) -> RecordingDetail:
        self._refuse()

    def index_health(self) -> IndexHealth:
        self._refuse()

    def what_if(self, changes: dict[str, Any], last: int = 500) -> WhatIf:
        self._refuse()

    def search(self, text: str, mode: str = "both", speaker: str | None = None, limit: int = 20) -> SearchResult:
        self._refuse()

    def context(self, segment: int, around: int = 3) -> tuple[ContextLine, ...]:
        self._refuse()

    def transcript(self, id: str) -> StoredTranscript:
        self._refuse()

    def preview_correction(self, ask: CorrectionAsk) -> CorrectionDiff:
        self._refuse()

    def correct(self, ask: CorrectionAsk, *, likes: bool, by: str) -> CorrectionDiff:
        self._refuse()

    def undo_correction(self, number: int | None, *, by: str) -> CorrectionUndone:
        self._refuse()

    def playable(self, id: str, at: float, cluster: str | None = None) -> Playable:
        self._refuse()

    def write_clip(self, what: Playable, folder: Path) -> Path:
        self._refuse()

    def preview(self, sources: tuple[str, ...], options: dict[str, Any]) -> Preview:
        self._refuse()

    def send(self, command: Command) -> Ack:
        self._refuse()

    def ack(self, command_id: int) -> Ack:
        self._refuse()

    def close(self) -> None:
        return None

    def _refuse(self) -> NoReturn:
        raise DeskError("a benchmark has frames and a list of recordings, nothing else")


class HourDesk(TapeDesk):
    """The frame of one :attr:`second` after another, from ``start``, with three events in each."""

    def __init__(self, path: Path, start: float) -> None:
        super().__init__(path, 1.0)
        self.start, self.second = start, 0

    def snapshot(self) -> Snapshot:
        return replace(self.frames[self.second % len(self.frames)], seq=self.second + 1, wall=self.start + self.second)

    def events(self, after: int, limit: int = 500) -> Events:
        numbers = range(3 * self.second + 1, 3 * self.second + 4)
        texts = [f"recording {n} stored: {n % 40} segments" for n in numbers]
        items = (
            Event(n, self.start + self.second, "info", "stored", text, "store") for n, text in zip(numbers, texts, strict=True)
        )
        return Events(tuple(items), numbers[-1], 0)


def _title(i: int) -> str:
    return f"recording number {i} about topic {i % 977}"


def _row(i: int) -> RecordingRow:
    return RecordingRow(f"rec{i:08d}", _title(i), "", "stored", 60.0 + i % 4000, None, 1, 5, 0, 0.0, 0.0, 12, 2, None, None, None)


def _written(options: argparse.Namespace, app: GainstageApp, figures: dict[str, Any]) -> int:
    """Write what was measured; of a console that failed, that it did: its figures would be those of the dialog that says so."""
    if app.reported:
        figures = {"failed": f"the console under measurement failed: {options.out.with_suffix('.log').read_text('utf-8')[-2000:]}"}
    options.out.write_text(json.dumps(figures))
    return 1 if app.reported else 0


def child(options: argparse.Namespace) -> int:
    """The console on a tape; what it measured goes into a file when it ends."""
    import psutil

    from gainstage.tui.console.app import GainstageApp

    desk = TapeDesk(options.frames, options.hz, still=options.still)
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
    return _written(options, app, out)


def hour(options: argparse.Namespace) -> int:
    """An hour of frames through a console that is not on any terminal: what it holds in memory at the end."""
    import asyncio

    import psutil

    from gainstage.tui.console.app import GainstageApp

    desk = HourDesk(options.frames, time.time())
    app = GainstageApp(desk, manual=True, log=options.out.with_suffix(".log"))

    async def run() -> dict[str, Any]:
        async with app.run_test(size=SIZE) as pilot:
            for second in range(3600):
                desk.second = second
                app.poller.poll()
                app.tick()
                if second % 20 == 0:
                    await pilot.pause()
            return {
                "rss": psutil.Process().memory_info().rss,
                "ring": app.poller.ring.bytes,
                "frames": len(app.poller.ring),
                "events": len(app.events),
            }

    return _written(options, app, asyncio.run(run()))


def long_list(options: argparse.Namespace) -> int:
    """Scrolling and filtering 100,000 recordings: from the key to the drawn rows."""
    import asyncio

    from gainstage.tui.console.app import GainstageApp

    desk = TapeDesk(options.frames, 1.0, still=True)
    app = GainstageApp(desk, manual=True, log=options.out.with_suffix(".log"))

    async def run() -> dict[str, Any]:
        async with app.run_test(size=SIZE) as pilot:
            app.poller.poll()
            app.tick()
            screen: Any = await app.go("recordings")
            await pilot.pause()
            app.poller.poll()
            app.tick()

            def drawn() -> None:
                app.poller.poll()
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

    return _written(options, app, asyncio.run(run()))


def main() -> int:
    gc.set_threshold(COLLECT_EVERY)  # as every console of `gainstage` runs
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mode", choices=("child", "hour", "table"), default="child")
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hz", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--settle", type=float, default=3.0)
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--keys", action="store_true")
    options = parser.parse_args()
    return {"child": child, "hour": hour, "table": long_list}[options.mode](options)


if __name__ == "__main__":
    raise SystemExit(main())

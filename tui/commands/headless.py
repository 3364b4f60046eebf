"""Follow a run in a plain terminal: progress bars per recording, the stages, then the summary."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from gainstage.config.paths import Paths
from gainstage.engine.desk.summary import standing
from gainstage.engine.views.commands import Command
from gainstage.engine.views.snapshot import FlightView, Snapshot
from gainstage.tui.commands.common import alive, clock, plain

if TYPE_CHECKING:
    from gainstage.engine.desk.postgres import PostgresDesk
    from gainstage.engine.store.database import Database

GONE_S = 20.0
"""After this many seconds without an engine while work is left, following stops and prints the end of the engine's log."""


Ending = Literal["done", "left", "alone"]
"""How following ended: everything is done, the operator left, or no engine can do the rest."""


def follow(desk: PostgresDesk, ids: list[str], paths: Paths, *, quiet: bool = False) -> Ending:
    """Follow until each of ``ids`` is stored, failed, skipped or cancelled, or following must stop (see ``Ending``)."""
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet)
    while True:
        try:
            return _follow(desk, ids, paths, console)
        except KeyboardInterrupt:
            choice = _choice(console)
            if choice == "detach":
                console.print("detached: the engine goes on; `gainstage status` and `gainstage attach` find it again")
                return "left"
            if choice == "drain":
                desk.send(Command("drain", {}, by="ctrl-c"))
                console.print("draining: what is in flight is finished; the rest stays queued")
                _wait_gone(desk)
                return "left"


def _choice(console: Any) -> str:
    if not sys.stdin.isatty():
        return "detach"
    try:
        answer = console.input("\n[b]d[/b]etach (the engine goes on), dr[b]a[/b]in and stop, or Enter to keep following: ")
    except (KeyboardInterrupt, EOFError):
        return "detach"
    return {"d": "detach", "a": "drain"}.get(answer.strip().lower()[:1], "follow")


def _wait_gone(desk: PostgresDesk) -> None:
    while alive(desk):
        time.sleep(0.2)


def _follow(desk: PostgresDesk, ids: list[str], paths: Paths, console: Any) -> Ending:
    from rich.live import Live

    reported: set[str] = set()
    alone_since: float | None = None
    printed: str | None = None
    with Live(console=console, refresh_per_second=4, transient=True, auto_refresh=console.is_terminal) as live:
        while True:
            frame = desk.snapshot()
            now = standing(desk.database, ids)
            for id, status, title, note in now.news(reported):
                mark = {"stored": "✓", "failed": "■", "skipped": "–"}.get(status, "·")
                console.print(f"{mark} {status:<9} {plain(title, 60):<60} {plain(note, 120)}", markup=False, highlight=False)
                reported.add(id)
            if now.left == 0:
                return "done"
            pause = (
                f"paused by {frame.run.by}: {plain(frame.run.reason or '', 400)}" if frame and frame.run.state == "paused" else None
            )
            if pause and pause != printed:  # printed too, because bars are not shown everywhere
                console.print(pause, markup=False, highlight=False)
            printed = pause
            if frame and console.is_terminal:
                live.update(_picture(frame, now.done, len(ids)))
            if alive(desk):
                alone_since = None
            elif alone_since is None:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > GONE_S:
                from gainstage.engine.process import log_tail

                console.print(f"no engine is left and {now.left} recordings are not done. The end of its log:", markup=False)
                console.print(log_tail(paths), markup=False, highlight=False)
                return "alone"
            time.sleep(0.25)


def _picture(frame: Snapshot, done: int, total: int) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    left = frame.verdict.forecast
    head = Text(f"{done}/{total} recordings")
    head.append(f"   {frame.run.rtfx:.1f}x real time" if frame.run.rtfx else "   · real time")
    if left.wide:
        head.append(f"   {clock(left.low_s)} to {clock(left.high_s)} left")
    else:
        head.append(f"   {clock(left.left_s)} left" if left.left_s is not None else "   time left ·")
    if frame.run.state == "starting":
        head.append("   " + "; ".join(frame.run.loading or ("starting",)))
    elif frame.run.state != "running":
        head.append(f"   {frame.run.state} {plain(frame.run.reason or '', 200)}")
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text("all"), Text(""), ProgressBar(total=max(1, total), completed=done, width=30), head)
    for flight in frame.flights[:12]:
        grid.add_row(Text(plain(flight.title, 36)), Text(_stage(flight)), _bar(flight), Text(_place(flight)))
    stages = Text(
        "  ".join(f"{s.name} {s.busy}/{s.capacity}" + (f"+{s.depth}" if s.depth else "") for s in frame.stages), style="dim"
    )
    return Group(grid, stages)


def _stage(flight: FlightView) -> str:
    return flight.stage + (f"+{flight.side_stage}" if flight.side_stage else "")


def _bar(flight: FlightView) -> Any:
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=1.0, completed=flight.progress or 0.0, width=30)


def _place(flight: FlightView) -> str:
    parts = ["waiting" if flight.waiting else f"{clock(flight.in_stage_s)}"]
    if flight.rtfx:
        parts.append(f"{flight.rtfx:.1f}x")
    if flight.attempt > 1:
        parts.append(f"attempt {flight.attempt}/{flight.attempts}")
    return "  ".join(parts)


def print_summary(database: Database, result: dict[str, Any], *, demo: bool) -> None:
    """Print who said what, and the figures per stage."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gainstage.engine.store.recordings import RecordingStore

    console = Console()
    store = RecordingStore(database)
    for recording in result["recordings"]:
        console.print()
        title = Text(plain(recording["title"], 90), style="bold")
        title.append(f"  {recording['status']}", style="green" if recording["status"] == "stored" else "red")
        if recording["error"]:
            title.append(f"  {plain(recording['error'], 200)}", style="red")
        console.print(title)
        segments = store.segments(recording["id"]) if recording["status"] == "stored" else ()
        for segment in segments[: None if demo else 4]:
            line = Text(f"{clock(segment.start):>7}  ", style="dim")
            line.append(f"{plain(segment.speaker, 16):<11}", style="cyan" if segment.profile is not None else "yellow")
            line.append(plain(segment.text, 400))
            console.print(line)
        if not demo and len(segments) > 4:
            console.print(Text(f"         … {len(segments) - 4} more; gainstage show {recording['id']}", style="dim"))
    console.print()
    table = Table(title="stages", title_justify="left", box=None, padding=(0, 2))
    table.add_column("stage")
    for name in ("passes", "wait p50 s", "service p50 s", "service p95 s"):
        table.add_column(name, justify="right")
    for name, s in result["stages"].items():
        table.add_row(name, str(s["count"]), *(f"{s[k]:.3f}" for k in ("wait_p50_s", "service_p50_s", "service_p95_s")))
    console.print(table)
    console.print(
        f"\n{result['stored']} stored, {result['failed']} failed · {clock(result['audio_seconds'])} of audio in "
        f"{result['wall_seconds']:.1f} s · {result['rtfx']:.1f}x real time"
        if result["rtfx"]
        else f"\n{result['stored']} stored"
    )
    quality = result["quality"]
    if quality["wer"] is not None:
        console.print(
            f"against the truth: word error rate {100 * quality['wer']:.1f} %, diarization error rate {100 * quality['der']:.1f} %, "
            f"speech seconds with the right name {100 * quality['speaker_accuracy']:.1f} %"
        )

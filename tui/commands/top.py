"""``top``: one plain line a second, short enough for a phone."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import Any

from gainstage.engine.clean import terminal_json
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.scopes import scoped
from gainstage.engine.views.snapshot import SCOPES, Forecast, Snapshot
from gainstage.tui.commands.common import open_desk, place_arguments, plain, speaking
from gainstage.tui.state.setting_scope import engine_named

EXAMPLES = {
    "top": """examples:
  gainstage top
  gainstage top --every 10 --scope all
  gainstage top --count 1 --json

time, health, stored of all, speed, bottleneck, time left, failures, GPU and CPU. What does not fit the width is left out, last first."""
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser, json_too=False)
    parser.add_argument("--json", action="store_true", help="print JSON Lines: one object each time")
    parser.add_argument("--every", type=_seconds, default=1.0, metavar="SECONDS", help="seconds between two (default 1)")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N lines")
    parser.add_argument("--scope", choices=SCOPES, default="run", help="what the counts are about (default: %(default)s)")
    parser.add_argument("--engine", metavar="ID", help="one engine, by its id or its name in its home (default: all)")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 86400 seconds")
    return value


def run(name: str, args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        desk.narrow(engine_named(desk, args.engine))
        printed, due = 0, time.monotonic()
        while True:
            figures = figures_of(desk, args.scope)
            print(line(figures, width()) if speaking(args) else _json(figures), flush=True)
            printed += 1
            if args.count and printed >= args.count:
                return 0
            due = max(due + args.every, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


def width() -> int | None:
    """Columns of the terminal; None where the output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def figures_of(desk: Desk, scope: Any) -> dict[str, Any]:
    """The figures of this moment, as the console shows them; None for what is not known."""
    frame = desk.snapshot()
    if frame is None:
        return {"wall": desk.now(), "health": "offline", "reason": "no engine has run here yet"}
    return figures(scoped(frame, scope), desk.now())


def figures(frame: Snapshot, wall: float) -> dict[str, Any]:
    run, verdict = frame.run, frame.verdict
    at_work = verdict.health != "offline"  # what an engine that is gone used last is of no moment now
    busy = [d.sm for d in frame.devices if d.sm is not None and at_work]
    return {
        "wall": wall,
        "engine": frame.engine,
        "health": verdict.health,
        "state": run.state,
        "reason": verdict.reason,
        "stored": run.stored,
        "of": run.queued + run.running + run.stored + run.failed,
        "failed": run.failed,
        "running": run.running,
        "rtfx": run.rtfx if at_work else None,
        "bottleneck": None
        if not at_work
        else verdict.bottleneck.stage or (verdict.bottleneck.kind if verdict.bottleneck.kind == "source" else None),
        "left_s": verdict.forecast.left_s if at_work else None,
        "low_s": verdict.forecast.low_s if at_work else None,
        "high_s": verdict.forecast.high_s if at_work else None,
        "gpu": sum(busy) / len(busy) if busy else None,
        "cpu": frame.host.cpu if at_work else None,
    }


def line(f: dict[str, Any], columns: int | None = None) -> str:
    """The figures in one line of at most ``columns``, whole parts left out at its end."""
    from gainstage.tui.render import format as fmt

    word = "stopped" if f["health"] == "offline" and f.get("state") == "stopped" else str(f["health"])
    parts = [fmt.clock(f["wall"]), word]
    if "stored" not in f:
        parts.append(plain(f["reason"]))
    else:
        parts.append(f"{f['stored']}/{f['of']}")
        if f["rtfx"] is not None:
            parts.append(fmt.times(f["rtfx"]))
        if f["bottleneck"]:
            parts.append(plain(f["bottleneck"], 20))
        if Forecast(f["left_s"], f["low_s"], f["high_s"]).wide:
            parts.append(f"{fmt.span(f['low_s'])} to {fmt.span(f['high_s'])} left")
        elif f["left_s"]:
            parts.append(f"{fmt.span(f['left_s'])} left")
        if f["failed"]:
            parts.append(f"{f['failed']} failed")
        parts += [f"{name} {fmt.percent(f[name])}" for name in ("gpu", "cpu") if f[name] is not None]
    text = parts[0]
    for part in parts[1:]:
        if columns is not None and len(text) + 1 + len(part) > columns:
            break
        text += f" {part}"
    return text


def _json(figures: dict[str, Any]) -> str:
    import json

    return terminal_json(json.dumps(figures, ensure_ascii=True, allow_nan=False))

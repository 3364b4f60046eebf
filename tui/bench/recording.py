"""A recording of the console for the README, as an asciinema cast: bottleneck, advice, apply, measured effect.

``python -m gainstage.tui.bench.recording [FOLDER]``. It is the scripted story on its fake clock, so that the same run gives the same
recording on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.color import ColorSystem
from rich.segment import Segment

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.tui.bench.screenshots import PRELUDE_S, settle
from gainstage.tui.console.app import GainstageApp

SIZE = (120, 36)
NAME = "demo"


@dataclass(frozen=True, slots=True)
class Beat:
    """A picture that stands for ``shown_s`` seconds, after ``story_s`` seconds of the story and then ``keys``."""

    shown_s: float
    story_s: float = 1.0
    keys: tuple[str, ...] = ()


BEATS: tuple[Beat, ...] = (
    *(Beat(0.7) for _ in range(6)),  # transcribe is full, and advice says what to try
    Beat(3.0, 0.5, ("T",)),  # what is advised, and what it should do
    Beat(0.8, 0.5, ("y",)),
    *(Beat(0.6) for _ in range(6)),  # twice the slots at work
    *(Beat(0.5, 4.0) for _ in range(12)),
    Beat(2.0, 1.0, ("4",)),  # on Tune: predicted beside so far
    *(Beat(0.5, 8.0) for _ in range(6)),
    Beat(4.0, 1.0),  # measured
    Beat(3.0, 1.0, ("1",)),
)


@dataclass(frozen=True, slots=True)
class Picture:
    at_s: float
    lines: tuple[tuple[Segment, ...], ...]


async def pictures(size: tuple[int, int] = SIZE, beats: Sequence[Beat] = BEATS) -> list[Picture]:
    """What the screen shows at each beat. Raises ``RuntimeError`` when the console had a fault."""
    log = Path(tempfile.gettempdir()) / "gainstage-recording.log"
    desk = ScriptedDesk(start_at=STORY["bottleneck"] - PRELUDE_S)
    app = GainstageApp(desk, manual=True, log=log, exports=log.parent)
    taken: list[Picture] = []
    at_s = 0.0
    async with app.run_test(size=size) as pilot:
        await _pass(app, desk, PRELUDE_S)
        for beat in beats:
            await _pass(app, desk, beat.story_s)
            for key in beat.keys:
                await pilot.press(key)
            await settle(app, pilot)
            strips = app.screen._compositor.render_strips()
            taken.append(Picture(at_s, tuple(tuple(strip) for strip in strips)))
            at_s += beat.shown_s
        if app.reported:
            raise RuntimeError(f"faults while recording: see {log}")
    return taken


async def _pass(app: GainstageApp, desk: ScriptedDesk, seconds: float) -> None:
    for _ in range(max(1, round(seconds / 0.5))):
        desk.advance(min(seconds, 0.5))
        app.poller.poll()
        app.tick()
        await asyncio.sleep(0)


def length_s(beats: Sequence[Beat] = BEATS) -> float:
    return sum(beat.shown_s for beat in beats)


def cast(taken: Sequence[Picture], size: tuple[int, int] = SIZE) -> str:
    """An asciinema recording, version 2: only the lines that changed are written again."""
    head = {"version": 2, "width": size[0], "height": size[1], "title": "gainstage demo", "env": {"TERM": "xterm-256color"}}
    lines = [json.dumps(head)]
    shown: list[str] = [""] * size[1]
    for n, picture in enumerate(taken):
        fresh = [_ansi(line) for line in picture.lines]
        out = "\x1b[?25l\x1b[2J" if n == 0 else ""
        out += "".join(f"\x1b[{y + 1};1H{text}" for y, text in enumerate(fresh) if text != shown[y])
        shown = fresh
        lines.append(json.dumps([round(picture.at_s, 3), "o", out], ensure_ascii=False))
    lines.append(json.dumps([round(length_s(), 3), "o", "\x1b[0m"]))
    return "\n".join(lines) + "\n"


def _ansi(line: Sequence[Segment]) -> str:
    return "".join(
        segment.style.render(segment.text, color_system=ColorSystem.TRUECOLOR) if segment.style else segment.text
        for segment in line
    )


def write(folder: Path) -> Path:
    """Write the recording; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.cast"
    path.write_text(cast(asyncio.run(pictures())), encoding="utf-8")
    return path


def main() -> int:
    """``python -m gainstage.tui.bench.recording [FOLDER]``"""
    parser = argparse.ArgumentParser(prog="python -m gainstage.tui.bench.recording", description=main.__doc__)
    parser.add_argument("folder", nargs="?", default="screenshots", type=Path)
    os.environ["TZ"] = "UTC"
    time.tzset()
    print(write(parser.parse_args().folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Pictures of every screen at named moments of the scripted story, as SVG and PNG; the same run gives the same pictures."""

from __future__ import annotations

import argparse
import asyncio
import html
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.engine.views.commands import DeskError
from gainstage.tui.console.app import GainstageApp
from gainstage.tui.render import safe

WIDE, MEDIUM, NARROW = (160, 48), (120, 36), (80, 24)
FAULTS = Path(tempfile.gettempdir()) / "gainstage-shots-faults.log"
PRELUDE_S = 40.0
"""Seconds of the story watched before a picture: bands and the journal need a past."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: where in the story, on which screen, after which keys, in which theme."""

    name: str
    mark: str
    keys: tuple[str, ...] = ()
    theme: str = "gainstage-dark"
    sizes: tuple[tuple[int, int], ...] = (WIDE, NARROW)


READING = ("colon", *"recordings status:stored", "enter", "enter")
"""Keys to the transcript of the first stored recording."""

SHOTS: tuple[Shot, ...] = (
    Shot("start", "warm-up"),
    Shot("done", "done"),
    Shot("outage", "outage"),
    Shot("oom", "oom"),
    Shot("tuning", "bottleneck", ("tab", "tab", "tab", "tab", "tab", "plus", "plus")),
    Shot("light", "after-change", theme="gainstage-light"),
    Shot("deuteranopia", "oom", theme="deuteranopia"),
    Shot("contrast", "throttled", theme="high-contrast"),
    Shot("mono", "throttled", theme="mono"),
    Shot("help", "burst", ("question_mark",)),
    Shot("why", "throttled", ("w",)),
    Shot("palette", "burst", ("ctrl+p", *"pau")),
    Shot("deck", "bottleneck", sizes=(WIDE, MEDIUM, NARROW)),
    Shot("tune", "after-change", ("4", "down", "down", "right", "right"), sizes=(WIDE, MEDIUM, NARROW)),
    Shot("drain", "drain", ("D",)),
    Shot("add", "burst", ("a", *"https://www.youtube.com/@kitchentable", "enter")),
    Shot("evidence", "split", ("3", "down", "down", "down", "enter")),
    Shot("host", "throttled", ("5",), sizes=(WIDE, MEDIUM, NARROW)),
    Shot("logs", "outage", ("6", "N", "N"), sizes=(WIDE, MEDIUM, NARROW)),
    Shot("search", "split", ("7", *"city trees", "enter"), sizes=(WIDE, MEDIUM, NARROW)),
    Shot("transcript", "split", (*READING, "down", "down")),
    Shot("correct", "split", (*READING, "down", "down", "c", *"Ada", "enter")),
    Shot("voices", "split", ("3", "right", "left", "down", "shift+left", "shift+left"), sizes=(WIDE, MEDIUM, NARROW)),
    Shot("recordings", "throttled", ("2", "down", "down", "down"), sizes=(WIDE, MEDIUM, NARROW)),
)


async def settle(app: GainstageApp, pilot: Any) -> None:
    """Everything asked, sent and drawn."""
    for _ in range(2):
        app.poller.poll()
        app.tick()
        await pilot.pause()
        while app.workers or app.command_log.waiting:
            await app.workers.wait_for_complete()
            await asyncio.sleep(0)
        await pilot.pause()


def app_for(shot: Shot, seed: int = 0) -> GainstageApp:
    """A console on a story of its own, with no thread and no clock but the story's."""
    return GainstageApp(ScriptedDesk(seed, label="pg:prod"), manual=True, theme=shot.theme, log=FAULTS)


async def play(shot: Shot, app: GainstageApp, pilot: Any) -> None:
    """Bring a console of :func:`app_for` to the moment of the shot and press its keys."""
    desk: Any = app.desk
    moment = _moment(shot.mark)
    desk.advance(max(0.0, moment - PRELUDE_S))
    for _ in range(int(min(PRELUDE_S, moment))):
        app.poller.poll()
        app.tick()
        desk.advance(1.0)
    await settle(app, pilot)
    for key in shot.keys:
        await pilot.press("space" if key == " " else key)
        await settle(app, pilot)
    await settle(app, pilot)


async def take(shot: Shot, size: tuple[int, int], seed: int = 0) -> str:
    """The SVG of a shot; raises ``RuntimeError`` when the console had a fault."""
    app = app_for(shot, seed)
    async with app.run_test(size=size) as pilot:
        await play(shot, app, pilot)
        if app.reported:
            raise RuntimeError(f"faults while drawing {shot.name}: see {FAULTS}")
        return in_cells(app.export_screenshot(title=f"gainstage · {shot.name}"))


_TEXT = re.compile(r'(<text [^>]*textLength=")([\d.]+)("[^>]*>)([^<]+)(</text>)')


def in_cells(svg: str) -> str:
    """The SVG with every text as long as its cells: Rich counts its characters, which squeezes the wide ones to half."""

    def measured(match: re.Match[str]) -> str:
        text = html.unescape(match[4])
        length = float(match[2]) / len(text) * safe.width(text)
        return f"{match[1]}{length:g}{match[3]}{match[4]}{match[5]}"

    return _TEXT.sub(measured, svg)


def _moment(mark: str) -> float:
    from gainstage.engine.desk.scripted.desk import STORY

    return STORY[mark] if mark in STORY else float(mark)


FONTS = ("truetype/dejavu", "dejavu", "TTF", "opentype/noto", "truetype/noto", "google-noto-cjk", "noto-cjk", "noto")
"""Folders under ``/usr/share/fonts``: DejaVu Sans Mono, and Noto for the titles in Chinese, Japanese, Korean and emoji."""


def fonts() -> list[str]:
    """Folders with the fonts of the pictures on this machine."""
    return [str(folder) for name in FONTS if (folder := Path("/usr/share/fonts") / name).is_dir()]


def png(svg: str) -> bytes:
    """The SVG drawn with a font that has every glyph the console uses. Raises :class:`DeskError` without resvg-py."""
    try:
        import resvg_py
    except ImportError as error:
        raise DeskError("pictures are drawn by resvg-py, which only the development tools bring: run uv sync in a clone") from error

    font = "DejaVu Sans Mono"
    drawn = resvg_py.svg_to_bytes(
        svg_string=svg.replace("Fira Code, monospace", font).replace("Fira Code", font),
        font_dirs=fonts() or None,
        monospace_family=font,
    )
    return bytes(drawn)


def write_all(folder: Path, only: Iterable[str] = ()) -> list[Path]:
    """Write every picture, or those named; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = set(only)
    written = []
    for shot in SHOTS:
        if chosen and shot.name not in chosen:
            continue
        for size in shot.sizes:
            svg = asyncio.run(take(shot, size))
            stem = folder / f"{shot.name}-{size[0]}x{size[1]}"
            stem.with_suffix(".svg").write_text(svg, encoding="utf-8")
            stem.with_suffix(".png").write_bytes(png(svg))
            written += [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    return written


def main() -> int:
    """``python -m gainstage.tui.bench.screenshots [FOLDER] [NAME ...]``"""
    parser = argparse.ArgumentParser(prog="python -m gainstage.tui.bench.screenshots", description=main.__doc__)
    parser.add_argument("folder", nargs="?", default="screenshots", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        for path in write_all(options.folder, options.names):
            print(path)
    except DeskError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

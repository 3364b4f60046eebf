"""``console`` (also ``gainstage`` alone) and ``attach``: the live console."""

from __future__ import annotations

import argparse
import codecs
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gainstage.config.origins import Loaded
from gainstage.config.paths import Paths
from gainstage.config.settings import SPECS
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.desk import Desk
from gainstage.tui.commands.common import open_desk, paths_of, place_arguments, setting_arguments, settings_of
from gainstage.tui.commands.starting import starter
from gainstage.tui.render.format import roughly, stamp
from gainstage.tui.render.safe import conceal
from gainstage.tui.state.moments import moment_of

if TYPE_CHECKING:
    from gainstage.engine.desk.replay import ReplayDesk

EXAMPLES = {
    "console": """examples:
  gainstage                                     the default home
  gainstage console --home /data/talks --readonly
  gainstage console --replay runs/2026-11-22.gsr --at 03:12
  gainstage console --scripted                  look around without any engine""",
    "attach": """examples:
  gainstage attach
  gainstage attach postgresql://db.example.org/prod --readonly""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser, json_too=False)
    setting_arguments(parser)
    if name == "attach":
        parser.add_argument("url", metavar="URL", nargs="?", help="the database of the system, as --database")
    parser.add_argument("--readonly", action="store_true", help="look, change nothing")
    parser.add_argument("--ascii", action="store_true", help="only ASCII characters")
    themes = SPECS["console.theme"].choices
    parser.add_argument("--theme", metavar="NAME", choices=themes, help=f"colour theme: {', '.join(themes)}")
    parser.add_argument(
        "--exports", type=Path, metavar="FOLDER", help="where files it writes go (default: the folder it is started in)"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="a recorded run (.gsr) instead of a running system")
    parser.add_argument("--scripted", action="store_true", help="the scripted story: look around without any engine")
    parser.add_argument(
        "--at", metavar="TIME", help="where the recorded run or the story begins: 12:30 by the clock, or seconds after its start"
    )


def run(name: str, args: argparse.Namespace) -> int:
    need_terminal()
    args.database = args.database or getattr(args, "url", None)
    loaded, paths = settings_of(args), paths_of(args)
    if args.replay:
        return show(replay(args.replay, args.at), loaded, paths, args)
    if args.scripted:
        from gainstage.engine.desk.scripted.desk import START_WALL, ScriptedDesk

        at = begins_at(args.at, START_WALL) - START_WALL
        return show(ScriptedDesk(clock=time.monotonic, start_at=at), loaded, paths, args)
    with open_desk(args, loaded, make=name == "console") as desk:
        return show(desk, loaded, paths, args, start_engine=starter(args, loaded, desk, paths))


def replay(path: Path, at: str | None) -> ReplayDesk:
    """The recorded run at a time of it. Raises ``DeskError`` for a file that is none and for a time that is none of it."""
    from gainstage.engine.desk.replay import ReplayDesk
    from gainstage.engine.telemetry.recorder import BadRecording

    try:
        desk = ReplayDesk(path)
    except BadRecording as error:
        raise DeskError(f"{path}: {error}") from error
    except OSError as error:
        raise DeskError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        wall = begins_at(at, desk.start_wall)
        if not desk.start_wall - 60 <= wall <= desk.end_wall:
            run = f"begins {stamp(desk.start_wall)} and lasts {roughly(desk.end_wall - desk.start_wall)}"
            raise DeskError(f"--at {at} is not in the recorded run, which {run}")
    except DeskError:
        desk.close()
        raise
    desk.seek(wall)
    return desk


def begins_at(text: str | None, start: float) -> float:
    """The wall time of ``--at``; the start without one. Raises ``DeskError`` for what is no time."""
    if text is None:
        return start
    wall = moment_of(text, start, start)
    if wall is None:
        raise DeskError(f"--at {text}: write a time of day as 12:30 or 12:30:05, or seconds after the start")
    return wall


def show(
    desk: Desk, loaded: Loaded, paths: Paths, args: argparse.Namespace, *, start_engine: Callable[[], str] | None = None
) -> int:
    """Open the console on a desk with the settings of this command line."""
    from gainstage.tui.console.launch import run_console

    need_terminal()
    console = loaded.settings.console
    return run_console(
        desk,
        read_only=getattr(args, "readonly", False),
        refresh_hz=console.refresh,
        ascii=getattr(args, "ascii", False) or not speaks_utf8(),
        theme=getattr(args, "theme", None) or console.theme,
        keymap=console.keys,
        log=paths.ensure().logs / "console.log",
        exports=getattr(args, "exports", None) or Path.cwd(),
        start_engine=start_engine,
        settings_file=paths.settings_file,
        attach=attach_command(args, paths),
    )


def has_terminal() -> bool:
    """Whether the console can be shown and used: on a terminal (Textual draws on standard error), or through the web server."""
    return "TEXTUAL_DRIVER" in os.environ or all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def need_terminal() -> None:
    """Raises ``DeskError`` without a terminal."""
    if not has_terminal():
        raise DeskError(
            "the console needs a terminal, and standard input, output or error is none; "
            "without one: gainstage status, gainstage run --headless"
        )


def speaks_utf8() -> bool:
    """Whether output to the terminal is UTF-8. The console writes to standard error, as Textual does."""
    stream = sys.__stderr__
    return stream is None or codecs.lookup(stream.encoding or "utf-8").name == "utf-8"


def attach_command(args: argparse.Namespace, paths: Paths) -> str:
    """The command that opens a console on this system again; a password is left out."""
    words = ["gainstage", "attach"]
    if args.home or os.environ.get("GAINSTAGE_HOME"):  # another shell may not have the variable
        words += ["--home", str(paths.data)]
    if args.database:
        words.append(conceal(args.database))
    return shlex.join(words)

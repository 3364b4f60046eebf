"""``console`` (also ``gainstage`` alone) and ``attach``: the mixing desk."""

from __future__ import annotations

import argparse
from pathlib import Path

from tui.commands.common import open_desk, place_arguments, settings_of

EXAMPLES = {
    "console": """examples:
  gainstage                                     the default home
  gainstage console --home /data/talks --readonly
  gainstage console --replay runs/2026-11-22.gsr""",
    "attach": """examples:
  gainstage attach
  gainstage attach --database postgresql://db.example.org/prod --readonly""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser, json_too=False)
    parser.add_argument("--readonly", action="store_true", help="look, change nothing")
    parser.add_argument("--ascii", action="store_true", help="only ASCII characters")
    parser.add_argument("--theme", metavar="NAME", help="colour theme")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="a recorded run (.gsr) instead of a running system")
    parser.add_argument("--scripted", action="store_true", help="the scripted story: look around without any engine")


def run(name: str, args: argparse.Namespace) -> int:
    from tui.app import run_console

    options = {"read_only": args.readonly, "ascii": args.ascii, "theme": args.theme}
    if args.replay:
        from engine.watch.replay import ReplayDesk

        return run_console(ReplayDesk(args.replay), **options)
    if args.scripted:
        from engine.watch.scripted import ScriptedDesk

        return run_console(ScriptedDesk(), **options)
    loaded = settings_of(args)
    with open_desk(args, loaded) as desk:
        return run_console(desk, settings=loaded.settings.console, **options)

"""``play``: hear what was said at a time, by a player of this machine or as a clip file."""

from __future__ import annotations

import argparse
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import clock, open_desk, place_arguments, plain, print_json, settings_of, speaking
from gainstage.tui.commands.correct import seconds
from gainstage.tui.state.player import play, player_command

EXAMPLES = {
    "play": """examples:
  gainstage play dQw4 --at 12:30               the passage at this time: mpv or ffplay, else a clip file
  gainstage play dQw4 --at 1:02:44 --for 30
  gainstage play dQw4 --at 12:30 --clip -o clips/
  gainstage export dQw4 --format clips -o out/  every passage as a file""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    parser.add_argument("id", metavar="ID", help="id of a recording, or its start")
    parser.add_argument("--at", type=seconds, default=0.0, metavar="TIME", help="12:30, 1:02:44 or seconds (default: the start)")
    parser.add_argument("--for", dest="length", type=float, metavar="S", help="this many seconds from then on, not the passage")
    parser.add_argument("--clip", action="store_true", help="write a clip file though a player is here")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="folder of the clip (default: here)")


def run(name: str, args: argparse.Namespace) -> int:
    if args.length is not None and not 0 < args.length <= 36_000:
        raise DeskError("--for needs more than 0 and at most 36000 seconds")
    with open_desk(args, settings_of(args)) as desk:
        what = desk.playable(desk.store.find(args.id), args.at)
        if args.length is not None:
            what = replace(what, start=args.at, end=args.at + args.length)
        command = None if args.clip else player_command(what)
        clip = None if command is not None else desk.write_clip(what, args.output)
    if not speaking(args):
        print_json({**asdict(what), "player": command and command[0], "clip": clip and str(clip.absolute())})
    elif clip is not None:
        print(f"{'' if args.clip else 'no player (mpv, ffplay) is here: '}written {plain(clip.absolute(), 500)}")
    else:
        who = f" {plain(what.speaker, 40)}," if what.speaker else ""
        print(f"{plain(what.title or what.recording, 60)},{who} {clock(what.start)} to {clock(what.end)}")
    if command is not None:
        try:
            with play(command) as player:
                try:
                    return 1 if player.wait() else 0
                except KeyboardInterrupt:
                    player.terminate()
                    return 130
        except (OSError, subprocess.SubprocessError) as error:
            raise DeskError(f"{command[0]} did not start: {error}; --clip writes a file") from None
    return 0

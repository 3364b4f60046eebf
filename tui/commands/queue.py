"""``retry``, ``cancel``, ``skip``, ``priority``: change recordings in the queue."""

from __future__ import annotations

import argparse
from typing import Any

from gainstage.engine.views.commands import Command, CommandName, DeskError
from gainstage.tui.commands.common import open_desk, place_arguments, plain, print_json, speaking
from gainstage.tui.commands.control import acknowledged

EXAMPLES = {
    "retry": "examples:\n  gainstage retry dQw4\n  gainstage retry --all\n  gainstage retry --cause 'HTTP 429'",
    "cancel": "examples:\n  gainstage cancel dQw4 aB3x",
    "skip": "examples:\n  gainstage skip dQw4",
    "priority": "examples:\n  gainstage priority dQw4 --up\n  gainstage priority dQw4 --front\n  gainstage priority dQw4 --by -5",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    parser.add_argument("ids", metavar="ID", nargs="*", help="ids of recordings, or their starts")
    if name == "retry":
        parser.add_argument("--all", action="store_true", help="everything that failed")
        parser.add_argument("--cause", help="everything that failed by this cause")
    if name == "priority":
        way = parser.add_mutually_exclusive_group(required=True)
        way.add_argument("--front", action="store_true", help="before everything else")
        way.add_argument("--up", action="store_const", const=1, dest="by", help="one step forward")
        way.add_argument("--down", action="store_const", const=-1, dest="by", help="one step back")
        way.add_argument("--by", type=int, metavar="N", help="that many steps")


def run(name: str, args: argparse.Namespace) -> int:
    verb: CommandName = name  # type: ignore[assignment]
    with open_desk(args) as desk:
        from gainstage.engine.store.recordings import RecordingStore

        find = RecordingStore(desk.database).find
        arguments: dict[str, Any] = {"ids": [find(i) for i in args.ids]}
        if name == "retry" and (args.all or args.cause):
            arguments = {"all": True} if args.all else {"cause": args.cause}
        elif not args.ids:
            raise DeskError("name the recordings" + (", or give --all or --cause" if name == "retry" else ""))
        if name == "priority":
            arguments |= {"to_front": True} if args.front else {"delta": args.by}
        ack = acknowledged(desk, desk.send(Command(verb, arguments, by="cli")))
    if speaking(args):
        print(f"{ack.state}: {plain(ack.text)}")
    else:
        print_json(ack)
    return 0 if ack.state == "done" else 1

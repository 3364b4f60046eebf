"""``autopilot``: let the engine tune its own numbers of slots, and see what it does."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from gainstage.engine.views.commands import Command
from gainstage.tui.commands.common import open_desk, place_arguments, plain, print_json, speaking
from gainstage.tui.commands.control import acknowledged

EXAMPLES = {
    "autopilot": """examples:
  gainstage autopilot on
  gainstage autopilot status --json
  gainstage autopilot off
  gainstage set autopilot.bounds workers.transcribe=1-4,workers.diarize=1-2

It changes one number of slots, or a pair, at a time, waits until the effect can be told from noise, keeps it or takes it back, and
remembers the best for this machine and these models. Every step is a change as any other: `gainstage undo` takes it back. Whoever
changes a setting meanwhile pauses it for a quarter of an hour."""
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("what", choices=["on", "off", "status"], help="let it tune, stop it, or say what it does")
    place_arguments(parser)


def run(name: str, args: argparse.Namespace) -> int:
    from gainstage.engine.runtime.autopilot import NAME

    with open_desk(args, make=args.what == "on") as desk:
        if args.what != "status":
            ack = acknowledged(desk, desk.send(Command("set", {"key": "autopilot.on", "value": args.what == "on"}, by="cli")))
            if speaking(args):
                print(f"{ack.state}: autopilot is {args.what}" if ack.state != "refused" else f"refused: {plain(ack.text)}")
            else:
                print_json(ack)
            return 0 if ack.state != "refused" else 1
        frame = desk.snapshot()
        on = next(bool(row.value) for row in desk.settings() if row.key == "autopilot.on")
        steps = [row for row in desk.changes(200) if row.by == NAME]
    doing = frame.autopilot if frame is not None else None
    if not speaking(args):
        print_json({"on": on, "doing": doing, "steps": [asdict(row) for row in steps]})
        return 0
    print(f"autopilot is {'on' if on else 'off'}{f': {plain(doing)}' if doing else ''}")
    for row in steps[:20]:
        undone = " (undone)" if row.undone_by is not None else ""
        print(f"  {row.key} {row.old} → {row.new}{undone}  {plain(row.effect_text or 'not measured yet')}")
    return 0

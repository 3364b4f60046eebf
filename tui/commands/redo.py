"""``redo``: one stage of stored recordings again, from what is stored."""

from __future__ import annotations

import argparse
from dataclasses import replace

from gainstage.engine.clean import counted
from gainstage.engine.views.commands import Command, DeskError
from gainstage.engine.views.rows import Query
from gainstage.tui.commands.common import alive, open_desk, overrides_of, place_arguments, print_json, settings_of, speaking

STAGES = ("transcribe", "diarize", "identify", "segment", "embed")
PAGE = 1000

EXAMPLES = {
    "redo": """examples:
  gainstage redo identify --all                      names anew, after enrolling somebody
  gainstage redo diarize dQw4 xyz9 --set diarization.max_speakers=4
  gainstage redo embed --all --set embed.model=sentence-transformers/all-MiniLM-L6-v2
  gainstage redo segment --match interview --set segment.max_chars=600
  gainstage redo transcribe --all                    needs the audio: kept (store.keep_audio), a file, or fetched again

What comes before the stage is taken from the store; what comes after it is done too. A running engine does the work, and goes on
after a kill. Results are served as they are until the new ones are stored whole. Corrections stay.""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    parser.add_argument("stage", choices=STAGES, help="the first stage that is done again")
    parser.add_argument("ids", metavar="ID", nargs="*", help="ids of recordings, or their starts")
    parser.add_argument("--all", action="store_true", help="every stored recording")
    parser.add_argument("--match", default="", metavar="TEXT", help="stored recordings whose id or title holds this")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting first, live; repeatable")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done again")


def run(name: str, args: argparse.Namespace) -> int:
    if sum((bool(args.ids), args.all, bool(args.match))) != 1:
        raise DeskError("say which: IDs, --match TEXT, or --all")
    settings = overrides_of(args)
    args.set = []
    with open_desk(args, settings_of(args)) as desk:
        if args.ids:
            ids = [desk.store.find(id) for id in args.ids]
        else:
            ids, query = [], Query(text=args.match, status=("stored",), sort="added", descending=False, limit=PAGE)
            while (page := desk.recordings(replace(query, offset=len(ids)))).rows:
                ids += [row.id for row in page.rows]
        queued = 0
        if not args.dry_run:
            for key, value in settings.items():
                ack = desk.send(Command("set", {"key": key, "value": value}, by="cli redo"))
                if ack.state == "refused":
                    raise DeskError(ack.text)
            queued = desk.queue.redo(ids, args.stage)
        serving = alive(desk)
    if not speaking(args):
        print_json({"stage": args.stage, "recordings": ids, "queued": queued, "engine": serving})
        return 0
    if args.dry_run:
        print(f"would do {args.stage} again for {counted(len(ids), 'recording')}; nothing was changed")
        return 0
    left = len(ids) - queued
    print(
        f"{args.stage} again for {counted(queued, 'recording')}" + (f"; {left} are queued, running or not stored" if left else "")
    )
    if queued and not serving:
        print("no engine runs: gainstage engine, or gainstage console and Enter")
    return 0 if queued or not ids else 1

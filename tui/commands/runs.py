"""``runs``, ``report``: what each run brought in, and what became of it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from gainstage.config.whole_files import write_whole
from gainstage.engine.clean import terminal_json
from gainstage.tui.commands.common import clock, open_desk, place_arguments, plain, print_json, speaking, table

EXAMPLES = {
    "runs": "examples:\n  gainstage runs\n  gainstage runs --limit 5 --json",
    "report": """examples:
  gainstage report                              the newest run, as Markdown
  gainstage report interviews --format html --output interviews.html
  gainstage report 12 --format json

A run is what one run, add or listing of a followed source brought in; RUN is its number, its name, or the start of its name:
of several that begin so the newest is reported.""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser, json_too=name == "runs")
    if name == "runs":
        parser.add_argument("--limit", type=int, default=50, metavar="N", help="the newest N (default %(default)s)")
        return
    parser.add_argument("run", nargs="?", metavar="RUN", help="number, name, or start of the name (default: the newest)")
    parser.add_argument("--format", choices=["md", "json", "html"], default="md", help="default: %(default)s")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write it there instead of printing it")


def run(name: str, args: argparse.Namespace) -> int:
    return {"runs": list_all, "report": report}[name](args)


def list_all(args: argparse.Namespace) -> int:
    from gainstage.engine.queue.runs import list_runs
    from gainstage.tui.render import format as fmt

    with open_desk(args) as desk, desk.database.transaction() as connection:
        rows = list_runs(connection, limit=args.limit)
    if not speaking(args):
        print_json([{**asdict(r), "total": r.total, "progress": r.progress, "rtfx": r.rtfx} for r in rows])
        return 0
    if not rows:
        print("there is no run yet; `gainstage run SOURCE` makes one")
        return 0
    lines = [
        [
            str(r.id),
            plain(r.name, 60),
            r.progress,
            f"{r.stored:,}",
            f"{r.failed:,}" if r.failed else "·",
            f"{r.left:,}" if r.left else "·",
            clock(r.audio_done_s),
            clock(r.work_s),
            "·" if r.rtfx is None else f"{r.rtfx:.1f}x",
            fmt.stamp(r.began_wall) if r.began_wall else "·",
            fmt.stamp(r.ended_wall) if r.ended_wall else "·",
        ]
        for r in rows
    ]
    headings = ["NR", "NAME", "STATE", "STORED", "FAILED", "TO DO", "AUDIO", "WORK", "SPEED", "BEGUN", "ENDED"]
    print(table(headings, lines, right=(0, 3, 4, 5, 6, 7, 8)))
    return 0


def report(args: argparse.Namespace) -> int:
    import json

    from gainstage.engine.desk.run_report import report as read
    from gainstage.engine.queue.runs import begin_with
    from gainstage.tui.render.run_report import markdown, page

    with open_desk(args) as desk:
        made = read(desk.database, args.run)
        with desk.database.transaction() as connection:
            alike = begin_with(connection, args.run) if args.run else ()
    if len(alike) > 1:
        note = f"{len(alike)} runs begin with {plain(args.run, 80)!r}; this is the newest, number {made.run.id}"
        print(f"{note}: `gainstage runs` lists them", file=sys.stderr)
    if args.format == "json":
        text = json.dumps(made.document(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    else:
        text = markdown(made) if args.format == "md" else page(made)
    if args.output is not None:
        if args.output.exists() and not args.output.is_file():  # a terminal, a pipe
            args.output.write_text(text, "utf-8")
        else:
            write_whole(args.output, text)
        print(f"written to {plain(args.output)}")
    else:
        print(terminal_json(text), end="")
    return 0

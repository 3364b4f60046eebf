"""``follow``, ``following``, ``unfollow``: sources that are listed at intervals, new recordings only."""

from __future__ import annotations

import argparse

from gainstage.tui.commands.common import alive, open_desk, place_arguments, plain, print_json, speaking, table
from gainstage.tui.commands.run import recording_arguments, recording_options, selection_arguments, selection_options

EXAMPLES = {
    "follow": """examples:
  gainstage follow https://www.youtube.com/@somebody --every 6h --skip-shorts --since 30d
  gainstage follow https://example.org/feed.xml --every 1h --limit 5
  gainstage follow ~/Recordings              a folder is watched: new files are taken within seconds

Any engine that runs lists what is due; what was missed while none ran is caught up once. Following a source again changes
its options.""",
    "following": "examples:\n  gainstage following\n  gainstage following --json",
    "unfollow": "examples:\n  gainstage unfollow 3\n  gainstage unfollow https://example.org/feed.xml",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    if name == "follow":
        parser.add_argument("source", metavar="SOURCE", help="channel, playlist, feed, folder, or list of them")
        parser.add_argument("--every", default="6h", metavar="TIME", help="how often it is listed: 30m, 6h, 2d (default: 6h)")
        parser.add_argument("--priority", type=int, default=0, help="of its recordings; higher goes first")
        selection_arguments(parser)
        recording_arguments(parser)
    if name == "unfollow":
        parser.add_argument("which", metavar="SOURCE|NUMBER", help="as `gainstage following` lists it")


def run(name: str, args: argparse.Namespace) -> int:
    return {"follow": follow, "following": following, "unfollow": unfollow}[name](args)


def follow(args: argparse.Namespace) -> int:
    from gainstage.engine.sources.selection import interval_s
    from gainstage.engine.sources.subscriptions import Subscriptions

    every_s = interval_s(args.every)
    options = selection_options(args) | recording_options(args)
    with open_desk(args, make=True) as desk:
        row = Subscriptions(desk.database).follow(args.source, every_s, options, priority=args.priority)
        served = alive(desk)
    if not speaking(args):
        print_json(row)
        return 0
    print(f"following {plain(row.source)} as number {row.id}, every {args.every}")
    if not served:
        print("no engine runs: `gainstage engine` lists it, or the next run")
    return 0


def following(args: argparse.Namespace) -> int:
    from gainstage.engine.sources.subscriptions import Subscriptions

    with open_desk(args) as desk:
        rows, now = Subscriptions(desk.database).rows(), desk.now()
    if not speaking(args):
        print_json(list(rows))
        return 0
    if not rows:
        print("nothing is followed; `gainstage follow SOURCE --every 6h` starts it")
        return 0
    lines = [
        [
            str(row.id),
            plain(row.source, 60),
            span(row.every_s),
            plain(" ".join(f"{name}={value}" for name, value in row.options.items()), 60),
            "running" if row.running else "now" if row.next_wall <= now else f"in {span(row.next_wall - now)}",
            "·" if row.last_wall is None else f"{span(now - row.last_wall)} ago",
            "·" if row.last_new is None else str(row.last_new),
            str(row.found),
            plain(row.last_error or "", 60),
        ]
        for row in rows
    ]
    print(table(["NR", "SOURCE", "EVERY", "ONLY", "NEXT", "LAST", "NEW", "ALL", "TROUBLE"], lines, right=(0, 6, 7)))
    return 0


def unfollow(args: argparse.Namespace) -> int:
    from gainstage.engine.sources.subscriptions import Subscriptions

    with open_desk(args) as desk:
        row = Subscriptions(desk.database).unfollow(args.which)
    if speaking(args):
        print(f"no longer following {plain(row.source)}; what it found stays")
    else:
        print_json(row)
    return 0


def span(seconds: float) -> str:
    """A duration in two units."""
    from gainstage.engine.advisor.forecast import span as words

    return words(seconds)

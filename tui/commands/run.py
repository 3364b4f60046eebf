"""``run``, ``demo``, ``add``: take sources in; follow the work in the terminal or in the console."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config.origins import Loaded
from config.paths import Paths
from engine.desk import Desk, DeskError
from engine.flow.cancel import CancelToken
from engine.terms import Recording
from tui.commands.common import (
    alive,
    database_url,
    open_desk,
    paths_of,
    place_arguments,
    plain,
    print_json,
    setting_arguments,
    settings_of,
    speaking,
)

if TYPE_CHECKING:
    from engine.desk_postgres import PostgresDesk

EXAMPLES = {
    "run": """examples:
  gainstage run talk.mp3 interviews/ --profile cpu --headless
  gainstage run https://www.youtube.com/watch?v=dQw4w9WgXcQ
  gainstage run https://example.org/feed.xml --limit 20 --json
  gainstage run talks/ --set workers.transcribe=4 --force

Without --headless the console opens on the run. Ctrl-C while following asks: detach (the engine goes on) or drain.""",
    "demo": """examples:
  gainstage demo                 the console on a running demo
  gainstage demo --headless      in the terminal, with a summary at the end
  gainstage demo --headless --json""",
    "add": """examples:
  gainstage add talks/ --priority 5
  gainstage add https://example.org/feed.xml --dry-run""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    setting_arguments(parser)
    if name != "demo":
        parser.add_argument("sources", metavar="SOURCE", nargs="+", help="file, folder, URL, or a .txt/.jsonl list of them")
        selection_arguments(parser)
        parser.add_argument("--priority", type=int, default=0, help="higher goes first")
        parser.add_argument("--dry-run", action="store_true", help="print what would be taken, change nothing")
    if name != "add":
        parser.add_argument("--headless", action="store_true", help="follow in the terminal instead of the console")
    if name == "demo":
        parser.add_argument("--keep", action="store_true", help="keep what an earlier demo stored instead of running it again")
    else:
        parser.add_argument("--force", action="store_true", help="take stored recordings again and replace them")


def selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Which recordings of a source are wanted."""
    parser.add_argument("--limit", type=int, metavar="N", help="at most N recordings that are not stored yet")


def run(name: str, args: argparse.Namespace) -> int:
    return {"run": ingest, "demo": demo, "add": add}[name](args)


def listed(args: argparse.Namespace, loaded: Loaded, desk: PostgresDesk) -> list[Recording]:
    """The recordings behind the sources of the command line."""
    from engine.sources.listing import list_sources

    return list_sources(args.sources, loaded.settings, desk.database, limit=args.limit, force=args.force, token=CancelToken())


def add(args: argparse.Namespace) -> int:
    loaded = settings_of(args)
    with open_desk(args, loaded) as desk:
        recordings = listed(args, loaded, desk)
        if args.dry_run:
            return dry_run(args, recordings)
        added = desk.queue.add(recordings, force=args.force, priority=args.priority)
    if speaking(args):
        print(f"added {added.added}, queued again {added.requeued}, known already {added.known}")
    else:
        print_json(added)
    return 0


def dry_run(args: argparse.Namespace, recordings: Sequence[Recording]) -> int:
    if speaking(args):
        for r in recordings:
            print(f"{r.id:<24} {plain(r.title, 90)}")
        print(f"{len(recordings)} recordings would be taken")
    else:
        print_json([{"id": r.id, "title": r.title, "source": r.source, "duration": r.duration} for r in recordings])
    return 0


def ingest(args: argparse.Namespace) -> int:
    loaded = settings_of(args)
    with open_desk(args, loaded) as desk:
        recordings = listed(args, loaded, desk)
        if args.dry_run:
            return dry_run(args, recordings)
        if not recordings:
            print("nothing to do: everything is stored already (--force takes it again)", file=sys.stderr)
            if not speaking(args):
                from engine.summary import summary

                print_json(summary(desk.database, []))
            return 0
        added = desk.queue.add(recordings, force=args.force, priority=args.priority)
        if speaking(args) and added.known:
            print(f"{added.known} known already, {added.added + added.requeued} to do", file=sys.stderr)
        title = recordings[0].title if len(recordings) == 1 else ", ".join(args.sources[:2])
        return serve_and_follow(args, loaded, desk, [r.id for r in recordings], title=title)


def demo(args: argparse.Namespace) -> int:
    """The main job on the bundled recordings, in a home of its own."""
    from engine.demo import demo_recordings

    args.profile = args.profile or "demo"
    if args.home is None and args.database is None:
        args.home = Paths.of().data / "demo"
    loaded = settings_of(args)
    with open_desk(args, loaded) as desk:
        recordings = demo_recordings()
        desk.queue.add(recordings, force=not args.keep)
        return serve_and_follow(args, loaded, desk, [r.id for r in recordings], title="demo", demo=True)


def serve_and_follow(
    args: argparse.Namespace, loaded: Loaded, desk: PostgresDesk, ids: list[str], *, title: str, demo: bool = False
) -> int:
    paths = paths_of(args)
    start_engine(args, loaded, desk, paths, title=title, demo=demo, until_empty=args.headless or not speaking(args))
    if not args.headless and speaking(args) and sys.stdout.isatty():
        from tui.commands.console import show

        return show(desk, loaded, paths, args)
    from tui.headless import follow, print_summary

    finished = follow(desk, ids, paths, quiet=not speaking(args))
    from engine.summary import summary

    result = summary(desk.database, ids, demo=demo)
    if speaking(args):
        print_summary(desk.database, result, demo=demo)
    else:
        print_json(result)
    return 0 if finished and not result["failed"] else 1


def start_engine(
    args: argparse.Namespace, loaded: Loaded, desk: Desk, paths: Paths, *, title: str, demo: bool, until_empty: bool
) -> None:
    """Start an engine of this home unless one serves it or the database already; wait until it has signed on."""
    from engine.process import STARTUP_S, engine_pid, log_tail, start_detached

    if alive(desk) or engine_pid(paths):
        return
    arguments = ["--home", str(paths.data)] if args.home else []
    url = database_url(args, loaded)
    environ = {"GAINSTAGE_STORE__DATABASE": url} if url else {}
    if args.profile:
        arguments += ["--profile", str(Path(args.profile).absolute()) if args.profile.endswith(".toml") else args.profile]
    for pair in args.set:
        arguments += ["--set", pair]
    arguments += ["--title", title]
    arguments += ["--demo"] * demo + ["--until-empty"] * until_empty
    child = start_detached(paths, arguments, environ)
    end = time.monotonic() + STARTUP_S
    while not alive(desk):
        if child.poll() not in (None, 0):
            raise DeskError(f"the engine did not start; the end of {paths.engine_log}:\n{log_tail(paths)}")
        if child.poll() == 0 or time.monotonic() > end:
            return  # it has come and gone, or is slow: following shows which
        time.sleep(0.1)

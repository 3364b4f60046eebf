"""``run``, ``demo``, ``add``: queue sources and follow the work in the terminal or in the console."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gainstage.config.origins import Loaded, profile_text
from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.config.whole_files import write_whole
from gainstage.engine.flow.cancel import CancelToken
from gainstage.tui.commands.common import (
    clock,
    engine_arguments,
    open_desk,
    paths_of,
    place_arguments,
    plain,
    print_json,
    setting_arguments,
    settings_of,
    speaking,
)
from gainstage.tui.commands.starting import start_engine, starter, wait_for_end

if TYPE_CHECKING:
    from gainstage.engine.desk.postgres import PostgresDesk
    from gainstage.engine.sources.choice import Choice

EXAMPLES = {
    "run": """examples:
  gainstage run talk.mp3 interviews/ --profile cpu --headless
  gainstage run https://www.youtube.com/watch?v=dQw4w9WgXcQ
  gainstage run https://example.org/feed.xml --limit 20 --json
  gainstage run https://www.youtube.com/@somebody --since 30d --skip-shorts --dry-run
  gainstage run urls.txt "ytsearch20:gut bacteria" --min-duration 10m --match "interview|talk"
  gainstage run talks/ --set workers.transcribe=4 --force

Without --headless the console opens on the run. Ctrl-C while following asks: detach (the engine goes on) or drain.""",
    "demo": """examples:
  gainstage demo                 the console on a running demo
  gainstage demo --headless      in the terminal, with a summary at the end
  gainstage demo --headless --json""",
    "add": """examples:
  gainstage add talks/ --priority 5
  gainstage add panel.mp3 --language de --speakers 3..5 --hotwords "Wanaka, Dr. Hoogeveen"
  gainstage add https://example.org/feed.xml --dry-run""",
}


INTERRUPTED = 130
"""Exit status of a run that its operator left before it was finished."""


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    setting_arguments(parser)
    if name != "add":
        engine_arguments(parser)
    if name != "demo":
        parser.add_argument("sources", metavar="SOURCE", nargs="+", help="file, folder, URL, or a .txt/.jsonl list of them")
        selection_arguments(parser)
        recording_arguments(parser)
        parser.add_argument("--priority", type=int, default=0, help="higher goes first")
        parser.add_argument("--name", help="of the run, in `gainstage runs` (default: from the first source and the time)")
        parser.add_argument("--dry-run", action="store_true", help="print what would be taken, change nothing")
    if name != "add":
        parser.add_argument("--headless", action="store_true", help="follow in the terminal instead of the console")
    if name == "demo":
        parser.add_argument("--keep", action="store_true", help="keep what an earlier demo stored instead of running it again")
    else:
        parser.add_argument("--force", action="store_true", help="take stored recordings again and replace them")


def selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that select recordings of a source."""
    group = parser.add_argument_group("selection")
    group.add_argument("--limit", type=int, metavar="N", help="at most N recordings that are not stored yet")
    order = group.add_mutually_exclusive_group()
    order.add_argument("--newest-first", action="store_const", const="newest", dest="order", help="by date, newest first")
    order.add_argument("--oldest-first", action="store_const", const="oldest", dest="order", help="by date, oldest first")
    group.add_argument("--since", metavar="DAY", help="published on or after: 2026-02-28, today, or 30d for 30 days ago")
    group.add_argument("--until", metavar="DAY", help="published on or before")
    group.add_argument("--min-duration", metavar="TIME", help="not shorter: seconds, or 90s, 10m, 1h")
    group.add_argument("--max-duration", metavar="TIME", help="not longer")
    group.add_argument("--skip-shorts", action="store_true", default=None, help="leave shorts out")
    group.add_argument("--match", metavar="REGEX", help="only titles in which this is found (upper and lower case alike)")
    group.add_argument("--live", choices=["include", "skip"], help="what is live at the moment (default: skip)")
    group.add_argument(
        "--check",
        choices=["auto", "all", "none"],
        help="look at each item's own page for why it cannot be had before queueing it (default: auto, the first 30)",
    )


def selection_options(args: argparse.Namespace) -> dict[str, Any]:
    """The selection options that were given, by name."""
    names = ("limit", "order", "since", "until", "min_duration", "max_duration", "skip_shorts", "match", "live", "check")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def recording_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that are stored with each recording and replace settings for it."""
    group = parser.add_argument_group("options of these recordings, instead of the settings")
    group.add_argument("--language", metavar="CODE", help="spoken language: en, de ..., or auto to detect it")
    group.add_argument("--speakers", metavar="N", help="how many people speak: 3, 2..4, 2.., ..4, or auto")
    group.add_argument("--hotwords", metavar="TEXT", help="names and terms the recogniser should expect")


def recording_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of recordings that were given, as they are stored. Raises :class:`gainstage.engine.errors.Permanent`."""
    from gainstage.engine.options import NAMES, RecordingOptions

    return RecordingOptions.of({name: getattr(args, name) for name in NAMES}).record()


def run(name: str, args: argparse.Namespace) -> int:
    return {"run": ingest, "demo": demo, "add": add}[name](args)


def listed(args: argparse.Namespace, loaded: Loaded, desk: PostgresDesk) -> Choice:
    """List the sources of the command line and select; progress goes to stderr."""
    from gainstage.engine.sources.choose import choose
    from gainstage.engine.sources.selection import Selection

    telling = speaking(args) and sys.stderr.isatty()

    def progress(seen: int, taken: int) -> None:
        print(f"\rlisting: {seen:,} seen, {taken:,} wanted", end="\x1b[K", file=sys.stderr, flush=True)

    selection = Selection.of({**selection_options(args), "force": args.force})
    settings = with_live(loaded, desk)
    try:
        return choose(args.sources, settings, desk.database, selection, token=CancelToken(), progress=progress if telling else None)
    finally:
        if telling:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def with_live(loaded: Loaded, desk: PostgresDesk) -> Settings:
    """The settings of this command line with the live settings over them, as an engine reads them."""
    from gainstage.engine.queue.live import LiveSettings, read_live

    with desk.database.connection() as connection:
        values, revision = read_live(connection)
    settings = LiveSettings(loaded.settings)
    settings.load(values, revision)
    return settings.current


def tell_left(choice: Choice, passed: bool = False) -> None:
    """Print in one line why listed recordings are not taken; ``passed`` also counts those already in the queue."""
    from gainstage.engine.sources.choice import by_reason

    reasons = [f"{n} {plain(reason, 100)}" for reason, n in by_reason(choice.passed if passed else choice.left)]
    if reasons:
        print(f"left out: {', '.join(reasons[:8])}{' …' if len(reasons) > 8 else ''}", file=sys.stderr)
    if choice.unchecked:
        print(f"{choice.unchecked} could not be checked before their download", file=sys.stderr)


def add(args: argparse.Namespace) -> int:
    from gainstage.engine.options import RecordingOptions
    from gainstage.engine.sources.enqueue import Origin, enqueue

    loaded, options = settings_of(args), RecordingOptions.of(recording_options(args))
    with open_desk(args, loaded, make=True) as desk:
        choice = listed(args, loaded, desk)
        if args.dry_run:
            return dry_run(args, choice, loaded, desk)
        origin = Origin("add", tuple(args.sources), args.name)
        added = enqueue(desk.queue, choice, origin, force=args.force, priority=args.priority, options=options)
    if speaking(args):
        print(f"added {added.added}, queued again {added.requeued}, known already {added.known}")
        tell_left(choice)
    else:
        print_json(added)
    return 0


def dry_run(args: argparse.Namespace, choice: Choice, loaded: Loaded, desk: PostgresDesk) -> int:
    """Print exactly what a run would take, and its estimated cost."""
    from gainstage.engine.sources.plan import plan_run, with_lengths
    from gainstage.tui.render.format import plural
    from gainstage.tui.render.plan import plan_lines

    new = with_lengths(choice.new)
    plan = plan_run(new, with_live(loaded, desk), desk.database, desk.snapshot())
    if not speaking(args):
        names = ("id", "title", "source", "duration", "published")
        print_json(
            {
                "recordings": [{name: getattr(r, name) for name in names} for r in new],
                "left": [{"title": left.title, "reason": left.reason} for left in choice.passed],
                "plan": asdict(plan),
            }
        )
        return 0
    for r in new:
        print(f"{r.id:<33} {clock(r.duration):>8}  {r.published or '·':<10}  {plain(r.title, 90)}")
    print(f"{plural(plan.recordings, 'recording')} would be taken")
    for name, words in plan_lines(plan):
        print(f"{name:<11} {words}")
    tell_left(choice, passed=True)
    return 0


def ingest(args: argparse.Namespace) -> int:
    from gainstage.engine.options import RecordingOptions
    from gainstage.engine.sources.enqueue import Origin, enqueue

    loaded, options = settings_of(args), RecordingOptions.of(recording_options(args))
    with open_desk(args, loaded, make=True) as desk:
        choice = listed(args, loaded, desk)
        if args.dry_run:
            return dry_run(args, choice, loaded, desk)
        origin = Origin("run", tuple(args.sources), args.name)
        added = enqueue(desk.queue, choice, origin, force=args.force, priority=args.priority, options=options)
        desk.run = added.run
        if speaking(args):
            tell_left(choice)
        recordings = choice.taken
        if not recordings:
            print("nothing to do: nothing new was found (--force takes again what has ended)", file=sys.stderr)
            if not speaking(args):
                from gainstage.engine.desk.summary import summary

                print_json(summary(desk.database, []))
            return 0
        if speaking(args) and added.known:
            print(f"{added.known} known already, {added.added + added.requeued} to do", file=sys.stderr)
        title = recordings[0].title if len(recordings) == 1 else ", ".join(args.sources[:2])
        return serve_and_follow(args, loaded, desk, [r.id for r in recordings], title=title)


def demo(args: argparse.Namespace) -> int:
    """Run the bundled recordings in a separate home."""
    from gainstage.engine.queue.runs import keep_or_forget, make
    from gainstage.engine.runtime.demo import demo_recordings

    args.profile = args.profile or "demo"
    if args.home is None and args.database is None:
        args.home = Paths.of().data / "demo"
    loaded = settings_of(args)
    if not paths_of(args).ensure().settings_file.exists():  # so that search and show in this home use the demo's models
        write_whole(paths_of(args).settings_file, profile_text("demo"), mode=0o600)
    with open_desk(args, loaded, make=True) as desk:
        recordings = demo_recordings()
        with desk.database.transaction() as connection:
            run = make(connection, "demo", ["demo"])
        desk.queue.add(recordings, force=not args.keep, run=run)
        with desk.database.transaction() as connection:
            desk.run = run if keep_or_forget(connection, run) else None
        return serve_and_follow(args, loaded, desk, [r.id for r in recordings], title="demo", demo=True)


def serve_and_follow(
    args: argparse.Namespace, loaded: Loaded, desk: PostgresDesk, ids: list[str], *, title: str, demo: bool = False
) -> int:
    paths = paths_of(args)
    until_empty = args.headless or not speaking(args)
    started = start_engine(args, loaded, desk, paths, title=title, demo=demo, until_empty=until_empty)
    from gainstage.tui.commands.console import has_terminal, show

    if not args.headless and speaking(args) and has_terminal():
        return show(desk, loaded, paths, args, start_engine=starter(args, loaded, desk, paths, title=title, demo=demo))
    from gainstage.tui.commands.headless import follow, print_summary

    ending = follow(desk, ids, paths, quiet=not speaking(args))
    from gainstage.engine.desk.summary import summary

    result = summary(desk.database, ids, demo=demo)
    if not speaking(args):
        print_json(result)
    elif ending != "left":
        print_summary(desk.database, result, demo=demo)
    if ending == "done" and started and until_empty:
        sys.stdout.flush()
        wait_for_end(desk, paths)
    if ending == "left":
        return INTERRUPTED
    return 0 if ending == "done" and not result["failed"] else 1

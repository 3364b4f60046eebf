"""``logs``: the journal of every engine of a database, while they run and after they have ended."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from datetime import time as datetime_time
from functools import partial
from typing import TYPE_CHECKING

from gainstage.config.origins import Loaded
from gainstage.engine.clean import clean_text, terminal_json
from gainstage.engine.stages import STAGES
from gainstage.engine.views.events import Event
from gainstage.tui.commands.common import open_database, paths_of, place_arguments, plain, settings_of, speaking

if TYPE_CHECKING:
    from gainstage.engine.queue.event_search import EventFilter
    from gainstage.engine.store.database import Database

EXAMPLES = {
    "logs": """examples:
  gainstage logs                                  the newest 200 lines
  gainstage logs --follow --level warning
  gainstage logs --recording dQw4 --count 0       everything kept of one recording
  gainstage logs --stage diarize --since 2h --grep 'memory|cuda'
  gainstage logs --json --follow | jq .text       one object a line

The last 20,000 lines of all engines are kept in the database, wherever they ran. Each pass of a stage is written to journal.jsonl in
the engine's folder of logs, and what it printed to engine.log there."""
}

EVERY_S = 0.5
"""How often new lines are looked for."""

LEVELS = ("info", "warning", "error")
TIMES = ("%H:%M", "%H:%M:%S", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser, json_too=False)
    parser.add_argument("--json", action="store_true", help="print JSON Lines: one object for each line")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes; Ctrl-C ends it")
    parser.add_argument("--count", type=_count, default=200, metavar="N", help="the newest N; 0 for all (default %(default)s)")
    parser.add_argument("--level", choices=LEVELS, default="info", help="this level and above (default %(default)s)")
    parser.add_argument("--stage", choices=STAGES, help="of one stage")
    parser.add_argument("--recording", metavar="ID", help="of one recording, by its id or the start of it")
    parser.add_argument(
        "--engine", action="append", default=[], metavar="ID", help="of one engine, by its id or its name in its home; repeatable"
    )
    parser.add_argument("--grep", metavar="PATTERN", help="lines in which this regular expression is found, ignoring case")
    parser.add_argument("--since", type=_since, metavar="TIME", help="not older than 10m, 2h, 1d, or since 14:05 or 2026-11-25")


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text} is no number of lines")
    return int(text)


def _since(text: str) -> Callable[[float], float]:
    """What makes epoch seconds of ``10m`` (ago) or a local time, given the present; a time of the day is the last one of that name."""
    from gainstage.engine.errors import Permanent
    from gainstage.engine.sources.selection import interval_s

    with suppress(Permanent):
        ago_s = interval_s(text)
        return lambda now: now - ago_s
    for form in TIMES:
        try:
            parsed = datetime.strptime(text, form)
        except ValueError:
            continue
        return partial(_at, parsed.timestamp()) if "%Y" in form else partial(_last_of_name, parsed.time())
    raise argparse.ArgumentTypeError(f"{text!r} is no time: write 10m, 2h, 14:05 or 2026-11-25")


def _at(wall: float, now: float) -> float:
    return wall


def _last_of_name(of_day: datetime_time, now: float) -> float:
    today = datetime.combine(datetime.fromtimestamp(now).date(), of_day).timestamp()
    return today if today <= now else today - 86_400


def run(name: str, args: argparse.Namespace) -> int:
    from gainstage.engine.errors import EngineError
    from gainstage.engine.queue.event_search import EventFilter, pattern_of

    grep = pattern_of(args.grep) if args.grep is not None else None
    chosen = EventFilter(args.level, args.stage, args.recording, tuple(args.engine), None, grep)
    loaded = settings_of(args)
    try:
        return _print_all(chosen, args, loaded)
    except EngineError as error:
        log = paths_of(args).engine_log
        if log.exists():  # it says more where the database is what fails
            error.hint = f"{error.hint} What the engine of this home printed is in {log}.".lstrip()
        raise


def _print_all(chosen: EventFilter, args: argparse.Namespace, loaded: Loaded) -> int:
    from gainstage.engine.queue.event_search import engines_seen, newest

    with open_database(args, loaded) as database:
        if args.since is not None:
            chosen = replace(chosen, since_wall=args.since(database.clock.now()))
        kept = newest(database, chosen, args.count)
        several = engines_seen(database, chosen) > 1
        show(kept.items, args, several=several)
        if not args.follow:
            if not kept.items and speaking(args):
                print("no line matches", file=sys.stderr)
            return 0
        follow(database, chosen, kept.cursor, args, several=several)
    return 0


def follow(database: Database, chosen: EventFilter, cursor: int, args: argparse.Namespace, *, several: bool) -> None:
    """Print what comes, through outages of the database, until interrupted."""
    from gainstage.engine.errors import Transient
    from gainstage.engine.queue.event_search import following

    away = False
    pages = following(database, chosen, cursor)
    while True:
        try:
            page = next(pages)
        except Transient as error:
            if not away:
                print(f"gainstage logs: {plain(error, 400)}; waiting for it", file=sys.stderr, flush=True)
            away, pages = True, following(database, chosen, cursor)
            time.sleep(EVERY_S)
            continue
        if away:
            print("gainstage logs: the database is back", file=sys.stderr, flush=True)
            away = False
        if page.dropped:
            print(f"gainstage logs: {page.dropped:,} lines were gone before they were read", file=sys.stderr, flush=True)
        cursor = page.cursor
        show(page.items, args, several=several)
        if len(page.items) == 0:
            time.sleep(EVERY_S)


def show(events: Iterable[Event], args: argparse.Namespace, *, several: bool) -> None:
    """Print lines as text or as JSON, each whole and at once."""
    for event in events:
        print(line(event, several=several) if speaking(args) else json_line(event))
    sys.stdout.flush()


def line(event: Event, *, several: bool = False, now: float | None = None) -> str:
    """A line of the journal for people: time (with the day where it is another), level, engine, place, text; its traceback below."""
    today = time.localtime(time.time() if now is None else now)
    at = time.localtime(event.wall)
    same = (at.tm_year, at.tm_yday) == (today.tm_year, today.tm_yday)
    clock = time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S", at)
    place = " ".join(clean_text(p, 60) for p in (event.stage, event.recording) if p)
    engine = f" {clean_text(event.engine or '·', 60)}" if several else ""
    text = f"{clock} {event.level:7}{engine} {place + ': ' if place else ''}{clean_text(event.text)}"
    trace = "\n".join(f"    {_indented(row)}" for row in (event.traceback or "").splitlines())
    return f"{text}\n{trace}" if trace else text


def _indented(row: str) -> str:
    """A line of a traceback, harmless, with its indent."""
    return " " * min(40, len(row) - len(row.lstrip(" "))) + clean_text(row, 500)


def json_line(event: Event) -> str:
    """The same for programs; what is not known is left out."""
    from dataclasses import asdict

    fields = {key: value for key, value in asdict(event).items() if value not in (None, {}, "")}
    ascii_only = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    return terminal_json(json.dumps(fields, ensure_ascii=ascii_only, default=str))

"""``backup`` and ``restore``: the embedded database as one file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gainstage.config.regular_files import check_regular
from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import alive, database_url, open_desk, paths_of, print_json, settings_of, speaking

if TYPE_CHECKING:
    from gainstage.engine.store.backup import Copied

EXAMPLES = {
    "backup": """examples:
  gainstage backup talks-2026-11.gsb            while an engine runs, too
  gainstage backup talks.gsb --home /data/talks --json""",
    "restore": """examples:
  gainstage restore talks-2026-11.gsb --home /data/new
  gainstage restore talks.gsb --yes             replaces what the home holds

Recordings, passages, voices, settings and the queue come back; media files and models are not in a backup.""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write" if name == "backup" else "what backup wrote")
    parser.add_argument("--home", type=Path, help="keep everything under this folder (default: the platform's folders)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--yes", action="store_true", help="replace what is there: a file, or the database of the home")


def run(name: str, args: argparse.Namespace) -> int:
    from gainstage.engine.store.backup import back_up, restore
    from gainstage.engine.store.embedded import EmbeddedPostgres

    args.database = None
    loaded = settings_of(args)
    if database_url(args, loaded):
        raise DeskError("this home uses a server of its own (store.database): take its backups with pg_dump and pg_restore")
    paths = paths_of(args)
    if name == "backup" and not paths.database.exists():
        raise DeskError(f"there is no database in {paths.data} to back up")
    if name == "backup" and args.file.exists() and not args.yes:
        raise DeskError(f"{args.file} is there already; --yes replaces it")
    if name == "restore" or args.file.exists():
        check_regular(args.file)
    if name == "restore" and paths.database.exists():
        with open_desk(args, loaded) as desk:
            if alive(desk):
                raise DeskError("an engine runs on this database: stop it first (gainstage stop)")
            if desk.queue.counts().total and not args.yes:
                raise DeskError(f"the database of {paths.data} holds recordings; --yes replaces them")
    with EmbeddedPostgres(paths.ensure().database) as server:
        if name == "restore" and server.shared:
            raise DeskError("another gainstage uses this database: close consoles and engines first")
        done = (back_up if name == "backup" else restore)(server, args.file.absolute(), _progress(name, args))
    _say(name, done, args)
    return 0


def _progress(name: str, args: argparse.Namespace) -> Callable[[int, int, str], None]:
    def report(done: int, total: int, table: str) -> None:
        if speaking(args) and sys.stderr.isatty():
            print(f"\r{name}: table {done} of {total}, {table}\x1b[K", end="", file=sys.stderr, flush=True)

    return report


def _say(name: str, done: Copied, args: argparse.Namespace) -> None:
    if not speaking(args):
        print_json(done)
        return
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    verb = "written to" if name == "backup" else "restored from"
    print(f"{done.recordings:,} recordings, {done.tables} tables {verb} {done.file} ({done.size / 1e6:.1f} MB)")

"""The embedded database into one file and back (POSIX): Postgres's own dump of our schema, taken while engines may run.

A file takes its name only when it is whole, and a restore replaces what is there only when all of it has been read.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psycopg
from psycopg.sql import SQL, Identifier

from gainstage.config.regular_files import check_regular
from gainstage.config.whole_files import keep_whole
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Misconfigured, Transient
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.migrate import SCHEMA

BEFORE = f"{SCHEMA}_before_restore"

_DUMPED = re.compile(r'pg_dump: dumping contents of table "?([\w.]+)')
_RESTORED = re.compile(r'pg_restore: processing data for table "?([\w.]+)')

Report = Callable[[int, int, str], object]
"""Gets how many tables are done, of how many, and the one at hand."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup or a restore went over."""

    file: str
    size: int
    tables: int
    recordings: int


def back_up(server: EmbeddedPostgres, file: Path, report: Report = lambda done, total, table: None) -> Copied:
    """Write the database into ``file``, as it is at this moment. Raises :class:`Misconfigured`, and ``OSError`` for the file."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        total = _tables(connection)
        recordings = _recordings(connection)
    with _draft_of(file) as (draft, out):
        done = _run(
            [
                str(server.place.binaries / "pg_dump"),
                "-Fc",
                "--no-owner",
                "--verbose",
                f"--schema={SCHEMA}",
                f"--dbname={server.url}",
            ],
            _DUMPED,
            lambda done, table: report(done, total, table),
            stdout=out,
        )
        keep_whole(draft, file)
    return Copied(str(file), file.stat().st_size, done, recordings)


@contextmanager
def _draft_of(file: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside ``file``, for its owner only, by a name that nobody else has; what killed backups left there is removed."""
    for left in file.parent.iterdir():
        if left.name.startswith(f".{file.name}.") and left.name.endswith(".part"):
            with suppress(OSError), os.fdopen(os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as dead:
                fcntl.flock(dead, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a backup that still writes it has the lock
                left.unlink()
    draft = file.with_name(f".{file.name}.{secrets.token_hex(6)}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            yield draft, out
    finally:
        draft.unlink(missing_ok=True)


def restore(server: EmbeddedPostgres, file: Path, report: Report = lambda done, total, table: None) -> Copied:
    """Replace the database by what ``file`` holds; what was there stays until all of it has been read.

    Nobody else may use the database. Raises :class:`Misconfigured` for a file that is no backup, ``OSError`` for one that
    cannot be read.
    """
    tool = str(server.place.binaries / "pg_restore")
    check_regular(file)
    with file.open("rb"):  # as an error of the file, not of the tool
        listing = subprocess.run([tool, "--list", str(file)], capture_output=True, text=True, errors="replace", check=False)
    total = len(re.findall(rf"TABLE DATA {SCHEMA} ", listing.stdout))
    if listing.returncode or not total:
        raise _no_backup(file)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("create extension if not exists vector")  # a new home has none yet
        _drop(connection, BEFORE)
        there = connection.execute("select to_regnamespace(%s) is not null", [SCHEMA]).fetchone() == (True,)
        if there:
            connection.execute(SQL("alter schema {} rename to {}").format(Identifier(SCHEMA), Identifier(BEFORE)))
        try:
            done = _run(
                [tool, "--exit-on-error", "--no-owner", "--verbose", f"--dbname={server.url}", str(file)],
                _RESTORED,
                lambda done, table: report(done, total, table),
            )
            recordings = _recordings(connection)
        except BaseException:
            _drop(connection, SCHEMA)
            if there:
                connection.execute(SQL("alter schema {} rename to {}").format(Identifier(BEFORE), Identifier(SCHEMA)))
            raise
        _drop(connection, BEFORE)
    return Copied(str(file), file.stat().st_size, done, recordings)


def _run(command: Sequence[str], line: re.Pattern[str], report: Callable[[int, str], object], stdout: object = None) -> int:
    """Run a tool; ``report`` gets the number and the name of every table that it names. Returns how many."""
    done, words = 0, ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",  # type: ignore[call-overload]
    ) as process:
        try:
            for text in process.stderr:
                if match := line.search(text):
                    done += 1
                    report(done, match[1].removeprefix(f"{SCHEMA}."))
                elif "error" in text or "fatal" in text.lower():
                    words = text
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise Transient(
            f"{Path(command[0]).name} failed: {clean_text(words.strip(), 300)}",
            cause="backup",
            hint="Check the disk and the file; nothing was changed.",
        )
    return done


def _no_backup(file: Path) -> Misconfigured:
    return Misconfigured(
        f"{file} is no backup of gainstage", cause="backup", hint="Choose a file that `gainstage backup` wrote and that is whole."
    )


def _drop(connection: psycopg.Connection[object], schema: str) -> None:
    connection.execute(SQL("drop schema if exists {} cascade").format(Identifier(schema)))


def _tables(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    row = connection.execute("select count(*) from pg_tables where schemaname = %s", [SCHEMA]).fetchone()
    return int(str(row[0])) if row else 0


def _recordings(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    if connection.execute("select to_regclass(%s) is null", [f"{SCHEMA}.recording"]).fetchone() == (True,):
        return 0
    row = connection.execute(SQL("select count(*) from {}.recording").format(Identifier(SCHEMA))).fetchone()
    return int(str(row[0])) if row else 0

"""Numbered migrations, forward only, one process at a time.

Those of the store are the SQL files of ``migrations/``; other rooms hand in their own as a :class:`Migration`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from psycopg import Connection, errors
from psycopg.rows import TupleRow

from gainstage.engine.errors import Misconfigured

SCHEMA = "gainstage"
LOCK = 0x6761_696E_7374_6167  # "gainstag"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: SQL text (it may hold several statements), or a function that is given the connection, in a transaction."""

    number: int
    name: str
    step: str | Callable[[Connection[TupleRow]], object]


@cache
def store_migrations() -> tuple[Migration, ...]:
    """The store's own steps, in order."""
    migrations = []
    for file in files("gainstage.engine.store").joinpath("migrations").iterdir():
        if match := re.fullmatch(r"(\d{3})_(\w+)\.sql", file.name):
            migrations.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(migrations, key=lambda m: m.number))


def migrate(connection: Connection[Any], migrations: Sequence[Migration], *, make: bool = True) -> tuple[str, ...]:
    """Apply what is missing, each step in a transaction of its own; the names of the steps applied.

    ``connection`` is in autocommit mode with the schema first in its search path. Safe to run from many processes at once.
    Without ``make`` the first step of all is not taken: a database without tables of ours is refused.
    Raises :class:`Misconfigured` when the role may not, or another gainstage has used a number for something else.
    """
    if not make:
        refuse_empty(connection)
    ordered = sorted(migrations, key=lambda m: m.number)
    if len({m.number for m in ordered}) < len(ordered):
        raise ValueError("two migrations share a number")
    if not _missing(connection, ordered):
        return ()
    applied = []
    try:
        connection.execute("select pg_advisory_lock(%s)", [LOCK])
        try:
            connection.execute(f"create schema if not exists {SCHEMA}")
            connection.execute(
                f"create table if not exists {SCHEMA}.migration"
                " (number int primary key, name text not null, applied timestamptz not null default now())"
            )
            for migration in _missing(connection, ordered):
                with connection.transaction():
                    if callable(migration.step):
                        migration.step(connection)
                    else:
                        connection.execute(migration.step)
                    connection.execute(
                        f"insert into {SCHEMA}.migration (number, name) values (%s, %s)", [migration.number, migration.name]
                    )
                applied.append(migration.name)
        finally:
            connection.execute("select pg_advisory_unlock(%s)", [LOCK])
    except errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"the database role may not make its tables: {error.diag.message_primary}",
            cause="database: not allowed",
            hint=f"As an administrator: CREATE SCHEMA {SCHEMA} AUTHORIZATION <role>, or GRANT CREATE ON DATABASE.",
        ) from error
    return tuple(applied)


def unknown_migrations(connection: Connection[Any], migrations: Sequence[Migration]) -> tuple[str, ...]:
    """Steps a newer gainstage has applied to this database."""
    known = {m.number for m in migrations}
    rows = connection.execute(f"select number, name from {SCHEMA}.migration order by number").fetchall()
    return tuple(f"{number:03d} {name}" for number, name in rows if number not in known)


def refuse_newer(connection: Connection[Any], migrations: Sequence[Migration]) -> None:
    """Raises :class:`Misconfigured` where a newer gainstage has changed this database: an older engine would half work."""
    if steps := unknown_migrations(connection, migrations):
        raise Misconfigured(
            f"a newer gainstage has changed this database ({', '.join(steps)})",
            cause="database: another version",
            hint="Use the gainstage version that wrote this database, or a later one.",
        )


def refuse_empty(connection: Connection[Any]) -> None:
    """Raises :class:`Misconfigured` where no gainstage has made its tables."""
    if not _is_made(connection):
        raise Misconfigured(
            "this database holds nothing of gainstage yet",
            cause="database: empty",
            hint="`gainstage run` makes its tables; or name another database with --database.",
        )


def _is_made(connection: Connection[Any]) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [f"{SCHEMA}.migration"]).fetchone()
    return bool(row and row[0])


def _missing(connection: Connection[Any], ordered: Sequence[Migration]) -> list[Migration]:
    if not _is_made(connection):
        return list(ordered)
    applied = dict(connection.execute(f"select number, name from {SCHEMA}.migration").fetchall())
    for migration in ordered:
        if applied.get(migration.number, migration.name) != migration.name:
            raise Misconfigured(
                f"migration {migration.number} is {applied[migration.number]!r} in this database and {migration.name!r} here",
                cause="database: another version",
                hint="Use the gainstage version that wrote this database, or a later one.",
            )
    return [m for m in ordered if m.number not in applied]

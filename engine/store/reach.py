"""How a database is reached: directly or through a pooler, whether it may be written, and how many connections it has left."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from gainstage.engine.errors import Misconfigured

OWN = 2
"""Connections of an engine outside its pool: one listens, one is kept for heartbeat and commands."""

POOL = 2
"""Most connections of a pool: statements are short, and a server is shared by many engines."""

SPARE = 1
"""Connections an engine leaves free: for a console, a command, or the build of an index."""

PROBE_S = 5.0
LOOKS = 3

Pooler = Literal["session", "transaction"]


@dataclass(frozen=True, slots=True)
class Room:
    """Connections that may still be opened, and the limit that ends them, in words."""

    free: int
    limit: str

    def pool(self, wanted: int = POOL) -> int:
        """How many connections the pool of an engine may have here; below 1 there is no room for an engine."""
        return min(wanted, self.free - OWN - SPARE)


def room_of(connection: Connection[TupleRow]) -> Room:
    """Room for connections like this one, which is counted as free: it is closed before others are opened."""
    row = connection.execute(
        """
        with used as (
          select count(*) as server, count(*) filter (where usename = session_user) as role,
            count(*) filter (where datname = current_database()) as database
          -- what others are is hidden from an ordinary role; background workers have no database and user
          from pg_stat_activity where coalesce(backend_type, 'client backend') = 'client backend' and datname is not null
        )
        select rolname, rolsuper, rolconnlimit, datname, datconnlimit, server, role, database,
          current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0)
        from used, pg_roles, pg_database where rolname = session_user and datname = current_database()
        """
    ).fetchone()
    if row is None:  # a role that only a proxy knows
        return Room(10_000, "")
    role, superuser, role_limit, name, database_limit, server, by_role, by_database, most, reserved = row
    rooms = [
        Room(most - (0 if superuser else reserved) - server + 1, f"max_connections of the server is {most}, {server} are in use")
    ]
    if role_limit >= 0 and not superuser:
        rooms.append(Room(role_limit - by_role + 1, f"the role {role} may have {role_limit} connections, {by_role} are in use"))
    if database_limit >= 0 and not superuser:
        limit = f"the database {name} may have {database_limit} connections, {by_database} are in use"
        rooms.append(Room(database_limit - by_database + 1, limit))
    return min(rooms, key=lambda room: room.free)


def no_room(where: str, room: Room) -> Misconfigured:
    """The refusal of an engine that would starve itself or others."""
    return Misconfigured(
        f"{where} has too few connections left for an engine, which needs {OWN + SPARE + 1}: {room.limit}",
        cause="database: too few connections",
        hint="Raise that limit, or stop another engine or program that uses this database.",
    )


def check_writable(connection: Connection[TupleRow], where: str) -> None:
    """Refuse a database whose encoding loses text, or that was made read-only. Raises :class:`Misconfigured`."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Misconfigured(
            f"{where} has the encoding {encoding}, in which not every language can be stored",
            cause="database: encoding",
            hint="Make the database with the encoding UTF8: createdb --encoding=UTF8 --template=template0 NAME.",
        )
    row = connection.execute("select pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'").fetchone()
    if row == (False, True):
        raise Misconfigured(
            f"{where} is read-only: default_transaction_read_only is on",
            cause="database: read-only",
            hint="An administrator sets default_transaction_read_only to off for this database and role, or names another one.",
        )


def pooler_of(connection: Connection[TupleRow], parts: dict[str, str]) -> Pooler | None:
    """What stands between us and the server: nothing, or a pooler that lends a server connection per session or transaction.

    A pooler gives a number of its own for the process that serves a connection. Two of our connections that are open at a
    time and meet the same process share it, which only happens where it is lent per transaction.
    """
    if _process(connection) == connection.info.backend_pid:
        return None
    answer: list[Pooler] = []

    def look() -> None:
        try:
            with psycopg.connect(**{"connect_timeout": "5", **parts}, autocommit=True, prepare_threshold=None) as other:  # type: ignore[arg-type]
                shared = any(_process(connection) == _process(other) for _ in range(LOOKS))
                answer.append("transaction" if shared else "session")
        except psycopg.Error:  # no second connection to be had
            answer.append("session")

    thread = threading.Thread(target=look, name="pooler", daemon=True)
    thread.start()
    thread.join(PROBE_S)  # a pooler without a server connection for the second lets it wait: it lends them per session
    return answer[0] if answer else "session"


def hears_notes(listener: Connection[TupleRow], speaker: Connection[TupleRow], within_s: float = 5.0) -> bool:
    """Whether a note of one session reaches another; both in autocommit mode."""
    listener.execute("listen gainstage_trial")
    speaker.execute("notify gainstage_trial")
    return any(True for _ in listener.notifies(timeout=within_s, stop_after=1))


def _process(connection: Connection[TupleRow]) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])

"""Commands to engines: asked in a table, announced by NOTIFY, answered once by each engine in scope, or expired.

Who has to answer is fixed when the command is sent: the engines alive then. An engine takes a command by one conditional
update before it acts, so that a command acts at most once however often it is announced.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gainstage.engine.queue.rows import Link, document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Ack, Command

EXPIRES_S = 60.0
"""A command that no engine took by then is void: an engine that comes back later must not act on it."""


@dataclass(frozen=True, slots=True)
class Received:
    """A command as an engine sees it."""

    id: int
    command: Command


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What one engine said, ``after_s`` seconds after it was asked. ``data`` is what a question asked for."""

    engine: str
    state: str  # "pending", "taken", "done", "refused"
    text: str
    data: Any
    after_s: float | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An engine's answer with data, for commands that are questions."""

    text: str = ""
    data: Any = None


def ask(connection: Link, command: Command, engines: Sequence[str], *, expires_s: float = EXPIRES_S) -> int:
    """Write a command for these engines into the caller's transaction; the number to ask after it by."""
    (id,) = connection.execute(
        """
        with asked as (
          insert into command (name, args, scope, by, expires)
          values (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)) returning id
        ),
        answers as (
          insert into command_answer (command, engine) select asked.id, e from asked, unnest(%s::text[]) e
        )
        select id from asked
        """,
        [command.name, document(command.args), command.engine or command.host, plain(command.by), expires_s, list(engines)],
    ).fetchall()[0]
    return int(id)


def record(connection: Link, command: Command, *, refused: bool, text: str) -> int:
    """Write down a command that was carried out (or refused) on the database itself, without asking an engine."""
    (id,) = connection.execute(
        "insert into command (name, args, scope, by, expires, state, text) "
        "values (%s, %s, %s, %s, clock_timestamp(), %s, %s) returning id",
        [command.name, document(command.args), command.engine, plain(command.by), "refused" if refused else "done", plain(text)],
    ).fetchall()[0]
    return int(id)


def send(db: Database, command: Command, *, expires_s: float = EXPIRES_S) -> Ack:
    """Ask the engine named, or every engine alive (of a host). Refused at once when there is none. Raises Transient in an outage."""
    with db.transaction() as connection:
        alive = [
            id
            for (id,) in connection.execute(
                """
                select a.id from engine_alive a join engine e on e.id = a.id
                where (%(one)s::text is null or a.id = %(one)s or position('-' || %(one)s || '-' in a.id) > 0)
                  and (%(host)s::text is null or e.host = %(host)s) order by a.id
                """,
                {"one": command.engine, "host": command.host},
            )
        ]
        if not alive:
            where = f" on {command.host}" if command.host else ""
            text = f"engine {command.engine} is not running{where}" if command.engine else f"no engine is running{where}"
            return Ack(record(connection, command, refused=True, text=text), "refused", text)
        return Ack(ask(connection, command, alive, expires_s=expires_s), "pending", f"asked {', '.join(alive)}")


def ack(db: Database, id: int) -> Ack:
    """What has become of a command. Raises KeyError for an unknown number, Transient in an outage."""
    with db.transaction() as connection:
        row = connection.execute("select state, text, expires < clock_timestamp() from command where id = %s", [id]).fetchone()
        if row is None:
            raise KeyError(id)
        state, text, expired = row
        if state is not None:
            return Ack(id, state, text)
        return _joined(id, read_answers(connection, id), expired)


def answers(db: Database, id: int) -> tuple[CommandResult, ...]:
    """What every engine answered to a command, by the engine's name."""
    with db.transaction() as connection:
        return read_answers(connection, id)


def wait(db: Database, id: int, engine: str, within_s: float) -> CommandResult | None:
    """The answer of one engine as soon as it is there; None when it stays away."""
    end = time.monotonic() + within_s
    while True:
        given = next((a for a in answers(db, id) if a.engine == engine), None)
        if given is not None and given.state not in ("pending", "taken"):
            return given
        if time.monotonic() > end:
            return None
        time.sleep(0.01)


def read_answers(connection: Link, id: int) -> tuple[CommandResult, ...]:
    """See :func:`answers`, inside a transaction of the caller's."""
    rows = connection.execute(
        "select a.engine, a.state, a.text, a.data, extract(epoch from a.at - c.created)::float8 "
        "from command_answer a join command c on c.id = a.command where a.command = %s order by a.engine",
        [id],
    )
    return tuple(CommandResult(*row) for row in rows)


def _joined(id: int, given: Sequence[CommandResult], expired: bool) -> Ack:
    open_ = [a.engine for a in given if a.state in ("pending", "taken")]
    said = "; ".join((f"{a.engine}: {a.text}" if len(given) > 1 else a.text) for a in given if a.text)
    if open_ and not expired:
        return Ack(id, "pending", f"waiting for {', '.join(open_)}")
    if open_:
        silent = f"no answer from {', '.join(open_)}"
        return Ack(id, "expired", f"{said}; {silent}" if said else silent)
    after_s = max((a.after_s for a in given if a.after_s is not None), default=None)
    return Ack(id, "refused" if any(a.state == "refused" for a in given) else "done", said, applied_after_s=after_s)


def pending(connection: Link, engine: str) -> tuple[Received, ...]:
    """Commands that wait for this engine, oldest first."""
    rows = connection.execute(
        """
        select c.id, c.name, c.args, c.scope, c.by from command_answer a join command c on c.id = a.command
        where a.engine = %s and a.state = 'pending' and c.expires > clock_timestamp() order by c.id
        """,
        [engine],
    )
    return tuple(Received(id, Command(name, args, scope, by)) for id, name, args, scope, by in rows)


def take(db: Database, engine: str, id: int) -> bool:
    """Whether this engine is the one to act on the command now: true once, false when taken, answered or expired."""
    with db.transaction(reserved=True) as connection:
        taken = connection.execute(
            """
            update command_answer a set state = 'taken', at = clock_timestamp() from command c
            where c.id = a.command and a.command = %s and a.engine = %s and a.state = 'pending' and c.expires > clock_timestamp()
            """,
            [id, engine],
        )
        return taken.rowcount == 1


def answer(db: Database, engine: str, id: int, *, refused: bool = False, text: str = "", data: Any = None) -> None:
    """Answer a command for this engine; a second answer changes nothing."""
    with db.transaction(reserved=True) as connection:
        connection.execute(
            "update command_answer set state = %s, text = %s, data = %s, at = clock_timestamp() "
            "where command = %s and engine = %s and state in ('pending', 'taken')",
            ["refused" if refused else "done", plain(text), None if data is None else document(data), id, engine],
        )


def void(connection: Link, engine: str) -> None:
    """Refuse what was asked of the process that had this engine's name before."""
    connection.execute(
        "update command_answer set state = 'refused', text = 'the engine was restarted', at = clock_timestamp() "
        "where engine = %s and state in ('pending', 'taken')",
        [engine],
    )


def forget(connection: Link, *, older_than_s: float = 30 * 86_400) -> int:
    """Delete commands long gone."""
    return connection.execute("delete from command where created < now() - make_interval(secs => %s)", [older_than_s]).rowcount

"""What a database error means for the run: psycopg's exceptions as the engine's typed ones, never with a password in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Misconfigured, Transient

AWAY = "database away"
"""Cause of every :class:`Transient` that says the server cannot be reached now: the same call will do once it is back."""

ADDRESS = "postgresql://user:password@host:5432/name"

_AWAY = ("08", "57P01", "57P02", "57P03", "53300", "25006")
"""SQLSTATEs: connection lost, shut down, crashed, starting, no connection left, a standby that may not write."""

_BUSY = ("40001", "40P01", "55P03", "57014")
"""Serialization, deadlock, lock or statement timeout."""


def parts_of(url: str) -> dict[str, str]:
    """The parts of a Postgres address. Raises :class:`Misconfigured` without repeating it."""
    rest = url.partition("://")[2].partition("?")[0]
    if rest.count("@") > 1 or "@" in rest.partition("/")[2]:
        # libpq would take a part of the password for the host, and show it
        raise Misconfigured(
            "the password in the database address is not escaped",
            cause="database: bad address",
            hint=f"Write @ as %40, / as %2F and : as %3A in it; store.database looks like {ADDRESS}.",
        )
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        raise Misconfigured(
            "the database address cannot be read", cause="database: bad address", hint=f"store.database looks like {ADDRESS}."
        ) from None


def where_of(parts: dict[str, str]) -> str:
    """``host/database`` for people, without secrets."""
    port = parts.get("port", "5432")
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    return clean_text(f"{host}{'' if port == '5432' else f':{port}'}/{parts.get('dbname') or parts.get('user') or ''}", 200)


def without_secrets(text: str, parts: dict[str, str]) -> str:
    """Harmless text of an error: passwords of the address are taken out."""
    for key in ("password", "sslpassword"):
        if secret := parts.get(key):
            for form in {secret, quote(secret), quote(secret, safe="")}:
                text = text.replace(form, "***")
    return clean_text(text, 400)


def unreachable(error: psycopg.Error, parts: dict[str, str]) -> EngineError:
    """Why a first connection failed, with what to do."""
    text, where = without_secrets(str(error), parts), where_of(parts)
    if error.sqlstate in ("57P03", "53300") or "the database system is " in text or "too many clients" in text:
        return Transient(
            f"{where} takes no connection now: {text}", cause=AWAY, hint="Wait for it, or close other programs that use it."
        )
    if "too many connections" in text or "no more connections allowed" in text or "remaining connection slots" in text:
        return Transient(
            f"{where} has no connection left: {text}",
            cause=AWAY,
            hint="Stop another engine or program that uses it, or raise that limit (of the role, the database or the server).",
        )
    if "unsupported startup parameter" in text:
        return Misconfigured(
            f"{where} is a pooler that takes no options with the login: {text}",
            cause="database: pooler",
            hint="Take options= out of store.database, or name the server's own address.",
        )
    if any(sign in text for sign in ("Connection refused", "timeout expired", "No such file or directory", "server closed")):
        return Transient(
            f"no database answers at {where}: {text}",
            cause=AWAY,
            hint="Start the server, correct store.database, or leave it empty for the embedded one.",
        )
    if "does not exist" in text and "database" in text:
        return Misconfigured(
            f"the database is not there: {text}",
            cause="database: not there",
            hint=f"Create it (createdb {parts.get('dbname', '')}), or correct store.database.",
        )
    if "password" in text or "authentication" in text or "role" in text or "pg_hba" in text:
        return Misconfigured(
            f"{where} refuses the login: {text}",
            cause="database: login refused",
            hint="Correct user and password in store.database.",
        )
    if _answers(parts):
        return Transient(f"{where} refuses the connection: {text}", cause=AWAY, hint="Wait for it, or correct store.database.")
    return Misconfigured(
        f"no database answers at {where}: {text}",
        cause="database: not there",
        hint="Start the server, correct store.database, or leave it empty for the embedded one.",
    )


def _answers(parts: dict[str, str]) -> bool:
    """Whether a server is there, up or starting: what it refuses for it says in its own language, and libpq gives no SQLSTATE."""
    return PGconn.ping(make_conninfo(**{"connect_timeout": "5", **parts}).encode()) in (Ping.OK, Ping.REJECT)


def typed(error: psycopg.Error, parts: dict[str, str], where: str) -> EngineError | None:
    """The engine's error for one of psycopg's; None for a fault of ours (bad SQL, bad data), which stays what it is."""
    state = error.sqlstate or ""
    text = without_secrets(str(error), parts)
    if isinstance(error, errors.InsufficientPrivilege):
        return Misconfigured(f"{where}: {text}", cause="database: not allowed", hint="Grant the role what it needs.")
    if state.startswith("28"):
        return Misconfigured(f"{where} refuses the login: {text}", cause="database: login refused", hint="Correct store.database.")
    if state.startswith("53") and state != "53300":
        return Transient(f"{where}: {text}", cause="database out of room", hint="Free disk or memory on the database's machine.")
    if state in _BUSY:
        return Transient(f"{where}: {text}", cause="database busy", hint="It is tried again; look for a statement that hangs.")
    lost = isinstance(error, psycopg.OperationalError) or (isinstance(error, psycopg.InterfaceError) and "connection" in text)
    if state.startswith(_AWAY) or (lost and not state):
        return Transient(f"{where} does not answer: {text}", cause=AWAY, hint="Check the server; finished work waits for it.")
    return None


@contextmanager
def words(parts: dict[str, str], where: str, lost: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Turn the database errors of a block into the engine's; ``lost`` is called when the server was away."""
    try:
        yield
    except psycopg.Error as error:
        better = typed(error, parts, where)
        if better is None:
            raise
        if better.cause == AWAY:
            lost()
        raise better from (None if _tells(error, parts) else error)


def _tells(error: psycopg.Error, parts: dict[str, str]) -> bool:
    return without_secrets(str(error), parts) != clean_text(str(error), 400)

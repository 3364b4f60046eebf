"""Sessions at the server by the process that opened them, so that those of a lost engine can be ended.

A process that is frozen (a machine put to sleep, a container paused, SIGSTOP) keeps its connections. The server ends a session that is
idle within a transaction, but not one that waits for more of a statement's data: in the middle of a copy it holds its locks for ever,
and nobody can take the recording over.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from psycopg import Connection, Cursor

APPLICATION = "gainstage"
LONGEST = 63
"""Bytes of an ``application_name`` that the server keeps."""

ENDING_MS = 2000
"""How long the end of one session is waited for."""


def session_name(host: str | None = None, pid: int | None = None) -> str:
    """The ``application_name`` of a process's sessions, of this one where none is named: ``gainstage 4711 host``."""
    host = socket.gethostname() if host is None else host
    return f"{APPLICATION} {os.getpid() if pid is None else pid} {host.encode('ascii', 'replace').decode()}"[:LONGEST]


def end_holders(connection: Connection[Any] | Cursor[Any], processes: Iterable[tuple[str, int, datetime]]) -> int:
    """End the sessions of ``processes`` (host, process id, when it was last heard of) that hold locks, which is within a transaction or
    as long as an advisory lock; how many there were.

    Sessions begun later are another process's with the same number: in containers every engine has number 1. Sessions of another
    role are left alone: the server lets nobody but an administrator end them.
    """
    gone = [(session_name(host, pid), heard) for host, pid, heard in processes]
    if not gone:
        return 0
    rows = connection.execute(
        "select pg_terminate_backend(a.pid, %s) from pg_stat_activity a join unnest(%s::text[], %s::timestamptz[]) as gone (name, heard)"
        " on a.application_name = gone.name and a.backend_start < gone.heard where a.datname = current_database()"
        " and a.pid <> pg_backend_pid() and pg_has_role(a.usesysid, 'member') and (a.xact_start is not null"
        " or a.pid in (select l.pid from pg_locks l where l.locktype = 'advisory'))",
        [ENDING_MS, [name for name, _ in gone], [heard for _, heard in gone]],
    ).fetchall()
    return len(rows)

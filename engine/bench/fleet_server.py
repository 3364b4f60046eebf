"""What a server says of itself to a bench: processor time, WAL, sizes and dead rows of its tables."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from gainstage.engine.bench.fleet_model import Load
from gainstage.engine.store.database import Database

TABLES = ("recording", "procrastinate_jobs", "recording_tally", "engine", "engine_frame", "run")
CHURNED = ("recording", "procrastinate_jobs", "recording_tally")
"""Those that claims and stores leave dead rows in."""


class ServerWatch:
    """Reads what the server of a database has used: processor time of all its processes, and WAL."""

    def __init__(self, database: Database) -> None:
        self.database = database
        pid = database.server_pid or _postmaster(database)
        self.server = psutil.Process(pid)

    def during(self, seconds: float, engines: int, body: Callable[[], object] | None = None) -> Load:
        """The load of ``seconds``, or of ``body``; claims are those of recordings that were begun meanwhile."""
        before, begun, wal, at = self._cpu(), self._attempts(), self._wal(), time.monotonic()
        body() if body is not None else time.sleep(seconds)
        elapsed = time.monotonic() - at
        return Load(
            engines,
            (self._attempts() - begun) / elapsed,
            (self._cpu() - before) / elapsed,
            (self._wal() - wal) / elapsed,
        )

    def _cpu(self) -> float:
        """Processor seconds of the server: of its living processes, and of those that have ended."""
        times = self.server.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in self.server.children(recursive=True):
            try:
                own = child.cpu_times()
            except psutil.Error:
                continue
            total += own.user + own.system
        return total

    def _attempts(self) -> int:
        return number(self.database, "select sum(recordings) from recording_tally where status in ('running', 'stored', 'failed')")

    def _wal(self) -> int:
        return number(self.database, "select pg_current_wal_lsn() - '0/0'::pg_lsn")


def number(database: Database, query: str) -> int:
    """The one value of a query; 0 where it is null."""
    with database.connection() as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0] or 0) if row else 0


def sizes(database: Database) -> dict[str, int]:
    """Bytes of each table with its indexes."""
    with database.connection() as connection:
        rows = connection.execute(
            "select name, pg_total_relation_size(name::regclass) from unnest(%s::text[]) name", [list(TABLES)]
        )
        return {str(name): int(size) for name, size in rows}


def dead_rows(database: Database) -> dict[str, int]:
    """Dead rows of each table that claims churn, as the server estimates them."""
    return {name: dead for name, (dead, _) in _rows(database).items()}


def dead_share(database: Database) -> dict[str, float]:
    """Dead rows over all of each table that claims churn."""
    return {name: round(dead / max(1, rows), 3) for name, (dead, rows) in _rows(database).items()}


def _rows(database: Database) -> dict[str, tuple[int, int]]:
    with database.connection() as connection:
        rows = connection.execute(
            "select relname, n_dead_tup, n_live_tup + n_dead_tup from pg_stat_user_tables"
            " where relname = any(%s) and schemaname = current_schema()",
            [list(CHURNED)],
        )
        return {str(name): (int(dead), int(all)) for name, dead, all in rows}


def _postmaster(database: Database) -> int:
    """The server's process, by one of its connections."""
    return psutil.Process(number(database, "select pg_backend_pid()")).ppid()

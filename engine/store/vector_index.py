"""The index over a table of vectors (HNSW): which passages it covers, when another is due, and how far a build is.

An index covers the passages up to a number. Newer ones are not put into it, which would take a store ten times as long as all the
rest: they are compared one by one, until there are enough of them that an index up to a later number is built, beside the run, and
takes the place of the one before.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass

from psycopg import Connection
from psycopg.errors import QueryCanceled
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier, Literal

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.database import Database
from gainstage.engine.store.vectors import LOCK, LONGEST_INDEXED, VectorTable, rows_about, tables
from gainstage.engine.telemetry.cores import cores

NICE = 15
"""Priority of the server process that builds, where it is ours to set: what stores and searches goes first."""

MOST_MEMORY_MB = 1024
CORES_OF_A_WORKER = 4
"""The build takes one more process for each four cores."""

LINKS = 16
CONSTRUCTION_BREADTH = 200
"""HNSW's m and ef_construction. A search goes from passage to passage and may end in talk about something else, then it finds none
of the nearest. With 2,000 passages about each thing that happened to 1.4 % of the queries at pgvector's own breadth of 64 and to
0.08 % at 200, which takes twice as long to build."""

MOST_BARE = 20_000
"""Passages that may be compared one by one beside an index: some 10 ms of a search."""


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index of a table: valid once it is built; ``upto`` is the last passage covered (None: all there will ever be); ``breadth``
    is the ef_construction it was built with."""

    name: str
    valid: bool
    upto: int | None
    size: str
    breadth: int


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """A build that runs now, of any engine: its phase in Postgres's words, and the share of that phase that is done."""

    table: str
    phase: str
    share: float | None


def indexes(connection: Connection[TupleRow], table: VectorTable) -> tuple[VectorIndex, ...]:
    """The indexes of a table, the one that covers most first, those that are not valid last."""
    rows = connection.execute(
        "select c.relname, i.indisvalid, pg_get_expr(i.indpred, i.indrelid), pg_size_pretty(pg_relation_size(c.oid)),"
        " coalesce((select option_value::int from pg_options_to_table(c.reloptions) where option_name = 'ef_construction'), 64)"
        " from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam"
        " where i.indrelid = to_regclass(%s) and a.amname = 'hnsw'",
        [table.name],
    ).fetchall()
    known = [VectorIndex(name, valid, _number_in(condition), size, breadth) for name, valid, condition, size, breadth in rows]
    return tuple(sorted(known, key=lambda index: (not index.valid, index.upto is not None, -(index.upto or 0))))


def _number_in(condition: str | None) -> int | None:
    number = re.search(r"<=\s*'?(\d+)", condition or "")
    return int(number[1]) if number else None


def valid_index(connection: Connection[TupleRow], table: VectorTable) -> VectorIndex | None:
    """The index that a search uses, None where there is none."""
    return next((index for index in indexes(connection, table) if index.valid), None)


def build_indexes(db: Database, index_rows: int, token: CancelToken | None = None) -> tuple[str, ...]:
    """Build the HNSW index of every text table that is due; the names of those built.

    Due is a table of ``index_rows`` without an index, one with many passages that its index does not cover, and one whose index
    covers new passages as well or was built less broadly by an earlier version. Writers go on meanwhile. One process builds at a
    time, another one asking returns at once. What a killed build left is dropped in any case. A cancelled ``token`` ends the build.
    Takes minutes for 100,000s of rows (some 160 s of one core for 100,000 of 384 numbers).
    """
    built: list[str] = []
    with db.own_connection() as connection:
        if connection.execute("select pg_try_advisory_lock(%s)", [LOCK + 1]).fetchone() != (True,):
            return ()
        forget = token.on_cancel(connection.cancel_safe) if token is not None else lambda: None
        try:
            for table in tables(connection, "embed"):
                if token is not None and token.cancelled:
                    break
                for index in indexes(connection, table):
                    if not index.valid:
                        _drop(connection, index)
                if upto := _due(connection, table, index_rows):
                    built.append(_build(connection, table, upto, embedded=db.embedded))
        except QueryCanceled:
            if token is None or not token.cancelled:
                raise
        finally:
            forget()
    return tuple(built)


def _due(connection: Connection[TupleRow], table: VectorTable, index_rows: int) -> int | None:
    """Up to which passage an index is to be built; None where none is."""
    rows = rows_about(connection, table.name, index_rows)
    if rows < index_rows or table.model.dimension > LONGEST_INDEXED:
        return None
    index = valid_index(connection, table)
    if index is not None and index.upto is not None and index.breadth >= CONSTRUCTION_BREADTH:
        most = min(MOST_BARE, max(index_rows // 2, rows // 10))
        bare = SQL("select count(*) from (select 1 from {} where segment > {} limit {}) as bare").format(
            Identifier(table.name), Literal(index.upto), Literal(most + 1)
        )
        if connection.execute(bare).fetchall()[0][0] <= most:
            return None
    ((last,),) = connection.execute(SQL("select max(segment) from {}").format(Identifier(table.name))).fetchall()
    return int(last)


def _build(connection: Connection[TupleRow], table: VectorTable, upto: int, *, embedded: bool) -> str:
    """One table's index, in a graph that fits the memory set, by as few processes as leave the run its cores; its name."""
    name, before = f"{table.name}_hnsw{CONSTRUCTION_BREADTH}_{upto}", indexes(connection, table)
    rows = rows_about(connection, table.name, 0)
    memory_mb = min(MOST_MEMORY_MB, max(64, rows * (2 * table.model.dimension + 500) * 12 // 10 // 2**20))
    workers = cores() // CORES_OF_A_WORKER if embedded else 2  # the cores of a server elsewhere are its administrator's
    connection.execute(
        "select set_config('maintenance_work_mem', %s, false), set_config('max_parallel_maintenance_workers',"
        " least(%s, current_setting('max_parallel_maintenance_workers')::int)::text, false)",
        [f"{memory_mb}MB", workers],
    )
    if embedded:
        with suppress(OSError):  # another user's process
            os.setpriority(os.PRIO_PROCESS, connection.info.backend_pid, NICE)
    connection.execute(
        SQL(
            "create index concurrently {} on {} using hnsw (vector halfvec_cosine_ops) with (m = {}, ef_construction = {})"
            " where segment <= {}"
        ).format(Identifier(name), Identifier(table.name), Literal(LINKS), Literal(CONSTRUCTION_BREADTH), Literal(upto))
    )
    for index in before:
        if index.name != name:
            _drop(connection, index)
    return name


def _drop(connection: Connection[TupleRow], index: VectorIndex) -> None:
    connection.execute(SQL("drop index concurrently if exists {}").format(Identifier(index.name)))


def build_in_progress(connection: Connection[TupleRow]) -> IndexBuild | None:
    """The build of a vector index that runs in this database now, None where there is none."""
    row = connection.execute(
        "select c.relname, p.phase, coalesce(p.blocks_done::float8 / nullif(p.blocks_total, 0),"
        " p.tuples_done::float8 / nullif(p.tuples_total, 0)) from pg_stat_progress_create_index p"
        " join pg_class c on c.oid = p.relid where p.datname = current_database() and c.relname like 'text\\_vector\\_%%' limit 1",
        [],
    ).fetchone()
    return IndexBuild(str(row[0]), str(row[1]), None if row[2] is None else min(1.0, float(row[2]))) if row else None

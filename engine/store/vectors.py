"""Vectors beside the segments: one table per model, made when the model first writes.

Half precision, so that a row of 384 numbers stays under 2 KB and is never moved out of line; in tables of their own, so that an
exact scan reads nothing but vectors, a changed label never touches a vector index, and models of any dimension live in one
database without ever being compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier
from psycopg.sql import Literal as Constant

from gainstage.engine.store.database import Database
from gainstage.engine.terms import ModelId

Role = Literal["embed", "voice"]
"""What a model's vectors are of: "embed" the text of a segment, "voice" its speaker."""

TABLES: dict[Role, str] = {"embed": "text_vector", "voice": "voice_vector"}
LOCK = 0x6761_696E_7665_6374  # "gainvect"
LONGEST_INLINE = 3900  # numbers of half precision that fit a page
LONGEST_INDEXED = 4000
"""The longest vectors of half precision that pgvector indexes; longer ones are searched one by one."""


@dataclass(frozen=True, slots=True)
class VectorTable:
    """Where the vectors of one model are. ``id`` is the row of the model."""

    id: int
    role: Role
    model: ModelId

    @property
    def name(self) -> str:
        return f"{TABLES[self.role]}_{self.id}"


def model_row(connection: Connection[Any] | Cursor[Any], role: str, model: ModelId) -> int:
    """The number of a model in the ``model`` table, written there when it is new.

    The same weights that wrote there under another name have one number: the new name becomes an alias of it.
    """
    identity = [role, model.name, model.revision, model.dimension]
    query = (
        "select id, content from model where role = %s and name = %s and revision = %s and dimension = %s union all"
        " select a.model, m.content from model_alias a join model m on m.id = a.model"
        " where a.role = %s and a.name = %s and a.revision = %s and a.dimension = %s limit 1"
    )
    row = connection.execute(query, identity * 2).fetchone()
    if row is None and (before := same_weights(connection, role, model)) is not None:
        connection.execute(
            "insert into model_alias (role, name, revision, dimension, model) values (%s, %s, %s, %s, %s) on conflict do nothing",
            [*identity, before[0]],
        )
        return before[0]
    if row is None:
        connection.execute(
            "insert into model (role, name, revision, dimension, content) values (%s, %s, %s, %s, %s) on conflict do nothing",
            [*identity, model.content],
        )
        row = connection.execute(query, identity * 2).fetchone()
    assert row is not None
    if model.content and not row[1]:
        connection.execute("update model set content = %s where id = %s and content = ''", [model.content, row[0]])
    return int(row[0])


def same_weights(connection: Connection[Any] | Cursor[Any], role: str, model: ModelId) -> tuple[int, ModelId] | None:
    """The first model of another name with the same weights, with its number; None when there is none."""
    row = connection.execute(
        "select id, name, revision, dimension, content from model where role = %s and content = %s and content <> ''"
        " and dimension = %s and (name, revision) <> (%s, %s) order by id limit 1",
        [role, model.content, model.dimension, model.name, model.revision],
    ).fetchone()
    return None if row is None else (int(row[0]), ModelId(*row[1:]))


def unidentified(connection: Connection[Any], role: str, dimension: int) -> tuple[ModelId, ...]:
    """Models of a dimension whose weights were never hashed: an earlier version wrote them."""
    rows = connection.execute(
        "select name, revision, dimension from model where role = %s and dimension = %s and content = '' order by id",
        [role, dimension],
    ).fetchall()
    return tuple(ModelId(*row) for row in rows)


def tables(connection: Connection[TupleRow], role: Role) -> tuple[VectorTable, ...]:
    """The vector tables there are, newest model first."""
    rows = connection.execute(
        "select id, name, revision, dimension, content from model"
        " where role = %s and to_regclass(%s || '_' || id) is not null order by id desc",
        [role, TABLES[role]],
    ).fetchall()
    return tuple(VectorTable(id, role, ModelId(*rest)) for id, *rest in rows)


def ensure_table(db: Database, role: Role, model: ModelId) -> VectorTable:
    """The table of a model, made when it is not there."""
    with db.transaction() as connection:
        table = VectorTable(model_row(connection, role, model), role, model)
        query = "select to_regclass(%s) is not null"
        if connection.execute(query, [table.name]).fetchone() == (True,):
            return table
        connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        if connection.execute(query, [table.name]).fetchone() == (True,):
            return table
        connection.execute(
            SQL(
                "create table {} (segment bigint primary key references segment on delete cascade, vector halfvec({}) not null)"
            ).format(Identifier(table.name), Constant(model.dimension))
        )
        if model.dimension <= LONGEST_INLINE:
            connection.execute(SQL("alter table {} alter vector set storage plain").format(Identifier(table.name)))
        return table


def rows_about(connection: Connection[TupleRow], table: str, exact_below: int) -> int:
    """Rows of a table: counted when there are fewer than ``exact_below``, else the larger of that and the server's estimate."""
    row = connection.execute(
        SQL(
            "select count(*), (select reltuples::bigint from pg_class where oid = %s::regclass)"
            " from (select 1 from {} limit %s) as few"
        ).format(Identifier(table)),
        [table, exact_below],
    ).fetchone()
    assert row is not None
    counted, estimate = row
    return int(counted if counted < exact_below else max(counted, estimate))

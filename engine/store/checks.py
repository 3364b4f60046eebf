"""What a database is, and whether gainstage can live in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection, errors
from psycopg.rows import TupleRow

from gainstage.engine.errors import Misconfigured
from gainstage.engine.store.migrate import SCHEMA, Migration, unknown_migrations

OLDEST_SERVER = 140_000
OLDEST_VECTOR = (0, 8)


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """What a database is, and what is wrong with it in words for an operator."""

    server: str
    vector: str
    problems: tuple[str, ...]


def examine(connection: Connection[TupleRow], migrations: Sequence[Migration]) -> ServerCheck:
    """Versions, and what is wrong."""
    row = connection.execute(
        "select current_setting('server_version'), current_setting('server_version_num')::int,"
        " (select extversion from pg_extension where extname = 'vector'), pg_is_in_recovery()"
    ).fetchone()
    assert row is not None
    server, number, vector, standby = row
    problems = []
    if number < OLDEST_SERVER:
        problems.append(f"Postgres {server} is too old: 14 or newer is needed")
    if standby:
        problems.append("this server is a standby and takes no writes")
    if steps := unknown_migrations(connection, migrations):
        problems.append(f"a newer gainstage has changed this database: {', '.join(steps)}")
    broken = connection.execute(
        "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where not i.indisvalid and c.relnamespace = %s::regnamespace",
        [SCHEMA],
    ).fetchall()
    problems += [f"index {name} is half built; it is built again by itself" for (name,) in broken]
    return ServerCheck(server, vector or "missing", tuple(problems))


def vector_schema(connection: Connection[TupleRow], where: str) -> str:
    """The schema pgvector lives in; it is created where the role may. Raises :class:`Misconfigured`."""
    query = (
        "select extversion, quote_ident(nspname) from pg_extension join pg_namespace n on n.oid = extnamespace"
        " where extname = 'vector'"
    )
    row = connection.execute(query).fetchone()
    if row is None:
        try:
            connection.execute("create extension if not exists vector")
        except (errors.InsufficientPrivilege, errors.UndefinedFile, errors.FeatureNotSupported) as error:
            missing = not isinstance(error, errors.InsufficientPrivilege)
            raise Misconfigured(
                f"{where} has no pgvector",
                cause="database: no pgvector",
                hint=("Install pgvector on the server. " if missing else "")
                + "An administrator runs CREATE EXTENSION vector in this database (0.8 or newer).",
            ) from error
        except errors.UniqueViolation:  # another process was faster
            pass
        row = connection.execute(query).fetchone()
    assert row is not None
    if tuple(int(part) for part in row[0].split(".")[:2]) < OLDEST_VECTOR:
        raise Misconfigured(
            f"{where} has pgvector {row[0]}",
            cause="database: old pgvector",
            hint="An administrator runs ALTER EXTENSION vector UPDATE (0.8 or newer).",
        )
    return str(row[1])

"""Recordings with the same audio: of those in flight at once, one goes on and the others wait until they can be linked to it."""

from __future__ import annotations

from psycopg import Cursor
from psycopg.rows import TupleRow

from gainstage.engine.errors import EngineError, Postponed
from gainstage.engine.store.codec import plain
from gainstage.engine.store.database import Database

TWIN = "same audio in flight"
AGAIN_S = 30.0
_ALONE = "select pg_advisory_xact_lock(hashtextextended(%s, 1))"
"""Lock per audio: checks of one fingerprint run one after the other, so each sees the result of the one before."""


class TwinStored(EngineError):
    """The same audio was meanwhile stored under another address: ``twin`` is its recording id."""

    def __init__(self, twin: str) -> None:
        super().__init__(f"same audio as {twin}, which is stored", cause="same audio stored")
        self.twin = twin


def yield_to_twin(database: Database, fingerprint: str, id: str) -> None:
    """Note the fingerprint of a running recording; raises :class:`Postponed` when another one with the same audio is in flight.

    The first to note it goes on, whatever the ids. A waiting recording notes no fingerprint, so that no two wait for each other. A
    recording whose engine has died is not waited for.
    """
    with database.transaction() as connection:
        connection.execute(_ALONE, [fingerprint])
        row = connection.execute(
            "select id from recording where fingerprint = %s and id <> %s and status = 'running'"
            " and engine in (select id from engine_alive) order by id limit 1",
            [fingerprint, plain(id)],
        ).fetchone()
        connection.execute("update recording set fingerprint = %s where id = %s", [fingerprint if row is None else None, plain(id)])
    if row is not None:
        raise Postponed(
            f"same audio as {row[0]}, which is in flight", cause=TWIN, hint="It is linked when that is stored.", after_s=AGAIN_S
        )


def refuse_twin(cursor: Cursor[TupleRow], fingerprint: str, id: str) -> None:
    """Called in the transaction that stores a recording: raises :class:`TwinStored` when its audio is already stored."""
    cursor.execute(_ALONE, [fingerprint])
    row = cursor.execute(
        "select id from recording where fingerprint = %s and id <> %s and status = 'stored' order by stored limit 1",
        [fingerprint, plain(id)],
    ).fetchone()
    if row is not None:
        raise TwinStored(str(row[0]))

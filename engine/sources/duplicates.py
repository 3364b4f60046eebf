"""Two recordings of one audio in flight at once: one goes on, the other waits until it can be linked."""

from __future__ import annotations

from gainstage.engine.errors import Postponed
from gainstage.engine.store.codec import plain
from gainstage.engine.store.database import Database

TWIN = "same audio in flight"
AGAIN_S = 30.0


def yield_to_twin(database: Database, fingerprint: str, id: str) -> None:
    """Note the audio of a running recording; raises :class:`Postponed` when another one of the same audio goes before it.

    Each writes first and looks second, and the smaller id goes on, so of several at least one waits for nobody. A twin whose
    engine has died is not waited for.
    """
    with database.connection() as connection:
        connection.execute("update recording set fingerprint = %s where id = %s", [fingerprint, plain(id)])
        row = connection.execute(
            "select id from recording where fingerprint = %s and id < %s and status = 'running'"
            " and engine in (select id from engine_alive) order by id limit 1",
            [fingerprint, plain(id)],
        ).fetchone()
    if row is not None:
        raise Postponed(
            f"same audio as {row[0]}, which is in flight", cause=TWIN, hint="it is linked when that is stored", after_s=AGAIN_S
        )

"""Which alerts were sent: a row for each is the claim to send it, so that exactly one process does, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gainstage.engine.queue.rows import plain
from gainstage.engine.store.database import Database

KEPT_DAYS = 90


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert. ``state`` is sending, sent, failed, or held back by ``notify.per_hour``."""

    key: str
    kind: str
    title: str
    text: str
    engine: str
    state: str
    wall: float


Claim = Literal["ours", "taken", "too many"]


def claim(db: Database, key: str, kind: str, title: str, text: str, engine: str, *, per_hour: int) -> Claim:
    """The right to send an alert: of all that ask for one ``key``, one gets it, once. Beyond ``per_hour`` it is kept as held back."""
    with db.transaction() as connection:
        connection.execute("lock table alert in share row exclusive mode")  # two must not both see the last free place
        connection.execute("delete from alert where at < now() - make_interval(days => %s)", [KEPT_DAYS])
        row = connection.execute(
            """
            insert into alert (key, kind, title, text, engine, state)
            select %(key)s, %(kind)s, %(title)s, %(text)s, %(engine)s, case when (
              select count(*) from alert where at > now() - interval '1 hour' and state <> 'held back'
            ) >= %(per_hour)s then 'held back' else 'sending' end
            on conflict (key) do nothing returning state
            """,
            {"key": key, "kind": kind, "title": plain(title), "text": plain(text), "engine": engine, "per_hour": per_hour},
        ).fetchone()
    if row is None:
        return "taken"
    return "ours" if row[0] == "sending" else "too many"


def settle(db: Database, key: str, *, sent: bool) -> None:
    """Note what became of an alert that was claimed."""
    with db.transaction() as connection:
        connection.execute("update alert set state = %s where key = %s", ["sent" if sent else "failed", key])


def list_alerts(db: Database, limit: int = 50) -> tuple[AlertRow, ...]:
    """The newest alerts, newest first."""
    with db.transaction() as connection:
        rows = connection.execute(
            "select key, kind, title, text, engine, state, extract(epoch from at)::float8 from alert order by at desc limit %s",
            [limit],
        ).fetchall()
    return tuple(AlertRow(*row) for row in rows)


def ended_runs(
    db: Database, ids: Sequence[int], began_wall: float, known: Sequence[int] = ()
) -> tuple[tuple[int, str, float | None, int, int, int], ...]:
    """Of these runs, and of those but the ``known`` ones that began since ``began_wall``, the ones with nothing left: (number, name,
    end, stored, failed, skipped).
    """
    from gainstage.engine.queue.runs import list_runs

    with db.transaction() as connection:
        begun = connection.execute(
            "select id from run where began >= to_timestamp(%s) and id <> all(%s)", [began_wall, list(known)]
        ).fetchall()
        wanted = sorted({*ids, *(int(id) for (id,) in begun)})
        rows = list_runs(connection, limit=len(wanted), ids=wanted) if wanted else ()
    return tuple((r.id, r.name, r.ended_wall, r.stored, r.failed, r.skipped) for r in rows if not r.left)


def lost_engines(db: Database, own: str) -> tuple[tuple[str, str, str, float], ...]:
    """(id, host, state, last heartbeat) of engines that never signed off, within the last hour."""
    with db.transaction() as connection:
        rows = connection.execute(
            """
            select e.id, e.host, case when e.ended is null then 'lost' else e.state end, extract(epoch from e.heartbeat)::float8
            from engine e left join engine_alive a on a.id = e.id
            where a.id is null and e.id <> %s and e.heartbeat > now() - interval '1 hour' and (e.ended is null or e.state = 'died')
            """,
            [own],
        ).fetchall()
    return tuple((str(id), str(host), str(state), float(at)) for id, host, state, at in rows)

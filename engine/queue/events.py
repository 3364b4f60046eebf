"""The journal's lines in the database: written in batches, bounded, read after a cursor that misses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gainstage.engine.queue.rows import document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.views.events import EVENTS_KEPT, Event, Events

COLUMNS = "seq, wall, level, kind, text, stage, recording, engine, thread, data, traceback"

TRIM_EVERY = 500
"""Events between two trims."""


def write_events(db: Database, engine: str, events: Sequence[Event], *, kept: int = EVENTS_KEPT) -> None:
    """Write a batch in one transaction; numbers are given here, in the order of writing over all engines.

    Its commit does not wait for the disk, as all engines wait for the one row that gives the numbers. A crash of the server may
    take the last second of events from the database; the journal's file of each engine has them.
    """
    if not events:
        return
    with db.transaction() as connection:
        connection.execute("set local synchronous_commit = off")
        ((head, dropped),) = connection.execute(
            "update event_head set seq = seq + %s returning seq, dropped", [len(events)]
        ).fetchall()
        first = head - len(events) + 1
        connection.cursor().executemany(
            "insert into event (seq, engine, wall, level, kind, text, stage, recording, thread, data, traceback) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [_row(first + i, engine, event) for i, event in enumerate(events)],
        )
        if head - kept - dropped >= TRIM_EVERY:
            connection.execute("delete from event where seq <= %s", [head - kept])
            connection.execute("update event_head set dropped = %s", [head - kept])


def read_events(db: Database, after: int, limit: int = 500) -> Events:
    """Events after number ``after``, oldest first; ``dropped`` are those after it that are gone. 0 starts at the oldest kept."""
    with db.transaction() as connection:
        ((head, gone),) = connection.execute("select seq, dropped from event_head").fetchall()
        rows = connection.execute(f"select {COLUMNS} from event where seq > %s order by seq limit %s", [after, limit]).fetchall()
    items = tuple(event_of(row) for row in rows)
    cursor = items[-1].seq if items else min(after, head)
    return Events(items, cursor, max(0, gone - after) if after > 0 else 0)


def of_recording(db: Database, id: str, limit: int = 200) -> tuple[Event, ...]:
    """The last events of a recording, oldest first."""
    with db.transaction() as connection:
        rows = connection.execute(
            f"select {COLUMNS} from event where recording = %s order by seq desc limit %s", [id, limit]
        ).fetchall()
    return tuple(event_of(row) for row in reversed(rows))


def event_of(row: Sequence[Any]) -> Event:
    """The event of a row of :data:`COLUMNS`."""
    *columns, data, traceback = row
    return Event(*[*columns, data or {}, traceback])


def _row(seq: int, engine: str, event: Event) -> tuple[Any, ...]:
    return (
        seq,
        event.engine or engine,
        event.wall,
        event.level,
        event.kind,
        plain(event.text),
        event.stage,
        event.recording,
        event.thread,
        document(event.data) if event.data else None,
        plain(event.traceback) if event.traceback else None,
    )

"""Put a choice into the database: recordings queued, tried again, or stored as skipped with the reason."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from gainstage.engine.options import NO_OPTIONS, RecordingOptions
from gainstage.engine.queue import runs
from gainstage.engine.queue.backlog import Backlog, Enqueued
from gainstage.engine.sources.choice import RECHECKED, Choice
from gainstage.engine.sources.choose import CHUNK
from gainstage.engine.store.codec import document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording


@dataclass(frozen=True, slots=True)
class Origin:
    """What brings recordings in: the run they become part of. ``name`` is made from source and time where it is not given; a
    followed source goes on with its run (``subscription``) while that is not done."""

    kind: str
    sources: tuple[str, ...] = ()
    name: str | None = None
    subscription: int | None = None


PROGRAM = Origin("python")


def enqueue(
    backlog: Backlog,
    choice: Choice,
    origin: Origin = PROGRAM,
    *,
    force: bool = False,
    priority: int = 0,
    options: RecordingOptions = NO_OPTIONS,
) -> Enqueued:
    """Queue the chosen recordings as one run, and store unavailable ones as skipped, so that they are listed, counted and can be
    retried. ``run`` of the result is None where nothing new was brought in.

    ``options`` are those of each recording; the line of a list takes precedence.
    """
    with backlog.db.transaction() as connection:
        going_on = runs.open_of(connection, origin.subscription) if origin.subscription is not None else None
        run = going_on or runs.make(connection, origin.kind, origin.sources, name=origin.name, subscription=origin.subscription)
    try:
        hold(backlog.db, choice, run)
        refresh(backlog.db, choice)
        grown = _with(options, _go_on(backlog.db, choice.grown))
        added = backlog.add(_with(options, choice.taken), force=force, priority=priority, run=run)
        if grown and not force:
            again = backlog.add(grown, force=True, priority=priority, run=run).requeued
            added = Enqueued(added.added, added.known - again, added.requeued + again)
        if choice.recheck and not force:
            again = backlog.retry(choice.recheck, run=run)
            added = Enqueued(added.added, added.known - again, added.requeued + again)
    finally:
        with backlog.db.transaction() as connection:
            kept = runs.keep_or_forget(connection, run)
    return replace(added, run=run if kept else None)


def _with(options: RecordingOptions, recordings: Iterable[Recording]) -> list[Recording]:
    """With their options; a file also with the host that has it."""
    here = {"host": socket.gethostname()}
    return [
        replace(
            recording,
            options=recording.options.over(options),
            extra=recording.extra if "://" in recording.source else recording.extra | here,
        )
        for recording in recordings
    ]


def refresh(database: Database, choice: Choice) -> int:
    """Store the newest address of every listed recording that is not stored yet (tokens expire, files move); returns how many."""
    listed = [*choice.taken, *(left.recording for left in choice.left if left.recording is not None)]
    changed = 0
    for start in range(0, len(listed), CHUNK):
        rows = [{"key": plain(r.key), "source": plain(r.source), "extra": _kept_extra(r)} for r in listed[start : start + CHUNK]]
        with database.transaction() as connection:
            changed += connection.execute(
                """
                with listed as (select * from jsonb_to_recordset(%s) as t (key text, source text, extra jsonb)),
                moved as (
                  select r.id, l.source, l.extra from recording r join listed l on l.key = r.key
                  where r.status <> 'stored' and r.source <> l.source order by r.key for update of r
                )
                update recording r set source = m.source, extra = (r.extra - 'raw_path') || m.extra, changed = now()
                from moved m where r.id = m.id
                """,
                [document(rows)],
            ).rowcount
    return changed


def _go_on(database: Database, grown: tuple[Recording, ...]) -> list[Recording]:
    """Update the identity of recordings whose files have grown; returns those whose earlier content was finished."""
    done: list[Recording] = []
    for recording in grown:
        with database.transaction() as connection:
            row = connection.execute(
                "update recording set key = %s, title = %s, extra = extra || %s, fingerprint = null, changed = now()"
                " where id = %s and status <> 'running' returning status",
                [plain(recording.key), plain(recording.title), document(_kept_extra(recording)), recording.id],
            ).fetchone()
        if row is not None and row[0] != "queued":
            done.append(recording)
    return done


def hold(database: Database, choice: Choice, run: int | None = None) -> int:
    """Store unavailable recordings as skipped with their reason; returns how many."""
    refused = [(left.recording, left.reason) for left in choice.left if left.refused and left.recording is not None]
    for start in range(0, len(refused), CHUNK):
        rows = [_row(recording, reason) for recording, reason in refused[start : start + CHUNK]]
        with database.transaction() as connection:
            connection.execute(
                """
                insert into recording (id, key, source, title, duration, published, channel, extra, status, cause, error, retryable, run)
                select id, key, source, title, duration, published, channel, extra, 'skipped', cause, cause, true, %s::bigint
                from jsonb_to_recordset(%s) as t (id text, key text, source text, title text, duration float8, published text,
                  channel text, extra jsonb, cause text) order by key
                on conflict (key) do update set cause = excluded.cause, error = excluded.error, title = excluded.title, changed = now()
                where recording.status = 'skipped' and recording.cause = any(%s) and recording.cause <> excluded.cause
                """,
                [run, document(rows), list(RECHECKED)],
            )
    return len(refused)


def _row(recording: Recording, reason: str) -> dict[str, Any]:
    names = ("id", "key", "source", "title", "duration", "published", "channel")
    row = {name: getattr(recording, name) for name in names}
    return {**row, "extra": _kept_extra(recording), "cause": plain(reason)}


def _kept_extra(recording: Recording) -> dict[str, Any]:
    return {name: value for name, value in recording.extra.items() if name not in ("refused", "live")}

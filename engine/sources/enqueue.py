"""A choice becomes work: queued, tried again, or kept as skipped with its reason."""

from __future__ import annotations

from typing import Any

from gainstage.engine.queue.backlog import Backlog, Enqueued
from gainstage.engine.sources.choice import RECHECKED, Choice
from gainstage.engine.sources.choose import CHUNK
from gainstage.engine.store.codec import document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording


def enqueue(backlog: Backlog, choice: Choice, *, force: bool = False, priority: int = 0) -> Enqueued:
    """Queue what was taken; keep what was refused, so that it is seen, counted, and can be retried."""
    hold(backlog.db, choice)
    added = backlog.add(choice.taken, force=force, priority=priority)
    if choice.recheck and not force:
        again = backlog.retry(choice.recheck)
        added = Enqueued(added.added, added.known - again, added.requeued + again)
    return added


def hold(database: Database, choice: Choice) -> int:
    """Keep what was refused as skipped recordings with their reason; how many."""
    refused = [(left.recording, left.reason) for left in choice.left if left.refused and left.recording is not None]
    for start in range(0, len(refused), CHUNK):
        rows = [_row(recording, reason) for recording, reason in refused[start : start + CHUNK]]
        with database.transaction() as connection:
            connection.execute(
                """
                insert into recording (id, key, source, title, duration, published, channel, extra, status, cause, error, retryable)
                select id, key, source, title, duration, published, channel, extra, 'skipped', cause, cause, true
                from jsonb_to_recordset(%s) as t (id text, key text, source text, title text, duration float8, published text,
                  channel text, extra jsonb, cause text) order by key
                on conflict (key) do update set cause = excluded.cause, error = excluded.error, title = excluded.title, changed = now()
                where recording.status = 'skipped' and recording.cause = any(%s) and recording.cause <> excluded.cause
                """,
                [document(rows), list(RECHECKED)],
            )
    return len(refused)


def _row(recording: Recording, reason: str) -> dict[str, Any]:
    names = ("id", "key", "source", "title", "duration", "published", "channel")
    row = {name: getattr(recording, name) for name in names}
    extra = {name: value for name, value in recording.extra.items() if name not in ("refused", "live")}
    return {**row, "extra": extra, "cause": plain(reason)}

"""The queue from the operator's side: add, cancel, skip, retry, prioritise. Needs no engine.

A recording's row is the record; a job of procrastinate exists exactly while its recording is queued or running. Both change
in one transaction, always job first and recording second, so that nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from psycopg.sql import SQL

from gainstage.engine.queue import commands
from gainstage.engine.queue.counts import QueueCounts, read_counts
from gainstage.engine.queue.rows import Link, document, plain
from gainstage.engine.queue.schema import ensure
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording, Status
from gainstage.engine.views.commands import Command

QUEUE = "ingest"
"""procrastinate's name for our one queue, and for its one task."""

BATCH = 5_000
"""Recordings per statement of :meth:`Backlog.add`."""

MANY = 1_000
"""An import of this many new recordings refreshes the planner's statistics: without them claims sort the whole queue (100 ms
at 100,000 recordings, 1 ms with them) until autovacuum comes by.
"""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of the recordings given: new ones, those known already (left alone), terminal ones queued again by force; the
    run they became part of."""

    added: int = 0
    known: int = 0
    requeued: int = 0
    run: int | None = field(default=None, compare=False)

    def __add__(self, other: Enqueued) -> Enqueued:
        return Enqueued(self.added + other.added, self.known + other.known, self.requeued + other.requeued, other.run or self.run)


@dataclass(frozen=True, slots=True)
class Ended:
    """Recordings ended at once, and running ones whose engines are to end them (``command`` is the request to them)."""

    done: int
    running: int
    command: int | None = None


@dataclass(frozen=True, slots=True)
class Reprioritised:
    """Recordings given another place in the queue, and running ones whose engines were asked to follow."""

    queued: int
    running: int
    command: int | None = None


# Numbers are drawn in the order given, which is the age of the jobs; rows are written in the order of their keys, so that
# two imports of the same recordings wait for each other instead of in a circle.
_ADD = """
with incoming as materialized (
  select i.*, nextval('procrastinate_jobs_id_seq') as job
  from (
    select * from unnest(%(id)s::text[], %(key)s::text[], %(source)s::text[], %(title)s::text[], %(duration)s::float8[],
      %(priority)s::int[], %(published)s::text[], %(channel)s::text[], %(extra)s::jsonb[], %(options)s::jsonb[])
      with ordinality as t (id, key, source, title, duration, priority, published, channel, extra, options, n)
    order by n
  ) i
),
fresh as (
  insert into recording (id, key, source, title, duration, priority, published, channel, extra, options, status, job, added, changed,
    run)
  select id, key, source, title, duration, priority, published, channel, extra, options, 'queued', job, now(), now(), %(run)s::bigint
  from incoming order by key
  on conflict do nothing
  returning id, job, priority
),
ended as (
  select r.id, i.job, i.source, i.title, i.priority, i.options
  from recording r join incoming i on i.key = r.key
  where %(force)s and r.status in ('stored', 'failed', 'skipped', 'cancelled')
  order by r.key for update of r
),
again as (
  update recording r set status = 'queued', job = e.job, source = e.source, title = e.title, priority = e.priority,
    options = r.options || e.options,
    attempt = 0, deaths = 0, next_try = null, cause = null, error = null, hint = null, traceback = null, wish = null,
    engine = null, stage = null, changed = now(), run = coalesce(%(run)s::bigint, r.run)
  from (select distinct on (id) * from ended order by id, job) e where r.id = e.id
  returning r.id, r.job, r.priority
),
waiting as (
  select r.id, i.options from recording r join incoming i on i.key = r.key
  where i.options <> '{}' and (r.status = 'queued' or (r.status in ('failed', 'skipped', 'cancelled') and not %(force)s))
  order by r.key for update of r
),
steered as (
  update recording r set options = r.options || w.options, changed = now() from waiting w where r.id = w.id
),
deferred as (
  insert into procrastinate_jobs (id, queue_name, task_name, priority, args)
  select job, %(queue)s, %(queue)s, priority, jsonb_build_object('recording', id)
  from (select * from fresh union all select * from again) both_kinds
)
select (select count(*) from fresh), (select count(*) from again)
"""

_REFRESH = "analyze recording, procrastinate_jobs"

_QUEUE_AGAIN = SQL("""
with picked as (
  select id, priority from recording where status in ('failed', 'skipped', 'cancelled') and {which} order by id for update
),
again as (
  update recording r set status = 'queued', job = nextval('procrastinate_jobs_id_seq'), attempt = 0, deaths = 0,
    next_try = null, wish = null, engine = null, stage = null, changed = now(), run = coalesce(%(run)s::bigint, r.run)
  from picked where r.id = picked.id
  returning r.id, r.job, r.priority
)
insert into procrastinate_jobs (id, queue_name, task_name, priority, args)
select job, %(queue)s, %(queue)s, priority, jsonb_build_object('recording', id) from again
""")


_REDO = """
with picked as (
  select id, priority from recording where stored is not null and status in ('stored', 'failed', 'cancelled') and id = any(%(ids)s)
  order by id for update
),
again as (
  update recording r set status = 'queued', job = nextval('procrastinate_jobs_id_seq'), attempt = 0, deaths = 0,
    next_try = null, wish = null, engine = null, stage = null, cause = null, error = null, hint = null, traceback = null,
    extra = r.extra || jsonb_build_object('redo', %(stage)s::text), changed = now()
  from picked where r.id = picked.id
  returning r.id, r.job, r.priority
)
insert into procrastinate_jobs (id, queue_name, task_name, priority, args)
select job, %(queue)s, %(queue)s, priority, jsonb_build_object('recording', id) from again
"""


class Backlog:
    """The queue of a database. Thread-safe; every call raises :class:`gainstage.engine.errors.Transient` in an outage."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._stands = False

    def add(self, recordings: Iterable[Recording], *, force: bool = False, priority: int = 0, run: int | None = None) -> Enqueued:
        """Queue recordings, in the order given, as brought in by a run; ``priority`` is added to their own.

        What is known by its id or key (queued, running, stored, or ended otherwise) is left alone; ``force`` queues again
        what has ended. Options of a known recording that waits or may be tried again replace its own. The recordings' own keys decide, in the statement that defers the jobs. Batches commit one by one.
        """
        total = Enqueued()
        rest = iter(recordings)
        while batch := list(islice(rest, BATCH)):
            with self._transaction() as connection:
                row = connection.execute(_ADD, _columns(batch, priority) | {"force": force, "queue": QUEUE, "run": run}).fetchone()
                fresh, again = row if row else (0, 0)
                first = total.added < MANY <= total.added + fresh
                total += Enqueued(fresh, len(batch) - fresh - again, again)
                if first:
                    connection.execute(_REFRESH)
                announce(connection)
        if total.added > BATCH:
            with self._transaction() as connection:
                connection.execute(_REFRESH)
        return total

    def retry(
        self, ids: Sequence[str] | None = None, *, cause: str | None = None, everything: bool = False, run: int | None = None
    ) -> int:
        """Queue again, within the run that brought them in or as part of ``run``: these recordings (failed, skipped or cancelled; a waiting one is tried now), all failed by one
        cause, or all failed. Attempts start anew; the last cause stays on record until the next attempt ends. Says how many.
        """
        if (ids is not None) + (cause is not None) + everything != 1:
            raise ValueError("say which: ids, cause, or everything")
        with self._transaction() as connection:
            hurried = hurry(connection, ids=ids) if ids is not None else 0
            if ids is not None:
                which = SQL("id = any(%(ids)s)")
            elif cause is not None:
                which = SQL("status = 'failed' and cause = %(cause)s")
            else:
                which = SQL("status = 'failed'")
            done = connection.execute(
                _QUEUE_AGAIN.format(which=which), {"ids": list(ids or ()), "cause": cause, "queue": QUEUE, "run": run}
            )
            announce(connection)
            return hurried + done.rowcount

    def redo(self, ids: Sequence[str], stage: str) -> int:
        """Queue stored recordings for one stage; their results stay until the new ones are whole. Says how many.

        The stage stays with a recording until it is stored again: a kill, a failure or a retry goes on with the same one. Those
        that are queued or running are left alone.
        """
        with self._transaction() as connection:
            done = connection.execute(_REDO, {"ids": list(ids), "stage": stage, "queue": QUEUE})
            announce(connection)
            return done.rowcount

    def cancel(self, ids: Sequence[str], *, by: str = "operator") -> Ended:
        """End queued recordings as cancelled at once; ask the engines of running ones to stop them.

        The wish stays with a running recording: whatever comes of its attempt short of being stored, it ends cancelled,
        also when its engine dies first.
        """
        return self._end(ids, Status.CANCELLED, "cancelled by the operator", by)

    def skip(self, ids: Sequence[str], *, by: str = "operator") -> Ended:
        """Like :meth:`cancel`, ending as skipped; failed and cancelled ones become skipped too, out of the way of a retry."""
        ended = self._end(ids, Status.SKIPPED, "skipped by the operator", by)
        with self._transaction() as connection:
            late = connection.execute(
                "update recording set status = 'skipped', changed = now() where id = any(%s) and status in ('failed', 'cancelled')",
                [list(ids)],
            )
            return Ended(ended.done + late.rowcount, ended.running, ended.command)

    def prioritise(self, ids: Sequence[str], *, delta: int = 0, to_front: bool = False, by: str = "operator") -> Reprioritised:
        """Raise or lower by ``delta``, or put before everything queued; the engines of running ones are asked to reorder their gates."""
        with self._transaction() as connection:
            ((front,),) = connection.execute(
                "select coalesce(max(priority), 0) + 1 from procrastinate_jobs where status = 'todo'"
            ).fetchall()
            values = {"ids": list(ids), "delta": delta, "front": front if to_front else None}
            connection.execute(
                """
                with picked as (
                  select j.id, coalesce(%(front)s, r.priority + %(delta)s) as priority
                  from procrastinate_jobs j join recording r on r.job = j.id
                  where r.id = any(%(ids)s) order by j.id for update of j
                )
                update procrastinate_jobs j set priority = picked.priority from picked where j.id = picked.id
                """,
                values,
            )
            moved = connection.execute(
                "update recording set priority = coalesce(%(front)s, priority + %(delta)s) "
                "where id = any(%(ids)s) and job is not null returning id, status, engine, priority",
                values,
            ).fetchall()
            running = {id: priority for id, status, _, priority in moved if status == "running"}
            command = None
            if running:
                engines = sorted({engine for _, status, engine, _ in moved if status == "running" and engine})
                command = commands.ask(connection, Command("priority", {"priorities": running}, by=by), engines)
            return Reprioritised(len(moved) - len(running), len(running), command)

    def unknown(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of the ids that no recording has."""
        with self._transaction() as connection:
            rows = connection.execute("select id from recording where id = any(%s)", [list(ids)])
            known = {id for (id,) in rows}
        return tuple(id for id in ids if id not in known)

    def resumable(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of the ids that another attempt may follow."""
        with self._transaction() as connection:
            rows = connection.execute(
                "select id from recording where id = any(%s) and (status in ('queued', 'running', 'cancelled') "
                "or (status = 'failed' and retryable is not false))",
                [list(ids)],
            )
            return tuple(id for (id,) in rows)

    def counts(self) -> QueueCounts:
        with self.db.connection() as connection:
            return read_counts(connection)

    @contextmanager
    def _transaction(self) -> Iterator[Link]:
        if not self._stands:
            with self.db.transaction() as connection:
                ensure(connection)
            self._stands = True
        with self.db.transaction() as connection:
            yield connection

    def _end(self, ids: Sequence[str], status: Status, cause: str, by: str) -> Ended:
        with self._transaction() as connection:
            gone = connection.execute(
                "delete from procrastinate_jobs j using recording r "
                "where r.job = j.id and r.id = any(%s) and j.status = 'todo' returning j.id",
                [list(ids)],
            ).fetchall()
            done = connection.execute(
                "update recording set status = %s, cause = %s, error = null, hint = null, traceback = null, job = null, "
                "next_try = null, changed = now() where job = any(%s)",
                [status.value, cause, [job for (job,) in gone]],
            ).rowcount
            running = connection.execute(
                "update recording set wish = %s where id = any(%s) and status = 'running' returning engine, id",
                [status.value, list(ids)],
            ).fetchall()
            command = None
            if running:
                cancel = Command("cancel", {"ids": sorted(id for _, id in running)}, by=by)
                command = commands.ask(connection, cancel, sorted({engine for engine, _ in running if engine}))
            return Ended(done, len(running), command)


def hurry(connection: Link, *, ids: Sequence[str] | None = None, cause: str | None = None) -> int:
    """Try waiting recordings now, by id or by the cause they wait for; how many."""
    jobs = connection.execute(
        "update procrastinate_jobs j set scheduled_at = null from recording r where r.job = j.id and j.status = 'todo'"
        " and j.scheduled_at is not null and (r.id = any(%s) or r.cause = %s) returning j.id",
        [list(ids or ()), cause],
    ).fetchall()
    connection.execute("update recording set next_try = null where job = any(%s)", [[job for (job,) in jobs]])
    return len(jobs)


def announce(connection: Link) -> None:
    """Wake the engines' takers when this transaction commits (one note, however many recordings)."""
    connection.execute("select pg_notify('gainstage', 'queue')")


def _columns(batch: Sequence[Recording], priority: int) -> dict[str, Any]:
    return {
        "id": [r.id for r in batch],
        "key": [plain(r.key) for r in batch],
        "source": [plain(r.source) for r in batch],
        "title": [plain(r.title) for r in batch],
        "duration": [r.duration for r in batch],
        "priority": [r.priority + priority for r in batch],
        "published": [r.published for r in batch],
        "channel": [plain(r.channel) if r.channel is not None else None for r in batch],
        "extra": [document(r.extra) for r in batch],
        "options": [document(r.options.record()) for r in batch],
    }

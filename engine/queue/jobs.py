"""The queue from an engine's side: claim, fence, finish, fail, release, recover.

One thread of the engine asks :meth:`JobQueue.take` whenever a recording more may be in flight, so the limit can change
live. See :mod:`gainstage.engine.queue.schema` for what is used of procrastinate and why.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg.errors import ForeignKeyViolation

from gainstage.config.settings import Retry
from gainstage.engine.errors import EngineError, LostClaim
from gainstage.engine.options import RecordingOptions
from gainstage.engine.queue.backlog import QUEUE, Backlog, announce
from gainstage.engine.queue.counts import fold_tally
from gainstage.engine.queue.retrying import RetryDecision, decide
from gainstage.engine.queue.rows import Link, Transaction, document, plain
from gainstage.engine.store.codec import span_record
from gainstage.engine.store.database import Database
from gainstage.engine.store.sessions import end_holders
from gainstage.engine.terms import Recording, Status
from gainstage.engine.views.passes import StageSpan

MOST_DEATHS = 25
"""A recording whose engine died this often while holding it is taken for the reason and fails."""


def queue_of(host: str) -> str:
    """procrastinate's name for what only the engines of one host take."""
    return f"{QUEUE}@{host}"[:128]


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to process a recording. ``attempt`` counts from 1; ``turn`` is procrastinate's own count of the job's turns,
    which with ``worker`` tells this claim from every other one on the same job.
    """

    recording: Recording
    job: int
    attempt: int
    worker: int
    turn: int
    run: int | None = None  # that brought the recording in


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim of this engine as the database has it. ``wish`` is what an operator wants of the recording instead."""

    job: int
    worker: int
    turn: int
    wish: str | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """Recordings taken back from dead engines: queued again, and ended (by an operator's wish, or held at too many deaths)."""

    requeued: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


class JobQueue(Backlog):
    """The claims of one engine.

    ``heartbeat_s`` is how often the engine means to call :meth:`beat`; others take its recordings when it was silent for
    ``stalled_s``. Thread-safe; every call raises :class:`gainstage.engine.errors.Transient` in an outage.
    """

    def __init__(
        self,
        db: Database,
        engine_id: str,
        *,
        heartbeat_s: float,
        stalled_s: float,
        most_deaths: int = MOST_DEATHS,
        host: str | None = None,
    ) -> None:
        super().__init__(db)
        self.engine_id = engine_id
        self.host = host or socket.gethostname()
        self.heartbeat_s = heartbeat_s
        self.stalled_s = stalled_s
        self.most_deaths = most_deaths
        self._worker: int | None = None
        self._lock = threading.Lock()
        self._random = random.Random()

    @property
    def worker(self) -> int:
        """This engine's worker number; raises RuntimeError before :meth:`register`."""
        if self._worker is None:
            raise RuntimeError("the queue is used before register()")
        return self._worker

    def register(self) -> Recovered:
        """Become a worker of the queue, and :meth:`recover`: what a dead predecessor of the same home held comes back at once
        (:meth:`gainstage.engine.queue.engines.EngineRegistry.register`, called before, has marked it as ended).
        """
        with self._lock:
            with self._transaction() as connection:
                worker = self._new_worker(connection)
            self._worker = worker
        return self.recover()

    def unregister(self) -> None:
        """Leave: what is still claimed goes back to the queue at the next :meth:`recover` of any engine."""
        with self._lock:
            if self._worker is None:
                return
            with self._transaction() as connection:
                connection.execute("select procrastinate_unregister_worker_v1(%s)", [self._worker])
                connection.execute("update engine set worker = null where id = %s", [self.engine_id])
            self._worker = None

    def beat(self, connection: Link | None = None) -> bool:
        """Say that this engine lives. False when it had been given up meanwhile: its claims are lost (the fence will say so
        one by one) and it is registered anew. ``connection`` is the heartbeat's own, else one of the pool.
        """
        if connection is None:
            with self.db.connection() as pooled:
                return self.beat(pooled)
        with self._lock, connection.transaction():
            alive = connection.execute(
                "update procrastinate_workers set last_heartbeat = now() where id = %s", [self.worker]
            ).rowcount
            if not alive:
                self._worker = self._new_worker(connection)
            connection.execute("update engine set heartbeat = now(), worker = %s where id = %s", [self._worker, self.engine_id])
            return bool(alive)

    def take(self) -> Claim | None:
        """Claim the next recording: highest priority first, then oldest; None when nothing is due.

        One statement: the job is *doing* and the recording *running* together, or neither is. Its commit waits for the disk: a
        crash of the server would take back a claim whose work goes on, and the work would be done twice. An engine whose worker was
        given up meanwhile (its machine slept for long) is registered anew first.
        """
        try:
            return self._take()
        except ForeignKeyViolation:
            self.beat()
            return self._take()

    def _take(self) -> Claim | None:
        with self.db.connection() as connection:  # one statement: a transaction by itself
            row = connection.execute(
                """
                with job as (
                  select f.* from procrastinate_fetch_job_v2(%(queues)s::varchar[], %(worker)s) f where f.id is not null
                ),
                claimed as (
                  update recording r set status = 'running', engine = %(engine)s, attempt = attempt + 1, stage = null,
                    next_try = null, changed = now()
                  from job where r.job = job.id
                  returning job.id as claimed_job, job.attempts as turn, r.*
                ),
                begun as (update run set began = now() from claimed c where run.id = c.run and run.began is null)
                select claimed_job, turn, run, attempt, id, key, source, title, duration, priority, published::text, channel, extra,
                  options
                from claimed
                """,
                {"queues": [QUEUE, queue_of(self.host)], "worker": self.worker, "engine": self.engine_id},
            ).fetchone()
            if row is None:
                return None
            job, turn, run, attempt, *columns, options = row
            recording = replace(Recording(*columns), options=RecordingOptions.stored(options))
            return Claim(recording, job, attempt, self.worker, turn, run)

    def fence(self, cursor: Transaction, claim: Claim) -> None:
        """Hold the claim until the caller's transaction ends; raises :class:`gainstage.engine.errors.LostClaim` when another has it."""
        cursor.execute(
            "select 1 from procrastinate_jobs where id = %s and status = 'doing' and worker_id = %s and attempts = %s for update",
            [claim.job, claim.worker, claim.turn],
        )
        if cursor.fetchone() is None:
            raise LostClaim(
                "taken over by another engine",
                recording=claim.recording.id,
                hint="This engine had been silent for too long; its result was dropped.",
            )

    def finish_in(self, cursor: Transaction, claim: Claim) -> None:
        """Fence, and end the job inside the caller's store transaction, so that stored and finished are one thing.

        The recording's row is the caller's to write, in one update: its status with :data:`gainstage.engine.store.writing.CLAIM_OVER`.
        """
        self.fence(cursor, claim)
        self._close(cursor, claim.job, "succeeded")

    def fail(
        self, claim: Claim, error: EngineError, traceback: str, retry: Retry, *, spans: Sequence[StageSpan] = ()
    ) -> RetryDecision:
        """Decide by the error's class what becomes of the recording (see :func:`gainstage.engine.queue.retrying.decide`) and write it
        down with the cause (and the passes made). Raises :class:`gainstage.engine.errors.LostClaim`. The caller stops its intake where the
        outcome says ``pause``.
        """
        with self._transaction() as connection, connection.cursor() as cursor:
            self.fence(cursor, claim)
            outcome = decide(error, claim.attempt, retry, draw=self._random.random(), wish=self._wish(connection, claim))
            if outcome.status is Status.QUEUED:
                self._back(cursor, claim, wait_s=outcome.wait_s or 0.0, counted=outcome.counted, host=outcome.host)
            else:
                self._close(cursor, claim.job, "failed")
                cursor.execute(
                    "update recording set status = %s, retryable = %s, job = null, engine = null, wish = null, next_try = null, "
                    "changed = now() where id = %s",
                    [outcome.status.value, error.retry, claim.recording.id],
                )
            cursor.execute(
                "update recording set cause = %s, error = %s, hint = %s, traceback = %s, stage = %s, "
                "spans = case when attempt <= 1 then %s else spans || %s end where id = %s",
                [
                    *map(plain, (error.cause, error.message, error.hint, traceback)),
                    error.stage,
                    *[document([span_record(span, claim.attempt) for span in spans])] * 2,
                    claim.recording.id,
                ],
            )
            if outcome.status is Status.QUEUED:
                announce(connection)
            return outcome

    def release(self, claim: Claim) -> RetryDecision:
        """Put a recording back (stop now): queued at once, the attempt not counted; a wish to cancel or skip is fulfilled.
        Raises :class:`gainstage.engine.errors.LostClaim`.
        """
        with self._transaction() as connection, connection.cursor() as cursor:
            self.fence(cursor, claim)
            wish = self._wish(connection, claim)
            if wish is None:
                self._back(cursor, claim, wait_s=0.0, counted=False)
                announce(connection)
                return RetryDecision(Status.QUEUED, counted=False)
            self._end_wished(cursor, claim.recording.id, claim.job, wish)
            return RetryDecision(wish)

    def held(self) -> dict[str, HeldClaim]:
        """What this engine holds by the database's account, by recording id."""
        with self.db.connection() as connection:
            rows = connection.execute(
                "select r.id, j.id, j.worker_id, j.attempts, r.wish from procrastinate_jobs j join recording r on r.job = j.id "
                "where j.worker_id = %s and j.status = 'doing'",
                [self.worker],
            )
            return {str(id): HeldClaim(job, worker, turn, wish) for id, job, worker, turn, wish in rows}

    def give_back(self, id: str, claim: HeldClaim) -> bool:
        """Put back a claim whose answer never arrived (the connection broke after its commit); False when it is another's now."""
        nameless = Recording(id=id, key="", source="", title="")
        try:
            self.release(Claim(nameless, claim.job, 0, claim.worker, claim.turn))
        except LostClaim:
            return False
        return True

    def recover(self) -> Recovered:
        """Queue again what other, dead engines hold: ended, gone, or silent for ``stalled_s`` while the server was up; and offer to all
        what was left to a host on which no engine lives any more. Who asks is alive, however late its own heartbeat is.

        Any engine may call it at any time; two at once share the work. The attempt is not counted, the death is.
        """
        with self._transaction() as connection, connection.cursor() as cursor:
            silent = cursor.execute(
                "select e.host, e.pid, greatest(e.heartbeat, w.last_heartbeat) from engine e left join procrastinate_workers w"
                " on w.id = e.worker where e.ended is null and"
                " greatest(e.heartbeat, w.last_heartbeat, pg_postmaster_start_time()) < now() - make_interval(secs => %s)"
                " and (e.host, e.pid) <> (%s, %s) and not exists"
                " (select 1 from engine_alive a join engine l using (id) where l.host = e.host and l.pid = e.pid and l.id <> e.id)",
                [self.stalled_s, socket.gethostname(), os.getpid()],
            ).fetchall()
            end_holders(cursor, silent)  # what a frozen process has locked could not be taken back
            jobs = [
                job
                for job, _ in cursor.execute(
                    """
                    with stalled as (
                      select j.id from procrastinate_jobs j left join procrastinate_workers w on w.id = j.worker_id
                      left join engine e on e.worker = j.worker_id
                      where j.status = 'doing' and e.id is distinct from %s and (w.id is null or e.ended is not null or
                        greatest(w.last_heartbeat, pg_postmaster_start_time()) < now() - make_interval(secs => %s))
                      for update of j skip locked
                    )
                    select id, procrastinate_retry_job_v2(id, now(), null, null, null) from stalled
                    """,
                    [self.engine_id, self.stalled_s],
                )
            ]
            back = cursor.execute(
                "update recording set status = 'queued', engine = null, stage = null, attempt = greatest(attempt - 1, 0), "
                "deaths = deaths + 1, changed = now() where job = any(%s) returning id, job, wish, deaths",
                [jobs],
            ).fetchall()
            ended = []
            for id, job, wish, deaths in back:
                if wish is not None:
                    self._end_wished(cursor, id, job, Status(wish))
                elif deaths >= self.most_deaths:
                    self._end_deadly(cursor, id, job, deaths)
                else:
                    continue
                ended.append(id)
            cursor.execute("select procrastinate_prune_stalled_workers_v1(%s)", [max(600.0, 20 * self.stalled_s)])
            left = cursor.execute(
                "update procrastinate_jobs set queue_name = %(queue)s where status = 'todo' and queue_name > %(queue)s and queue_name <> all"
                " (select %(queue)s || '@' || e.host from engine_alive join engine e using (id))",
                {"queue": QUEUE},
            )
            if back or left.rowcount:
                announce(connection)
        fold_tally(self.db)
        return Recovered(tuple(id for id, *_ in back if id not in ended), tuple(ended))

    def _new_worker(self, connection: Link) -> int:
        (worker,) = connection.execute("select worker_id from procrastinate_register_worker_v1()").fetchall()[0]
        connection.execute("update engine set worker = %s where id = %s", [worker, self.engine_id])
        return int(worker)

    def _wish(self, connection: Link, claim: Claim) -> Status | None:
        row = connection.execute("select wish from recording where id = %s for update", [claim.recording.id]).fetchone()
        return Status(row[0]) if row and row[0] else None

    def _back(self, cursor: Transaction, claim: Claim, *, wait_s: float, counted: bool, host: str | None = None) -> None:
        cursor.execute(
            "select procrastinate_retry_job_v2(%s, now() + make_interval(secs => %s), null, %s, null)",
            [claim.job, wait_s, queue_of(host) if host else None],
        )
        cursor.execute(
            "update recording set status = 'queued', engine = null, stage = null, attempt = attempt - %s, "
            "next_try = case when %s > 0 then now() + make_interval(secs => %s) end, changed = now() where id = %s",
            [0 if counted else 1, wait_s, wait_s, claim.recording.id],
        )

    def _close(self, cursor: Transaction, job: int, end: str) -> None:
        cursor.execute("select procrastinate_finish_job_v1(%s, %s::procrastinate_job_status, true)", [job, end])

    def _end_wished(self, cursor: Transaction, id: str, job: int, wish: Status) -> None:
        self._close(cursor, job, "failed")
        cursor.execute(
            "update recording set status = %s, cause = %s, error = null, hint = null, traceback = null, job = null, engine = null, "
            "stage = null, wish = null, next_try = null, changed = now() where id = %s",
            [wish.value, f"{wish.value} by the operator", id],
        )

    def _end_deadly(self, cursor: Transaction, id: str, job: int, deaths: int) -> None:
        self._close(cursor, job, "failed")
        cursor.execute(
            "update recording set status = 'failed', cause = 'engine died', error = %s, hint = %s, traceback = null, "
            "retryable = true, job = null, next_try = null, changed = now() where id = %s",
            [
                f"{deaths} engines died while they held this recording",
                "See the engine's log and the system's out-of-memory records; `gainstage retry` tries again.",
                id,
            ],
        )

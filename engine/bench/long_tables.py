"""Long tables for benchmarks: recordings that are queued and recordings that are stored, written by the server itself."""

from __future__ import annotations

from collections.abc import Mapping

from gainstage.engine.queue.backlog import QUEUE
from gainstage.engine.queue.rows import document
from gainstage.engine.queue.schema import ensure
from gainstage.engine.store.database import Database

STEP = 100_000
SECONDS = 720.0
"""Length of each recording."""

_STORED = """
insert into recording (id, key, source, title, duration, run, status, stored, segments, speakers, fingerprint)
select 'done-' || n, 'done:' || n, 'https://example.org/done/' || n, 'Done ' || n, %(seconds)s, %(run)s, 'stored',
  now() - make_interval(secs => 3600 + n), 40, 2, md5(n::text)
from generate_series(%(first)s::int, %(last)s::int) n
"""

_QUEUED = """
with fresh as (
  insert into recording (id, key, source, title, duration, run, extra, job)
  select 'wait-' || n, 'wait:' || n, 'https://example.org/wait/' || n, 'Waiting ' || n, %(seconds)s, %(run)s, %(extra)s,
    nextval('procrastinate_jobs_id_seq')
  from generate_series(%(first)s::int, %(last)s::int) n
  returning id, job
)
insert into procrastinate_jobs (id, queue_name, task_name, args)
select job, %(queue)s, %(queue)s, jsonb_build_object('recording', id) from fresh order by job
"""


def fill(database: Database, *, queued: int, finished: int, times: Mapping[str, float]) -> None:
    """Write so many stored and queued recordings of one run, the queued ones with their jobs, as adding and storing leave them.

    ``times`` are the seconds of each stage of the queued ones, for :mod:`gainstage.engine.runtime.simulated`.
    """
    with database.connection() as connection:
        ensure(connection)
        (run,) = connection.execute("insert into run (name, kind) values ('long tables', 'add') returning id").fetchall()[0]
        values = {"run": run, "seconds": SECONDS, "queue": QUEUE, "extra": document({"simulate": dict(times)})}
        for statement, count in ((_STORED, finished), (_QUEUED, queued)):
            for first in range(0, count, STEP):
                span = {"first": first, "last": min(count, first + STEP) - 1}
                connection.execute(statement.encode(), values | span)
    with database.own_connection() as connection:
        connection.execute("vacuum analyze recording, procrastinate_jobs, recording_tally")

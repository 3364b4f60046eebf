"""procrastinate's tables in our database.

What is used of procrastinate is its schema and SQL functions: jobs with priority and schedule, claims by
``procrastinate_fetch_job_v2`` (``for update skip locked``), ``finish`` and ``retry``, workers with heartbeats. Its Python
worker and connectors are not: the worker is asyncio with a fixed concurrency, while our engine is threads under a limit that
changes live; its manager can claim, finish and beat only through async connectors; and no connector lets a claim and our own
recording row share a transaction. Called plainly on our connections, they do.
"""

from __future__ import annotations

from importlib import resources

from gainstage.engine.queue.rows import Link

LOCK = 7_404_118_002
"""Advisory lock of whoever applies the schema."""

_UNUSED = (
    "procrastinate_trigger_status_events_insert_v1",
    "procrastinate_trigger_status_events_update_v1",
    "procrastinate_trigger_scheduled_events_v1",
    "procrastinate_jobs_notify_queue_job_inserted_v1",
)
"""Triggers that keep a history and send notes which nobody reads: three rows to write and to remove for each recording."""


def ensure(connection: Link) -> bool:
    """Create procrastinate's tables and functions in the first schema of the search path unless they stand; says whether it did.

    Runs inside the caller's transaction. Raises ``psycopg.Error`` where the role may not create tables.
    """
    if _stands(connection):
        return False
    connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])
    if _stands(connection):
        return False
    script = (resources.files("procrastinate.sql") / "schema.sql").read_text("utf-8")
    connection.execute(script)
    # Its own index is partial on status, which the foreign key's "set null" cannot use when a worker goes.
    connection.execute("create index procrastinate_jobs_worker on procrastinate_jobs (worker_id) where worker_id is not null")
    connection.execute(
        "alter table procrastinate_jobs set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)"
    )
    for trigger in _UNUSED:
        connection.execute(f"alter table procrastinate_jobs disable trigger {trigger}")
    return True


def _stands(connection: Link) -> bool:
    # Not to_regclass(): it may answer from a cache that is older than the lock just waited for.
    query = "select exists (select from pg_class where relname = 'procrastinate_jobs' and relnamespace = current_schema()::regnamespace)"
    return connection.execute(query).fetchall()[0][0] is True

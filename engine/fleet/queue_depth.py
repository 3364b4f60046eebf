"""How much there is to do, for whoever decides how many engines there should be."""

from __future__ import annotations

import psycopg

from gainstage.engine.store.migrate import SCHEMA

QUERY = f"select coalesce(sum(recordings), 0)::int from {SCHEMA}.recording_tally where status in ('queued', 'running')"


def queue_depth(url: str) -> int | None:
    """Recordings that wait or run; None where the database does not answer."""
    try:
        with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
            row = connection.execute(QUERY.encode()).fetchone()
    except psycopg.Error:
        return None
    return int(row[0]) if row else None

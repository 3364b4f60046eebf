"""How many recordings stand where, in well under a millisecond at any size of the table."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.engine.queue.rows import Link
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Status

FOLD_ABOVE = 400
"""Rows of differences from which folding them together pays."""

_QUARTER = "case when quarter >= now() - interval '2 days' then quarter end"
"""A quarter of an hour that may still be of today, anywhere."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Recordings per status; ``retrying`` are those of ``queued`` that wait for their next try. Seconds are of audio;
    ``audio_left_s`` covers queued and running, of which ``unknown`` have no known duration yet.
    """

    queued: int = 0
    running: int = 0
    stored: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    retrying: int = 0
    audio_done_s: float = 0.0
    audio_left_s: float = 0.0
    unknown: int = 0

    @property
    def total(self) -> int:
        return self.queued + self.running + self.stored + self.failed + self.skipped + self.cancelled

    @property
    def audio_left_estimate_s(self) -> float | None:
        """Seconds of audio not stored yet; what has no known length counts as the mean of what is stored, None without one."""
        if not self.unknown:
            return self.audio_left_s
        return self.audio_left_s + self.unknown * self.audio_done_s / self.stored if self.stored else None


def read_counts(connection: Link) -> QueueCounts:
    """The counts of this moment (one statement, so they belong together)."""
    rows = connection.execute(
        """
        select status, sum(recordings)::bigint, sum(seconds), sum(unknown)::bigint from recording_tally group by status
        union all
        select 'retrying', count(*), 0, 0 from recording where status = 'queued' and next_try is not null
        """
    ).fetchall()
    number = {status: int(n) for status, n, _, _ in rows}
    seconds = {status: max(0.0, float(s)) for status, _, s, _ in rows}
    unknown = {status: int(u) for status, _, _, u in rows}
    return QueueCounts(
        **{s.value: number.get(s, 0) for s in Status},
        retrying=number.get("retrying", 0),
        audio_done_s=seconds.get(Status.STORED, 0.0),
        audio_left_s=seconds.get(Status.QUEUED, 0.0) + seconds.get(Status.RUNNING, 0.0),
        unknown=unknown.get(Status.QUEUED, 0) + unknown.get(Status.RUNNING, 0),
    )


def fold_tally(db: Database) -> int:
    """Fold the rows of differences into one per status, run and quarter of an hour when there are many; says how many went. Any
    engine may, at any time.
    """
    with db.transaction() as connection:
        row = connection.execute(
            f"select count(*), (select count(*) from (select distinct status, run, {_QUARTER} from recording_tally) as each)"
            " from recording_tally"
        ).fetchone()
        if row is None or row[0] <= FOLD_ABOVE + row[1]:
            return 0
        done = connection.execute(
            f"""
            with picked as (select ctid from recording_tally for update skip locked),
            gone as (delete from recording_tally t using picked where t.ctid = picked.ctid returning t.*)
            insert into recording_tally (status, recordings, seconds, unknown, run, quarter)
            select status, sum(recordings), sum(seconds), sum(unknown), run, {_QUARTER} from gone group by status, run, {_QUARTER}
            having sum(recordings) <> 0 or sum(seconds) <> 0 or sum(unknown) <> 0
            """
        )
        return int(row[0]) - done.rowcount

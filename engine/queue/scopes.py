"""What a console may look at (a run, today, everything), counted in one statement so that the figures belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gainstage.engine.queue.counts import QueueCounts
from gainstage.engine.queue.rows import Link
from gainstage.engine.terms import Status
from gainstage.engine.views.snapshot import ScopeName, ScopeView

_COUNTS = """
with tally as materialized (
  select run, status, sum(recordings) as n, greatest(sum(seconds), 0) as seconds, sum(unknown) as unknown
  from recording_tally group by run, status
),
at_hand as (
  select coalesce(
    (select id from run where id = %(run)s),
    (select min(run) from tally where status = 'running' and n > 0),
    (select min(run) from tally where status = 'queued' and n > 0),
    (select max(run) from tally where n > 0)
  ) as id
)
select part, status, sum(n)::bigint, sum(seconds)::float8, sum(unknown)::bigint from (
  select 'all' as part, status, n, seconds, unknown from tally
  union all select 'run', status, n, seconds, unknown from tally, at_hand where run = at_hand.id
  union all select 'run', status, 1, coalesce(duration, 0), 0 from run_past, at_hand where run = at_hand.id
  union all select 'ahead', status, n, seconds, unknown from tally, at_hand where run < at_hand.id and status in ('queued', 'running')
  union all select 'today', status, n, seconds, unknown from tally where status in ('queued', 'running')
  union all select 'today', status, recordings, seconds, unknown from recording_tally where quarter >= %(midnight)s
  union all select 'today', status, 1, coalesce(duration, 0), 0 from run_past
    where ended >= %(midnight)s and status not in ('queued', 'running')
  union all select 'all', 'retaken', 1, coalesce(duration, 0), 0 from run_past where status = 'stored'
  union all select 'all', 'retrying', 1, 0, 0 from recording where status = 'queued' and next_try is not null
  union all select 'today', 'retrying', 1, 0, 0 from recording where status = 'queued' and next_try is not null
  union all select 'run', 'retrying', 1, 0, 0 from recording, at_hand
    where run = at_hand.id and status = 'queued' and next_try is not null
) as each group by part, status
union all select 'at hand', id::text, 0, 0, 0 from at_hand
"""

_RUN = """
select r.name, extract(epoch from r.began)::float8, r.work_s,
  (select extract(epoch from max(case when m.status = 'stored' then m.stored else m.changed end))::float8
   from recording m where m.run = r.id)
from run r where r.id = %s
"""

_DAYS = "select sum(work_s) filter (where day = %s), sum(work_s), (select count(*) from engine_alive) from work_day"


@dataclass(frozen=True, slots=True)
class Scopes:
    """Counts of everything, the views of the three scopes, and what is to be done before the rest of the run (its queue included);
    ``engines`` that live.
    """

    total: QueueCounts
    views: tuple[ScopeView, ...]
    ahead: QueueCounts
    engines: int = 0


def read_scopes(connection: Link, *, run: int | None = None, now: datetime | None = None) -> Scopes:
    """The scopes at ``now`` (else this moment by this machine's clock), today in its time zone. The run at hand is ``run``, else the
    oldest being worked on, else the next, else the newest.
    """
    midnight = (now or datetime.now().astimezone()).replace(hour=0, minute=0, second=0, microsecond=0)
    parts: dict[str, dict[str, tuple[int, float, int]]] = {"all": {}, "run": {}, "ahead": {}, "today": {}}
    at_hand: int | None = None
    for part, status, n, seconds, unknown in connection.execute(_COUNTS, {"run": run, "midnight": midnight}):
        if part == "at hand":
            at_hand = None if status is None else int(status)
        else:
            parts[part][status] = int(n), float(seconds), int(unknown)
    counts = {part: _counts(of) for part, of in parts.items()}
    day_s, all_s, engines = connection.execute(_DAYS, [midnight.date()]).fetchone() or (None, None, 0)
    views = [
        _view("today", "today", None, counts["today"], midnight.timestamp(), None, day_s),
        _view("all", "all", None, counts["all"], None, None, all_s, parts["all"].get("retaken", (0, 0.0, 0))[1]),
    ]
    row = connection.execute(_RUN, [at_hand]).fetchone() if at_hand is not None else None
    if row is not None:
        name, began, work_s, ended = row
        left = counts["run"].queued + counts["run"].running
        views.insert(0, _view("run", name, at_hand, counts["run"], began, None if left else ended, work_s))
    both = {
        status: _plus(parts["ahead"].get(status), parts["run"].get(status))
        for status in (Status.QUEUED.value, Status.RUNNING.value)
    }
    return Scopes(counts["all"], tuple(views), _counts(both), int(engines))


def _plus(a: tuple[int, float, int] | None, b: tuple[int, float, int] | None) -> tuple[int, float, int]:
    (n, seconds, unknown), (m, more, also) = a or (0, 0.0, 0), b or (0, 0.0, 0)
    return n + m, seconds + more, unknown + also


def _counts(of: Mapping[str, tuple[int, float, int]]) -> QueueCounts:
    def figure(status: Status) -> tuple[int, float, int]:
        return of.get(status.value, (0, 0.0, 0))

    queued, running = figure(Status.QUEUED), figure(Status.RUNNING)
    return QueueCounts(
        **{s.value: figure(s)[0] for s in Status},
        retrying=of.get("retrying", (0, 0.0, 0))[0],
        audio_done_s=figure(Status.STORED)[1],
        audio_left_s=queued[1] + running[1],
        unknown=queued[2] + running[2],
    )


def _view(
    name: ScopeName,
    title: str,
    run: int | None,
    c: QueueCounts,
    since: float | None,
    ended: float | None,
    work_s: Any,
    retaken_s: float = 0.0,
) -> ScopeView:
    return ScopeView(
        name=name,
        title=title,
        run=run,
        since_wall=since,
        ended_wall=ended,
        queued=c.queued,
        running=c.running,
        stored=c.stored,
        failed=c.failed,
        skipped=c.skipped,
        cancelled=c.cancelled,
        retrying=c.retrying,
        audio_done_s=c.audio_done_s,
        audio_left_s=c.audio_left_estimate_s,
        work_s=None if work_s is None else round(float(work_s), 1),
        audio_taken_s=c.audio_done_s + retaken_s,
    )

"""Runs: made when a command or a listing brings recordings in, counted, and given the time and energy of their work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from psycopg.sql import SQL

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.queue.rows import Link, plain
from gainstage.engine.store.database import Database
from gainstage.engine.views.runs import RunRow

NAME_CHARS = 80

COUNTED_S = 0.5
"""Time with work is not counted again for this long where the caller may wait."""

_COUNTED = "select 1 from work_day where day = %s and worked_at > clock_timestamp() - make_interval(secs => %s)"

_COUNTS = SQL("""
select member.run, member.status, sum(member.n)::bigint as n, sum(member.seconds)::float8 as seconds
from (
  select run, status, sum(recordings) as n, sum(seconds) as seconds from recording_tally where {} group by run, status
  union all
  select run, status, count(*), coalesce(sum(duration), 0) from run_past where {} group by run, status
) as member
group by member.run, member.status
""")

_ROWS = SQL("""
with counts as ({counts}),
by_run as (
  select run,
    coalesce(max(n) filter (where status = 'queued'), 0) as queued, coalesce(max(n) filter (where status = 'running'), 0) as running,
    coalesce(max(n) filter (where status = 'stored'), 0) as stored, coalesce(max(n) filter (where status = 'failed'), 0) as failed,
    coalesce(max(n) filter (where status = 'skipped'), 0) as skipped,
    coalesce(max(n) filter (where status = 'cancelled'), 0) as cancelled,
    coalesce(max(seconds) filter (where status = 'stored'), 0) as done_s,
    coalesce(sum(seconds) filter (where status in ('queued', 'running')), 0) as left_s
  from counts group by run
)
select r.id, r.name, r.kind, r.sources, extract(epoch from r.added)::float8, extract(epoch from r.began)::float8,
  case when c.queued + c.running = 0 then extract(epoch from greatest(
    (select max(case when m.status = 'stored' then m.stored else m.changed end) from recording m where m.run = r.id),
    (select max(p.ended) from run_past p where p.run = r.id)
  ))::float8 end,
  r.work_s, r.energy_j, c.queued::int, c.running::int, c.stored::int, c.failed::int, c.skipped::int, c.cancelled::int,
  (select count(*) from recording m where m.run = r.id and m.status = 'queued' and m.next_try is not null)::int,
  greatest(c.done_s, 0), greatest(c.left_s, 0)
from run r join by_run c on c.run = r.id
where c.queued + c.running + c.stored + c.failed + c.skipped + c.cancelled > 0
order by r.id desc limit %(limit)s
""")


def make(connection: Link, kind: str, sources: Sequence[str], *, name: str | None = None, subscription: int | None = None) -> int:
    """A new run; its number. Without ``name`` it is made from the first source and the time; a name in use gets a number."""
    wanted = clean_text(name, NAME_CHARS).strip() if name else default_name(sources, kind)
    free = wanted
    for n in range(2, 10_000):
        row = connection.execute(
            "insert into run (name, kind, sources, subscription) values (%s, %s, %s, %s) on conflict (name) do nothing returning id",
            [plain(free), kind, [plain(source) for source in sources], subscription],
        ).fetchone()
        if row is not None:
            return int(row[0])
        free = f"{wanted} ({n})"
    raise Permanent(f"the name {wanted!r} is in use", cause="name in use", hint="Give another --name.")


def open_of(connection: Link, subscription: int) -> int | None:
    """The run of a followed source that is not done yet."""
    row = connection.execute(
        "select r.id from run r where r.subscription = %s and exists"
        " (select 1 from recording m where m.run = r.id and m.status in ('queued', 'running')) order by r.id desc limit 1",
        [subscription],
    ).fetchone()
    return None if row is None else int(row[0])


def keep_or_forget(connection: Link, run: int) -> bool:
    """Take a run away that brought nothing in; False then."""
    gone = connection.execute(
        "delete from run where id = %s and not exists (select 1 from recording where run = %s)"
        " and not exists (select 1 from run_past where run = %s)",
        [run, run, run],
    )
    return not gone.rowcount


def default_name(sources: Sequence[str], kind: str, now: float | None = None) -> str:
    """``interviews 2026-11-25 23:54``: the first source in short, how many more there are, and the time."""
    first = _short(sources[0]) if sources else kind
    more = f" +{len(sources) - 1}" if len(sources) > 1 else ""
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
    return f"{clean_text(first, NAME_CHARS - 24)}{more} {at}"


def _short(source: str) -> str:
    parts = urlsplit(source)
    if parts.scheme in ("http", "https") and parts.hostname:
        path = parts.path.strip("/")
        return f"{parts.hostname.removeprefix('www.')}/{path}" if path else parts.hostname
    return PurePath(source).name or source


def list_runs(connection: Link, *, limit: int = 100, ids: Sequence[int] | None = None) -> tuple[RunRow, ...]:
    """Runs, newest first; those that hold nothing any more are left out."""
    which = SQL("run = any(%(ids)s)") if ids is not None else SQL("run is not null")
    query = _ROWS.format(counts=_COUNTS.format(which, which))
    values: dict[str, Any] = {"limit": limit, "ids": list(ids or ())}
    return tuple(RunRow(*_row(row)) for row in connection.execute(query, values).fetchall())


def _row(row: Sequence[Any]) -> list[Any]:
    return [*row[:3], tuple(row[3]), *row[4:]]


def find(connection: Link, text: str | None = None) -> RunRow:
    """The run with this number or name, else the newest whose name begins so; the newest of all without ``text``.

    Raises :class:`Permanent` when there is none.
    """
    if text is None:
        row = connection.execute("select max(run) from recording").fetchone()
        ids = [row[0]] if row and row[0] is not None else []
    else:
        ids = [
            id
            for (id,) in connection.execute(
                "select id from run where name = %(text)s or id::text = %(text)s order by id::text = %(text)s desc",
                {"text": plain(text)},
            )
        ] or [id for id, _ in begin_with(connection, text)]
    runs = {run.id: run for run in list_runs(connection, ids=ids)}
    first = next((runs[id] for id in ids if id in runs), None)
    if first is None:
        raise Permanent(
            "there is no run yet" if text is None else f"no run {clean_text(text, 80)!r}",
            cause="no such run",
            hint="`gainstage runs` lists them.",
        )
    return first


def begin_with(connection: Link, text: str) -> tuple[tuple[int, str], ...]:
    """Number and name of the runs whose name begins so, newest first; none where ``text`` is the number or the name of one."""
    rows = connection.execute(
        "select id, name from run where starts_with(name, %(text)s)"
        " and not exists (select 1 from run where name = %(text)s or id::text = %(text)s) order by id desc limit 100",
        {"text": plain(text)},
    ).fetchall()
    return tuple((int(id), str(name)) for id, name in rows)


def count_work(
    db: Database,
    runs: Iterable[int],
    elapsed_s: float,
    *,
    energy_j: float | None = None,
    today: date | None = None,
    may_wait: bool = False,
) -> bool:
    """Add the time since the last call to the runs that have recordings in flight in this engine, and to the day.

    With several engines a second is counted once: at most the time since any of them last counted. ``energy_j`` is divided
    between the runs. False where the caller ``may_wait`` and another engine counted within :data:`COUNTED_S`: its time and energy are
    then those of its next call, so that a thousand engines do not queue for one row. Raises
    :class:`gainstage.engine.errors.Transient` in an outage.
    """
    ids = sorted(set(runs))
    if not ids or elapsed_s <= 0:
        return True
    passed = SQL("least(%(elapsed)s, coalesce(extract(epoch from clock_timestamp() - {}.worked_at)::float8, %(elapsed)s))")
    energy = SQL(
        "energy_j = case when %(energy)s::float8 is null then {t}.energy_j else coalesce({t}.energy_j, 0) + %(energy)s end"
    )
    day = today or date.today()
    with db.transaction() as connection:
        if may_wait and connection.execute(_COUNTED, [day, COUNTED_S]).fetchone() is not None:
            return False
        connection.execute("set local synchronous_commit = off")
        connection.execute(
            SQL("update run set work_s = run.work_s + {}, {}, worked_at = clock_timestamp() where id = any(%(ids)s)").format(
                passed.format(SQL("run")), energy.format(t=SQL("run"))
            ),
            {"ids": ids, "elapsed": elapsed_s, "energy": None if energy_j is None else energy_j / len(ids)},
        )
        connection.execute(
            SQL(
                "insert into work_day (day, worked_at, work_s, energy_j) values (%(day)s, clock_timestamp(), %(elapsed)s, %(energy)s)"
                " on conflict (day) do update set work_s = work_day.work_s + {}, {}, worked_at = clock_timestamp()"
            ).format(passed.format(SQL("work_day")), energy.format(t=SQL("work_day"))),
            {"day": day, "elapsed": elapsed_s, "energy": energy_j},
        )
    return True

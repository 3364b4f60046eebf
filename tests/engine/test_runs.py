"""Runs: what each brought in, its counts, its time, its end; and those made for databases from before there were runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from gainstage.engine.errors import Permanent
from gainstage.engine.queue import runs
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.counts import fold_tally
from gainstage.engine.queue.scopes import read_scopes
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.enqueue import Origin, enqueue
from gainstage.engine.store.checks import vector_schema
from gainstage.engine.store.database import Database
from gainstage.engine.store.migrate import migrate, store_migrations
from gainstage.engine.views.scopes import scope_of, scoped
from gainstage.engine.views.snapshot import Snapshot
from tests.engine.engine_kit import make_engine, running
from tests.queue_kit import job_queue, recordings, store, until


def choice(*numbers: int) -> Choice:
    return Choice(tuple(recordings(max(numbers) + 1)[n] for n in numbers), (), len(numbers))


def newest(engine: Engine) -> Snapshot | None:
    history = engine.threads.publisher.history
    return history[-1] if history else None


def test_a_run_has_its_own_counts_time_and_end(database: Database) -> None:
    backlog, queue = Backlog(database), job_queue(database)
    first = enqueue(backlog, choice(0, 1, 2), Origin("run", ("/talks/interviews",))).run
    second = enqueue(backlog, choice(3, 4), Origin("add", ("https://www.example.org/feed.xml", "b"), "the second")).run
    assert first is not None
    assert second is not None
    with database.connection() as connection:
        row = runs.find(connection, str(first))
        assert row.name.startswith("interviews 20")
        assert row.progress == "waiting"
        assert (row.queued, row.total) == (3, 3)
        assert runs.find(connection, "the s").id == second
    for _ in range(3):
        claim = queue.take()
        assert claim is not None
        assert claim.run == first
        store(database, queue, claim)
    runs.count_work(database, [first], 30.0, energy_j=600.0)
    with database.connection() as connection:
        row = runs.find(connection, str(first))
        assert (row.stored, row.left, row.progress, row.audio_done_s) == (3, 0, "done", 180.0)
        assert row.rtfx == pytest.approx(6.0)
        assert row.energy_j == 600.0
        assert row.added_wall <= (row.began_wall or 0) <= (row.ended_wall or 0)
        assert [r.id for r in runs.list_runs(connection)] == [second, first]
        views = {scope.name: scope for scope in read_scopes(connection).views}
    assert (views["run"].run, views["run"].title, views["run"].queued) == (second, "the second", 2)
    assert (views["all"].stored, views["all"].queued, views["today"].stored) == (3, 2, 3)


def test_a_recording_taken_again_stays_in_the_account_of_its_first_run(database: Database) -> None:
    backlog, queue = Backlog(database), job_queue(database)
    first = enqueue(backlog, choice(0, 1), Origin("run", ("a",))).run
    for _ in range(2):
        claim = queue.take()
        assert claim is not None
        store(database, queue, claim)
    second = enqueue(backlog, choice(0, 1, 2), Origin("run", ("b",)), force=True).run
    assert second is not None
    fold_tally(database)
    with database.connection() as connection:
        old, new = runs.find(connection, str(first)), runs.find(connection, str(second))
        assert (old.stored, old.total, new.queued, new.total) == (2, 2, 3, 3)
        assert old.ended_wall is not None
        assert new.ended_wall is None
        views = {scope.name: scope for scope in read_scopes(connection, run=first).views}
        tomorrow = datetime.now().astimezone() + timedelta(days=1)
        later = {scope.name: scope for scope in read_scopes(connection, now=tomorrow).views}["today"]
    assert (views["run"].stored, views["run"].queued) == (2, 0)
    assert (views["today"].stored, views["today"].queued) == (2, 3), "what ended today did so, whatever took it again"
    assert views["today"].audio_done_s == 120.0
    assert (later.stored, later.queued) == (0, 3)
    assert (views["all"].stored, views["all"].audio_done_s, views["all"].audio_taken_s) == (0, 0.0, 120.0)
    assert backlog.counts().total == 3


def test_what_is_known_already_makes_no_run_and_a_retry_stays_in_its_run(database: Database) -> None:
    backlog = Backlog(database)
    run = enqueue(backlog, choice(0, 1), Origin("run", ("a",))).run
    assert enqueue(backlog, choice(0, 1), Origin("run", ("a",))).run is None
    backlog.cancel(["r0000"])
    backlog.retry(["r0000"])
    with database.connection() as connection:
        assert [row.id for row in runs.list_runs(connection)] == [run]
        assert runs.find(connection).queued == 2


def test_a_followed_source_goes_on_with_its_run_until_that_is_done(database: Database) -> None:
    backlog, queue = Backlog(database), job_queue(database)
    origin = Origin("follow", ("/inbox",), subscription=7)
    first = enqueue(backlog, choice(0), origin).run
    assert enqueue(backlog, choice(1), origin).run == first
    for _ in range(2):
        claim = queue.take()
        assert claim is not None
        store(database, queue, claim)
    assert enqueue(backlog, choice(2), origin).run not in (first, None)


def test_names_are_told_apart_and_found_by_their_start(database: Database) -> None:
    backlog = Backlog(database)
    first = enqueue(backlog, choice(0), Origin("run", ("x",), "talks")).run
    second = enqueue(backlog, choice(1), Origin("run", ("x",), "talks")).run
    with database.connection() as connection:
        assert [row.name for row in runs.list_runs(connection)] == ["talks (2)", "talks"]
        with pytest.raises(Permanent, match="no run"):
            runs.find(connection, "nothing")
        assert runs.find(connection, "tal").id == second, "the newest of several that begin so"
        assert runs.begin_with(connection, "tal") == ((second, "talks (2)"), (first, "talks"))
        assert runs.find(connection, "talks").id == first
        assert runs.begin_with(connection, "talks") == (), "a whole name is one run's"
        assert runs.find(connection, str(second)).name == "talks (2)"
        assert runs.default_name(["https://www.youtube.com/@somebody"], "add", 0.0).startswith("youtube.com/@somebody 19")
        assert runs.default_name(["/a/b/talk.mp3", "c"], "add", 0.0).startswith("talk.mp3 +1 19")


def test_a_second_in_which_two_engines_work_is_counted_once(database: Database) -> None:
    run = enqueue(Backlog(database), choice(0), Origin("run", ("a",))).run
    assert run is not None
    runs.count_work(database, [run], 10.0)
    for _ in range(5):
        runs.count_work(database, [run], 10.0)  # "another engine", at once
    with database.connection() as connection:
        assert runs.find(connection).work_s == pytest.approx(10.0, abs=1.0)
        (day,) = connection.execute("select work_s from work_day where day = %s", [date.today()]).fetchall()[0]
    assert day == pytest.approx(10.0, abs=1.0)


def test_recordings_from_before_there_were_runs_become_runs(bare_database_url: str, tmp_path: Path) -> None:
    """An older version's database with two imports, hours apart, opened by this version."""
    with psycopg.connect(bare_database_url, autocommit=True) as connection:
        schema = vector_schema(connection, "here")
        connection.execute("select set_config('search_path', %s, false)", [f"gainstage,{schema},public"])
        migrate(connection, [m for m in store_migrations() if m.number < 60])
        connection.execute(
            "insert into recording (id, key, source, title, duration, added)"
            " select 'r' || n, 'k' || n, 's', 't', 60, now() - case when n < 2 then interval '5 hours' else interval '0' end"
            " from generate_series(0, 4) as n"
        )
        spans = [
            {"stage": "fetch", "start_wall": 1000, "wait_s": 1, "service_s": 9},
            {"stage": "decode", "start_wall": 1005, "wait_s": 0, "service_s": 15},
            {"stage": "store", "start_wall": 1100, "wait_s": 5, "service_s": None},
        ]
        connection.execute("update recording set status = 'stored', stored = now(), spans = %s where id = 'r0'", [Jsonb(spans)])
    with Database.open(bare_database_url, tmp_path) as database:
        with database.connection() as connection:
            late, early = runs.list_runs(connection)
            assert (early.total, early.stored, late.total, early.kind) == (2, 1, 3, "earlier")
            assert (early.began_wall, early.work_s) == (1000.0, 25.0)
            assert early.name.startswith("earlier 1, 20")
            assert late.work_s == 0.0
            assert connection.execute("select sum(work_s) from work_day").fetchone() == (25.0,)
            assert runs.make(connection, "run", ["x"]) == late.id + 1
        assert Backlog(database).counts().total == 5


def test_today_is_what_ended_since_midnight_and_what_is_still_to_do(database: Database) -> None:
    backlog, queue = Backlog(database), job_queue(database)
    backlog.add(recordings(3))
    claim = queue.take()
    assert claim is not None
    store(database, queue, claim)
    with database.connection() as connection:
        connection.execute("update recording set stored = now() where status = 'stored'")
        today = {s.name: s for s in read_scopes(connection).views}["today"]
        tomorrow = datetime.now().astimezone() + timedelta(days=1)
        later = {s.name: s for s in read_scopes(connection, now=tomorrow).views}["today"]
    assert (today.stored, today.queued, later.stored, later.queued) == (1, 2, 0, 2)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9, minutes=-30))])
def test_today_is_what_the_rows_say_in_every_time_zone_and_after_folding(database: Database, zone: timezone) -> None:
    """Ended every 20 minutes over the last three days; some are named again, some taken again, some deleted."""
    count, now = 216, datetime.now(zone)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    Backlog(database).add(recordings(count))
    steps = (
        "update recording set status = (array['stored', 'failed', 'skipped', 'cancelled'])[1 + right(id, 3)::int % 4], "
        "changed = now() - right(id, 3)::int * interval '20 minutes', "
        "stored = case when right(id, 3)::int % 4 = 0 then now() - right(id, 3)::int * interval '20 minutes' end",
        "update recording set changed = now() where right(id, 3)::int % 7 = 0",
        "update recording set status = 'queued', changed = now() where right(id, 3)::int % 11 = 0",
        "delete from recording where right(id, 3)::int % 13 = 0",
    )
    for step in steps:
        with database.connection() as connection:
            connection.execute(step)
            connection.execute("insert into recording_tally select 'stored', 0, 0, 0 from generate_series(1, 500)")
        fold_tally(database)
        with database.connection() as connection:
            today = {s.name: s for s in read_scopes(connection, now=now).views}["today"]
            rows = connection.execute(
                "select status, count(*)::int from recording where status = 'queued' or status <> 'stored' and changed >= %(m)s "
                "or status = 'stored' and stored >= %(m)s group by status",
                {"m": midnight},
            )
            right = dict(rows.fetchall())
        shown = {name: getattr(today, name) for name in ("queued", "stored", "failed", "skipped", "cancelled")}
        assert shown == {name: right.get(name, 0) for name in shown}, step


def test_a_live_engine_judges_each_scope(database: Database, tmp_path: Path) -> None:
    """An old run with failures must not be in the new run's counts, verdict or title."""
    engine = make_engine(database, tmp_path)
    backlog = Backlog(database)
    old = [replace(r, extra={**r.extra, "fail": "decode"}) for r in simulated_recordings(3, seed=1)]
    enqueue(backlog, Choice(tuple(old), (), 3), Origin("run", ("old",), "old"))
    with running(engine):
        until(lambda: backlog.counts().queued + backlog.counts().running == 0)
        fresh = tuple(replace(r, id=f"n{r.id}", key=f"n{r.key}") for r in simulated_recordings(6, seed=2, scale=8.0))
        enqueue(backlog, Choice(fresh, (), 6), Origin("run", ("new",), "new"))
        until(lambda: (s := newest(engine)) is not None and (v := scope_of(s, "run")) and v.title == "new" and v.stored == 6)
        frame = newest(engine)
        assert frame is not None
        run, all_of_it = scoped(frame, "run"), scoped(frame, "all")
        assert (run.run.stored, run.run.failed, run.run.source) == (6, 0, "new")
        assert (all_of_it.run.stored, all_of_it.run.failed, run.verdict.health) == (6, 3, "done")
        assert run.verdict.reason == "6 stored, 0 failed, 0 skipped"
        assert run.run.rtfx_overall is not None

"""kill -9 in the stages that go on where they ended, and in a redo: what is kept is right, and nothing of it stays behind."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.flow.work_folder import WorkFolders
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.schema import ensure
from gainstage.engine.runtime.demo import demo_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from tests.chaos import kill_targets as targets
from tests.chaos.kill_targets import SAID, kill_again_and_again
from tests.chaos.kit import Witness, cared_for, kills, standing, wait_for, work_left
from tests.chaos.test_demo_kill import LONG, after, at_work, demo, said
from tests.engine.store_kit import recording, segments, store

KILLS = kills(12, 200)
REDO_STAGES = ("transcribe", "diarize", "identify", "segment", "embed")


def test_results_kept_in_a_work_folder_are_right_after_every_kill_and_go_with_the_work(tmp_path: Path) -> None:
    draw, root, sizes = random.Random(7), tmp_path / "work", []

    def look() -> None:
        result = tmp_path / "result"
        if result.exists():  # one attempt came to its end
            assert result.read_text() == targets.kept_digest()
            result.unlink()
        for file in root.glob("talk/*.kept"):
            copy = tmp_path / file.name
            shutil.copyfile(file, copy)
            with KeptResults(copy, {"of": file.stem}) as kept:
                found = [n for n in range(targets.KEPT) if (payload := kept.get(targets.kept_key(n))) is not None]
                assert found == list(range(len(found))), "in the order they were computed, none left out"
                assert all(kept.get(targets.kept_key(n)) == targets.kept_payload(file.stem, n) for n in found[-3:]), payload
                sizes.append(len(found))
        if draw.random() < 0.3:
            WorkFolders(root).sweep(list)
        if draw.random() < 0.05:  # a recording that nobody will try again
            WorkFolders(root).sweep()
            assert work_left(tmp_path) == []

    met = kill_again_and_again(targets.keep_results, (str(tmp_path),), KILLS, draw, 1.2, look)
    print(f"{met} kills met it at work; at most {max(sizes, default=0)} results of {targets.KEPT} were found kept")
    assert met > 0
    targets.keep_results(str(tmp_path))
    look()
    assert work_left(tmp_path) == []


def test_a_redo_killed_while_it_is_queued_is_queued_whole_or_not_at_all(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    target, ids = RecordingStore(database), [recording(n).id for n in range(40)]
    for n in range(40):
        store(target, recording(n), segments(SAID))
    with database.transaction() as connection:
        ensure(connection)
    states = set()

    def look() -> None:
        with database.transaction() as connection:
            rows = connection.execute(
                "select r.status, r.extra ->> 'redo', count(j.id), r.stored is not null,"
                " (select count(*) from segment s where s.recording = r.id) from recording r"
                " left join procrastinate_jobs j on j.args ->> 'recording' = r.id group by r.id, r.status order by r.id"
            ).fetchall()
            assert len(rows) == len(ids)
            assert len(set(rows)) == 1, "all of them or none"
            status, stage, jobs, stored, passages = rows[0]
            assert (status, stage, jobs) in (("stored", None, 0), ("queued", "embed", 1)), rows[0]
            assert (stored, passages) == (True, SAID), "the old result is served"
            states.add(status)
            connection.execute("update recording set status = 'stored', job = null, extra = extra - 'redo'")
            connection.execute("delete from procrastinate_jobs")

    met = kill_again_and_again(targets.redo_stored, (database_url, str(tmp_path), ids), KILLS, random.Random(8), 1.0, look)
    assert met == KILLS
    assert Backlog(database).redo(ids, "embed") == len(ids)
    look()
    assert "queued" in states


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not LONG and kills(0, 0) == 0, reason="minutes of real models: GAINSTAGE_LONG_CHAOS=1 or GAINSTAGE_KILLS")
def test_an_engine_killed_while_it_does_stages_again_ends_with_what_was_stored(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    recordings, queue, draw = demo_recordings(), Backlog(database), random.Random(9)
    ids = [r.id for r in recordings]
    queue.add(recordings)
    with cared_for(calm := demo(tmp_path / "home", database_url)):
        assert calm.wait(600) == 0, calm.tail()
    expected = {id: list(said(database, id)) for id in ids}
    from gainstage.engine.desk.postgres import PostgresDesk

    desk, met = PostgresDesk(database), 0
    for number in range(kills(4, 30)):
        stage = REDO_STAGES[number % len(REDO_STAGES)]
        queue.redo(ids, stage)
        with cared_for(engine := demo(tmp_path / "home", database_url)):
            wait_for(lambda e=engine: at_work(desk, e) or e.process.poll() is not None, "work", 300)
            wait_for(after(draw.uniform(0.0, 1.5)), "the moment")
            met += engine.process.poll() is None
            engine.kill()
        assert all(list(said(database, id)) for id in ids), "what was stored is served meanwhile"
        print(f"kill {number + 1} in {stage}: {standing(database)}", flush=True)
    with cared_for(last := demo(tmp_path / "home", database_url)):
        assert last.wait(600) == 0, last.tail()
    assert met > 0
    assert {id: list(said(database, id)) for id in ids} == expected
    assert standing(database) == {"stored": len(ids)}
    with database.connection() as connection:
        assert connection.execute("select count(*) from procrastinate_jobs where status in ('todo', 'doing')").fetchone() == (0,)
        assert connection.execute("select count(*) from recording where extra ? 'redo'").fetchone() == (0,)
        assert connection.execute(f"select count(*) from ({Witness.QUERY}) as partial").fetchone() == (0,)  # type: ignore[arg-type]
    assert work_left(tmp_path / "home") == []

"""A living engine's disk use is bounded: recorded runs by size and age, the log by size."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_kit import make_engine, queue, running
from psycopg import Connection
from psycopg.rows import TupleRow

from gainstage.engine.runtime.disk_use import trim_runs
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.recorder import records
from tests.queue_kit import until


def run_file(folder: Path, name: str, size: int, days: float) -> Path:
    path = folder / f"{name}.gsr"
    path.write_bytes(b"x" * size)
    at = time.time() - days * 86_400
    os.utime(path, (at, at))
    return path


def left(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.gsr"))


def test_old_runs_go_and_the_oldest_beyond_the_size_but_never_the_one_being_written(tmp_path: Path) -> None:
    for name, days in (("today", 0.1), ("week", 7), ("month", 29), ("year", 365)):
        run_file(tmp_path, name, 1000, days)
    assert trim_runs(tmp_path, 10_000, 30) == ("year.gsr",)
    assert trim_runs(tmp_path, 2000, 30) == ("month.gsr",)
    assert left(tmp_path) == ["today", "week"]
    assert trim_runs(tmp_path, 500, 30, writing=tmp_path / "today.gsr") == ("week.gsr",)
    assert left(tmp_path) == ["today"]


def test_an_engine_that_records_goes_on_in_new_files_and_keeps_within_the_bound(database: Database, tmp_path: Path) -> None:
    engine = make_engine(database, tmp_path, watch__record=True, watch__runs_bytes=40_000)
    with running(engine):
        queue(database, 200, scale=0.05)
        runs = tmp_path / "runs"
        until(lambda: len(left(runs)) >= 2, 120)
        first = left(runs)[0]
        engine.threads.housekeeping._trimmed_at = float("-inf")

        def bounded() -> bool:
            engine.threads.housekeeping._trimmed_at = float("-inf")
            return first not in left(runs)

        until(bounded, 120)
        writing = engine.threads.publisher.recording()
        assert writing is not None
        assert writing.exists()


def test_a_clock_that_is_put_back_costs_no_frame_and_no_finished_recording(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(database, tmp_path, watch__record=True)
    with running(engine):
        publisher, totals = engine.threads.publisher, engine.context.totals
        until(lambda: publisher.frames > 2)
        before = publisher.recording()
        totals.stored(60.0)
        clock = time.time

        def round_trip(connection: Connection[TupleRow]) -> float:
            """The database's clock is this machine's and was put back with it: no offset between the two."""
            connection.execute("select 1")
            return 0.001

        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: clock() - 3600.0)
            patched.setattr(database.clock, "measure", round_trip)
            until(lambda: publisher.recording() not in (None, before))
            after = publisher.recording()
            assert after is not None
            until(lambda: len(frames(after)) >= 2)
            totals.stored(61.0)
            assert [f.audio_s for f in totals.finished()] == [61.0]
            walls = frames(after)
            assert walls == sorted(walls)
            assert walls[-1] < clock() - 3000.0


def frames(path: Path) -> list[float]:
    with path.open("rb") as file:
        return [record.wall for record in records(file) if record.kind in "KD"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_the_recording_of_a_run_and_no_figure(database: Database, tmp_path: Path) -> None:
    engine = make_engine(database, tmp_path, watch__record=True)
    with running(engine):
        publisher = engine.threads.publisher
        recorder = publisher._recorder
        assert recorder is not None
        whole, recorder._file = recorder._file, open("/dev/full", "wb")  # noqa: SIM115  (closed by the recorder)
        whole.close()
        until(lambda: publisher.recording() is None)
        frames = publisher.frames
        until(lambda: publisher.frames > frames + 2)
        texts = [event.text for event in engine.context.journal.after(0, 10_000).items]
    assert sum("not recorded any more" in text for text in texts) == 1
    assert [text for text in texts if "figures" in text] == []


def test_an_engines_start_sweeps_downloads_of_what_has_ended(database: Database, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    (partial / "gone").mkdir(parents=True)
    for name in ("gone.part", "gone.etag", "gone/fragment", "fresh.part"):
        (partial / name).write_text("half")
    day = time.time() - 2 * 86_400
    for path in (partial / "gone.part", partial / "gone.etag", partial / "gone"):
        os.utime(path, (day, day))
    with running(make_engine(database, tmp_path)):
        until(lambda: [path.name for path in partial.iterdir()] == ["fresh.part"])


LOG = """
import sys, time
from pathlib import Path
from gainstage.engine.runtime.disk_use import trim_log
log, now = Path(sys.argv[1]), time.time()
print("before " * 1000, flush=True)
assert trim_log(log, 1000, 5, now)
print("after", flush=True)
assert not trim_log(log, 1000, 5, now - 4 * 86_400)
"""


def test_the_log_of_a_living_engine_begins_anew_and_one_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("ab") as out:
        subprocess.run([sys.executable, "-c", LOG, str(log)], stdout=out, check=True)
    assert log.read_text() == "after\n"
    assert log.with_suffix(".log.1").read_text().startswith("before before")


AGED = """
import os, sys, time
from pathlib import Path
from gainstage.engine.runtime.disk_use import trim_log
log, day = Path(sys.argv[1]), 86_400
assert not trim_log(log, 1000, 5, time.time() - 6 * day), "an empty log has no age"
print("old", flush=True)
assert trim_log(log, 1000, 5, time.time() - 6 * day)
print("new", flush=True)
earlier = log.with_suffix(".log.1")
for days, there in ((4, True), (6, False)):
    os.utime(earlier, (time.time() - days * day,) * 2)
    assert not trim_log(log, 1000, 5, time.time())
    assert earlier.exists() == there
"""


def test_the_log_of_a_living_engine_has_an_age(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("ab") as out:
        subprocess.run([sys.executable, "-c", AGED, str(log)], stdout=out, check=True)
    assert log.read_text() == "new\n"

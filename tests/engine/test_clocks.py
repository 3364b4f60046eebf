"""A machine whose clock is an hour off the database's: what it writes and shows is by the database's clock, and it says so."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.engine.desk.merged import merge
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.doctor import checks
from gainstage.engine.errors import Throttled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue import changes
from gainstage.engine.sources.hosts import Hosts
from gainstage.engine.sources.subscriptions import Subscriptions
from gainstage.engine.store.database import Database
from gainstage.engine.views.rows import Query
from tests.cli_kit import environment, said
from tests.engine.engine_kit import make_engine, queue, running, statuses
from tests.queue_kit import until

HOUR_S = 3600.0
CLOSE_S = 30.0
"""Far above what a test machine takes, far below an hour."""

SIDES = pytest.mark.parametrize("shift_s", [HOUR_S, -HOUR_S], ids=["ahead", "behind"])

true_time = time.time


@pytest.fixture
def shifted(shift_s: float, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database as this process meets it while its clock is ``shift_s`` ahead."""
    monkeypatch.setattr(time, "time", lambda: true_time() + shift_s)
    with Database.open(database_url, tmp_path) as database:
        yield database


def is_now(wall: float | None) -> bool:
    return wall is not None and abs(wall - true_time()) < CLOSE_S


@SIDES
def test_the_offset_is_measured_and_said_above_seconds(
    shifted: Database, shift_s: float, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert shifted.clock.offset_s == pytest.approx(-shift_s, abs=CLOSE_S)
    assert is_now(shifted.clock.now())
    side = "ahead of" if shift_s > 0 else "behind"
    assert shifted.view().clock_trouble() == f"the engine's clock is 3,600 s {side} the database's"
    check = next(c for c in checks(Settings(), Paths.of(tmp_path), database_url=database_url) if c.name == "database")
    assert check.state == "warn"
    assert f"this machine's clock is 3,600 s {side} the database's" in check.text
    monkeypatch.setattr(time, "time", lambda: true_time() + 3.0)
    shifted.ping()
    assert shifted.clock.offset_s == pytest.approx(-3.0, abs=1.0)
    assert shifted.view().clock_trouble() is None


def test_clocks_that_agree_are_one_and_a_jump_within_a_round_trip_is_not_believed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        database.ping()
    assert database.clock.offset_s == 0.0
    jumps = itertools.chain([0.0], itertools.repeat(HOUR_S))
    monkeypatch.setattr(time, "time", lambda: true_time() + next(jumps))
    with database.connection() as connection:
        database.clock.measure(connection)
        assert database.clock.offset_s == 0.0
        database.clock.measure(connection)
    assert database.clock.offset_s == pytest.approx(-HOUR_S, abs=1.0)


@SIDES
def test_effects_ages_and_times_of_frames_are_right(shifted: Database, shift_s: float, tmp_path: Path) -> None:
    queue(shifted, 400, scale=1.0)
    engine = make_engine(shifted, tmp_path, workers__transcribe=1, in_flight=6)
    effects = engine.threads.change_effects
    effects.window_s, effects.settle_s, effects.least_s = 5.0, 0.5, 2.0
    desk = PostgresDesk(shifted)
    with running(engine):
        until(lambda: len(engine.threads.publisher.history) > 3 and engine.threads.publisher.history[-1].run.stored >= 8)
        changes.set_value(shifted, "workers.transcribe", 4, "test")
        row = until(lambda: (c := desk.changes()[0]).effect_text and not c.interim and c)
        frame = desk.snapshot()
        said_now = said("status", "--home", tmp_path, "--database", shifted._address)
    assert row.before is not None
    assert row.after is not None
    assert "audio/h" in (row.effect_text or "")
    assert "audio/h" in (row.predicted or "")
    assert frame is not None
    for wall in (frame.wall, frame.run.last_commit_wall, frame.run.started_wall, frame.run.state_since_wall, row.wall, desk.now()):
        assert is_now(wall), wall
    assert frame.verdict.health == "degraded"
    trouble = f"the engine's clock is 3,600 s {'ahead of' if shift_s > 0 else 'behind'} the database's"
    assert trouble in frame.verdict.reason
    assert trouble in said_now
    other = replace(frame, engine="another", database=replace(frame.database, clock_offset_s=0.0))
    assert merge([other, frame]).database.clock_offset_s == frame.database.clock_offset_s
    assert frame.verdict.forecast.left_s is None or frame.verdict.forecast.left_s < HOUR_S
    assert all(engine.heartbeat_age_s < CLOSE_S for engine in desk.engines())
    assert desk.now() - desk.recordings(Query(limit=1)).rows[0].changed_wall < CLOSE_S


@SIDES
def test_waits_are_by_the_databases_clock(shifted: Database, tmp_path: Path, database_url: str) -> None:
    subscriptions = Subscriptions(shifted)
    followed = subscriptions.follow(str(tmp_path), HOUR_S)
    assert is_now(followed.next_wall)
    claim = subscriptions.due(engine="one")
    assert claim is not None
    subscriptions.done(claim, 0, engine="one")
    (row,) = subscriptions.rows()
    assert is_now(row.last_wall)
    assert HOUR_S - CLOSE_S < row.next_wall - shifted.clock.now() <= HOUR_S + CLOSE_S
    hosts = Hosts(shifted, lambda: Settings().fetch)
    permit = hosts.enter("example.org", CancelToken())
    hosts.failed(permit, Throttled("too many", cause="throttled", after_s=600.0))
    (view,) = hosts.views()
    assert view.until_wall is not None
    assert 0 < view.until_wall - true_time() < HOUR_S - CLOSE_S
    listed = said("following", "--home", tmp_path, "--database", database_url)
    assert " ago" in listed
    assert "60m" not in listed.split(" ago")[0].split("in ")[-1]


CLOCK = """
import time
_true = time.time
time.time = lambda: _true() + {shift_s}
"""


@SIDES
def test_a_process_of_its_own_writes_no_time_of_its_clock(
    database: Database, database_url: str, shift_s: float, tmp_path: Path
) -> None:
    """The clock is shifted before anything of the engine is imported, so that no default argument keeps the true one."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK.format(shift_s=shift_s))
    queue(database, 4, scale=0.2)
    began = true_time()
    home = tmp_path / "home"
    words = ["--home", str(home), "--database", database_url, "--simulated", "--until-empty", "--set", "fetch.disk_floor=0"]
    done = subprocess.run(
        [sys.executable, "-m", "gainstage.engine.process", *words],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(PYTHONPATH=str(tmp_path / "clock")),
    )
    ended = true_time()
    assert done.returncode == 0, done.stderr
    assert set(statuses(database).values()) == {"stored"}
    lines = [json.loads(line) for line in (Paths.of(home).logs / "journal.jsonl").read_text().splitlines()]
    walls = [line["wall"] for line in lines]
    walls += [line["data"]["start_wall"] for line in lines if "start_wall" in line.get("data", {})]
    with database.connection() as connection:
        times = "select extract(epoch from started)::float8 from engine union all select wall from event"
        walls += [wall for (wall,) in connection.execute(times)]
        ((frame,),) = connection.execute("select frame from engine_frame").fetchall()
    shown = json.loads(frame)
    today = next(scope for scope in shown["scopes"] if scope["name"] == "today")
    midnight = datetime.fromtimestamp(today.pop("since_wall"))
    assert (midnight.hour, midnight.minute) == (0, 0)
    walls += _walls(shown)
    assert len(walls) > 20
    assert [wall for wall in walls if not began - CLOSE_S < wall < ended + CLOSE_S] == []


def _walls(value: object, name: str = "") -> Iterator[float]:
    """Every figure of a frame that is a time."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _walls(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from _walls(part, name)
    elif (name == "wall" or name.endswith("_wall")) and isinstance(value, int | float):
        yield value


def test_lines_of_the_last_minutes_are_by_the_databases_clock(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(database, 1, scale=0.1)
    with running(make_engine(database, tmp_path)):
        until(lambda: "stored" in statuses(database).values())
    for shift_s in (HOUR_S, -HOUR_S):
        monkeypatch.setattr(time, "time", lambda shift_s=shift_s: true_time() + shift_s)
        assert " starts" in said("logs", "--since", "10m", "--home", tmp_path, "--database", database_url)
        page = said("recordings", "--home", tmp_path, "--database", database_url)
        age = page.splitlines()[1].split(" ago")[0].split()[-1]
        assert age.endswith("s"), page

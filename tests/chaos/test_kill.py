"""kill -9, freezes, stops and a lost server: nothing lost, nothing twice, nothing partial to be seen."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.terms import Recording
from tests.chaos.kit import (
    EngineProcess,
    Witness,
    assert_all_stored_once,
    cared_for,
    commits,
    committed,
    kills,
    log_commits,
    queue_simulated,
    standing,
    wait_for,
    work_left,
)

KILLS = kills(5, 200)
"""Kills of each of the first two tests."""

OFFERED = 40
"""Recordings of which so many wait at any time."""


def test_an_engine_killed_again_and_again_loses_and_repeats_nothing(database: Database, database_url: str, tmp_path: Path) -> None:
    draw = random.Random(1)
    log_commits(database_url)
    recordings: list[Recording] = []
    with Witness(database_url) as witness:
        for number in range(KILLS):
            offer(database, recordings)
            before = committed(database)
            engine = EngineProcess(tmp_path / "home", database_url, forked=number > 1)
            with cared_for(engine):
                wait_for(lambda n=before, e=engine: committed(database) > n or e.process.poll() is not None, "a commit")
                wait_for(_after(draw.uniform(0.0, 0.4)), "the moment")
                assert engine.process.poll() is None, engine.tail()
                engine.kill()
            say(number, database)
        last = EngineProcess(tmp_path / "home", database_url, until_empty=True)
        with cared_for(last):
            assert last.wait(300) == 0, last.tail()
    assert witness.looks > KILLS
    assert witness.partial == []
    assert_all_stored_once(database, recordings)
    assert work_left(tmp_path / "home") == []


def test_engines_of_one_queue_killed_one_after_the_other_lose_and_repeat_nothing(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """They take over from each other: at every moment one is dead, one starts and one works."""
    draw, homes = random.Random(2), [tmp_path / name for name in ("one", "two", "three")]
    log_commits(database_url)
    recordings: list[Recording] = []
    engines = [EngineProcess(home, database_url, forked=True) for home in homes]
    with Witness(database_url) as witness:
        try:
            for number in range(KILLS):
                offer(database, recordings)
                before, place = committed(database), draw.randrange(len(homes))
                wait_for(lambda n=before: committed(database) > n, "a commit")
                wait_for(_after(draw.uniform(0.0, 0.3)), "the moment")
                assert engines[place].process.poll() is None, engines[place].tail()
                engines[place].kill()
                engines[place] = EngineProcess(homes[place], database_url, forked=True)
                say(number, database)
        finally:
            for engine in engines:
                engine.kill()
        rest = [EngineProcess(home, database_url, until_empty=True) for home in homes]
        with cared_for(*rest):
            for engine in rest:
                assert engine.wait(300) == 0, engine.tail()
    assert witness.partial == []
    assert_all_stored_once(database, recordings)
    assert [work_left(home) for home in homes] == [[], [], []]


def offer(database: Database, recordings: list[Recording]) -> None:
    """Queue more recordings where few are left; ``recordings`` gets them too."""
    if standing(database).get("queued", 0) < OFFERED:
        recordings += queue_simulated(database, OFFERED, seed=len(recordings), scale=2.0)


def say(number: int, database: Database) -> None:
    if number % 20 == 19:
        print(f"{number + 1} kills: {standing(database)}", flush=True)


def test_a_frozen_engine_whose_work_was_taken_over_stores_nothing_twice(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 60, scale=4.0)
    with Witness(database_url) as witness:
        one = EngineProcess(tmp_path / "one", database_url)
        two = EngineProcess(tmp_path / "two", database_url)
        with cared_for(one, two):
            wait_for(lambda: sum(commits(database).values()) > 4, "both at work")
            one.freeze()
            wait_for(lambda: sum(commits(database).values()) == len(recordings), "the other to take over", 120)
            one.thaw()
            for engine in (one, two):
                engine.ask(signal.SIGTERM)
            assert one.wait() == 0, one.tail()
            assert two.wait() == 0, two.tail()
    assert witness.partial == []
    assert_all_stored_once(database, recordings)


def test_a_server_that_is_killed_and_comes_back_costs_only_time(
    own_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    server = own_postgres().start()
    with Database.open(server.url, tmp_path / "unused") as database:
        log_commits(server.url)
        recordings = queue_simulated(database, 60, scale=3.0)
        engine = EngineProcess(tmp_path / "home", server.url, until_empty=True)
        with cared_for(engine):
            wait_for(lambda: sum(commits(database).values()) > 5, "the engine at work")
            for child in server_processes(server):
                with contextlib.suppress(ProcessLookupError):  # the postmaster's end takes its children along
                    os.kill(child, signal.SIGKILL)
            wait_for(lambda: not server_processes(server), "the server to be gone")
            wait_for(_after(2.0), "an outage of some length")
            server.revive()
            assert engine.wait(180) == 0, engine.tail()
        assert_all_stored_once(database, recordings)
    server.stop()


@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_drains_and_a_second_one_stops_now(database: Database, database_url: str, tmp_path: Path, signals: int) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 48, scale=8.0)
    engine = EngineProcess(tmp_path / "home", database_url)
    with cared_for(engine):
        wait_for(lambda: sum(commits(database).values()) > 2, "the engine at work")
        for _ in range(signals):
            engine.ask(signal.SIGTERM)
            wait_for(_after(0.3), "the signal to be heard")
        assert engine.wait() == 0, engine.tail()
    after = standing(database)
    assert after.get("running", 0) == 0
    assert after["queued"] > 0
    assert work_left(tmp_path / "home") == []
    rest = EngineProcess(tmp_path / "home", database_url, until_empty=True, in_flight="64", workers__transcribe="16")
    with cared_for(rest):
        assert rest.wait(300) == 0, rest.tail()
    assert_all_stored_once(database, recordings)


def test_a_second_engine_of_the_same_home_is_refused(database: Database, database_url: str, tmp_path: Path) -> None:
    queue_simulated(database, 20, scale=10.0)
    first = EngineProcess(tmp_path / "home", database_url)
    with cared_for(first):
        wait_for(lambda: standing(database).get("running"), "the first at work")
        second = EngineProcess(tmp_path / "home", database_url)
        with cared_for(second):
            assert second.wait() == 3
            assert "serves" in second.tail()


def server_processes(server: EmbeddedPostgres) -> list[int]:
    """The postmaster and its children."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline", "ppid"]):
        if any(str(server.folder) in part for part in process.info["cmdline"] or ()) and "postgres" in process.info["cmdline"][0]:
            found.append(process.info["pid"])
            found += [child.pid for child in process.children()]
    return found


def _after(seconds: float) -> Callable[[], bool]:
    import time

    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end

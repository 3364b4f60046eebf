"""Engines as processes on simulated recordings, and witnesses that see what a reader could see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.simulated import simulated_recordings, simulated_segments
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Recording

QUICK = {
    "queue.heartbeat": "0.5", "queue.stalled": "3", "fetch.disk_floor": "0", "watch.record": "false",
    "retry.backoff": "0.2", "in_flight": "8", "workers.transcribe": "4", "workers.diarize": "4",
}  # fmt: skip


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GAINSTAGE_")}
"""Ours without anybody's settings."""


def kills(short: int, long: int) -> int:
    """How often a loop kills: ``long`` with GAINSTAGE_LONG_CHAOS=1, or what GAINSTAGE_KILLS says, for a piece of minutes."""
    return int(os.environ.get("GAINSTAGE_KILLS") or (long if os.environ.get("GAINSTAGE_LONG_CHAOS") == "1" else short))


class Forked:
    """An engine forked from a process that has imported everything: it starts in a tenth of the time, so that a loop can kill many."""

    def __init__(self, arguments: list[str], log: Path, url: str) -> None:
        from tests.chaos import kill_targets

        self._process = kill_targets.context().Process(target=kill_targets.engine, args=(arguments, str(log), url), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("engine", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class EngineProcess:
    """One engine in a process of its own, with a home of its own. ``forked`` as :class:`Forked`, else as a command starts it."""

    def __init__(
        self,
        home: Path,
        url: str,
        *,
        until_empty: bool = False,
        simulated: bool = True,
        hurry: float = 0.0,
        log: str = "out.log",
        forked: bool = False,
        **settings: str,
    ) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        pairs = {**QUICK, **{k.replace("__", "."): v for k, v in settings.items()}}
        module = ["tests.chaos.hurried", str(hurry)] if hurry else ["gainstage.engine.process"]
        command = [sys.executable, "-m", *module, "--home", str(home)]
        command += ["--until-empty"] * until_empty + (["--simulated"] if simulated else ["--demo", "--profile", "demo"])
        for key, value in pairs.items():
            command += ["--set", f"{key}={value}"]
        self.log = home / log
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | Forked
        if forked:
            self.process = Forked(command[3:], self.log, url)
            return
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env={**ENVIRONMENT, "GAINSTAGE_STORE__DATABASE": url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def ask(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 120.0) -> int:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"engine did not end; its log:\n{self.tail()}") from None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def cared_for(*engines: EngineProcess) -> Iterator[None]:
    """Kill whatever still runs at the end."""
    try:
        yield
    finally:
        for engine in engines:
            if engine.process.poll() is None:
                engine.thaw()
                engine.kill()


def log_commits(url: str) -> None:
    """From now on every commit that stores a recording leaves a line, written in the same transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set search_path to gainstage, public")
        connection.execute("create table commit_log (id text, at timestamptz default clock_timestamp())")
        connection.execute(
            "create function note_commit() returns trigger language plpgsql as $$ begin"
            " insert into gainstage.commit_log (id) values (new.id); return new; end $$"
        )
        connection.execute(
            "create trigger note_commit after update on recording for each row"
            " when (new.status = 'stored' and old.status is distinct from 'stored') execute function note_commit()"
        )


def committed(database: Database) -> int:
    """How many commits have stored a recording."""
    with database.connection() as connection:
        return int(connection.execute("select count(*) from commit_log").fetchall()[0][0])


def commits(database: Database) -> Counter[str]:
    with database.connection() as connection:
        return Counter(str(id) for (id,) in connection.execute("select id from commit_log"))


class Witness(threading.Thread):
    """Reads all the time, as any client could, and notes every recording that is seen in part: of those that changed a moment ago, and
    at its end of all.
    """

    LOOK = (
        "select r.id, r.status, r.segments, count(s.id) from recording r left join segment s on s.recording = r.id{}"
        " group by r.id having (r.status = 'stored' and (count(s.id) <> coalesce(r.segments, -1) or count(s.id) = 0))"
        " or (r.status <> 'stored' and count(s.id) > 0)"
    )
    QUERY = LOOK.format("")
    RECENT = LOOK.format(" where r.changed > now() - interval '15 s'")

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.looks = 0
        self.partial: list[object] = []
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                with psycopg.connect(self.url, autocommit=True) as connection:
                    connection.execute("set search_path to gainstage, public")
                    while not self.ending.wait(0.02):
                        self.partial += connection.execute(self.RECENT).fetchall()
                        self.looks += 1
                    self.partial += connection.execute(self.QUERY).fetchall()
            except psycopg.OperationalError:
                self.ending.wait(0.2)

    def __enter__(self) -> Witness:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.join(10)


def queue_simulated(database: Database, count: int, *, seed: int = 0, scale: float = 1.0) -> list[Recording]:
    recordings = simulated_recordings(count, seed=seed, scale=scale)
    added = Backlog(database).add(recordings)
    assert added.added == count
    return recordings


def assert_all_stored_once(database: Database, recordings: list[Recording]) -> None:
    """Every recording is stored, by exactly one commit, with the very segments an undisturbed run stores."""
    store = RecordingStore(database)
    assert set(store.stored_ids()) == {r.id for r in recordings}, standing(database)
    assert set(commits(database).values()) == {1}
    for recording in recordings:
        expected = [(s.start, s.end, s.speaker, s.text) for s in simulated_segments(recording)]
        got = [(s.start, s.end, s.speaker, s.text) for s in store.segments(recording.id)]
        assert [g[2:] for g in got] == [e[2:] for e in expected]
        assert all(abs(g[0] - e[0]) < 1e-3 and abs(g[1] - e[1]) < 1e-3 for g, e in zip(got, expected, strict=True))


def standing(database: Database) -> dict[str, int]:
    with database.connection() as connection:
        rows = connection.execute("select status || coalesce(': ' || cause, ''), count(*) from recording group by 1").fetchall()
    return {str(status): int(n) for status, n in rows}


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition; fail with what was waited for."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.02)


def work_left(home: Path) -> list[str]:
    """Work folders that are still there."""
    work = home / "work"
    return sorted(p.name for p in work.iterdir() if p.is_dir()) if work.exists() else []

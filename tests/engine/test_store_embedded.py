"""The embedded server: shared, counted, and right again after every kind of accident."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from gainstage.engine.errors import Misconfigured, Transient
from gainstage.engine.store import embedded_place
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.embedded_place import Account
from tests.conftest import QUICK, quick_folder

Make = Callable[..., EmbeddedPostgres]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A cluster for the tests that leave it whole."""
    made = Path(tempfile.mkdtemp(prefix="gainstage own 'quoted\" $HOME ü, ", dir=quick_folder()))
    yield made
    EmbeddedPostgres(made, settings=QUICK).remove()
    shutil.rmtree(made, ignore_errors=True)


def server(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, settings=QUICK)


def ask(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(query)  # type: ignore[arg-type]
        row = cursor.fetchone() if cursor.description else (None,)
        return row and row[0]


def test_the_last_to_leave_stops_the_server_and_its_data_stay(folder: Path) -> None:
    first, second = server(folder), server(folder)
    with first:
        pid = first.pid
        with second:
            assert second.pid == pid
            ask(second, "create table kept as select 42 as answer")
        assert first.pid == pid
        assert ask(first, "select answer from kept") == 42
    assert first.pid is None
    with server(folder) as again:
        assert ask(again, "select answer from kept") == 42


def test_a_path_with_every_awkward_sign_works(folder: Path) -> None:
    with server(folder) as running:
        assert ask(running, "select lower('ÄÖ')") == "äö"
        assert "," not in str(running.place.sockets)  # libpq would take two hosts for it


def test_a_path_too_long_for_a_socket_gets_a_short_one(own_postgres: Make) -> None:
    short = own_postgres()
    long = EmbeddedPostgres(short.folder / ("deep" * 30), settings=QUICK)
    with long:
        assert len(str(long.place.sockets)) < 60
        assert ask(long, "select 1") == 1
    sockets = long.place.sockets
    long.remove()
    assert not sockets.exists()


def test_a_stale_pid_file_never_harms_the_process_that_got_its_number(folder: Path) -> None:
    with server(folder) as running:
        data = running.place.data
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (data / "postmaster.pid").write_text(f"{bystander.pid}\n{data}\n{int(time.time())}\n5432\n\n\n0\nready\n")
        with server(folder) as running:
            assert running.pid not in (None, bystander.pid)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_killed_server_starts_again_for_a_newcomer_and_for_those_it_served(folder: Path) -> None:
    with server(folder) as running:
        ask(running, "create table if not exists survivor as select 1")
        pid = running.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with server(folder):
            assert running.pid not in (None, pid)
            assert ask(running, "select count(*) from survivor") == 1
        os.kill(running.pid, signal.SIGKILL)
        running.revive()
        assert ask(running, "select count(*) from survivor") == 1


USER = """
import os, sys, time
from pathlib import Path
import psycopg
from gainstage.engine.store import embedded_place
from gainstage.engine.store.embedded import EmbeddedPostgres
from tests.conftest import QUICK
server = EmbeddedPostgres(Path(sys.argv[1]), settings=QUICK).start()
with psycopg.connect(server.url) as connection:
    connection.execute("select 1")
print(server.pid, flush=True)
if sys.argv[2] == "stay":
    sys.stdin.read()
server.stop()
"""


def user(folder: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_a_user_killed_outright_counts_no_more(folder: Path) -> None:
    killed = user(folder, "stay")
    assert killed.stdout is not None
    pid = int(killed.stdout.readline())
    killed.kill()
    killed.communicate()
    assert psutil.pid_exists(pid)  # nobody was left to stop it
    with server(folder) as joined:
        assert joined.pid == pid
    assert joined.pid is None


def test_several_processes_start_one_server_and_leave_none(own_postgres: Make) -> None:
    folder = own_postgres().folder
    users = [user(folder, "stay") for _ in range(3)]
    pids = {process.stdout.readline().strip() for process in users if process.stdout}
    assert len(pids) == 1
    for process in users:
        process.communicate("", timeout=120)
        assert process.returncode == 0
    with server(folder) as later:
        assert later.pid != int(pids.pop())


def test_an_initialisation_killed_half_way_leaves_nothing_that_looks_whole(own_postgres: Make) -> None:
    half = own_postgres()
    with half:
        data = half.place.data
    data.rename(data.with_name("data.new"))
    (data.with_name("data.new") / "global" / "pg_control").unlink()
    with half:
        assert ask(half, "select 1") == 1


def test_the_environment_decides_nothing(own_postgres: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LANG": "C", "LC_ALL": "C", "PGPORT": "1", "PGDATA": "/nowhere", "PGOPTIONS": "-c nonsense=1"}.items():
        monkeypatch.setenv(name, value)
    with own_postgres() as running:
        monkeypatch.delenv("PGOPTIONS")  # it is libpq's, on the client's side
        assert ask(running, "select lower('ÄÖ') || current_setting('server_encoding')") == "äöUTF8"


def test_removing_waits_for_the_others(own_postgres: Make) -> None:
    one = own_postgres()
    other = server(one.folder)
    with one:
        with other, pytest.raises(Transient, match="others are using"):
            one.remove()
        assert ask(one, "select 1") == 1


def gone_or_dead(pid: int) -> bool:
    """Whether a server, which is nobody's child, has ended; its zombie may wait for its collector."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_folder_made_anew_belongs_to_those_who_made_it(own_postgres: Make) -> None:
    """Someone removed a home while its engine still ended, and began again at the same path."""
    old = own_postgres().start()
    before = old.pid
    shutil.rmtree(old.folder)
    with pytest.raises(Misconfigured, match="was removed while it was in use"):
        old.revive()
    new = server(old.folder)
    with new:
        ask(new, "create table kept as select 42 as answer")
        with pytest.raises(Misconfigured, match="was removed while it was in use"):
            old.revive()
        old.stop()
        assert new.pid not in (None, before)
        assert ask(new, "select answer from kept") == 42, "its socket is still there"
        assert before is not None
        assert gone_or_dead(before)


def test_whoever_joined_a_removed_folder_never_reaches_the_database_of_the_next(own_postgres: Make) -> None:
    """Both have one address: an engine that was left behind took recordings of the next home."""
    folder = own_postgres().folder
    with Database.open(None, folder) as old:
        shutil.rmtree(folder)
        with Database.open(None, folder) as new:
            with pytest.raises(Misconfigured, match="was removed while it was in use"), old.connection():
                pass
            with pytest.raises(Misconfigured, match="was removed while it was in use"), old.own_connection():
                pass
            with new.connection() as connection:
                assert connection.execute("select count(*) from recording").fetchone() == (0,)


def test_leaving_a_folder_that_is_gone_is_no_error(own_postgres: Make) -> None:
    gone = own_postgres().start()
    pid = gone.pid
    shutil.rmtree(gone.folder)
    gone.stop()
    assert not gone.folder.exists()
    gone.folder.mkdir()  # for the fixture, which removes it
    assert pid is not None
    assert gone_or_dead(pid)


def test_a_cluster_of_another_version_is_refused_in_words(own_postgres: Make) -> None:
    old = own_postgres()
    with old:
        data = old.place.data
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(Misconfigured, match="written by Postgres 12"):
        old.start()


def test_a_home_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="cannot use"):
        server(tmp_path / "file" / "postgres").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give the server to somebody else")
def test_for_root_the_server_runs_as_an_ordinary_user_and_nobodys_folder_changes(folder: Path, own_postgres: Make) -> None:
    closed = own_postgres().folder / "closed"
    closed.mkdir(mode=0o700)
    hidden = EmbeddedPostgres(closed / "home", settings=QUICK)
    with hidden:
        assert hidden.pid is not None
        assert psutil.Process(hidden.pid).uids().real != 0
        assert not hidden.place.base.is_relative_to(closed)
        assert closed.stat().st_mode & 0o777 == 0o700
        assert closed.stat().st_uid == 0
    place = hidden.place.base
    place.rename(place.with_name(f"{place.name}.away"))
    with pytest.raises(Misconfigured, match="which is gone"):  # never an empty database where there was a full one
        hidden.start()
    place.with_name(f"{place.name}.away").rename(place)
    with hidden:
        assert hidden.place.base == place
        shutil.rmtree(hidden.folder)
    assert hidden.pid is None, "its files are elsewhere, so it would run for ever"
    shutil.rmtree(place)
    assert Account.of(pwd.getpwnam("nobody")).searches(Path("/usr/bin"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give the server to somebody else")
def test_binaries_the_servers_user_cannot_read_are_copied_once(own_postgres: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    system = own_postgres().folder
    system.chmod(0o755)
    monkeypatch.setattr(embedded_place, "SYSTEM_FOLDER", system)
    monkeypatch.setattr(Account, "runs", lambda self, file: False)
    with own_postgres() as first, own_postgres() as second:
        assert first.place.binaries == second.place.binaries
        assert first.place.binaries.is_relative_to(system)
        assert ask(first, "select 1") == ask(second, "select 1") == 1


def test_a_server_that_hangs_without_recovering_is_started_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.store.embedded_server.STUCK_S", 1.0)
    with server(folder) as running:
        ask(running, "create table if not exists kept_too as select 7 as answer")
        pid = running.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        running.revive()
        assert running.pid not in (None, pid)
        assert ask(running, "select answer from kept_too") == 7


def test_a_hung_server_is_started_again_however_long_it_was_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.store.embedded_server.STUCK_S", 1.0)
    monkeypatch.setattr("gainstage.engine.store.embedded_server.AFTER_KILL_S", 0.5)
    with server(folder) as running:
        pid = running.pid
        assert pid is not None
        (running.place.sockets / ".s.PGSQL.5432").unlink()
        running.revive()
        assert running.pid not in (None, pid)
        assert ask(running, "select 1") == 1


def test_a_server_that_does_not_start_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.store.embedded_server.AFTER_KILL_S", 0.0)
    with pytest.raises(Transient) as caught:
        EmbeddedPostgres(folder, settings={**QUICK, "shared_preload_libraries": "none_such"}).start()
    assert caught.value.message == (
        'the embedded database does not start: could not access file "none_such": No such file or directory'
    )

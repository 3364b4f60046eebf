"""Databases people have: poolers, few connections, read-only ones, other encodings; each works or is refused in one sentence."""

from __future__ import annotations

import os
import select
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from engine_kit import ended, make_engine, queue, running, statuses

from gainstage.engine.errors import Misconfigured, Transient
from gainstage.engine.queue import engines
from gainstage.engine.queue.changes import set_value
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.reach import OWN, POOL, SPARE
from tests.chaos.kit import EngineProcess, cared_for, wait_for
from tests.conftest import administrator, url_of
from tests.pooler_kit import BINARY, pooler
from tests.queue_kit import until

needs_pooler = pytest.mark.skipif(BINARY is None, reason="there is no pgbouncer on this machine")


def name_of(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def connections(server: EmbeddedPostgres, name: str) -> int:
    with administrator(server) as connection:
        query = "select count(*) from pg_stat_activity where datname = %s and backend_type = 'client backend'"
        return int(connection.execute(query, [name]).fetchall()[0][0])


# -- connections are counted --------------------------------------------------------------------------------------------


def test_an_engine_takes_no_more_than_four_connections(
    shared_postgres: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    with Database.open(database_url, tmp_path, engine=True) as database, running(make_engine(database, tmp_path, in_flight=24)):
        queue(database, 60, scale=0.02)
        most = 0

        def look() -> bool:
            nonlocal most
            most = max(most, connections(shared_postgres, name_of(database_url)))
            return ended(database, 60)

        until(look)
        assert database.pool_size == POOL
    assert most <= OWN + POOL == 4


@contextmanager
def limited(url: str, limit: int) -> Iterator[str]:
    """Address of the database for a role of its own that may have ``limit`` connections."""
    role = f"few_{os.getpid()}_{name_of(url)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create role {role} login connection limit {limit}")  # type: ignore[arg-type]
        for what in ("schema gainstage", "all tables in schema gainstage", "all sequences in schema gainstage"):
            connection.execute(f"grant all on {what} to {role}")  # type: ignore[arg-type]
    try:
        yield url.replace("postgres@", f"{role}@")
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"drop owned by {role}")  # type: ignore[arg-type]
            connection.execute(f"drop role {role}")  # type: ignore[arg-type]


def test_where_there_are_few_the_pool_shrinks_and_one_is_left_for_a_console(database_url: str, tmp_path: Path) -> None:
    with limited(database_url, OWN + SPARE + 1) as url, Database.open(url, tmp_path, engine=True) as database:
        assert database.pool_size == 1
        with running(make_engine(database, tmp_path, in_flight=8)):
            queue(database, 10, scale=0.02)
            until(lambda: ended(database, 10))
            with Database.open(url, tmp_path, pool_size=1) as console:
                assert [e.alive for e in engines.list_engines(console)] == [True]
        assert set(statuses(database).values()) == {"stored"}


def test_where_there_are_too_few_the_start_is_refused_in_one_sentence(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gainstage.engine.store.database.ROOM_S", 0.0)
    with limited(database_url, OWN + SPARE) as url:
        with pytest.raises(Misconfigured, match="too few connections left for an engine, which needs 4: the role few_") as caught:
            Database.open(url, tmp_path, engine=True)
        assert caught.value.cause == "database: too few connections"
        with psycopg.connect(url), psycopg.connect(url), psycopg.connect(url), pytest.raises(Transient) as full:
            Database.open(url, tmp_path)
    assert "has no connection left" in full.value.message
    assert "password" not in f"{full.value.message} {full.value.hint}"


def test_the_limit_of_a_database_counts_too(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.store.database.ROOM_S", 0.0)
    with limited(database_url, 100) as url, psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {name_of(database_url)} connection limit 4")  # type: ignore[arg-type]
        with pytest.raises(Misconfigured, match="may have 4 connections"):
            Database.open(url, tmp_path, engine=True)


def test_a_command_that_may_start_no_thread_says_so(database_url: str, tmp_path: Path) -> None:
    script = (
        "import sys, threading\n"
        "from gainstage.tui.cli import main\n"
        "threading.stack_size(2**46)\n"  # no address space holds it
        "sys.exit(main(['status', '--home', sys.argv[1], '--database', sys.argv[2]]))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), database_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("gainstage status: no thread can be started")


# -- start-up waits -----------------------------------------------------------------------------------------------------


def test_an_engine_waits_for_a_server_that_is_down_and_runs_when_it_is_up(
    own_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    server = own_postgres()
    with server:
        url = server.url
        Database.open(url, tmp_path).close()
    engine = EngineProcess(tmp_path / "home", url, until_empty=True)
    with cared_for(engine):
        wait_for(lambda: "waiting for the database" in engine.tail() or engine.process.poll() is not None, "the engine to wait")
        assert engine.process.poll() is None, engine.tail()
        with server:
            assert engine.wait() == 0, engine.tail()


FATAL = b"SFATAL\x00VFATAL\x00C57P03\x00M%s\x00\x00"


@contextmanager
def not_yet(server: EmbeddedPostgres, url: str, state: str) -> Iterator[tuple[str, list[int], threading.Event]]:
    """Address of a stand-in for a server that says ``state``, the number of its refusals, and what makes it hand over to the real one."""
    refusals, up = [0], threading.Event()

    class Door(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            (size,) = struct.unpack("!I", self.request.recv(4, socket.MSG_WAITALL))
            asked = self.request.recv(size - 4, socket.MSG_WAITALL)
            if up.is_set():
                self._hand_over(struct.pack("!I", size) + asked)
            elif asked == struct.pack("!I", 80877103):  # whether it speaks TLS
                self.request.sendall(b"N")
                self.handle()
            else:
                refusals[0] += 1
                text = FATAL % state.encode()
                self.request.sendall(b"E" + struct.pack("!I", len(text) + 4) + text)

        def _hand_over(self, first: bytes) -> None:
            with socket.socket(socket.AF_UNIX) as real:
                real.connect(f"{server.place.sockets}/.s.PGSQL.5432")
                real.sendall(first)
                ends = {self.request: real, real: self.request}
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        if not (data := end.recv(65_536)):
                            return
                        ends[end].sendall(data)

    class Stand(socketserver.ThreadingTCPServer):
        daemon_threads, block_on_close = True, False

    with Stand(("127.0.0.1", 0), Door) as stand:
        thread = threading.Thread(target=stand.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"postgresql://postgres@127.0.0.1:{stand.server_address[1]}/{name_of(url)}", refusals, up
        finally:
            stand.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "state",
    [
        *(
            f"the database system is {s}"
            for s in ("starting up", "in recovery mode", "not yet accepting connections", "shutting down")
        ),
        "das Datenbanksystem startet",
    ],
)
def test_an_engine_waits_for_a_foreign_server_that_is_not_up_yet(
    shared_postgres: EmbeddedPostgres, database_url: str, tmp_path: Path, state: str
) -> None:
    with Database.open(database_url, tmp_path) as database:
        queue(database, 2, scale=0.05)
        with not_yet(shared_postgres, database_url, state) as (address, refusals, up):
            engine = EngineProcess(tmp_path / "home", address, until_empty=True)
            with cared_for(engine):
                wait_for(lambda: refusals[0] >= 3 or engine.process.poll() is not None, "three refusals")
                assert engine.process.poll() is None, engine.tail()
                assert state in engine.tail()
                up.set()
                assert engine.wait() == 0, engine.tail()
        assert set(statuses(database).values()) == {"stored"}


# -- poolers ------------------------------------------------------------------------------------------------------------


@needs_pooler
@pytest.mark.parametrize(
    ("mode", "ignore"), [("transaction", ""), ("transaction", "options"), ("session", ""), ("session", "options")]
)
def test_a_run_through_a_pooler_is_whole(
    shared_postgres: EmbeddedPostgres, database_url: str, tmp_path: Path, mode: str, ignore: str
) -> None:
    name = name_of(database_url)
    with pooler(shared_postgres, name, mode=mode, ignore=ignore) as url, Database.open(url, tmp_path, engine=True) as database:
        assert database.pooler == mode
        assert database.can_listen == (mode == "session")
        with running(make_engine(database, tmp_path, in_flight=8)) as engine:
            queue(database, 20, scale=0.02)
            until(lambda: ended(database, 20))
            assert set(statuses(database).values()) == {"stored"}
            set_value(database, "identify.margin", 0.07, "test")
            until(lambda: engine.context.settings.identify.margin == 0.07, 10)


@needs_pooler
def test_a_fresh_database_behind_a_pooler_gets_its_tables(
    shared_postgres: EmbeddedPostgres, bare_database_url: str, tmp_path: Path
) -> None:
    with pooler(shared_postgres, name_of(bare_database_url)) as url:
        for _ in range(2):
            with Database.open(url, tmp_path) as database, database.connection() as connection:
                assert connection.execute("select count(*) from recording").fetchone() == (0,)


def test_without_a_pooler_none_is_seen(database: Database) -> None:
    assert database.pooler is None
    assert database.can_listen


# -- read-only, encodings -----------------------------------------------------------------------------------------------


def test_a_read_only_database_is_refused_in_one_sentence(bare_database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(bare_database_url, autocommit=True) as connection:
        connection.execute(f"alter database {name_of(bare_database_url)} set default_transaction_read_only = on")  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="is read-only: default_transaction_read_only is on") as caught:
        Database.open(bare_database_url, tmp_path)
    assert caught.value.cause == "database: read-only"


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_an_encoding_that_loses_text_is_refused(shared_postgres: EmbeddedPostgres, tmp_path: Path, encoding: str) -> None:
    name = f"test_{os.getpid()}_{encoding.lower()}"
    with administrator(shared_postgres) as connection:
        connection.execute(f"drop database if exists {name}")  # type: ignore[arg-type]
        connection.execute(f"create database {name} encoding '{encoding}' locale_provider libc locale 'C' template template0")  # type: ignore[arg-type]
        try:
            with pytest.raises(Misconfigured, match=f"has the encoding {encoding}") as caught:
                Database.open(url_of(shared_postgres, name), tmp_path)
            assert "--encoding=UTF8" in caught.value.hint
        finally:
            connection.execute(f"drop database if exists {name} with (force)")  # type: ignore[arg-type]

"""A real Postgres for every test that asks for one.

One server per user of this machine, shared by all test processes that run at a time and kept between runs (its folder, not the
process): a test gets a fresh database, copied from a template in which every migration has run, in some tens of milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest
from hypothesis import settings as hypothesis_settings
from psycopg.sql import SQL, Identifier

from gainstage.engine.errors import EngineError
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.migrate import store_migrations

hypothesis_settings.register_profile("gainstage", deadline=None)  # a noisy machine says nothing about a law
hypothesis_settings.load_profile("gainstage")

Database.NESTED_FROM = 1_000  # two threads that each hold one connection of two and ask for another wait for each other

for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:  # as in a script's background or under nohup: children would ignore it too
        signal.signal(_number, _usual)

QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "256MB",
    "max_connections": "300",
    "dynamic_shared_memory_type": "mmap",  # a killed server's would stay in /dev/shm
}
"""A server that may forget everything in a power cut, not when it is killed, and is quick."""

ROOM = 2 * 1024**3
STALE_S = 2 * 3600.0

_numbers = count(1)


def quick_folder() -> Path:
    """Memory where there is plenty of it, else the folder for temporary files."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else Path(tempfile.gettempdir())


def url_of(server: EmbeddedPostgres, name: str) -> str:
    """Address of one database of a server."""
    return server.url.replace("/postgres?", f"/{name}?")


@contextmanager
def administrator(server: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        yield connection


@contextmanager
def fresh_database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Address of a copy of ``template``, dropped at the end."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with administrator(server) as connection:
        connection.execute(SQL("create database {} template {}").format(Identifier(name), Identifier(template)))
    try:
        yield url_of(server, name)
    finally:
        with administrator(server) as connection:
            connection.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[EmbeddedPostgres]:
    """The server of all tests. Tests that stop or kill a server take :func:`own_postgres`."""
    folder = quick_folder() / f"gainstage-tests-{os.getuid()}"
    try:
        server = EmbeddedPostgres(folder, settings=QUICK).start()
    except EngineError:  # left broken by a power cut or another version: it holds nothing worth keeping
        EmbeddedPostgres(folder, settings=QUICK).remove()
        server = EmbeddedPostgres(folder, settings=QUICK).start()
    with administrator(server) as connection:
        for (name,) in connection.execute("select datname from pg_database where datname ~ '^test_[0-9]+_'").fetchall():
            if not psutil.pid_exists(int(name.split("_")[1])):
                connection.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))
    _sweep()
    yield server
    server.stop()


def _sweep() -> None:
    """Remove the servers of tests that were killed hours ago."""
    gates: list[Path] = []
    for folder in (*quick_folder().glob("gainstage-own-*"), *quick_folder().glob("gainstage-home-*")):
        with suppress(OSError):  # another run removes its own just now
            gates += folder.glob("**/gate.lock")
    for gate in gates:
        with suppress(EngineError, OSError):
            if time.time() - gate.stat().st_mtime > STALE_S:
                EmbeddedPostgres(gate.parent).remove()


@pytest.fixture(scope="session")
def database_template(shared_postgres: EmbeddedPostgres) -> str:
    """Name of the database that holds all tables and no rows."""
    from gainstage.engine.queue.schema import ensure

    digest = hashlib.sha256((files("procrastinate.sql") / "schema.sql").read_bytes())
    for migration in store_migrations():
        digest.update(str(migration.step).encode())
    name = f"template_{digest.hexdigest()[:16]}"
    draft = f"{name}_draft"
    with administrator(shared_postgres) as connection:
        connection.execute("select pg_advisory_lock(hashtext(%s))", [name])
        if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None:
            connection.execute(SQL("drop database if exists {} with (force)").format(Identifier(draft)))
            connection.execute(SQL("create database {}").format(Identifier(draft)))
            with Database.open(url_of(shared_postgres, draft), shared_postgres.folder) as opened, opened.transaction() as inside:
                ensure(inside)
            connection.execute(SQL("alter database {} rename to {}").format(Identifier(draft), Identifier(name)))
    return name


@pytest.fixture
def database_url(shared_postgres: EmbeddedPostgres, database_template: str) -> Iterator[str]:
    """Address of a fresh database with every table and no rows; dropped after the test."""
    with fresh_database(shared_postgres, database_template) as url:
        yield url


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """A fresh database, open, with every table and no rows."""
    with Database.open(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def bare_database_url(shared_postgres: EmbeddedPostgres) -> Iterator[str]:
    """Address of a fresh database without any table."""
    with fresh_database(shared_postgres, "template1") as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Makes servers of the test's own, in new folders, not started; removed after the test."""
    made: list[EmbeddedPostgres] = []

    def make(**settings: str) -> EmbeddedPostgres:
        folder = Path(tempfile.mkdtemp(prefix="gainstage-own-", dir=quick_folder()))
        made.append(EmbeddedPostgres(folder, settings=QUICK | settings))
        return made[-1]

    yield make
    for server in made:
        server.remove()
        shutil.rmtree(server.folder, ignore_errors=True)


@contextmanager
def new_home() -> Iterator[Path]:
    """A home for a whole engine or command line, whose embedded server, if one was made, is removed at the end.

    (``tmp_path`` is closed to every other user, so that for root the server would have to lie elsewhere.)
    """
    folder = Path(tempfile.mkdtemp(prefix="gainstage-home-", dir=quick_folder()))
    folder.chmod(0o755)
    yield folder
    for postgres in list(folder.rglob("gate.lock")):
        EmbeddedPostgres(postgres.parent).remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """See :func:`new_home`."""
    with new_home() as folder:
        yield folder

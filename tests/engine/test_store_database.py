"""One interface over the embedded server and any other; errors in words, never with a password in them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from gainstage.engine.errors import Misconfigured, Transient
from gainstage.engine.store import database as database_module
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.migrate import Migration
from tests.conftest import administrator

Make = Callable[..., EmbeddedPostgres]


def one(db: Database, query: str) -> object:
    with db.connection() as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    return row and row[0]


def until(what: Callable[[], object], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def reachable(db: Database) -> bool:
    try:
        return db.ping() > 0
    except Transient as error:
        if error.cause != Database.AWAY:
            raise
        return False


# -- opening ----------------------------------------------------------------------------------------------------------


def test_opening_makes_the_tables_once_however_many_open_it_at_a_time(bare_database_url: str, tmp_path: Path) -> None:
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(Database.open(bare_database_url, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert one(opened[0], "select count(*) from recording") == 0
    assert one(opened[1], "select count(*) = count(distinct number) from migration") is True
    for db in opened:
        db.close()


def test_without_an_address_the_embedded_server_of_the_folder_is_used(own_postgres: Make) -> None:
    folder = own_postgres().folder
    with Database.open(None, folder) as first, Database.open(None, folder) as second:
        assert first.embedded
        assert first.where == str(folder)
        assert one(first, "select count(*) from recording") == one(second, "select count(*) from segment") == 0
    assert EmbeddedPostgres(folder).start().__exit__(None, None, None) is None


def test_other_rooms_bring_their_own_steps_as_sql_or_code(bare_database_url: str, tmp_path: Path) -> None:
    steps = [
        Migration(991, "more", "create table more (x int); insert into more values (1), (2)"),
        Migration(990, "code", lambda connection: connection.execute("create table from_code (x int)")),
    ]
    with Database.open(bare_database_url, tmp_path, migrations=steps) as db:
        assert one(db, "select count(*) from more") == 2
    with Database.open(bare_database_url, tmp_path, migrations=steps) as db:
        assert one(db, "select count(*) from more") == 2
    with Database.open(bare_database_url, tmp_path) as db:
        assert db.check().problems == ("a newer gainstage has changed this database: 990 code, 991 more",)


def test_a_step_that_fails_leaves_nothing_and_is_tried_again(bare_database_url: str, tmp_path: Path) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        Database.open(bare_database_url, tmp_path, migrations=[Migration(990, "bad", "create table half (x int); select 1 / 0")])
    with Database.open(bare_database_url, tmp_path, migrations=[Migration(990, "bad", "create table half (x int)")]) as db:
        assert one(db, "select count(*) from half") == 0


def test_a_number_used_for_something_else_is_refused(bare_database_url: str, tmp_path: Path) -> None:
    Database.open(bare_database_url, tmp_path, migrations=[Migration(990, "one", "select 1")]).close()
    with pytest.raises(Misconfigured, match="'one' in this database and 'another' here"):
        Database.open(bare_database_url, tmp_path, migrations=[Migration(990, "another", "select 1")])


# -- refusals in words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:h3rr1ng@localhost:1/x", "no database answers at localhost:1/x"),
        ("postgresql://me:h3rr1ng@no-such-host.invalid/x", "no database answers"),
        ("postgresql://me:h3rr@1ng@localhost/x", "not escaped"),
        ("postgresql://me:h3rr/1ng@localhost/x", "not escaped"),
        ("postgresql://me:h3rr1ng%zz@localhost/x", "cannot be read"),
        ("host=localhost port=1 password=h3rr1ng", "no database answers"),
        ("h3rr1ng", "cannot be read"),
        ("postgresql://me:h3rr1ng@localhost:99999999/x", "no database answers"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_in_words_without_its_password(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises((Misconfigured, Transient)) as caught:
        Database.open(SecretStr(url), tmp_path)
    error = caught.value
    assert isinstance(error, Transient) == ("Connection refused" in str(error)), "only a server that may yet start is waited for"
    assert says in str(error)
    assert error.hint
    told = f"{error} {error!r} {error.__cause__} {'' if error.__suppress_context__ else error.__context__}"
    assert "h3rr" not in told
    assert "1ng" not in told


def test_a_database_that_is_not_there_is_named(shared_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r'"nowhere" does not exist.*createdb nowhere'):
        Database.open(shared_postgres.url.replace("/postgres?", "/nowhere?"), tmp_path)


@pytest.fixture
def plain_role(shared_postgres: EmbeddedPostgres) -> str:
    """A role without any right, as shared servers give."""
    with administrator(shared_postgres) as connection:
        connection.execute("select pg_advisory_lock(4711)")
        if connection.execute("select 1 from pg_roles where rolname = 'plain'").fetchone() is None:
            connection.execute("create role plain login")
    return "plain"


def test_without_pgvector_the_administrator_is_told_what_to_run(
    shared_postgres: EmbeddedPostgres, bare_database_url: str, plain_role: str, tmp_path: Path
) -> None:
    url = bare_database_url.replace("postgres@", f"{plain_role}@")
    with pytest.raises(Misconfigured, match=r"no pgvector.*CREATE EXTENSION vector.*0\.8"):
        Database.open(url, tmp_path)


def test_a_role_that_may_not_make_tables_is_told_so_and_with_the_right_it_works(
    shared_postgres: EmbeddedPostgres, bare_database_url: str, plain_role: str, tmp_path: Path
) -> None:
    url = bare_database_url.replace("postgres@", f"{plain_role}@")
    with psycopg.connect(bare_database_url, autocommit=True) as connection:
        connection.execute('create schema "odd Schema"; create extension vector schema "odd Schema"')
        connection.execute('grant usage on schema "odd Schema" to plain')
        with pytest.raises(Misconfigured, match="CREATE SCHEMA gainstage AUTHORIZATION"):
            Database.open(url, tmp_path)
        name = connection.info.dbname
        connection.execute(SQL("grant create on database {} to plain").format(Identifier(name)))
    with Database.open(url, tmp_path) as db:
        assert one(db, "select '[1,2]'::halfvec <=> '[1,2]'") == 0
        assert db.check().problems == ()


# -- losing it --------------------------------------------------------------------------------------------------------


def test_a_lost_server_is_transient_and_back_again_without_a_new_object(own_postgres: Make, tmp_path: Path) -> None:
    server = own_postgres()
    with server, Database.open(server.url, tmp_path) as db:
        db.ping()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not reachable(db))
        assert not reachable(db)
        view = db.view()
        assert not view.up
        assert view.down_since_wall is not None
        server.revive()
        until(lambda: reachable(db))
        view = db.view()
        assert view.up
        assert view.reconnects >= 1  # a server that starts may answer and refuse again
        assert view.latency_p50_s is not None
        assert view.segments == 0


def test_the_embedded_server_is_started_again_by_whoever_uses_it(own_postgres: Make) -> None:
    server = own_postgres()
    with server, Database.open(None, server.folder) as db:
        with db.transaction() as connection:
            connection.execute("insert into language values ('xx')")
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: reachable(db) and server.pid not in (None, pid))  # the dead server's last backends still answer
        until(lambda: reachable(db))
        assert one(db, "select code from language") == "xx"


def test_an_embedded_server_that_does_not_start_again_says_why(own_postgres: Make) -> None:
    server = own_postgres()
    with server, Database.open(None, server.folder) as db:
        version = server.place.data / "PG_VERSION"
        written = version.read_text()
        version.write_text("9\n")  # as a home shared with another gainstage would have it
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        said: list[Transient] = []

        def refused() -> bool:
            try:
                db.ping()
            except Transient as error:
                said.append(error)
            return bool(said) and "was written by Postgres 9" in said[-1].message

        until(refused)
        assert said[-1].cause == Database.AWAY
        assert "Move it with pg_dump" in said[-1].hint
        version.write_text(written)
        until(lambda: reachable(db))


def test_a_connection_cut_in_the_middle_rolls_back(database: Database) -> None:
    def cut() -> None:
        with database.transaction() as connection:
            connection.execute("insert into language values ('xx')")
            with database.own_connection() as other:
                other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
            connection.execute("select 1")

    with pytest.raises(Transient) as caught:
        cut()
    assert caught.value.cause == Database.AWAY
    assert one(database, "select count(*) from language") == 0


def test_an_exception_rolls_a_transaction_back_and_passes(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as connection:
            connection.execute("insert into language values ('xx')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert one(database, "select count(*) from language") == 0


def test_a_pool_that_is_only_busy_is_not_called_away(
    shared_postgres: EmbeddedPostgres, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "PATIENCE_S", 0.2)
    with Database.open(database_url, tmp_path, pool_size=1) as db, db.connection(), ThreadPoolExecutor(1) as other:
        assert db.pool_busy == db.pool_size == 1
        error = other.submit(db.ping).exception()
        assert isinstance(error, Transient)
        assert error.cause == "database busy"
        assert f"held by {threading.current_thread().name} " in error.message


def test_a_thread_never_waits_for_the_connection_it_holds(database_url: str, tmp_path: Path) -> None:
    with Database.open(database_url, tmp_path, pool_size=1) as db:
        with pytest.raises(RuntimeError, match="inside the block of another"), db.connection():
            db.ping()
        with db.connection(), db.connection(reserved=True) as other:
            assert other.execute("select 1").fetchone() == (1,)
        db.ping()


def test_a_lock_that_is_not_given_is_busy(database: Database) -> None:
    def wait() -> None:
        with database.transaction() as waiter:
            waiter.execute("set local lock_timeout = '10ms'")
            waiter.execute("insert into language values ('xx')")

    with database.own_connection() as holder, holder.transaction():
        holder.execute("lock table language")
        with pytest.raises(Transient) as caught:
            wait()
        assert caught.value.cause == "database busy"


def test_a_closed_database_says_so_and_is_not_called_away(database_url: str, tmp_path: Path) -> None:
    db = Database.open(database_url, tmp_path)
    db.close()
    db.close()
    with pytest.raises(Transient) as caught:
        db.ping()
    assert caught.value.cause == "database closed"


def test_faults_of_ours_stay_what_they_are(database: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        one(database, "select 1 from nonsense")


def test_a_frozen_holder_of_a_transaction_is_cut_off(database: Database) -> None:
    assert one(database, "show idle_in_transaction_session_timeout") == "20s"


def test_a_password_is_in_no_text_about_a_database(database_url: str, tmp_path: Path) -> None:
    with Database.open(database_url.replace("postgres@", "postgres:h3rr1ng@"), tmp_path) as db:
        assert "h3rr1ng" not in f"{db} {db!r} {db.where} {db.view()} {db.check()}"

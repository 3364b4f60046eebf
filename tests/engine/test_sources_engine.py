"""Fetching by whole engines on a real server: killed in the middle, throttled, steered live, and what is never told."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_kit import ended, make_engine, queue, running, statuses
from fetch_kit import LOCAL, digest_at, engine_process, fetched, remote
from psycopg.sql import SQL, Identifier

from gainstage.config.settings import Settings
from gainstage.engine.pipeline import link_twin
from gainstage.engine.queue import changes
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.simulated import simulated
from gainstage.engine.sources.hosts import POSTPONED, Hosts
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Audio
from tests.http_server import Media, Request, Server
from tests.http_server import running as serving
from tests.queue_kit import column, until

BODY = bytes(range(256)) * 4000
HALF = 500_000


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def partial_bytes(home: Path) -> int:
    return max((path.stat().st_size for path in (home / "partial").rglob("*.part")), default=0)


@pytest.mark.parametrize("how", ["http", "ytdlp"])
def test_a_download_killed_in_the_middle_is_resumed_where_it_was(
    database: Database, database_url: str, server: Server, tmp_path: Path, how: str
) -> None:
    media = server.serve("/v.mp4", Media(BODY, content_type="video/mp4", stall_after=HALF))
    html = b"<html><head><title>A talk</title></head><body><video src='/v.mp4'></video></body></html>"
    page = server.serve("/watch", lambda r: r.answer(200, html, Content_Type="text/html"))
    Backlog(database).add([remote(media if how == "http" else page, "talk", how)])
    with engine_process(database_url, tmp_path) as first:
        until(lambda: partial_bytes(tmp_path) > HALF // 2 or first.poll() is not None)
        first.kill()
        first.wait()
    kept = partial_bytes(tmp_path)
    assert kept > HALF // 2
    with running(make_engine(database, tmp_path, flow=fetched, **LOCAL)):
        until(lambda: ended(database, 1))
    assert statuses(database) == {"talk": "stored"}
    assert digest_at(tmp_path, "talk").read_text() == hashlib.sha256(BODY).hexdigest()
    (asked,) = (
        int(wanted.removeprefix("bytes=").split("-")[0]) for path, wanted in server.ranges[1:] if path == "/v.mp4" and wanted
    )
    assert kept - 65_536 <= asked <= kept
    assert not list((tmp_path / "partial").iterdir()), "nothing is kept of what is stored"


def test_a_throttle_is_kept_by_an_engine_that_comes_after_a_kill(
    database: Database, database_url: str, server: Server, tmp_path: Path
) -> None:
    url = server.serve("/a.mp3", lambda r: r.answer(429, Retry_After="3000"))
    Backlog(database).add([remote(url, "first")])
    hosts = Hosts(database, lambda: Settings().fetch)
    with engine_process(database_url, tmp_path) as first:
        until(lambda: column(database, "first", "cause") == "HTTP 429" or first.poll() is not None)
        first.kill()
        first.wait()
    Backlog(database).add([remote(server.serve("/b.mp3", Media(BODY)), "second")])
    Backlog(database).retry(["first"])
    with running(make_engine(database, tmp_path, flow=fetched, **LOCAL)):
        until(lambda: all(column(database, id, "cause") == POSTPONED for id in ("first", "second")))
    assert (server.hits["/a.mp3"], server.hits["/b.mp3"]) == (1, 0)
    (view,) = hosts.views()
    assert (view.host, view.state, view.throttled) == ("127.0.0.1", "open", 1)
    assert view.until_wall is not None
    assert 2500 < view.until_wall - time.time() <= 3000


def test_more_workers_fetch_at_once_and_fewer_after_those_under_way(database: Database, server: Server, tmp_path: Path) -> None:
    good, lock, gate = Media(BODY), threading.Lock(), threading.Semaphore(0)
    busy = most = 0

    def slow(request: Request) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        gate.acquire(timeout=60)
        with lock:
            busy -= 1
        good(request)

    Backlog(database).add([remote(server.serve(f"/{n}.mp3", slow), f"r{n}") for n in range(12)])
    with running(make_engine(database, tmp_path, flow=fetched, workers__fetch=1, **LOCAL)) as engine:
        until(lambda: busy == 1)
        until(lambda: len(engine.in_flight) == 8)
        assert busy == 1
        changes.set_value(database, "workers.fetch", 4, "test")
        until(lambda: busy == 4)
        changes.set_value(database, "workers.fetch", 2, "test")
        until(lambda: engine.context.settings.workers.fetch == 2)
        gate.release(4)
        until(lambda: busy == 2)
        gate.release(100)
        until(lambda: ended(database, 12))
    assert most == 4


def test_a_raised_rate_acts_at_once_on_what_waits_for_it(database: Database, server: Server, tmp_path: Path) -> None:
    Backlog(database).add([remote(server.serve(f"/{n}.mp3", Media(BODY)), f"r{n}") for n in range(4)])
    with running(make_engine(database, tmp_path, flow=fetched, fetch__rate=1, **LOCAL)) as engine:
        until(lambda: sum(column(database, f"r{n}", "cause") == POSTPONED for n in range(4)) == 3)
        assert sum(server.hits.values()) == 1
        until(lambda: [(b.host, b.used, b.rate) for b in engine.context.fetcher.budgets()] == [("127.0.0.1", 1, 1)])
        changes.set_value(database, "fetch.rate", 3, "test")
        until(lambda: sum(status == "stored" for status in statuses(database).values()) == 3)
        until(lambda: sum(column(database, f"r{n}", "cause") == POSTPONED for n in range(4)) == 1)
        assert sum(server.hits.values()) == 3
        changes.set_value(database, "fetch.rate", 300, "test")
        until(lambda: ended(database, 4))


def everything_in(database: Database) -> str:
    """All rows of all tables, as text."""
    with database.connection() as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = any(current_schemas(false))").fetchall()
        return "\n".join(
            str(row) for (name,) in tables for row in connection.execute(SQL("select t::text from {} t").format(Identifier(name)))
        )


def test_cookies_are_sent_and_told_nowhere(
    database: Database, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secret, home, sent = "s3cr3t-c00kie", tmp_path / "home", set()
    jar = tmp_path / "my-jar.txt"
    jar.write_text(f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t{time.time() + 1e6:.0f}\tsid\t{secret}\n")
    jar.chmod(0o600)

    def answers(status: int, **headers: str) -> str:
        def answer(request: Request) -> None:
            sent.add((request.path, request.headers.get("Cookie")))
            request.answer(status, b"<html>no</html>", Content_Type="text/html", **headers)

        return server.serve(f"/{status}.html", answer)

    def good(request: Request) -> None:
        sent.add((request.path, request.headers.get("Cookie")))
        Media(BODY)(request)

    made = [remote(server.serve("/good.mp3", good), "good")]
    for status in (403, 500, 200):
        made += [remote(answers(status), f"{how}-{status}", how) for how in ("http", "ytdlp")]
    Backlog(database).add(made)
    given = LOCAL | {"fetch__cookies": str(jar), "retry__attempts": 2}
    with running(make_engine(database, home, flow=fetched, **given)) as engine:
        until(lambda: ended(database, 7))
        told = [str(event) for event in engine.context.journal.after(0, 20_000).items]
    assert {cookie for _, cookie in sent} == {f"sid={secret}"}
    assert statuses(database)["good"] == "stored"
    assert sum(status == "failed" for status in statuses(database).values()) == 6
    out, err = capfd.readouterr()
    files = [path.read_bytes().decode("utf-8", "replace") for path in home.rglob("*") if path.is_file()]
    assert any("HTTP 403" in text for text in files), "the journal is among them"
    for text in (everything_in(database), *told, *files, caplog.text, out, err):
        assert secret not in text
        assert jar.name not in text


def test_the_same_audio_is_processed_again_where_the_operator_says_so(database: Database, tmp_path: Path) -> None:
    recordings = queue(database, 2)

    def flow(flight: Flight, context: EngineContext) -> None:
        fingerprint = hashlib.sha256(recordings[0].id.encode()).hexdigest()  # as the simulated store keeps it
        if not link_twin(flight, context, Audio(tmp_path / "none", 16_000, fingerprint)):
            simulated(flight, context)

    with running(make_engine(database, tmp_path, flow=flow, in_flight=1, fetch__duplicates="process")):
        until(lambda: ended(database, 2))
    assert set(statuses(database).values()) == {"stored"}

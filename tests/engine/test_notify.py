"""Alerts: what is one, sent once by one of several engines to a real HTTP server, bounded, and never with a secret in sight."""

from __future__ import annotations

import base64
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from pydantic import SecretStr

from gainstage.engine.advisor.happenings import SeenSoFar, look
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.engine.errors import Misconfigured
from gainstage.engine.notify.sending import addresses, send, services
from gainstage.engine.queue import alerts, changes
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.enqueue import Origin, enqueue
from gainstage.engine.store.database import Database
from gainstage.engine.views.snapshot import ScopeView, Snapshot
from tests.chaos.kit import EngineProcess, cared_for, wait_for
from tests.cli_kit import gainstage, said
from tests.http_server import Request, Server

SECRET = "hunter2TopSecret"


class Inbox:
    """What the service was sent, and whether it takes it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.messages: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.status = 200
        server.routes["/in"] = self.take

    def take(self, request: Request) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.headers.append(request.headers["Authorization"] or "")
        self.messages.append(json.loads(body))
        request.answer(self.status)

    @property
    def url(self) -> str:
        return f"json://operator:{SECRET}@127.0.0.1:{self.server.server_address[1]}/in"

    def titled(self, words: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if words in m["title"]]


@contextmanager
def running_server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with running_server() as server:
        yield Inbox(server)


def queued(database: Database, count: int, *, failing: int = 0, name: str = "talks", scale: float = 0.5) -> None:
    made = simulated_recordings(count, seed=crc32(name.encode()), scale=scale)
    made = [replace(r, extra={**r.extra, "fail": "decode"}) if n < failing else r for n, r in enumerate(made)]
    enqueue(Backlog(database), Choice(tuple(made), (), count), Origin("run", ("/talks",), name))


@contextmanager
def engines(database: Database, url: str, tmp_path: Path, count: int) -> Iterator[list[EngineProcess]]:
    """So many engines at work, each with a home of its own."""
    made = [EngineProcess(tmp_path / f"home{n}", url, retry__attempts="1") for n in range(count)]
    desk = PostgresDesk(database)
    with cared_for(*made):
        wait_for(lambda: sum(e.alive and e.state == "running" for e in desk.engines()) == count, "the engines")
        yield made


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frame() -> Snapshot:
    desk = ScriptedDesk()
    desk.advance(150.0)
    made = desk.snapshot()
    assert made is not None
    return made


def kinds(seen: SeenSoFar, frame: Snapshot, floor: int = 0) -> tuple[SeenSoFar, list[str]]:
    seen, new = look(seen, frame, failed_share=0.2, disk_floor=floor)
    return seen, [one.kind for one in new]


def with_run(frame: Snapshot, *, queued: int, running: int, stored: int, failed: int) -> Snapshot:
    run = ScopeView(
        "run", "talks", 7, 1.0, None, queued, running, stored, failed, skipped=0, cancelled=0, retrying=0, audio_done_s=1.0,
        audio_left_s=None, work_s=1.0,
    )  # fmt: skip
    return replace(frame, scopes=(run,), host=replace(frame.host, disk_free=10**12, disk_full_in_s=None))


def test_a_stall_is_told_when_it_begins_and_again_when_it_comes_back(frame: Snapshot) -> None:
    well = with_run(frame, queued=5, running=1, stored=3, failed=0)
    stalled = replace(well, verdict=replace(well.verdict, health="stalled", reason="nothing moved for 5 m"))
    seen, said = kinds(SeenSoFar(), well)
    assert said == []
    for picture, told in ((stalled, ["stalled"]), (stalled, []), (well, []), (stalled, ["stalled"])):
        seen, said = kinds(seen, picture)
        assert said == told


def test_a_run_is_done_once_and_only_when_it_was_seen_at_work(frame: Snapshot) -> None:
    open_run = with_run(frame, queued=1, running=0, stored=3, failed=0)
    over = with_run(frame, queued=0, running=0, stored=4, failed=0)
    assert kinds(SeenSoFar(), over)[1] == []
    seen, _ = kinds(SeenSoFar(), open_run)
    seen, said = kinds(seen, over)
    assert said == ["done"]
    assert kinds(seen, over)[1] == []


@pytest.mark.parametrize(("stored", "failed", "told"), [(8, 2, []), (7, 3, ["failed"]), (5, 4, []), (0, 10, ["failed"])])
def test_a_share_of_failures_needs_ten_that_ended(frame: Snapshot, stored: int, failed: int, told: list[str]) -> None:
    assert kinds(SeenSoFar(), with_run(frame, queued=1, running=0, stored=stored, failed=failed))[1] == told


def test_a_full_disk_is_told_once_until_there_is_room_again(frame: Snapshot) -> None:
    base, seen, told = with_run(frame, queued=1, running=0, stored=1, failed=0), SeenSoFar(), []
    for free in (100, 9, 8, 12, 9, 16, 9):
        seen, said = kinds(seen, replace(base, host=replace(base.host, disk_free=free)), floor=10)
        told.append(said)
    assert told == [[], ["disk"], [], [], [], [], ["disk"]], "12 is within the hysteresis, 16 is not"
    assert kinds(SeenSoFar(), replace(base, host=replace(base.host, disk_full_in_s=600.0)))[1] == ["disk"]


def test_the_console_tells_of_an_engine_that_fell_silent(frame: Snapshot) -> None:
    well = with_run(frame, queued=1, running=0, stored=1, failed=0)
    gone = replace(well, verdict=replace(well.verdict, health="offline"), run=replace(well.run, state="running"))
    ended = replace(gone, run=replace(gone.run, state="stopped"))
    seen, _ = kinds(SeenSoFar(), well)
    assert kinds(seen, gone)[1] == ["lost"]
    assert kinds(kinds(seen, gone)[0], gone)[1] == []
    assert kinds(seen, ended)[1] == []


# -- claims -----------------------------------------------------------------------------------------------------------


def test_one_of_many_gets_each_alert_and_the_hour_has_a_limit(database: Database) -> None:
    got: list[str] = []
    ready = threading.Barrier(6)

    def ask() -> None:
        ready.wait()
        for n in range(5):
            got.append(f"{n} {alerts.claim(database, f'key{n}', 'stalled', 't', 'x', 'e', per_hour=3)}")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(g for g in got if "ours" in g) == ["0 ours", "1 ours", "2 ours"]
    assert sorted(g for g in got if "too many" in g) == ["3 too many", "4 too many"]
    assert len(got) == 30
    alerts.settle(database, "key0", sent=True)
    assert {r.key: r.state for r in alerts.list_alerts(database)} == {
        "key0": "sent", "key1": "sending", "key2": "sending", "key3": "held back", "key4": "held back",
    }  # fmt: skip


def test_addresses_are_told_apart_and_a_wrong_one_is_named_by_its_place() -> None:
    both = SecretStr(f"json://u:{SECRET}@127.0.0.1:1/a, ntfy://topic?tags=a,b\nmailto://u:{SECRET}@example.org")
    assert [a.partition(":")[0] for a in addresses(both)] == ["json", "ntfy", "mailto"]
    assert [name.partition(" (")[0] for name, _ in services(both)] == ["JSON", "ntfy", "E-Mail"]
    with pytest.raises(Misconfigured) as refused:
        services(SecretStr(f"ntfy://topic nonsense://{SECRET}@x"))
    assert "address 2 of notify.urls" in str(refused.value)
    assert SECRET not in str(refused.value)


# -- engines ----------------------------------------------------------------------------------------------------------


def test_of_two_engines_one_sends_each_alert_once(database: Database, database_url: str, tmp_path: Path, inbox: Inbox) -> None:
    changes.set_value(database, "notify.urls", inbox.url, "test")
    with engines(database, database_url, tmp_path, 2) as (first, second):
        queued(database, 24, failing=9)
        wait_for(lambda: inbox.titled("is done") and inbox.titled("many recordings fail"), "the end of the run")
        failed, done = inbox.titled("many recordings fail"), inbox.titled("talks is done")
        assert (len(failed), len(done)) == (1, 1)
        assert "24 recordings: 15 stored, 9 failed" in done[0]["message"]
        assert "energy is not known" in done[0]["message"], "the report's first lines"
        wait_for(lambda: {a.state for a in alerts.list_alerts(database)} == {"sent"}, "the outcomes, noted")
        first.kill()
        wait_for(lambda: inbox.titled("an engine is lost"), "news of the dead engine")
        queued(database, 3, name="more")
        wait_for(lambda: inbox.titled("more is done"), "the next run")
        second.ask(signal.SIGTERM)
        assert second.wait() == 0
    assert sorted(m["title"] for m in inbox.messages) == sorted({m["title"] for m in inbox.messages}), "each once"
    assert inbox.headers[0] == "Basic " + base64.b64encode(f"operator:{SECRET}".encode()).decode()
    rows = json.loads(said("notify", "sent", "--json", "--database", database_url))
    assert {r["state"] for r in rows} == {"sent"}
    assert len(rows) == len(inbox.messages)


def test_a_run_that_ends_with_its_engine_is_told_too(database: Database, database_url: str, tmp_path: Path, inbox: Inbox) -> None:
    changes.set_value(database, "notify.urls", inbox.url, "test")
    queued(database, 3)
    with cared_for(engine := EngineProcess(tmp_path / "home", database_url, until_empty=True)):
        assert engine.wait() == 0
    assert len(inbox.titled("talks is done")) == 1


def test_a_service_that_fails_is_logged_once_and_no_secret_is_anywhere(
    database: Database, database_url: str, tmp_path: Path, inbox: Inbox
) -> None:
    inbox.status = 500
    changes.set_value(database, "notify.urls", inbox.url, "test")
    with engines(database, database_url, tmp_path, 1) as (engine,):
        for name in ("one", "two", "three"):
            queued(database, 2, name=name)
            wait_for(lambda name=name: inbox.titled(f"{name} is done"), f"the attempt of {name}")  # type: ignore[misc]
        wait_for(lambda: len([r for r in alerts.list_alerts(database) if r.state == "failed"]) == 3, "the outcomes")
        words = ["--database", database_url, "--home", engine.home]
        logged = gainstage("logs", "--grep", "alerts cannot be sent", "--json", *words).stdout.splitlines()
        assert len(logged) == 1
        assert "JSON (address 1)" in logged[0]
        looks = (
            ("settings", "--json"), ("settings", "--history", "--json"), ("status", "--json"), ("watch", "--count", "1"),
            ("logs", "--count", "0", "--json"), ("notify", "sent", "--json"), ("report", "--format", "html"),
        )  # fmt: skip
        shown = [gainstage(*look, *words).stdout for look in looks]
        tried = gainstage("notify", "test", *words, status=1)
        engine.ask(signal.SIGTERM)
        engine.wait()
    assert '"***"' in shown[0]
    kept = [path.read_bytes().decode(errors="replace") for path in engine.home.rglob("*") if path.is_file()]
    with database.connection() as connection:
        others = connection.execute("select table_name from information_schema.tables where table_schema = 'gainstage'").fetchall()
        rows = [
            str(connection.execute(f'select * from "{table}"').fetchall())  # type: ignore[arg-type]
            for (table,) in others
            if table != "setting"
        ]
    for text in (*shown, tried.stdout, tried.stderr, *kept, *rows):
        assert SECRET not in text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_only_where_the_operator_says_so(inbox: Inbox, status: int) -> None:
    """The service on loopback stands for one outside; the inbox for what it would reach inside."""
    with running_server() as outside:
        outside.routes["/out"] = lambda request: request.answer(status, Location=inbox.server.url + "/in")
        address = outside.url.replace("http:", "json:") + "/out"
        (refused,) = send(services(SecretStr(address)), "title", "text")
        assert not refused.sent
        assert outside.hits["/out"] == 1
        assert inbox.server.hits["/in"] == 0
        if status in (307, 308):  # the others turn a POST into a GET
            (allowed,) = send(services(SecretStr(f"{address}?redirect=yes")), "title", "text")
            assert allowed.sent
            assert [m["title"] for m in inbox.messages] == ["title"]
    (direct,) = send(services(SecretStr(inbox.url)), "title", "text")
    assert direct.sent, "a private address that the operator gives is used"


def test_every_address_is_tried_at_once(tmp_path: Path, inbox: Inbox) -> None:
    environ = {"GAINSTAGE_NOTIFY__URLS": f"{inbox.url} json://127.0.0.1:1/closed"}
    done = gainstage("notify", "test", "--json", "--home", tmp_path / "home", environ=environ, status=1)
    assert [(d["name"], d["sent"]) for d in json.loads(done.stdout)] == [("JSON (address 1)", True), ("JSON (address 2)", False)]
    assert inbox.messages[0]["title"] == "gainstage: a test"
    assert not (tmp_path / "home").exists()
    nothing = gainstage("notify", "test", "--json", "--home", tmp_path / "home", status=1)
    assert "names no address" in json.loads(nothing.stdout)["error"]["message"]

"""Politeness as the database keeps it: over restarts, between engines, at a changed rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Cancelled, Permanent, Postponed, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.sources.budget import COOL_S
from gainstage.engine.sources.fetch import Fetcher
from gainstage.engine.sources.hosts import COUNTED_S, POSTPONED, Hosts
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import Recording
from tests.http_server import Media, Request, Server, running
from tests.queue_kit import column, job_queue, until

HOST = "pod.example"
BODY = bytes(range(256)) * 40


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Rates:
    def __init__(self, **changes: object) -> None:
        self.settings = Settings()
        self.set(**{"allow_private": True, "sleep": 0, "timeout": 5, **changes})

    def set(self, **changes: object) -> None:
        for name, value in changes.items():
            self.settings = changed(self.settings, f"fetch.{name}", value)

    def fetch(self) -> object:
        return self.settings.fetch


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def hosts(database: Database, rates: Rates, clock: Clock) -> Hosts:
    return Hosts(database, lambda: rates.settings.fetch, clock)


def test_the_budget_outlives_a_restart_and_is_shared(database: Database) -> None:
    clock, rates, token = Clock(), Rates(rate=4), CancelToken()
    one, other = hosts(database, rates, clock), hosts(database, rates, clock)
    for each in (one, other, hosts(database, rates, clock), one):
        each.enter(HOST, token)
    with pytest.raises(Postponed) as caught:
        hosts(database, rates, clock).enter(HOST, token)
    assert caught.value.cause == POSTPONED
    assert 3600 <= (caught.value.after_s or 0) <= 3660
    one.enter("other.example", token)
    rates.set(rate=5)
    one.enter(HOST, token)
    clock.now += 3661
    other.enter(HOST, token)


def test_many_threads_never_get_more_than_the_budget(database: Database) -> None:
    clock, rates = Clock(), Rates(rate=10)
    shared = hosts(database, rates, clock)
    granted: list[bool] = []

    def ask() -> None:
        for _ in range(4):
            try:
                shared.enter(HOST, CancelToken())
            except Postponed:
                granted.append(False)
            else:
                granted.append(True)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 10


def test_those_who_wait_come_back_at_the_pace_of_the_budget(database: Database) -> None:
    clock, rates, token = Clock(), Rates(rate=60), CancelToken()
    asked = hosts(database, rates, clock)
    for _ in range(60):
        asked.enter(HOST, token)
    waits = []
    for _ in range(4):
        with pytest.raises(Postponed) as caught:
            asked.enter(HOST, token)
        waits.append(caught.value.after_s or 0)
    assert [round(b - a) for a, b in pairwise(waits)] == [60, 60, 60]


def test_the_breaker_outlives_a_restart_and_one_trial_is_made(database: Database) -> None:
    clock, rates, token = Clock(), Rates(), CancelToken()
    first = hosts(database, rates, clock)
    leave = first.enter(HOST, token)
    error = first.failed(leave, Throttled("no", cause="HTTP 429"))
    assert isinstance(error, Throttled)
    assert error.after_s == COOL_S
    again = hosts(database, rates, clock)
    with pytest.raises(Postponed, match="cooling down"):
        again.enter(HOST, token)
    (view,) = again.views()
    assert (view.host, view.state, view.used, view.throttled) == (HOST, "open", 1, 1)
    clock.now += COOL_S
    trial = again.enter(HOST, token)
    assert trial.trial
    waiting = CancelToken()
    ended: list[type] = []

    def wait() -> None:
        try:
            first.enter(HOST, waiting)
        except Cancelled:
            ended.append(Cancelled)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.cancel("enough")
    thread.join()
    assert ended == [Cancelled]
    again.answered(trial)
    assert not first.enter(HOST, token).trial


def test_a_retry_after_is_obeyed_and_other_failures_open_nothing(database: Database) -> None:
    clock, rates, token = Clock(), Rates(), CancelToken()
    asked = hosts(database, rates, clock)
    for error in (Permanent("gone", cause="HTTP 404"), Transient("stalled", cause="stalled")):
        assert asked.failed(asked.enter(HOST, token), error) is error
    asked.enter(HOST, token)
    told = asked.failed(asked.enter(HOST, token), Throttled("later", cause="HTTP 429", after_s=1234.0))
    assert isinstance(told, Throttled)
    assert told.after_s == 1234.0
    clock.now += 1233
    assert asked.views()[0].state == "open"
    clock.now += 1
    assert asked.enter(HOST, token).trial


# -- the fetcher ------------------------------------------------------------------------------------------------------------


def remote(url: str, id: str = "u1") -> Recording:
    return Recording(id=id, key=f"url:{id}", source=url, title=id, extra={"fetch": "http"})


class Engine:
    """A fetcher as an engine has it; another one is a restart."""

    def __init__(self, database: Database, folder: Path, rates: Rates | None = None) -> None:
        self.rates = rates or Rates()
        self.folder = folder
        self.journal = Journal()
        self.fetcher = Fetcher(lambda: self.rates.settings, database, self.journal, folder / "partial")
        self.token = CancelToken()

    def fetch(self, recording: Recording, work: str = "work") -> bytes:
        place = self.folder / work
        place.mkdir(exist_ok=True)
        try:
            return self.fetcher.fetch(recording, place, token=self.token, progress=lambda _: None).read_bytes()
        finally:
            for file in place.iterdir():
                file.unlink()


def test_a_finished_download_is_not_asked_for_again_after_a_kill(database: Database, server: Server, tmp_path: Path) -> None:
    recording = remote(server.serve("/a.mp3", Media(BODY)))
    Backlog(database).add([recording])
    assert Engine(database, tmp_path).fetch(recording) == BODY
    assert Engine(database, tmp_path).fetch(recording) == BODY
    assert server.hits["/a.mp3"] == 1


def test_what_is_kept_is_dropped_when_its_recording_has_ended(database: Database, server: Server, tmp_path: Path) -> None:
    recording = remote(server.serve("/a.mp3", Media(BODY)))
    Backlog(database).add([recording])
    engine = Engine(database, tmp_path)
    engine.fetch(recording)
    Backlog(database).cancel([recording.id])
    Engine(database, tmp_path).fetch(remote(server.serve("/b.mp3", Media(BODY)), "u2"))
    assert [p.name for p in (tmp_path / "partial").iterdir()] == ["u2.media"]
    engine.fetcher.forget("u2")
    assert not list((tmp_path / "partial").iterdir())


def test_a_download_that_broke_is_resumed_by_the_next_engine(database: Database, server: Server, tmp_path: Path) -> None:
    recording = remote(server.serve("/a.mp3", Media(BODY, close_after=5000)))
    Backlog(database).add([recording])
    with pytest.raises(Transient):
        Engine(database, tmp_path).fetch(recording)
    assert Engine(database, tmp_path).fetch(recording) == BODY
    assert server.ranges[-1] == ("/a.mp3", "bytes=5000-")


def test_one_429_stops_all_requests_to_the_host_until_a_trial_succeeds(database: Database, server: Server, tmp_path: Path) -> None:
    engine, clock, good = Engine(database, tmp_path), Clock(), Media(BODY)
    engine.fetcher.hosts = hosts(database, engine.rates, clock)

    def answer(request: Request) -> None:
        if request.hit == 1:
            request.answer(429, Retry_After="900")
        else:
            good(request)

    recording = remote(server.serve("/a.mp3", answer))
    with pytest.raises(Throttled) as caught:
        engine.fetch(recording)
    assert caught.value.after_s == 900.0
    for _ in range(5):
        with pytest.raises(Postponed):
            engine.fetch(recording)
    assert server.hits["/a.mp3"] == 1
    (view,) = engine.fetcher.budgets()
    assert (view.host, view.state) == ("127.0.0.1", "open")
    clock.now += 901
    assert engine.fetch(recording) == BODY
    assert not engine.fetcher.hosts.enter("127.0.0.1", engine.token).trial
    assert any("throttles" in e.text for e in engine.journal.after(0, 100).items)


def test_a_postponed_recording_costs_no_attempt_and_a_raised_rate_brings_it_back(database: Database) -> None:
    clock, rates = Clock(), Rates(rate=1)
    asked, queue = hosts(database, rates, clock), job_queue(database)
    queue.add([remote("http://pod.example/a.mp3")])
    asked.enter(HOST, CancelToken())
    for _ in range(7):
        claim = until(queue.take)
        assert claim.attempt == 1
        with pytest.raises(Postponed) as caught:
            asked.enter(HOST, CancelToken())
        outcome = queue.fail(claim, caught.value, "", Settings().retry)
        assert outcome.retry
        assert queue.take() is None
        assert column(database, "u1", "cause") == POSTPONED
        assert asked.hurry() == 1


def test_local_files_ask_no_host(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"x")
    engine = Engine(database, tmp_path)
    path = engine.fetcher.fetch(
        Recording("f1", "sha256:1", str(tmp_path / "a.mp3"), "a"), tmp_path, token=engine.token, progress=lambda _: None
    )
    assert path == tmp_path / "a.mp3"
    assert engine.fetcher.budgets() == ()


def test_many_who_ask_at_once_are_answered_in_few_transactions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, made = hosts(database, Rates(rate=1000), Clock()), []
    change = asked._change

    def counted(*given: object) -> object:
        made.append(1)
        until(lambda: sum(map(len, asked._lines.values())) >= 15 or len(made) > 1)
        return change(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(asked, "_change", counted)
    threads = [threading.Thread(target=lambda: asked.enter(HOST, CancelToken())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked.views()[0].used == 16
    assert len(made) == 2


def test_a_download_whose_page_was_read_a_while_ago_counts_once(database: Database, tmp_path: Path) -> None:
    fetcher = Fetcher(lambda: Settings(), database, Journal(), tmp_path / "partial")
    looked = Recording("yt-a", "youtube:a", "https://www.youtube.com/watch?v=a", "A", extra={"counted": time.time() - 60})
    assert [fetcher._is_counted(looked), fetcher._is_counted(looked)] == [True, False], "a second attempt counts on its own"
    assert not fetcher._is_counted(replace(looked, id="yt-b", extra={"counted": time.time() - 2 * COUNTED_S}))
    assert not fetcher._is_counted(replace(looked, id="yt-c", extra={}))
    token = CancelToken()
    fetcher.hosts.enter("www.youtube.com", token)
    fetcher.hosts.enter("www.youtube.com", token, counted=True)
    assert [(view.host, view.used) for view in fetcher.hosts.views()] == [("www.youtube.com", 1)]
    fetcher.close()

"""The reader thread: one owner, never in the way, honest about what it could not ask."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.engine.views.commands import Ack, DeskError
from gainstage.tui.console.app import GainstageApp
from gainstage.tui.console.offload import offload
from gainstage.tui.console.poller import Poller
from gainstage.tui.state.feeds import Feed
from tests.tui.conftest import Bent

Run = Callable[..., Any]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.005)


def test_news_is_taken_once(desk_at: Run) -> None:
    desk = desk_at("burst")
    pump = Poller(desk)
    pump.poll()
    news = pump.take()
    assert news.snapshot == desk.snapshot()
    assert news.frames == 1
    assert news.events
    assert pump.take().snapshot is None
    pump.poll()
    assert pump.take().frames == 0, "the same frame is no news"
    desk.advance(1.0)
    pump.poll()
    assert pump.take().frames == 1


def test_events_come_once_and_in_order(desk_at: Run) -> None:
    desk = desk_at("oom")
    pump = Poller(desk)
    seen: list[int] = []
    for _ in range(4):
        pump.poll()
        seen += [e.seq for e in pump.take().events]
        desk.advance(5.0)
    assert seen == sorted(set(seen))
    assert len(seen) > 100


def test_feeds_are_asked_when_due_and_dropped_when_replaced(desk_at: Run) -> None:
    desk = desk_at("burst")
    asked: list[str] = []
    slow = Feed("slow", lambda _: asked.append("slow") or "s", 10.0)
    once = Feed("once", lambda _: asked.append("once") or "o", 0.0)
    pump = Poller(desk)
    pump.watch((slow, once))
    for _ in range(5):
        pump.poll()
        desk.advance(1.0)
    assert asked == ["slow", "once"]
    assert pump.take().answers["slow"].value == "s"
    desk.advance(10.0)
    pump.poll()
    assert asked == ["slow", "once", "slow"]
    pump.watch((once,))
    assert pump.take().answers == {}, "an answer nobody waits for any more is not handed out"


def test_a_refusing_desk_is_an_answer_too(desk_at: Run) -> None:
    pump = Poller(Bent(desk_at("burst"), failures=DeskError("down")))
    pump.watch((Feed("failures", lambda desk: desk.failures()),))
    pump.poll()
    assert pump.take().answers["failures"].error == "down"


def test_acknowledgements_are_followed_until_final(desk_at: Run) -> None:
    states = [Ack(3, "pending"), Ack(3, "pending"), Ack(3, "done", revision=9)]
    desk = desk_at("burst")

    class Slow(Bent):
        def ack(self, number: int) -> Ack:
            return states.pop(0)

    pump = Poller(Slow(desk))
    pump.follow(3)
    for _ in range(2):
        pump.poll()
        assert pump.take().acks == []
    pump.poll()
    assert [a.revision for a in pump.take().acks] == [9]
    pump.poll()
    assert states == []


def test_the_reader_is_one_named_thread_that_ends(desk_at: Run) -> None:
    pump = Poller(desk_at("burst"), hz=50)
    before = set(threading.enumerate())  # a reader of another test may not have ended yet
    pump.start()
    try:
        until(lambda: pump.take().snapshot is not None)
        assert [t.name for t in set(threading.enumerate()) - before].count("console-reader") == 1
    finally:
        pump.close()
    assert not pump.alive


def test_a_hanging_desk_does_not_keep_the_console_open(desk_at: Run) -> None:
    release, inside = threading.Event(), threading.Event()

    class Hanging(Bent):
        def snapshot(self) -> Any:
            inside.set()
            release.wait(30)

    pump = Poller(Hanging(desk_at("burst")), hz=50)
    pump.start()
    assert inside.wait(20)
    pump.close(timeout_s=0.05)
    release.set()
    until(lambda: not pump.alive)


def test_a_reader_that_breaks_says_so(desk_at: Run) -> None:
    class Broken(Bent):
        def snapshot(self) -> Any:
            raise ZeroDivisionError("bug")

    pump = Poller(Broken(desk_at("burst")), hz=50)
    pump.start()
    until(lambda: not pump.alive)
    assert "ZeroDivisionError" in (pump.take().broken or "")
    pump.close()


async def test_offloaded_calls_return_raise_and_do_not_block() -> None:
    gate = threading.Event()
    waiting = asyncio.create_task(offload(lambda: gate.wait(20), "test"))
    await asyncio.sleep(0)
    gate.set()
    assert await waiting is True
    with pytest.raises(DeskError, match="no"):
        await offload(lambda: (_ for _ in ()).throw(DeskError("no")), "test")
    cancelled = asyncio.create_task(offload(lambda: gate.wait(20), "test"))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_the_running_console_follows_a_running_desk(tmp_path: Any) -> None:
    """The real pump, the real interval, a clock that runs."""
    desk = ScriptedDesk(clock=time.monotonic, start_at=60.0)
    app = GainstageApp(desk, refresh_hz=10, log=tmp_path / "log")
    async with app.run_test(size=(160, 48)) as pilot:
        for _ in range(2000):
            await pilot.pause(0.01)
            if app.counts.ticks > 5 and app.newest is not None and app.newest.seq > 305:
                break
        assert app.newest is not None
        assert app.newest.seq > 305
        assert app.first_frame_s is not None
        await pilot.press("P")
        for _ in range(2000):
            await pilot.pause(0.01)
            if app.newest.run.state == "paused":
                break
        assert app.newest.run.state == "paused"
    assert not app.poller.alive
    assert not app.reported


def test_a_desk_that_does_not_answer_is_told_as_such(desk_at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.tui.console.poller.SILENT_AFTER_S", 0.0)
    desk = desk_at("burst")
    hung, go_on = threading.Event(), threading.Event()

    def hang(snapshot: Any) -> Any:
        hung.set()
        go_on.wait(20.0)
        return snapshot

    pump = Poller(Bent(desk, hang))
    pump.start()
    try:
        assert hung.wait(20.0)
        assert "the database has not answered for" in (pump.take().error or "")
        go_on.set()
        until(lambda: pump.take().error is None)
    finally:
        go_on.set()
        pump.close()

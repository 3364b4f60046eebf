"""A token says once that something is to end, and everybody who cares hears of it."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest

from gainstage.engine.errors import Cancelled
from gainstage.engine.flow.cancel import CancelToken

PATIENCE_S = 60.0


def test_the_first_reason_stays() -> None:
    token = CancelToken()
    assert not token.cancelled
    assert token.reason is None
    token.check()
    token.cancel("drain")
    token.cancel("stop")
    assert token.cancelled
    assert token.reason == "drain"
    with pytest.raises(Cancelled, match="drain"):
        token.check()


def test_a_child_ends_with_its_parent_and_not_the_other_way_round() -> None:
    parent = CancelToken()
    child, sibling = parent.child(), parent.child()
    grandchild = child.child()
    child.cancel("this one")
    assert grandchild.reason == "this one"
    assert not parent.cancelled
    assert not sibling.cancelled
    parent.cancel("all")
    assert (child.reason, sibling.reason) == ("this one", "all")
    assert parent.child().reason == "all"


def test_children_that_are_gone_are_forgotten() -> None:
    parent = CancelToken()
    for _ in range(1000):
        parent.child()
    gc.collect()
    assert len(parent._children) == 0


def test_callbacks_run_once_and_removed_ones_never() -> None:
    token = CancelToken()
    heard: list[str] = []
    token.on_cancel(lambda: heard.append("a"))
    remove = token.on_cancel(lambda: heard.append("b"))
    remove()
    remove()
    token.cancel("x")
    token.cancel("y")
    assert heard == ["a"]
    assert token._callbacks == {}
    token.on_cancel(lambda: heard.append("late"))()
    assert heard == ["a", "late"]


def test_a_failing_callback_keeps_nobody_from_hearing() -> None:
    token = CancelToken()
    child = token.child()
    heard: list[str] = []

    def bad() -> None:
        raise RuntimeError("boom")

    token.on_cancel(bad)
    token.on_cancel(lambda: heard.append("after"))
    with pytest.raises(ExceptionGroup) as caught:
        token.cancel("x")
    assert [str(e) for e in caught.value.exceptions] == ["boom"]
    assert heard == ["after"]
    assert child.cancelled


def test_a_sleep_ends_with_its_time_or_at_once_when_cancelled() -> None:
    token = CancelToken()
    began = time.monotonic()
    assert not any(token.wait(seconds) for seconds in (0.0, -1.0) * 50)
    assert time.monotonic() - began < PATIENCE_S
    assert token._callbacks == {}
    results: list[bool] = []
    sleeper = threading.Thread(target=lambda: results.append(token.wait(PATIENCE_S)), daemon=True)
    sleeper.start()
    token.cancel("x")
    sleeper.join(PATIENCE_S)
    assert results == [True]
    assert token.wait() is True
    assert token._callbacks == {}


def test_a_sleep_without_a_limit_lasts_until_the_cancel() -> None:
    token, results = CancelToken(), []
    sleeper = threading.Thread(target=lambda: results.append(token.wait()), daemon=True)
    sleeper.start()
    token.cancel("x")
    sleeper.join(PATIENCE_S)
    assert results == [True]


def test_a_signal_handler_may_cancel_whatever_its_thread_was_doing() -> None:
    """The handler runs between two instructions of this thread, also inside the token's own methods."""
    token = CancelToken()
    previous = signal.signal(signal.SIGUSR1, lambda *_: token.cancel("signal"))
    try:
        sender = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1))
        sender.start()
        while not token.cancelled:
            token.child()
            token.on_cancel(lambda: None)()
            token.wait(0.0)
        sender.join(PATIENCE_S)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert token.child().cancelled


def test_nobody_misses_a_cancel_that_comes_while_they_register() -> None:
    for _ in range(200):
        race_to_register(CancelToken())


def race_to_register(token: CancelToken) -> None:
    heard = threading.Semaphore(0)
    children: list[CancelToken] = []
    start = threading.Barrier(2)

    def register() -> None:
        start.wait()
        for _ in range(10):
            token.on_cancel(heard.release)
            children.append(token.child())

    thread = threading.Thread(target=register, daemon=True)
    thread.start()
    start.wait()
    token.cancel("now")
    thread.join(PATIENCE_S)
    for _ in range(10):
        assert heard.acquire(timeout=PATIENCE_S)
    assert not heard.acquire(blocking=False)
    assert all(child.cancelled for child in children)

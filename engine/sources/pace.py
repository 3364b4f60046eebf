"""Least speed of a server: timeouts limit silence, this limits a slow trickle of data, and data that never become an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

from gainstage.engine.errors import Transient

WINDOW_S = 60.0
"""Seconds over which the least speed is measured, so that a short pause is accepted."""


_thread = threading.local()  # ``since`` when it waits for the next part of an answer, ``longest_s`` for how long it may


def await_answer(longest_s: float | None = None) -> None:
    """This thread begins to wait for the head of an answer, in which case it says for how long at most, or for a part of its body."""
    if longest_s is not None:
        _thread.longest_s = longest_s
    _thread.since = time.monotonic()


def answered() -> None:
    """This thread waits for no answer any more."""
    _thread.since = None


def check_patience() -> None:
    """To be called when some bytes have arrived. Raises :class:`Transient` where they have been arriving for too long without making
    up the head of an answer or a part of its body: endless headers, interim answers, or compressed data that unpack to nothing.
    """
    since = getattr(_thread, "since", None)
    if since is not None and time.monotonic() - since > max(WINDOW_S, getattr(_thread, "longest_s", 0.0)):
        raise Transient(
            "the server keeps sending, and no answer comes of it",
            cause="too slow",
            hint="It is tried again. Is it a server for media or feeds?",
        )


class SpeedCheck:
    """Measures the speed of received data. ``least_speed`` is in bytes per second (0: none), ``limit_s`` the longest total time.

    Only the time spent waiting for the server counts, not the time in which its data is processed.
    """

    def __init__(self, least_speed: float, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least = least_speed
        self._limit_s = limit_s
        self._clock = clock
        self._waited = 0.0
        self._since = 0.0
        self._arrived = 0

    def add(self, size: int, waited_s: float) -> None:
        """Add ``size`` bytes that took ``waited_s`` seconds. Raises :class:`Transient` below the least speed or over the total
        time."""
        self._waited += waited_s
        self._arrived += size
        if self._waited > self._limit_s:
            raise Transient(
                f"the server took more than {self._limit_s:.0f} s",
                cause="took too long",
                hint="fetch.time_limit bounds a download; what arrived is kept, and it is resumed where the server allows it.",
            )
        window_s = self._waited - self._since
        if window_s >= WINDOW_S:
            if self._arrived < self._least * window_s:
                raise Transient(
                    f"the server sends {self._arrived / window_s:.0f} bytes a second",
                    cause="too slow",
                    hint="fetch.least_speed sets the lowest speed accepted; it is tried again.",
                )
            self._since, self._arrived = self._waited, 0

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks, unchanged, each measured."""
        rest = iter(blocks)
        while True:
            begun = self._clock()
            await_answer()
            try:
                block = next(rest)
            except StopIteration:
                return
            self.add(len(block), self._clock() - begun)
            yield block

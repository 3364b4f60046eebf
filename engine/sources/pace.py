"""How slow a server may be: silence is bounded by timeouts, this bounds what drips."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from gainstage.engine.errors import Transient

WINDOW_S = 60.0
"""The least speed is kept over this long, so that a pause costs nothing."""


class Pace:
    """Counts what arrives. ``least_speed`` is in bytes per second (0: none), ``limit_s`` the longest the whole may take.

    Only time spent waiting for the server counts, not what is done with its bytes meanwhile.
    """

    def __init__(self, least_speed: float, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least = least_speed
        self._limit_s = limit_s
        self._clock = clock
        self._waited = 0.0
        self._since = 0.0
        self._arrived = 0

    def add(self, size: int, waited_s: float) -> None:
        """``size`` bytes came after ``waited_s``. Raises :class:`Transient` when that is too slow, or the whole takes too long."""
        self._waited += waited_s
        self._arrived += size
        if self._waited > self._limit_s:
            raise Transient(
                f"the server took more than {self._limit_s:.0f} s",
                cause="took too long",
                hint="fetch.time_limit bounds a download; what arrived is kept, and it is resumed where the server allows it",
            )
        window_s = self._waited - self._since
        if window_s >= WINDOW_S:
            if self._arrived < self._least * window_s:
                raise Transient(
                    f"the server sends {self._arrived / window_s:.0f} bytes a second",
                    cause="too slow",
                    hint="fetch.least_speed sets what is borne; it is tried again",
                )
            self._since, self._arrived = self._waited, 0

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks as they come, each counted."""
        rest = iter(blocks)
        while True:
            begun = self._clock()
            try:
                block = next(rest)
            except StopIteration:
                return
            self.add(len(block), self._clock() - begun)
            yield block

"""Which threads hold connections of a pool: named when nobody gets one, and kept from waiting for themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Holders:
    """The threads that hold a connection now, and since when."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[int, str, float]] = {}  # each step on it is one operation of the dict: no lock

    @contextmanager
    def holding(self, connection: object) -> Iterator[None]:
        """Note this thread as the holder of ``connection`` for the block."""
        self._since[id(connection)] = (threading.get_ident(), threading.current_thread().name, time.monotonic())
        try:
            yield
        finally:
            self._since.pop(id(connection), None)

    def refuse_nested(self) -> None:
        """Raise :class:`RuntimeError` when this thread holds one already: with a pool of one it would wait for itself."""
        if any(thread == threading.get_ident() for thread, _, _ in list(self._since.values())):
            raise RuntimeError("a second connection is asked for inside the block of another")

    def text(self) -> str:
        """Who holds connections, the longest first: ``store 31 s, voices 12 s``; empty when nobody does."""
        now = time.monotonic()
        held = sorted((since, name) for _, name, since in list(self._since.values()))
        return ", ".join(f"{name} {now - since:.0f} s" for since, name in held)

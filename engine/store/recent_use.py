"""Whether a pooled connection lives is asked only where it has not been of use a moment ago: one trip less of nearly every call."""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

FRESH_S = 1.0
"""A server that went away within this time is found by the statement itself."""


class RecentUse:
    """The ``reset`` and the ``check`` of a pool."""

    def __init__(self) -> None:
        self._used: WeakKeyDictionary[Connection[TupleRow], float] = WeakKeyDictionary()

    def note(self, connection: Connection[TupleRow]) -> None:
        """A connection comes back to its pool in order."""
        self._used[connection] = time.monotonic()

    def check(self, connection: Connection[TupleRow]) -> None:
        """Raise ``psycopg.Error`` for a connection that is dead."""
        if time.monotonic() - self._used.get(connection, float("-inf")) > FRESH_S:
            ConnectionPool.check_connection(connection)

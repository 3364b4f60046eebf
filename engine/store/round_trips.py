"""What round trips to the database measure: how long they take, and what time its clock shows."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

CLOSE_S = 0.05
"""Clocks that differ by no more than this, beyond what a round trip can tell, are one."""


class Latency:
    """Round trips of the last minutes."""

    def __init__(self) -> None:
        self._trips: deque[float] = deque(maxlen=240)

    def record(self, took_s: float) -> None:
        self._trips.append(took_s)

    def quantile(self, share: float) -> float | None:
        """Seconds that ``share`` of the round trips took at most; None before the first."""
        trips = sorted(self._trips)
        return trips[min(len(trips) - 1, int(share * len(trips)))] if trips else None


class DatabaseClock:
    """The database's clock, kept by this machine's clock and the offset between the two, measured at round trips.

    Every time that is written to the database, published, or compared with a time of the database is of this clock, so that
    machines whose clocks differ agree. Ages of local files are of the machine's own. Thread-safe.
    """

    def __init__(self) -> None:
        self.offset_s = 0.0
        """The database's clock minus this machine's."""

    def now(self) -> float:
        """Epoch seconds by the database's clock."""
        return time.time() + self.offset_s

    def local(self) -> datetime:
        """The same in the time zone of this machine."""
        return datetime.fromtimestamp(self.now()).astimezone()

    def measure(self, connection: Connection[TupleRow]) -> float:
        """Read the database's clock; returns the seconds of the round trip.

        The server answers somewhere within the trip, so that the offset is known to half of it (Cristian's algorithm); a
        difference within that keeps the offset as it is.
        """
        sent, began = time.time(), time.perf_counter()
        row = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
        took_s = time.perf_counter() - began
        assert row is not None
        offset_s = float(row[0]) - (sent + took_s / 2)
        was_set = abs(time.time() - sent - took_s) > CLOSE_S  # during the trip: the next one measures
        if not was_set and abs(offset_s - self.offset_s) > took_s / 2 + CLOSE_S:
            self.offset_s = offset_s
        return took_s

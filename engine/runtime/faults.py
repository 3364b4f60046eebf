"""Outages of the database and faults in an engine's own threads: noted, reported in the journal, survived."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gainstage.engine.errors import EngineError, Transient
from gainstage.engine.telemetry.journal import Journal

REPORT_AGAIN_S = 60.0
"""The same fault of the same thread is reported again after this long."""


class Faults:
    """Shared by all threads of an engine. ``away_since`` is the time by ``wall`` at which the database went away, else None."""

    def __init__(self, journal: Journal, wall: Callable[[], float]) -> None:
        self._journal = journal
        self._wall = wall
        self._lock = threading.Lock()
        self._reported: dict[tuple[str, str], float] = {}
        self.away_since: float | None = None

    def database_away(self, error: EngineError) -> None:
        """Note the beginning of an outage; later calls of the same outage change nothing."""
        if self.away_since is None:
            self.away_since = self._wall()
            self._journal.log("warning", f"database: {error.message}", kind="state")

    def database_back(self) -> None:
        """Note the end of an outage, if there was one."""
        if self.away_since is not None:
            away = max(0.0, self._wall() - self.away_since)
            self.away_since = None
            self._journal.log("info", f"database back after {away:.1f} s", kind="state")

    def guarded_step(self, name: str, step: Callable[[], object]) -> bool:
        """Do one step of an owned thread; False when it failed. An outage is noted and a fault reported: the thread goes on."""
        try:
            step()
        except Transient as error:
            self.database_away(error)
            return False
        except Exception as error:  # an engine without heartbeat or figures would be worse than a fault that is reported
            self.report(name, error)
            return False
        return True

    def report(self, name: str, error: Exception) -> None:
        """Report a fault of an owned thread, the same one once a minute."""
        text = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        with self._lock:
            if now - self._reported.get((name, text), float("-inf")) < REPORT_AGAIN_S:
                return
            self._reported = {k: t for k, t in self._reported.items() if now - t < REPORT_AGAIN_S} | {(name, text): now}
        self._journal.log("error", f"{name}: {text}", kind="failure", error=error)

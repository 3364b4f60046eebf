"""What the engine has done so far, kept for the snapshot: throughput, failures, decisions. Cheap to add to from any thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from gainstage.config.settings import Identify
from gainstage.engine.advisor.measured_gain import Finished
from gainstage.engine.errors import Cancelled, EngineError, Throttled
from gainstage.engine.runtime.throughput import Throughput
from gainstage.engine.store.rows import StoredDecision
from gainstage.engine.terms import Cast, Decision
from gainstage.engine.views.snapshot import DecisionRow, DecisionsView, near_limit

WINDOW_S = 600.0
FINISHED_S = 3600.0
LATEST = 40
HISTOGRAM_BUCKETS = 16


def is_grey(decision: Decision) -> bool:
    """Near one of the limits it was decided by."""
    limits = decision.limits
    if decision.variance_spreads is not None:
        return near_limit(decision.variance_spreads, limits.get("identify.variance_spreads")) or near_limit(
            decision.range_spreads, limits.get("identify.range_spreads")
        )
    return near_limit(decision.variance, limits.get("identify.variance_limit")) or near_limit(
        decision.spread, limits.get("identify.range_limit")
    )


def _share_of_limit(decision: Decision, identify: Identify) -> float:
    """The variance of a decision's similarities in units of the limit in force."""
    if decision.variance_spreads is not None:
        return decision.variance_spreads / (identify.variance_spreads or 1.0)
    return (decision.variance or 0.0) / (identify.variance_limit or 0.5)


class RunTotals:
    """Counts of this engine since it started; ``wall`` gives the times of what is shown."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._lock = threading.Lock()
        self._throughput = Throughput()
        self.last_commit_wall: float | None = None
        self.audio_s = 0.0
        self._stored: deque[tuple[float, int | None]] = deque()  # (monotonic, run) of the last 10 minutes
        self._troubles: deque[tuple[float, bool, int | None]] = deque()  # (monotonic, throttled, run) of the last 10 minutes
        self._finished: deque[Finished] = deque()  # by wall time, as far back as effects of changes are measured
        self._counts: Counter[str] = Counter()
        self._histogram = [0] * HISTOGRAM_BUCKETS
        self._latest: deque[DecisionRow] = deque(maxlen=LATEST)
        self._calibrated = False  # whether the newest decisions were made in one voice's own deviation

    def stored(self, audio_s: float, run: int | None = None, served_s: float = 0.0) -> None:
        """A recording was stored; ``served_s`` are the service seconds of all its stages."""
        now = time.monotonic()
        with self._lock:
            self.last_commit_wall = wall = self._wall()
            self.audio_s += audio_s
            self._throughput.stored(wall, audio_s)
            self._finished.append(Finished(wall, audio_s, served_s))
            while not wall - FINISHED_S <= self._finished[0].at_s <= wall:  # too old, or the clock was put back since
                self._finished.popleft()
            self._stored.append((now, run))
            while self._stored[0][0] < now - WINDOW_S:
                self._stored.popleft()

    def finished(self) -> tuple[Finished, ...]:
        """What was stored in the last :data:`FINISHED_S` seconds, by wall time."""
        with self._lock:
            return tuple(self._finished)

    def failed(self, error: EngineError, run: int | None = None) -> None:
        if isinstance(error, Cancelled):
            return
        now = time.monotonic()
        with self._lock:
            self._troubles.append((now, isinstance(error, Throttled), run))
            while self._troubles[0][0] < now - WINDOW_S:
                self._troubles.popleft()

    def recent(self, run: int | None = None) -> tuple[int, int, int]:
        """(finished, failed, throttled) of the last 10 minutes, of one run or of all."""
        edge = time.monotonic() - WINDOW_S
        with self._lock:
            finished = sum(t >= edge and run in (None, of) for t, of in self._stored)
            troubles = [throttled for t, throttled, of in self._troubles if t >= edge and run in (None, of)]
        return finished + len(troubles), len(troubles), sum(troubles)

    def look(self, working: bool) -> bool:
        """Several times a second: whether recordings are in flight. True when work begins after an idle time."""
        with self._lock:
            return self._throughput.look(time.monotonic(), self._wall(), working)

    @property
    def work_s(self) -> float:
        """Seconds in which recordings were in flight."""
        with self._lock:
            return self._throughput.work_s

    def rtfx(self) -> float | None:
        """Audio seconds stored per second of work now; None while idle."""
        with self._lock:
            return self._throughput.rtfx()

    def rtfx_history(self) -> tuple[float | None, ...]:
        """One figure for each whole minute of the clock, oldest first, at most 60; None for an idle one."""
        with self._lock:
            return self._throughput.history(self._wall())

    def rtfx_trend(self) -> tuple[float | None, ...]:
        """The rate "now" each five seconds, oldest first, at most 60; None while idle."""
        with self._lock:
            return self._throughput.trend()

    def decisions(self, recording: str, title: str, cast: Cast, ids: tuple[int, ...], identify: Identify) -> None:
        wall = self._wall()
        with self._lock:
            self._counts["fast_path"] += cast.fast_path
            for id, d in zip(ids, cast.decisions, strict=True):
                self._counts["clusters"] += 1
                self._counts["massive"] += d.massive
                self._counts["split" if d.split else "kept"] += 1
                self._counts["unknown"] += d.speaker is None and not d.split
                self._counts["grey"] += is_grey(d)
                if d.variance is not None:
                    share = _share_of_limit(d, identify)
                    self._histogram[min(HISTOGRAM_BUCKETS - 1, int(share / 2 * (HISTOGRAM_BUCKETS - 1)))] += 1
                if d.variance is not None:
                    self._calibrated = d.variance_spreads is not None
                self._latest.appendleft(StoredDecision(id, wall, recording, title, d).row())

    def decisions_view(self, identify: Identify) -> DecisionsView:
        with self._lock:
            c = self._counts
            return DecisionsView(
                clusters=c["clusters"],
                kept=c["kept"],
                split=c["split"],
                massive=c["massive"],
                unknown=c["unknown"],
                grey=c["grey"],
                fast_path=c["fast_path"],
                variance_limit=identify.variance_limit,
                range_limit=identify.range_limit,
                variance_histogram=tuple(self._histogram),
                latest=tuple(self._latest),
                variance_spreads=identify.variance_spreads if self._calibrated else None,
                range_spreads=identify.range_spreads if self._calibrated else None,
            )

"""How fast an engine stores audio, over the time in which it had work: an idle hour is no slow hour.

Not thread-safe: :class:`gainstage.engine.runtime.run_totals.RunTotals` holds its lock around every call.
"""

from __future__ import annotations

from collections import deque

MINUTES = 60
"""Minutes of the clock that are kept."""

NOW_S = 60.0
"""Time with work that "now" looks back over, where enough was stored in it."""

LEAST_STORED = 3
"""Recordings that "now" should rest on: fewer say how long the last one was, not how fast the engine is."""

LONGEST_S = 600.0
"""Time with work that "now" looks back over at most."""

IDLE_S = 10.0
"""Without work for this long an engine was idle, and what it did before says nothing of what comes."""

TREND_STEP_S, TREND_STEPS = 5.0, 60
"""Rates "now" that are kept, on the time axis of the stages' trends."""

LEAST_WORK_S = 15.0
"""A minute with less work than this is idle: what was stored in it was made before."""


class Throughput:
    """``look`` is called several times a second with whether recordings are in flight, ``stored`` for each one stored."""

    def __init__(self) -> None:
        self.work_s = 0.0
        self._looked_at: float | None = None
        self._working = False
        self._worked_at = float("-inf")
        self._stored: deque[tuple[float, float]] = deque()  # (work seconds so far, audio seconds), the last LONGEST_S of work
        self._trend: deque[float | None] = deque(maxlen=TREND_STEPS)
        self._step: int | None = None
        self._minutes: dict[int, list[float]] = {}  # minute of the clock -> [audio seconds, work seconds]

    def look(self, now: float, wall: float, working: bool) -> bool:
        """Count the time since the last look as work when there was work at its start. ``now`` is monotonic, both in seconds.

        True when work begins after an idle time.
        """
        if self._looked_at is not None and self._working:
            passed = max(0.0, now - self._looked_at)
            self.work_s += passed
            self._minute(wall)[1] += min(60.0, passed)
        begins = working and now - self._worked_at >= IDLE_S
        self._looked_at, self._working = now, working
        if working:
            self._worked_at = now
        self._note(int(now // TREND_STEP_S))
        return begins

    def trend(self) -> tuple[float | None, ...]:
        """The rate "now" at the end of each :data:`TREND_STEP_S` seconds, oldest first; None while idle."""
        return tuple(self._trend)

    def _note(self, step: int) -> None:
        missed = 0 if self._step is None else min(TREND_STEPS, step - self._step)
        if missed > 0:
            self._trend.extend([None] * (missed - 1))  # nobody looked then
            self._trend.append(self.rtfx())
        if missed or self._step is None:
            self._step = step

    def stored(self, wall: float, audio_s: float) -> None:
        """A recording of this length was stored."""
        self._minute(wall)[0] += audio_s
        self._stored.append((self.work_s, audio_s))
        while self._stored[0][0] < self.work_s - LONGEST_S:
            self._stored.popleft()

    def rtfx(self) -> float | None:
        """Audio seconds stored per second of work: of the last minute, or as far back as three recordings need, at most ten minutes.

        None while idle and before anything was stored.
        """
        if not self._working or not self._stored:
            return None
        first = max(0.0, self.work_s - LONGEST_S)
        for n, (at, _) in enumerate(reversed(self._stored), 1):
            if n > LEAST_STORED and self.work_s - at >= NOW_S:
                first = at
                break
        done = [audio for at, audio in self._stored if at > first]
        last = self._stored[-1][0]
        if not done or last <= first:
            return None
        gap = (last - first) / len(done)  # the next one is not late before this has passed
        return sum(done) / (last - first + max(0.0, self.work_s - last - gap))

    def history(self, wall: float) -> tuple[float | None, ...]:
        """Audio seconds per second of work for each whole minute of the clock, oldest first; None for an idle one."""
        current = int(wall // 60)
        first = min(self._minutes, default=current)
        return tuple(self._rate(self._minutes.get(m)) for m in range(max(first, current - MINUTES), current))

    @staticmethod
    def _rate(minute: list[float] | None) -> float | None:
        return None if minute is None or minute[1] < LEAST_WORK_S else minute[0] / minute[1]

    def _minute(self, wall: float) -> list[float]:
        number = int(wall // 60)
        if number not in self._minutes:
            self._minutes[number] = [0.0, 0.0]
            for old in [m for m in self._minutes if m < number - MINUTES]:
                del self._minutes[old]
        return self._minutes[number]

"""What a gate's slots do, integrated exactly over time."""

from __future__ import annotations

from math import ceil

SPAN_S = 600
"""Seconds of history kept."""

TREND_STEP_S = 5
TREND_STEPS = 60

LIVE, BUSY, STARVED, BLOCKED, PAUSED, FINISHED, AUDIO, SERVED = range(8)
"""Columns of the sums: slot-seconds, then passes that ended well, their audio seconds and their service seconds."""


class Utilisation:
    """Integrals of a step function, noted at every whole second, so that any window beginning at one is exact.

    Not locked: its stage calls it under its own lock, with times that never go back.
    """

    __slots__ = ("_last", "_marks", "_origin", "_rates", "_second", "_since", "_sums", "_trend")

    def __init__(self, now: float) -> None:
        self._origin = now
        self._last = 0.0
        self._second = 0
        self._since: float | None = None
        self._trend: tuple[int, tuple[float, ...]] = (-1, ())  # of the step it was made for
        self._sums = [0.0] * 8
        self._rates = (0, 0, 0, 0, 0)
        self._marks: list[tuple[float, ...]] = [tuple(self._sums)] * (SPAN_S + 1)

    def set_rates(self, rates: tuple[int, int, int, int, int]) -> None:
        """Slots (live, busy, starved, blocked, paused) from the last :meth:`advance` on."""
        self._rates = rates
        if self._since is None and rates[1]:
            self._since = self._last

    def begin_anew(self) -> None:
        """Shares are measured from the next work on (from now where a slot is in use): what was idle before says nothing."""
        self._since = self._last if self._rates[1] else None

    def worked_s(self) -> float | None:
        """Seconds since the first work after :meth:`begin_anew`; None before any."""
        return None if self._since is None else self._last - self._since

    def finished(self, audio_s: float | None, service_s: float) -> None:
        """A pass ended well now."""
        self._sums[FINISHED] += 1
        if audio_s is not None:
            self._sums[AUDIO] += audio_s
            self._sums[SERVED] += service_s

    def finished_part(self, service_s: float) -> None:
        """A pass ended whose audio counts with a later one."""
        self._sums[SERVED] += service_s

    def advance(self, now: float) -> None:
        """Integrate up to ``now``."""
        t = now - self._origin
        if t >= self._second + 1:
            self._note_seconds(t)
        self._add(t)

    def window(self, seconds: float) -> tuple[float, tuple[float, ...]]:
        """(length, sums) of the window that ends at the last advance and begins at the first whole second in ``seconds``.

        The whole history, when that is shorter.
        """
        begin = max(0, self._second - SPAN_S, ceil(self._last - seconds))
        if begin > self._second:  # shorter than the second under way
            begin = self._second
        old = self._marks[begin % len(self._marks)]
        return self._last - begin, tuple(new - before for new, before in zip(self._sums, old, strict=True))

    def trend(self) -> tuple[float, ...]:
        """Busy share of each whole :data:`TREND_STEP_S` seconds, oldest first, at most :data:`TREND_STEPS`."""
        end = self._second // TREND_STEP_S
        if self._trend[0] == end:
            return self._trend[1]
        shares = []
        for step in range(max(0, end - TREND_STEPS), end):
            old = self._marks[step * TREND_STEP_S % len(self._marks)]
            new = self._marks[(step + 1) * TREND_STEP_S % len(self._marks)]
            live = new[LIVE] - old[LIVE]
            shares.append(min(1.0, (new[BUSY] - old[BUSY]) / live) if live > 0 else 0.0)
        self._trend = end, tuple(shares)
        return self._trend[1]

    def _note_seconds(self, t: float) -> None:
        latest = int(t)
        if latest - self._second > SPAN_S:  # a long quiet time: only the kept part of it is noted
            self._second = latest - SPAN_S - 1
        for second in range(self._second + 1, latest + 1):
            self._add(second)
            self._marks[second % len(self._marks)] = tuple(self._sums)
        self._second = latest

    def _add(self, t: float) -> None:
        dt = t - self._last
        if dt > 0:
            sums, rates = self._sums, self._rates
            sums[0] += rates[0] * dt
            sums[1] += rates[1] * dt
            sums[2] += rates[2] * dt
            sums[3] += rates[3] * dt
            sums[4] += rates[4] * dt
            self._last = t

"""Times as an operator types them, and the marked moments next to one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

_STEP = re.compile(r"^([+-])(\d+(?:\.\d+)?)(s|m|h)?$")
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})(?::(\d{2}))?$")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def moment_of(text: str, first: float, here: float) -> float | None:
    """The wall time that ``text`` names; None for what is none.

    ``12:30`` and ``12:30:05`` are times of day (local), the first at or after ``first``; ``-5m``, ``+90s``, ``-1h`` are from ``here``;
    a bare number is seconds after ``first``, which is where what can be looked at begins.
    """
    text = text.strip()
    if (step := _STEP.match(text)) is not None:
        return here + (1 if step[1] == "+" else -1) * float(step[2]) * _SECONDS[step[3] or "s"]
    if (clock := _CLOCK.match(text)) is not None:
        hours, minutes, seconds = int(clock[1]), int(clock[2]), int(clock[3] or 0)
        if hours > 23 or minutes > 59 or seconds > 59:
            return None
        begin = datetime.fromtimestamp(first)
        wanted = begin.replace(hour=hours, minute=minutes, second=seconds, microsecond=0)
        if wanted.timestamp() + 60 < first:  # the minute in which it begins is not tomorrow's
            wanted += timedelta(days=1)
        return wanted.timestamp()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return first + float(text)
    return None


def neighbour(moments: Iterable[float], here: float, direction: int) -> float | None:
    """The nearest moment before (``direction`` -1) or after ``here``, by more than half a second; None without one."""
    if direction < 0:
        return max((m for m in moments if m < here - 0.5), default=None)
    return min((m for m in moments if m > here + 0.5), default=None)

"""Numbers as the console writes them: short, of stable width, and ``·`` for what is not known - never 0."""

from __future__ import annotations

import math
import re
from datetime import datetime

from gainstage.engine.clean import value_text

UNKNOWN = "·"


def known(value: float | int | None) -> bool:
    """Whether a figure can be shown."""
    return value is not None and not math.isnan(value) and not math.isinf(value)


def span(seconds: float | None) -> str:
    """A length of time in at most 6 cells: ``0.3s 12.1s 48s 6m40s 2h14m 3d04h``."""
    if seconds is None or not known(seconds):
        return UNKNOWN
    s = abs(seconds)
    sign = "-" if seconds < 0 else ""
    if s < 0.0005:
        return "<1ms" if s else "0s"
    if s < 0.0995:
        return f"{sign}{s * 1000:.0f}ms"
    if s < 9.95:
        return f"{sign}{s:.1f}s"
    if s < 59.5:
        return f"{sign}{s:.0f}s"
    whole = round(s)
    if whole < 3600:
        return f"{sign}{whole // 60}m{whole % 60:02d}s"
    if whole < 100 * 3600:
        return f"{sign}{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{sign}{whole // 86400}d{whole % 86400 // 3600:02d}h"


def roughly(seconds: float | None) -> str:
    """A length of time to two figures: ``40s 6m 1h30 9d``, for ages and forecasts."""
    if seconds is None or not known(seconds):
        return UNKNOWN
    s = max(0.0, seconds)
    if s < 99.5:
        return f"{s:.0f}s"
    if s < 5970:
        return f"{s / 60:.0f}m"
    if s < 36 * 3600:
        minutes = round(s / 600) * 10
        return f"{minutes // 60}h{minutes % 60:02d}" if s < 10 * 3600 else f"{s / 3600:.0f}h"
    return f"{s / 86400:.0f}d" if s < 9999 * 86400 else "years"


def runtime(seconds: float | None) -> str:
    """The length of a recording: ``2:14:07`` or ``8:02``."""
    if seconds is None or not known(seconds):
        return UNKNOWN
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def at(seconds: float) -> str:
    """A place in a recording: ``0:12:44``."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def seconds_of(text: str) -> float | None:
    """The place in a recording that ``12:30``, ``1:02:44.5`` or ``750`` names, in seconds; None for anything else."""
    if not re.fullmatch(r"(\d{1,6}:){0,2}\d{1,9}(\.\d{1,9})?", text.strip()):
        return None
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def clock(wall: float | None, seconds: bool = True) -> str:
    """Local time of day."""
    if wall is None or not known(wall):
        return UNKNOWN
    return datetime.fromtimestamp(wall).strftime("%H:%M:%S" if seconds else "%H:%M")


def day_clock(wall: float) -> str:
    """Local weekday and time: ``Sun 17:58``."""
    return datetime.fromtimestamp(wall).strftime("%a %H:%M")


def stamp(wall: float) -> str:
    """Local date and time for file names and headings: ``2026-11-22 11:46:40``."""
    return datetime.fromtimestamp(wall).strftime("%Y-%m-%d %H:%M:%S")


def percent(share: float | None, digits: int = 0) -> str:
    """A share 0..1 as ``61%``."""
    if share is None or not known(share):
        return UNKNOWN
    return f"{100 * share:.{digits}f}%"


def count(number: float | None) -> str:
    """A whole number with thousands separated: ``1,204``."""
    if number is None or not known(number):
        return UNKNOWN
    return f"{round(number):,}"


def brief(number: float | None) -> str:
    """A number in at most 5 cells: ``412 1,204 57.9k 1.3M``."""
    if number is None or not known(number):
        return UNKNOWN
    for limit, divisor, suffix in ((9_999.5, 1, ""), (999_950, 1e3, "k"), (999_950_000, 1e6, "M"), (math.inf, 1e9, "G")):
        if abs(number) < limit:
            if not suffix:
                return f"{round(number):,}"
            scaled = number / divisor
            return f"{scaled:.1f}{suffix}" if abs(scaled) < 99.95 else f"{scaled:.0f}{suffix}"
    raise AssertionError(number)


def rate(number: float | None, unit: str = "") -> str:
    """A rate to three figures: ``3.1/min``."""
    if number is None or not known(number):
        return UNKNOWN + unit if unit else UNKNOWN
    if abs(number) < 9.95:
        return f"{number:.1f}{unit}"
    return f"{brief(number)}{unit}"


def times(factor: float | None) -> str:
    """A real-time factor: ``41×``, below ten with one decimal."""
    if factor is None or not known(factor):
        return UNKNOWN
    return f"{factor:.1f}×" if abs(factor) < 9.95 else f"{brief(factor)}×"


def size(number: float | None, digits: int | None = None) -> str:
    """Bytes in binary units: ``812G 35.1G 41.0M 512B``."""
    if number is None or not known(number):
        return UNKNOWN
    value = float(number)
    for suffix in ("B", "K", "M", "G", "T", "P"):
        if abs(value) < 1000 or suffix == "P":
            if suffix == "B":
                return f"{value:.0f}B"
            places = digits if digits is not None else (1 if abs(value) < 99.95 else 0)
            return f"{value:.{places}f}{suffix}"
        value /= 1024
    raise AssertionError(number)


def decimal(number: float | None, digits: int = 3) -> str:
    """A similarity or variance: ``.064 .58 1.00`` without the leading zero."""
    if number is None or not known(number):
        return UNKNOWN
    text = f"{number:.{digits}f}"
    if text.startswith("0."):
        return text[1:]
    return "-" + text[2:] if text.startswith("-0.") else text


def done_of(done: float, total: float) -> str:
    """How much of a whole is done: ``100%`` only when all is, ``0%`` only when nothing is."""
    if not total:
        return UNKNOWN
    if 0 < done < total:
        return f"{min(99, max(1, round(100 * done / total)))}%"
    return f"{100 * done / total:.0f}%"


def audio(done_s: float, left_s: float | None = None) -> str:
    """Audio done of all there is: ``7/46 h``, ``1.6/2.3 h``, in minutes below two hours; without the whole where it is not
    known. One decimal below ten hours, and wherever the two would read the same without it.
    """
    whole_s = done_s + (left_s or 0.0)
    per, unit = (3600.0, "h") if whole_s >= 7200 else (60.0, "min")
    digits = 1 if 7200 <= whole_s < 36_000 or (left_s and round(done_s / per) == round(whole_s / per)) else 0
    return f"{done_s / per:,.{digits}f}" + (f"/{whole_s / per:,.{digits}f}" if left_s is not None else "") + f" {unit}"


def cluster(name: str) -> str:
    """A diarizer's label in three cells: ``SPEAKER_02`` -> ``S02``; others as they are."""
    number = name.removeprefix("SPEAKER_")
    return f"S{number}" if number != name else name


value = value_text


def plural(number: int, one: str, many: str = "") -> str:
    """``1 recording``, ``2 recordings``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"

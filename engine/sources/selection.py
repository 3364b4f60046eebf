"""Which recordings of a source are wanted. Pure: a recording's details give yes, no with the reason, or undecided."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from difflib import get_close_matches
from math import isfinite
from typing import Any, Literal

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.terms import Recording

SHORT_S = 60.0
"""A shorter video, in seconds, is treated as a short when the site does not say."""
MOST_SHORT_S = 180.0
"""Longest short, in seconds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The criteria of a selection. Dates are ISO days, both ends included; durations are seconds."""

    limit: int | None = None  # most recordings that are not stored yet
    order: Literal["source", "newest", "oldest"] = "source"
    since: str | None = None
    until: str | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    skip_shorts: bool = False
    match: str | None = None  # regular expression, found anywhere in the title, ignoring case
    live: Literal["include", "skip"] = "skip"
    check: Literal["auto", "all", "none"] = "auto"  # read each item's own page before it is queued
    force: bool = False  # also recordings that have ended

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Selection:
        """A selection from options by name, as a command or a console gives them; numbers and days may be text, other names are
        ignored.

        Raises :class:`Permanent` for an invalid value.
        """
        names = [field.name for field in fields(cls)]
        return cls(**{name: _READ[name](name, options[name]) for name in names if options.get(name) is not None})

    @classmethod
    def check_names(cls, options: Mapping[str, Any], *others: str) -> None:
        """Raises :class:`Permanent` for an option that is neither part of a selection nor one of ``others``."""
        known = [*(field.name for field in fields(cls)), *others]
        for name in options:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
                raise Permanent(f"no option {clean_text(name, 40)}", cause="selection", hint=hint)

    def options(self) -> dict[str, Any]:
        """The options that differ from the default, for storing; the inverse of :meth:`of`."""
        default = asdict(Selection())
        return {name: value for name, value in asdict(self).items() if value != default[name]}


def interval_s(text: str) -> float:
    """Seconds of ``90m``, ``6h``, ``2d``, ``1w`` or ``600s``. Raises :class:`Permanent` for anything else."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw])\s*", text)
    if not match:
        raise Permanent(f"not an interval: {clean_text(text, 50)}", cause="interval", hint="Write 90m, 6h, 2d or 1w.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[match[2]]


def _none(name: str, value: Any, hint: str) -> Permanent:
    return Permanent(f"{name}: {clean_text(str(value), 50)!r} cannot be", cause="selection", hint=hint)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,8}", str(value)):
        raise _none(name, value, "Write a whole number, 1 or more.")
    return int(value)


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, str) and re.search(r"[a-z]", value):
        return interval_s(value)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if isinstance(value, bool) or not isfinite(seconds) or seconds < 0:
        raise _none(name, value, "Write seconds, or 90s, 10m, 1h.")
    return seconds


def _yes(name: str, value: Any) -> bool:
    flag = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}.get(
        str(value).lower()
    )
    if flag is None:
        raise _none(name, value, "Write yes or no.")
    return flag


def _one_of(*words: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if value not in words:
            raise _none(name, value, f"One of {', '.join(words)}.")
        return str(value)

    return read


def _pattern(name: str, value: Any) -> str:
    try:
        re.compile(str(value))
    except re.error as error:
        raise Permanent(
            f"{name}: not a regular expression: {error}",
            cause="selection",
            hint="Write \\ before ( [ . * + ? to mean the sign itself.",
        ) from error
    return str(value)


def _day(name: str, value: Any) -> str:
    """An ISO day; also accepts ``today``, ``yesterday`` and ``30d`` (that many days ago)."""
    text = str(value)
    days = {"today": 0, "yesterday": 1}.get(text)
    if days is None and (match := re.fullmatch(r"(\d{1,5})d", text)):
        days = int(match[1])
    try:
        if days is None and not re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text):
            raise ValueError(text)
        return (date.today() - timedelta(days=days) if days is not None else date.fromisoformat(text)).isoformat()
    except (ValueError, OverflowError) as error:
        raise _none(name, value, "Write a day: 2026-02-28, today or 30d.") from error


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "limit": _count,
    "order": _one_of("source", "newest", "oldest"),
    "since": _day,
    "until": _day,
    "min_duration": _seconds,
    "max_duration": _seconds,
    "skip_shorts": _yes,
    "match": _pattern,
    "live": _one_of("include", "skip"),
    "check": _one_of("auto", "all", "none"),
    "force": _yes,
}


def refusal(recording: Recording, selection: Selection, longest_s: float) -> str | None:
    """Why a recording is not wanted; None when no known detail excludes it. ``longest_s`` is fetch.max_duration in seconds."""
    extra, duration = recording.extra, recording.duration
    published = recording.published
    if selection.match and not re.search(selection.match, recording.title, re.IGNORECASE):
        return "title does not match"
    if published is not None and selection.since and published < selection.since:
        return f"before {selection.since}"
    if published is not None and selection.until and published > selection.until:
        return f"after {selection.until}"
    if duration is not None and selection.min_duration is not None and duration < selection.min_duration:
        return f"shorter than {selection.min_duration:g} s"
    if duration is not None and selection.max_duration is not None and duration > selection.max_duration:
        return f"longer than {selection.max_duration:g} s"
    if selection.skip_shorts and is_short(recording):
        return "a short"
    if extra.get("live") and selection.live == "skip":
        return "live"
    if extra.get("refused"):
        return str(extra["refused"])
    if duration is not None and duration > longest_s:
        return f"longer than fetch.max_duration ({longest_s:g} s)"
    return None


def is_short(recording: Recording) -> bool | None:
    """Whether it is a short; None when a listing does not show it."""
    flag, duration = recording.extra.get("short"), recording.duration
    if flag is not None:
        return bool(flag)
    if duration is None:
        return None
    if duration < SHORT_S:
        return True
    return False if duration > MOST_SHORT_S or recording.extra.get("looked_up") or recording.extra.get("fetch") != "ytdlp" else None


def undecided(recording: Recording, selection: Selection) -> bool:
    """Whether the selection depends on a detail that the listing lacks and the item's own page has."""
    if recording.extra.get("fetch") != "ytdlp" or recording.extra.get("looked_up"):
        return False
    dated = selection.since is not None or selection.until is not None
    timed = selection.min_duration is not None or selection.max_duration is not None
    return bool(
        (dated and recording.published is None)
        or (timed and recording.duration is None)
        or (selection.skip_shorts and is_short(recording) is None)
    )


def ordered(recordings: list[Recording], order: Literal["source", "newest", "oldest"]) -> list[Recording]:
    """The recordings in the wanted order. Without any dates, the order of the source counts as newest first; unknown dates go
    last."""
    if order == "source":
        return recordings
    dated = [r for r in recordings if r.published]
    undated = [r for r in recordings if not r.published]
    dated.sort(key=lambda r: r.published or "", reverse=order == "newest")
    return [*dated, *(undated if order == "newest" else reversed(undated))]

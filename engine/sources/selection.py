"""Which recordings of a source are wanted. Pure: from what is known of a recording to yes, no with the reason, or not known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, timedelta
from typing import Any, Literal

from engine.errors import Permanent
from engine.terms import Recording

SHORT_S = 60.0
"""Shorter than this is taken for a short where the site does not say."""
MOST_SHORT_S = 180.0
"""No short is longer than this."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted. Dates are ISO days, both ends included; durations are seconds."""

    limit: int | None = None  # recordings that are not stored yet
    order: Literal["source", "newest", "oldest"] = "source"
    since: str | None = None
    until: str | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    skip_shorts: bool = False
    match: str | None = None  # regular expression, somewhere in the title, upper and lower case alike
    live: Literal["include", "skip"] = "skip"
    check: Literal["auto", "all", "none"] = "auto"  # look at each item's own page before it is queued
    force: bool = False  # also what has ended

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Selection:
        """From options by name, as a command or a console gives them; others are left alone.

        Raises :class:`Permanent` for a value that is none.
        """
        names = {field.name for field in fields(cls)}
        found = cls(**{name: value for name, value in options.items() if name in names and value is not None})
        if found.limit is not None and found.limit < 1:
            raise Permanent("limit: 1 or more", cause="selection")
        found = replace(found, since=_day("since", found.since), until=_day("until", found.until))
        try:
            re.compile(found.match or "")
        except re.error as error:
            raise Permanent(f"match: not a regular expression: {error}", cause="selection") from error
        return found

    def options(self) -> dict[str, Any]:
        """What differs from the default, for storing; the inverse of :meth:`of`."""
        default = asdict(Selection())
        return {name: value for name, value in asdict(self).items() if value != default[name]}


def _day(name: str, text: str | None) -> str | None:
    """An ISO day; also ``today``, ``yesterday`` and ``30d`` (that many days ago)."""
    if text is None:
        return None
    days = {"today": 0, "yesterday": 1}.get(text)
    if days is None and (match := re.fullmatch(r"(\d{1,5})d", text)):
        days = int(match[1])
    try:
        return (date.today() - timedelta(days=days) if days is not None else date.fromisoformat(text)).isoformat()
    except (ValueError, OverflowError) as error:
        raise Permanent(f"{name}: {text!r} is not a day; write 2026-02-28, today or 30d", cause="selection") from error


def refusal(recording: Recording, selection: Selection, longest_s: float) -> str | None:
    """Why a recording is not wanted; None when nothing known speaks against it. ``longest_s`` is fetch.max_duration."""
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
    """Whether it is a short; None when that cannot be told from a listing."""
    told, duration = recording.extra.get("short"), recording.duration
    if told is not None:
        return bool(told)
    if duration is None:
        return None
    if duration < SHORT_S:
        return True
    return False if duration > MOST_SHORT_S or recording.extra.get("looked_up") or recording.extra.get("fetch") != "ytdlp" else None


def undecided(recording: Recording, selection: Selection) -> bool:
    """Whether the selection turns on something the listing did not say and the item's own page would."""
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
    """In the order wanted. Where no dates are known the source's own order counts as newest first; unknown dates go last."""
    if order == "source":
        return recordings
    dated = [r for r in recordings if r.published]
    undated = [r for r in recordings if not r.published]
    dated.sort(key=lambda r: r.published or "", reverse=order == "newest")
    return [*dated, *(undated if order == "newest" else reversed(undated))]

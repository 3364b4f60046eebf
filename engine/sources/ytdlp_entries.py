"""Convert yt-dlp entries to recordings: ids, dates, and the reason why one is not available."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.sources.ids import apart
from gainstage.engine.terms import Recording

MOST = 1e15
"""Larger numbers of seconds or bytes are treated as invalid."""

UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def identity(info: dict[str, Any]) -> tuple[str, str]:
    """(our id, key) of an entry. The id is readable, safe in file names and on command lines, and unique per key."""
    extractor = str(info.get("extractor_key") or info.get("ie_key") or info.get("extractor") or "generic").lower()
    id = str(info.get("id") or "")
    if extractor == "generic" or not id:  # the id of an unknown page is its file name
        id = str(info.get("webpage_url") or info.get("original_url") or info.get("url"))
    key = f"{extractor}:{id}"
    if extractor == "youtube" and not UNSAFE.search(id):
        return f"yt-{id}", key
    prefix = UNSAFE.sub("", extractor)[:12]
    if prefix == extractor and len(id) <= 60 and not UNSAFE.search(id):
        return f"{prefix}-{id}", key
    return apart(f"{prefix}-{UNSAFE.sub('_', id)[-40:]}", key), key


def to_recording(info: dict[str, Any]) -> Recording:
    """An entry as a recording; its availability is stored in ``extra``."""
    id, key = identity(info)
    source = str(info.get("webpage_url") or info.get("original_url") or info.get("url"))
    title = str(info.get("title") or info.get("id") or source)
    extra: dict[str, Any] = {"fetch": "ytdlp"}
    if refused := refusal_of(info):
        extra["refused"] = refused
    if info.get("live_status") == "is_live":
        extra["live"] = True
    if info.get("media_type") == "short" or "/shorts/" in source:
        extra["short"] = True
    elif info.get("media_type"):
        extra["short"] = False
    if size := _positive(info.get("filesize")) or _positive(info.get("filesize_approx")):
        extra["bytes"] = int(size)
    return Recording(
        id=id,
        key=key,
        source=source,
        title=clean_text(title, 300),
        duration=_positive(info.get("duration")),
        published=published_of(info),
        channel=clean_text(str(info.get("channel") or info.get("uploader") or ""), 200) or None,
        extra=extra,
    )


def _positive(value: Any) -> float | None:
    """A finite number above 0 reported by a site, else None: an invalid one would corrupt every sum it is added to."""
    return float(value) if isinstance(value, int | float) and 0 < value < MOST else None


def published_of(info: dict[str, Any]) -> str | None:
    """Publication day as ISO date, None when unknown."""
    if re.fullmatch(r"\d{8}", text := str(info.get("upload_date") or info.get("release_date") or "")):
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    stamp = info.get("timestamp") or info.get("release_timestamp")
    with contextlib.suppress(ValueError, OverflowError, OSError, TypeError):
        return datetime.fromtimestamp(float(stamp), UTC).date().isoformat() if stamp else None
    return None


def refusal_of(info: dict[str, Any]) -> str | None:
    """Why an entry cannot be downloaded, from its listing; None when nothing there excludes it."""
    availability = info.get("availability")
    title = str(info.get("title") or "")
    if availability == "subscriber_only":
        return "members-only"
    if availability == "premium_only":
        return "paid"
    if availability == "private" or title == "[Private video]":
        return "private"
    if title == "[Deleted video]":
        return "removed"
    if info.get("live_status") == "is_upcoming":
        return "upcoming"
    return None

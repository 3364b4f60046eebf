"""Convert feed entries to recordings: their media and identity, or the reason why there is none."""

from __future__ import annotations

import calendar
import contextlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.sources.ids import digest_of, own_id
from gainstage.engine.sources.local import MEDIA
from gainstage.engine.sources.policy import split_url
from gainstage.engine.terms import Recording

LONG_GUID = 16
"""Guids of at least this many characters were once identities without their feed; recordings taken then have such a key."""
NOT_MEDIA = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".png",
        ".gif",
        ".webp",
        ".svg",
        ".ico",
        ".pdf",
        ".epub",
        ".mobi",
        ".txt",
        ".htm",
        ".html",
        ".xml",
        ".json",
        ".zip",
        ".gz",
        ".torrent",
        ".doc",
        ".docx",
    ]
)
OLDEST_S, NEWEST_S = 0.0, 4_102_444_800.0  # 1970 to 2100


@dataclass(frozen=True, slots=True)
class FeedItem:
    """An episode: its recording, or the reason why it has none."""

    recording: Recording | None
    title: str
    reason: str = ""


@dataclass(slots=True)
class Shared:
    """What the entries of one feed share. ``scope`` identifies the feed."""

    scope: str = ""
    guids: Counter[str] = field(default_factory=Counter)

    def note(self, entries: Iterable[dict[str, Any]]) -> None:
        """Count guids before entries get their identity: a guid that several entries share (an unfilled template) identifies
        none."""
        self.guids.update(str(entry["id"]) for entry in entries if entry["id"])


def item_of(entry: dict[str, Any], feed: str, base: str, channel: str | None, shared: Shared) -> FeedItem:
    """An entry as an episode. Its identity is its guid within the feed, so a file at a new address is the same recording."""
    title = clean_text(str(entry["title"] or ""), 300)
    published = date_of(entry)
    if video := entry["yt_videoid"]:
        from gainstage.engine.sources.ytdlp_entries import to_recording

        info = {
            "ie_key": "Youtube",
            "id": video,
            "url": f"https://www.youtube.com/watch?v={video}",
            "title": title,
            "channel": channel,
        }
        return FeedItem(to_recording({**info, "upload_date": (published or "").replace("-", "")}), title)
    enclosure = enclosure_of(entry)
    if enclosure is None:
        return FeedItem(None, title or clean_text(str(entry["link"] or "?"), 200), "no audio or video in its entry")
    href, size = enclosure
    try:
        href = urljoin(base, href)
        split_url(href)
    except (ValueError, Permanent):
        return FeedItem(None, title or clean_text(href, 200), "its audio is at no http(s) address")
    guid = str(entry["id"] or href)
    digest = digest_of(f"{shared.scope or feed}\n{guid}{_apart(entry, title, published, href, shared)}")
    named = title or clean_text(unquote(PurePosixPath(urlsplit(href).path).stem), 300)
    extra: dict[str, Any] = {"fetch": "http", "feed": feed, "was": former_key(guid, feed)}
    if size:
        extra["bytes"] = size
    if transcript := transcript_of(entry, base):
        extra["transcript"] = transcript
    recording = Recording(
        id=own_id(named, digest, "episode"),
        key=f"feed:{digest}",
        source=href,
        title=named or digest[:15],
        duration=duration_of(entry["itunes_duration"]),
        published=published,
        channel=channel or None,
        extra=extra,
    )
    return FeedItem(recording, title)


def former_key(guid: str, feed: str) -> str:
    """The key that a recording had before identities included the feed."""
    scope = "" if len(guid) >= LONG_GUID else feed
    return f"feed:{digest_of(f'{scope}{chr(10)}{guid}')}"


def _apart(entry: dict[str, Any], title: str, published: str | None, href: str, shared: Shared) -> str:
    """What distinguishes an entry from others with the same guid: title and day, or its address when it has no title."""
    if shared.guids[str(entry["id"])] < 2:
        return ""
    return f"\n{title}\n{published or ''}" if title else f"\n{href}"


def enclosure_of(entry: dict[str, Any]) -> tuple[str, int | None] | None:
    """(address, size in bytes or None) of an entry's first audio, else its first video, else the first of unknown type.

    A file of unknown type is taken, because the decoder detects what it is. A file of any other type is left out.
    """
    by_family: dict[str, tuple[str, int | None]] = {}
    for part in (*entry["enclosures"], *entry["media_content"]):
        href = str(part.get("href") or part.get("url") or "").strip()
        kind = str(part.get("type") or part.get("medium") or "").lower().strip()
        suffix = _suffix(href)
        family = kind.split("/")[0]
        if family not in ("audio", "video"):
            if suffix in MEDIA:
                family = "audio"
            elif not href or suffix in NOT_MEDIA or not (family in ("", "application", "binary") and _may_be_media(kind)):
                continue
            else:
                family = "other"
        length = str(part.get("length") or part.get("filesize") or "")
        size = int(length) if length.isdecimal() and len(length) < 16 else 0
        by_family.setdefault(family, (href, size or None))
    return by_family.get("audio") or by_family.get("video") or by_family.get("other")


def _may_be_media(kind: str) -> bool:
    return not re.search(r"pdf|zip|xml|json|html|epub|javascript|bittorrent|shockwave|msword|officedocument|mpegurl", kind)


def transcript_of(entry: dict[str, Any], base: str) -> dict[str, str] | None:
    """Address, type and language of the publisher's transcript; of several, the first of those that most surely have times."""
    offers = []
    for part in entry["transcripts"]:
        href, kind = str(part.get("url") or ""), str(part.get("type") or "")
        with contextlib.suppress(ValueError, Permanent):
            href = urljoin(base, href)
            split_url(href)
            offers.append({"url": href, "type": kind, "language": str(part.get("language") or "")})
    return min(offers, key=lambda offer: _untimed(offer["type"].lower() + urlsplit(offer["url"]).path.lower()), default=None)


def _untimed(kind: str) -> int:
    forms = (r"vtt|srt|subrip", r"json", r"html")
    return next((k for k, form in enumerate(forms) if re.search(form, kind)), len(forms))


def duration_of(text: Any) -> float | None:
    """Seconds of an itunes:duration: ``3723``, ``62:03`` or ``1:02:03``; None for anything else."""
    match = re.fullmatch(r"\s{0,50}(?:(?:(\d{1,3}):)?(\d{1,4}):)?(\d{1,7})(?:\.\d{1,20})?\s{0,50}", str(text or ""))
    if not match:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds) or None


def date_of(entry: dict[str, Any]) -> str | None:
    """ISO day of an entry, also where its feed writes seconds or milliseconds since 1970."""
    when = entry["published_parsed"] or entry["updated_parsed"]
    stamp: float | None = None
    with contextlib.suppress(ValueError, OverflowError, TypeError):
        stamp = float(calendar.timegm((*when, 0, 0, 0))) if when else None
    match = re.fullmatch(r"\s{0,50}(\d{9,10})(\d{3})?(?:\.\d{1,9})?\s{0,50}", str(entry["published"] or entry["updated"] or ""))
    if match:
        stamp = float(match[1])
    if stamp is None or not OLDEST_S < stamp < NEWEST_S:
        return None
    return datetime.fromtimestamp(stamp, UTC).date().isoformat()


def _suffix(url: str) -> str:
    with contextlib.suppress(ValueError):
        return PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()
    return ""

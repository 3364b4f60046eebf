"""Podcast feeds (RSS, Atom): every episode of every page, as a stream, whatever the size of the feed.

A document is cut at its entries and given to feedparser some hundred at a time, so that a feed of ten thousand episodes
needs no more memory than one of five hundred.
"""

from __future__ import annotations

import calendar
import contextlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.http import refuse
from gainstage.engine.sources.ids import digest_of, own_id
from gainstage.engine.sources.local import MEDIA
from gainstage.engine.sources.policy import split_url
from gainstage.engine.sources.web import Web
from gainstage.engine.terms import Recording

CHUNK = 200
"""Entries per call of feedparser."""
MOST_PAGES = 1_000
MOST_BYTES = 256 * 1024**2
MOST_ENTRY_BYTES = 4 * 1024**2
"""A single entry, or what stands between entries, longer than this is no feed."""

LOOKS_LIKE = re.compile(rb"<\s*(?:rss|feed|(?:\w+:)?RDF)[\s>]", re.IGNORECASE)
_TOKEN = re.compile(
    rb"<!\[CDATA\[.*?\]\]>|<!--.*?-->|(?P<begin><(?:\w+:)?(?P<name>item|entry)[\s>])|(?P<end></(?:\w+:)?(?:item|entry)\s*>)",
    re.DOTALL,
)


ACCEPT = {"accept": "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5"}
"""How a feed is asked for."""

Asking = Callable[[str], AbstractContextManager[object]]
"""Wraps a request to an address: politeness."""


@dataclass(frozen=True, slots=True)
class FeedItem:
    """An episode: its recording, or why it has none."""

    recording: Recording | None
    title: str
    reason: str = ""


def is_feed(head: bytes) -> bool:
    """Whether a document that begins like this is a feed."""
    return bool(LOOKS_LIKE.search(head))


def list_feed(url: str, web: Web, asking: Asking, *, token: CancelToken) -> Iterator[FeedItem]:
    """Episodes of all pages in the order of the feed, each page asked for inside ``asking(its address)``.

    Raises :class:`Permanent` when the address is no feed.
    """
    page: str | None = url
    seen: set[str] = set()
    while page is not None and page not in seen and len(seen) < MOST_PAGES:
        token.check()
        seen.add(page)
        with asking(page), web.get(page, token, ACCEPT) as response:
            if response.status_code != 200:
                refuse(response)
            page = yield from parse_feed(response.iter_bytes(), url, str(response.url))


def parse_feed(blocks: Iterable[bytes], feed: str, base: str) -> Generator[FeedItem, None, str | None]:
    """Episodes of one page; returns the address of the next page. ``feed`` names the feed, whatever page this is."""
    import feedparser

    frame = bytearray()  # everything outside the entries
    chunk: list[bytes] = []
    cut = _entries(blocks, frame)
    channel: str | None = None
    for entry in cut:
        if not chunk and channel is None:
            if not is_feed(bytes(frame)):
                raise _no_feed(base)
            channel = _channel(feedparser.parse(_closed(frame), sanitize_html=False), feed)
        chunk.append(entry)
        if len(chunk) == CHUNK:
            yield from _items(feedparser, frame, chunk, feed, base, channel)
            chunk = []
    if not is_feed(bytes(frame)):
        raise _no_feed(base)
    about = feedparser.parse(_closed(frame), sanitize_html=False)
    if chunk:
        yield from _items(feedparser, frame, chunk, feed, base, channel or _channel(about, feed))
    nearest = next((link.get("href") for link in about.feed.get("links", ()) if link.get("rel") == "next"), None)
    return urljoin(base, nearest) if nearest else None


def _no_feed(base: str) -> Permanent:
    return Permanent(f"not a feed: {clean_text(base, 200)}", cause="not a feed", hint="RSS and Atom are read")


def _entries(blocks: Iterable[bytes], frame: bytearray) -> Iterator[bytes]:
    """The raw entries of a feed one by one; what is around them is appended to ``frame``."""
    rest, start, total = b"", -1, 0
    for block in blocks:
        total += len(block)
        if total > MOST_BYTES:
            raise Permanent(f"a feed of more than {MOST_BYTES >> 20} MiB", cause="feed too large", hint="is it a podcast feed?")
        rest += block
        whole = _whole(rest)
        done = 0
        for match in _TOKEN.finditer(rest, 0, whole):
            if start < 0 and match["begin"]:
                frame += rest[done : match.start()]
                start = match.start()
            elif start >= 0 and match["end"]:
                yield rest[start : match.end()]
                start, done = -1, match.end()
        if start >= 0:
            rest, start = rest[start:], 0
        else:
            frame += rest[done:whole]
            rest = rest[whole:]
        if len(rest) > MOST_ENTRY_BYTES or len(frame) > MOST_ENTRY_BYTES:
            raise Permanent("one entry of the feed has no end", cause="broken feed", hint="its owner can mend it")
    if start >= 0:
        raise Transient("the feed ends in the middle of an entry", cause="broken feed", hint="it is read again later")
    frame += rest


def _whole(text: bytes) -> int:
    """Up to where a text is whole: the last tag, comment or CDATA section may go on in the next block."""
    ends = [len(text)]
    for opening, closing in ((b"<![CDATA[", b"]]>"), (b"<!--", b"-->"), (b"<", b">")):
        at = text.rfind(opening)
        if at >= 0 and text.find(closing, at) < 0:
            ends.append(at)
    return min(ends)


def _closed(frame: bytes | bytearray, entries: Iterable[bytes] = ()) -> bytes:
    """A whole document: the frame, which may lack its end as yet, with entries inside."""
    text = bytes(frame)
    root = LOOKS_LIKE.search(text)
    if root:
        name = root[0].strip(b"< \t\r\n>")
        if re.search(rb"<channel[\s>]", text) and b"</channel" not in text:
            text += b"</channel>"
        if b"</" + name not in text:
            text += b"</" + name + b">"
    closing = re.search(rb"</(?:\w+:)?(?:channel|feed)\s*>", text)
    at = closing.start() if closing else len(text)
    return text[:at] + b"".join(entries) + text[at:]


def _channel(about: Any, feed: str) -> str:
    return clean_text(str(about.feed.get("title") or ""), 200) or clean_text(urlsplit(feed).hostname or "", 200)


def _items(feedparser: Any, frame: bytearray, chunk: list[bytes], feed: str, base: str, channel: str | None) -> Iterator[FeedItem]:
    parsed = feedparser.parse(_closed(frame, chunk), sanitize_html=False, resolve_relative_uris=False)
    if not parsed.entries and parsed.bozo:
        raise Transient(
            f"the feed cannot be read: {clean_text(str(parsed.bozo_exception), 200)}",
            cause="broken feed",
            hint="it is read again later",
        )
    for entry in parsed.entries:
        yield item_of(entry, feed, base, channel)


def item_of(entry: Any, feed: str, base: str, channel: str | None) -> FeedItem:
    """An entry of feedparser as an episode. Its identity is its guid, so a moved file or feed is the same recording."""
    title = clean_text(str(entry.get("title") or ""), 300)
    if video := entry.get("yt_videoid"):
        from gainstage.engine.sources.ytdlp_entries import to_recording

        info = {
            "ie_key": "Youtube",
            "id": video,
            "url": f"https://www.youtube.com/watch?v={video}",
            "title": title,
            "channel": channel,
        }
        return FeedItem(to_recording({**info, "upload_date": (_date(entry) or "").replace("-", "")}), title)
    found = enclosure_of(entry)
    if found is None:
        return FeedItem(None, title or clean_text(str(entry.get("link") or "?"), 200), "no audio or video in its entry")
    href, size = found
    try:
        href = urljoin(base, href)
        split_url(href)
    except (ValueError, Permanent):
        return FeedItem(None, title or clean_text(href, 200), "its audio is at no http(s) address")
    guid = str(entry.get("id") or href)
    scope = "" if len(guid) >= 16 else feed  # short guids ("1", "ep-2") are told apart by their feed only
    digest = digest_of(f"{scope}\n{guid}")
    named = title or clean_text(unquote(PurePosixPath(urlsplit(href).path).stem), 300)
    extra: dict[str, Any] = {"fetch": "http", "feed": feed}
    if size:
        extra["bytes"] = size
    return FeedItem(
        Recording(
            id=own_id(named, digest, "episode"),
            key=f"feed:{digest}",
            source=href,
            title=named or digest[:15],
            duration=duration_of(entry.get("itunes_duration")),
            published=_date(entry),
            channel=channel or None,
            extra=extra,
        ),
        title,
    )


def enclosure_of(entry: Any) -> tuple[str, int | None] | None:
    """(address, bytes if told) of the first audio of an entry, else of the first video."""
    found: dict[str, tuple[str, int | None]] = {}
    for part in (*entry.get("enclosures", ()), *entry.get("media_content", ())):
        href = str(part.get("href") or part.get("url") or "").strip()
        kind = str(part.get("type") or part.get("medium") or "").lower().split("/")[0]
        if kind not in ("audio", "video") and _suffix(href) not in MEDIA:
            continue
        told = str(part.get("length") or part.get("filesize") or "")
        size = int(told) if told.isdigit() and len(told) < 16 else 0
        found.setdefault("video" if kind == "video" else "audio", (href, size or None))
    return found.get("audio") or found.get("video")


def duration_of(text: Any) -> float | None:
    """Seconds of an itunes:duration: ``3723``, ``62:03`` or ``1:02:03``; None for anything else."""
    match = re.fullmatch(r"\s*(?:(?:(\d{1,3}):)?(\d{1,4}):)?(\d{1,7})(?:\.\d+)?\s*", str(text or ""))
    if not match:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds) or None


def _date(entry: Any) -> str | None:
    when = entry.get("published_parsed") or entry.get("updated_parsed")
    with contextlib.suppress(ValueError, OverflowError, TypeError):
        return datetime.fromtimestamp(calendar.timegm(when), UTC).date().isoformat() if when else None
    return None


def _suffix(url: str) -> str:
    with contextlib.suppress(ValueError):
        return PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()
    return ""

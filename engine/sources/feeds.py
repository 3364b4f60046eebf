"""Podcast feeds (RSS, Atom): all episodes of all pages, streamed, for feeds of any size.

A document is cut into its entries, which are parsed some hundred at a time, so that a feed of ten thousand episodes needs no more
memory than one of five hundred.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.feed_cutter import Cutter, RawEntry, narrow
from gainstage.engine.sources.feed_entries import FeedItem, Shared, item_of
from gainstage.engine.sources.feed_parser import FeedParser, feed_parser
from gainstage.engine.sources.http import refuse
from gainstage.engine.sources.pace import SpeedCheck
from gainstage.engine.sources.web import Web

CHUNK = 200
"""Entries per document that the parser receives."""
CHUNK_BYTES = 4 * 1024**2
MOST_PAGES = 1_000
PAGE_S = 600.0
"""Longest wait for one page of a feed, in seconds."""

LOOKS_LIKE = re.compile(rb"<\s{0,100}(?:rss|feed|(?:\w{1,40}:)?RDF)[\s>]", re.IGNORECASE)
TOO_LONG = "its entry is longer than 4 MiB"

ACCEPT = {"accept": "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5"}
"""Request headers for a feed."""

Asking = Callable[[str], AbstractContextManager[object]]
"""A context for one request to an address that applies the rate limits."""


@dataclass(slots=True)
class _FeedDocument:
    """One document while it is read: the feed it belongs to, its address, and what is known of the feed."""

    parser: FeedParser
    feed: str
    base: str
    shared: Shared
    channel: str | None = None


def is_feed(head: bytes) -> bool:
    """Whether a document that starts with these bytes is a feed."""
    return bool(LOOKS_LIKE.search(b"".join(narrow([head]))))


def list_feed(url: str, web: Web, asking: Asking, *, token: CancelToken, least_speed: float = 0.0) -> Iterator[FeedItem]:
    """Episodes of all pages in the order of the feed; each page is requested inside ``asking(its address)``.

    Raises :class:`Permanent` when the address is not a feed, :class:`Transient` when it arrives slower than ``least_speed`` bytes
    per second.
    """
    page: str | None = url
    seen: set[str] = set()
    shared = Shared()
    with feed_parser(token) as parser:
        while page is not None and page not in seen and len(seen) < MOST_PAGES:
            token.check()
            seen.add(page)
            with asking(page), web.get(page, token, ACCEPT) as response:
                if response.status_code != 200:
                    refuse(response)
                blocks = SpeedCheck(least_speed, PAGE_S).through(response.iter_bytes())
                page = yield from parse_feed(blocks, url, str(response.url), parser, shared)
    if page is not None and page not in seen:
        yield FeedItem(None, clean_text(page, 200), f"more than {MOST_PAGES} pages")


def parse_feed(
    blocks: Iterable[bytes], feed: str, base: str, parser: FeedParser, shared: Shared | None = None
) -> Generator[FeedItem, None, str | None]:
    """Episodes of one page; returns the address of the next page. ``feed`` names the feed on every page; ``shared`` carries
    what was read on the pages before.
    """
    page = _FeedDocument(parser, feed, base, shared or Shared())
    cutter = Cutter()
    chunk: list[bytes] = []
    size = 0
    for entry in cutter.entries(narrow(blocks)):
        if page.channel is None:
            if not is_feed(bytes(cutter.frame)):
                raise _no_feed(base)
            page.channel = _about(parser.parse(_closed(cutter.frame)), page)
        if not entry.too_long:
            chunk.append(entry.text)
            size += len(entry.text)
        if len(chunk) == CHUNK or size > CHUNK_BYTES or entry.too_long:
            yield from _items(page, cutter.frame, chunk)
            chunk, size = [], 0
        if entry.too_long:
            yield FeedItem(None, _title_of(entry), TOO_LONG)
    if not is_feed(bytes(cutter.frame)):
        raise _no_feed(base)
    about = parser.parse(_closed(cutter.frame))
    page.channel = page.channel or _about(about, page)
    yield from _items(page, cutter.frame, chunk)
    nearest = next((link.get("href") for link in about["feed"]["links"] if link.get("rel") == "next"), None)
    return _joined(base, nearest) if nearest else None


def _joined(base: str, link: str) -> str | None:
    try:
        return urljoin(base, link)
    except ValueError:
        return None


def _no_feed(base: str) -> Permanent:
    return Permanent(f"not a feed: {clean_text(base, 200)}", cause="not a feed", hint="RSS and Atom are read.")


def _closed(frame: bytes | bytearray, entries: Iterable[bytes] = ()) -> bytes:
    """A complete document: the frame, whose end may not have arrived, with entries inside."""
    text = bytes(frame)
    root = LOOKS_LIKE.search(text)
    if root:
        name = root[0].strip(b"< \t\r\n>")
        if re.search(rb"<channel[\s>]", text) and b"</channel" not in text:
            text += b"</channel>"
        if b"</" + name not in text:
            text += b"</" + name + b">"
    closing = re.search(rb"</(?:\w{1,40}:)?(?:channel|feed)\s{0,32}>", text)
    at = closing.start() if closing else len(text)
    return text[:at] + b"".join(entries) + text[at:]


def _about(about: dict[str, Any], page: _FeedDocument) -> str:
    """The title of the show; also records what identifies the feed."""
    guid = clean_text(str(about["feed"]["guid"] or ""), 100)
    page.shared.scope = page.shared.scope or (f"podcast:{guid}" if len(guid) >= 32 else page.feed)
    return clean_text(str(about["feed"]["title"] or ""), 200) or clean_text(urlsplit(page.feed).hostname or "", 200)


def _title_of(entry: RawEntry) -> str:
    """The title of an entry of which only the start is kept."""
    match = re.search(rb"<title[^>]{0,200}>\s{0,100}(?:<!\[CDATA\[)?(.{0,300}?)(?:\]\]>|</title)", entry.text, re.DOTALL)
    return clean_text(match[1].decode("utf-8", "replace"), 300) if match else "?"


def _items(page: _FeedDocument, frame: bytearray, chunk: list[bytes]) -> Iterator[FeedItem]:
    if not chunk:
        return
    parsed = page.parser.parse(_closed(frame, chunk))
    if not parsed["entries"] and parsed["fault"]:
        raise Transient(
            f"the feed cannot be read: {clean_text(parsed['fault'], 200)}",
            cause="broken feed",
            hint="It is read again later.",
        )
    page.shared.note(parsed["entries"])
    for entry in parsed["entries"]:
        yield item_of(entry, page.feed, page.base, page.channel, page.shared)
    for _ in range(len(parsed["entries"]), len(chunk)):
        yield FeedItem(None, "?", "its entry cannot be read")

"""Child process that parses untrusted feeds under resource limits: started by :mod:`gainstage.engine.sources.feed_parser`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gainstage.engine.sources.parsing_child import serve

_ENTRY = ("title", "link", "id", "itunes_duration", "published", "updated", "yt_videoid")
MOST_TEXT = 4096
MOST_PARTS = 64
TRANSCRIPTS = "every_transcript"


def prepare() -> Callable[[bytes], Any]:
    """The function that reads feeds, after what it needs is imported."""
    import feedparser

    keep_transcripts(feedparser)
    return partial(parsed, feedparser)


def keep_transcripts(feedparser: Any) -> None:
    """Let feedparser keep every ``podcast:transcript`` of an entry: of elements that it does not know it keeps the last."""

    def start(parser: Any, attributes: dict[str, str]) -> None:
        parser._get_context().setdefault(TRANSCRIPTS, []).append(dict(attributes))

    feedparser.mixin._FeedParserMixin._start_podcast_transcript = start


def parsed(feedparser: Any, document: bytes) -> dict[str, Any]:
    """The fields of a document's feed and entries that gainstage uses."""
    result = feedparser.parse(document, sanitize_html=False, resolve_relative_uris=False)
    fault = str(result.bozo_exception)[:300] if result.bozo and not result.entries else None
    feed = {
        "title": _text(result.feed.get("title")),
        "guid": _text(result.feed.get("podcast_guid")),
        "links": _parts(result.feed, "links"),
    }
    return {"fault": fault, "feed": feed, "entries": [_entry(entry) for entry in result.entries]}


def _entry(entry: Any) -> dict[str, Any]:
    out: dict[str, Any] = {name: _text(entry.get(name)) for name in _ENTRY}
    out["enclosures"] = _parts(entry, "enclosures")
    out["media_content"] = _parts(entry, "media_content")
    out["transcripts"] = _parts(entry, TRANSCRIPTS)
    for name in ("published_parsed", "updated_parsed"):
        when = entry.get(name)
        out[name] = list(when)[:6] if when else None
    return out


def _parts(entry: Any, name: str) -> list[dict[str, str]]:
    return [_plain(part) for part in _listed(entry.get(name))[:MOST_PARTS]]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def _plain(part: Any) -> dict[str, str]:
    return {str(k): str(v)[: 4 * MOST_TEXT] for k, v in part.items() if isinstance(v, str | int)} if isinstance(part, dict) else {}


def _text(value: Any) -> str | None:
    return str(value)[:MOST_TEXT] if value else None


if __name__ == "__main__":
    serve(prepare)

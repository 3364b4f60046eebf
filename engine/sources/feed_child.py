"""Child process that parses untrusted feeds under resource limits: documents on stdin, their content as JSON on stdout.

Started by :mod:`gainstage.engine.sources.feed_parser`. A document that exceeds the limits ends this child only.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import Any, BinaryIO

MEMORY_BYTES = 1024**3
CPU_S = 600
_ENTRY = ("title", "link", "id", "itunes_duration", "published", "updated", "yt_videoid")
MOST_TEXT = 4096
MOST_PARTS = 64
TRANSCRIPTS = "every_transcript"


def main() -> None:
    _limit()
    import feedparser

    keep_transcripts(feedparser)
    while (document := _read(sys.stdin.buffer)) is not None:
        answer = json.dumps(parsed(feedparser, document)).encode()
        sys.stdout.buffer.write(struct.pack(">I", len(answer)) + answer)
        sys.stdout.buffer.flush()


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


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return stream.read(struct.unpack(">I", head)[0])


def _limit() -> None:
    try:
        import resource
    except ImportError:  # systems without it rely on the parent's deadline
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            continue


if __name__ == "__main__":
    main()

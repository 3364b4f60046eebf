"""Lists of subscriptions exported by podcast players (OPML): the addresses, read without a document tree in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.parsers import expat

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.sources.feed_cutter import narrow

MOST_BYTES = 16 * 1024**2
LOOKS_LIKE = re.compile(rb"<opml[\s>]", re.IGNORECASE)


def is_opml(head: bytes) -> bool:
    """Whether a document that starts with these bytes is a list of subscriptions."""
    return bool(LOOKS_LIKE.search(b"".join(narrow([head]))))


def bounded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks, unchanged. Raises :class:`Permanent` when they exceed the size limit of such a list."""
    total = 0
    for block in blocks:
        total += len(block)
        if total > MOST_BYTES:
            raise Permanent(f"a list of more than {MOST_BYTES >> 20} MiB", cause="list too large", hint="Is it a list of feeds?")
        yield block


def read_opml(blocks: Iterable[bytes]) -> list[str]:
    """The addresses of the outlines in order, without repeats. Raises :class:`Permanent` for a malformed document."""
    addresses: dict[str, None] = {}

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.lower() == "outline":
            named = {key.lower(): value.strip() for key, value in attributes.items()}
            if address := named.get("xmlurl") or (named.get("url") if named.get("type", "").lower() in ("rss", "link", "") else ""):
                addresses[address] = None

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EntityDeclHandler = _no_entities
    try:
        for block in bounded(narrow(blocks)):
            parser.Parse(block, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Permanent(
            f"the list of subscriptions is malformed: {clean_text(str(error), 200)}", cause="malformed list", hint="Export it anew."
        ) from error
    return list(addresses)


def _no_entities(*_: object) -> None:
    raise Permanent("the list of subscriptions declares entities", cause="malformed list", hint="Export it anew.")

"""Cuts a feed into its entries while it arrives: each byte is scanned once, whatever the content."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gainstage.engine.errors import Permanent, Transient

MOST_BYTES = 256 * 1024**2
MOST_ENTRY_BYTES = 4 * 1024**2
"""A longer entry is left out; a document with longer text between entries is not a feed. In bytes."""
KEPT_HEAD = 64 * 1024
"""Bytes kept of an entry that is too long: its title is mostly near the start."""
_LOOK_AHEAD = 96
"""Longest tag that is recognised, in bytes."""
_BEGIN = re.compile(rb"<(?:[\w.-]{1,40}:)?(?:item|entry)[\s/>]")
_END = re.compile(rb"</(?:[\w.-]{1,40}:)?(?:item|entry)\s{0,32}>")
_SECTIONS = ((b"<!--", b"-->"), (b"<![CDATA[", b"]]>"))
_WIDE = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"""(<\?xml[^>]{0,200}?)\s+encoding\s*=\s*["'][\w.-]{1,40}["']""")


@dataclass(frozen=True, slots=True)
class RawEntry:
    """The text of one entry; only its start when it is too long."""

    text: bytes
    too_long: bool = False


def narrow(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks in UTF-16 or UTF-32 converted to UTF-8; other documents unchanged."""
    rest = iter(blocks)
    head = b""
    for block in rest:
        head += block
        if len(head) >= 4:
            break
    name = next((name for mark, name in _WIDE if head.startswith(mark)), None)
    if name is None:
        if head:
            yield head
        yield from rest
        return
    decoder = codecs.getincrementaldecoder(name)("replace")
    first = _DECLARED.sub(rb"\1", decoder.decode(head).encode("utf-8", "replace"))
    for block in rest:
        text = decoder.decode(block).encode("utf-8", "replace")
        first += text
        if len(first) < 512:  # the declaration may be split over two blocks
            continue
        yield _DECLARED.sub(rb"\1", first, count=1)
        first = b""
        break
    for block in rest:
        yield decoder.decode(block).encode("utf-8", "replace")
    if first:
        yield _DECLARED.sub(rb"\1", first, count=1)


class Cutter:
    """Cuts one document. ``frame`` is everything outside the entries."""

    def __init__(self) -> None:
        self.frame = bytearray()
        self._rest = bytearray()
        self._at = 0  # everything before this position has been scanned
        self._inside = False  # of an entry
        self._closing = b""  # what ends the current comment or CDATA section
        self._dropped = b""  # start of an entry that is too long
        self._total = 0

    def entries(self, blocks: Iterable[bytes]) -> Iterator[RawEntry]:
        """The raw entries, one by one.

        Raises :class:`Permanent` for a document that is too large or has no end, :class:`Transient` for one that ends inside an
        entry.
        """
        for block in blocks:
            self._total += len(block)
            if self._total > MOST_BYTES:
                raise Permanent(f"a feed of more than {MOST_BYTES >> 20} MiB", cause="feed too large", hint="Is it a podcast feed?")
            self._rest += block
            yield from self._cut(final=False)
            self._bound()
        yield from self._cut(final=True)
        if self._dropped:
            raise Permanent("one entry of the feed has no end", cause="broken feed", hint="The feed's owner has to correct it.")
        if self._inside:
            raise Transient("the feed ends in the middle of an entry", cause="broken feed", hint="It is read again later.")
        self.frame += self._rest

    def _cut(self, final: bool) -> Iterator[RawEntry]:
        rest = self._rest
        while True:
            if self._closing:
                at = rest.find(self._closing, self._at)
                if at < 0:
                    self._at = max(self._at, len(rest) - len(self._closing) + 1)
                    return
                self._at, self._closing = at + len(self._closing), b""
            at = rest.find(b"<", self._at)
            if at < 0:
                self._at = len(rest)
                return
            if len(rest) - at < _LOOK_AHEAD and not final:
                self._at = at
                return
            if (closing := next((end for begin, end in _SECTIONS if rest.startswith(begin, at)), None)) is not None:
                self._at, self._closing = at + 4, closing
            elif not self._inside and _BEGIN.match(rest, at):
                self.frame += rest[:at]
                del rest[:at]
                self._inside, self._at = True, 1
            elif self._inside and (end := _END.match(rest, at)) is not None:
                yield self._taken(end.end())
            else:
                self._at = at + 1

    def _taken(self, end: int) -> RawEntry:
        too_long = bool(self._dropped) or end > MOST_ENTRY_BYTES
        text = (self._dropped or bytes(self._rest[:KEPT_HEAD])) if too_long else bytes(self._rest[:end])
        del self._rest[:end]
        self._inside, self._at, self._dropped = False, 0, b""
        return RawEntry(text, too_long)

    def _bound(self) -> None:
        """Drop bytes beyond the longest entry. Raises :class:`Permanent` when the text between entries is longer than that."""
        if self._inside:
            if len(self._rest) > MOST_ENTRY_BYTES:
                self._dropped = self._dropped or bytes(self._rest[:KEPT_HEAD])
                del self._rest[: self._at]
                self._at = 0
            return
        self.frame += self._rest[: self._at]
        del self._rest[: self._at]
        self._at = 0
        if len(self._rest) > MOST_ENTRY_BYTES or len(self.frame) > MOST_ENTRY_BYTES:
            raise Permanent(
                "too much stands between the entries of the feed", cause="broken feed", hint="The feed's owner has to correct it."
            )

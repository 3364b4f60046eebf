"""The true length of a media file from its bytes, whatever the header says.

Headers are written first and corrected last: after a crash of the recorder, an overflow of 32 bits at 4 GiB or the capture of a
stream, sizes are too small, too large or absent. Formats: RIFF/RF64/BW64 (EBU Tech 3306), Wave64 (Sony), AIFF and
AIFF-C (Apple), AU (Sun), CAF (Apple), ISO BMFF (ISO 14496-12), Matroska (RFC 9559), Ogg (RFC 3533), ASF, MP3 with a Xing header.
"""

from __future__ import annotations

import errno
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_WRAP = 1 << 32
_TAIL = 1 << 17
_MOST_HEAD = 1 << 22
"""Longest header before the samples that is searched, in bytes; pictures and cue lists are stored there."""

_TAGS = (b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN")
"""Tags that programs append to a file without a chunk."""

_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_W64_DATA = b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")


@dataclass(frozen=True, slots=True)
class Samples:
    """Place of the samples when the header states less: ``head`` is a correct header for the bytes [start, end)."""

    head: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Structure:
    """``missing``: bytes that the structure announces beyond the end of the file. ``open_end``: the format marks its end, and the
    mark is missing. ``samples``: see :class:`Samples`."""

    missing: int = 0
    open_end: bool = False
    samples: Samples | None = None


WHOLE = Structure()


def structure(file: BinaryIO, size: int) -> Structure:
    """Analyse a file of ``size`` bytes; an unknown or badly damaged structure counts as complete. Leaves the file at position 0."""
    file.seek(0)
    head = file.read(64)
    try:
        return _structure(file, size, head)
    except (struct.error, IndexError, ValueError, OverflowError):
        return WHOLE
    finally:
        file.seek(0)


def _structure(file: BinaryIO, size: int, head: bytes) -> Structure:
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _wave(file, size, head) if head[8:12] == b"WAVE" else _riff(file, size)
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _wave64(file, size)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(file, size)
    if head[:4] == b".snd":
        return _au(file, size, head)
    if head[:4] == b"caff":
        return _caf(file, size)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
        return Structure(missing=_beyond(_boxes(file, size), size))
    if head[:4] == b"\x1aE\xdf\xa3":
        return Structure(missing=_matroska(file, size))
    if head[:4] == b"OggS":
        return _ogg(file, size)
    if head[:16] == bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"):
        return _asf(file, size)
    return Structure(missing=_mp3(file, size))


def _beyond(ends: Iterator[int], size: int) -> int:
    return max((end - size for end in ends), default=0) if size else 0


def _at(file: BinaryIO, place: int, length: int) -> bytes:
    """Bytes at a position; empty when a damaged length points beyond what a file system can hold."""
    try:
        file.seek(place)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return b""
    return file.read(length)


# -- chunks of PCM ------------------------------------------------------------------------------------------------------


def _never_written(length: int) -> bool:
    """Whether a length is a placeholder of a program that cannot seek back: 0, or close to 2 or 4 GiB."""
    return length == 0 or 0x7FFFF000 <= length <= 0x80000100 or 0xFFFFF000 <= length < _WRAP


def _chunks(file: BinaryIO, place: int, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, length) of IFF chunks; stops at the first that is invalid or extends beyond the end."""
    while place + 8 <= size:
        name, length = struct.unpack(f"{order}4sI", _at(file, place, 8))
        if not re.fullmatch(rb"[ -~]{4}", name):
            return
        yield name, place + 8, length
        place += 8 + length + length % 2


def _clean_end(file: BinaryIO, place: int, size: int, order: str) -> bool:
    """Whether other chunks, a tag or padding follow the samples, up to the end of the file."""
    for _, at, length in _chunks(file, place, size, order):
        if at + length > size:
            break
        place = at + length + length % 2
    rest = size - place
    start = _at(file, place, min(max(0, rest), 4096))
    return rest <= 1 or start.startswith(_TAGS) or (rest <= 4096 and not any(start))


def _true_end(file: BinaryIO, start: int, length: int, size: int, order: str) -> int | None:
    """End of samples that start at ``start`` when the ``length`` of the header is wrong; None when it is right."""
    if _clean_end(file, start + length + length % 2, size, order) or _clean_end(file, start + length, size, order):
        return None
    for end in range(start + length + _WRAP, size + 1, _WRAP):
        if _clean_end(file, end + length % 2, size, order):
            return end
    return size


def _wave(file: BinaryIO, size: int, head: bytes) -> Structure:
    order = "<"
    large = 0
    for name, start, length in _chunks(file, 12, size, order):
        if name == b"ds64":
            large = struct.unpack("<Q", _at(file, start + 8, 8))[0]
        if name != b"data":
            continue
        if head[:4] != b"RIFF" and length == _WRAP - 1:
            length = large
        if start + length > size:
            return Structure(missing=0 if _never_written(length) else start + length - size)
        end = None if length == 0 and not large and start == size else _true_end(file, start, length, size, order)
        if end is None or start > _MOST_HEAD:
            return WHOLE
        fixed = bytearray(_at(file, 0, start))
        fixed[:4], fixed[start - 4 : start] = b"RIFF", b"\xff\xff\xff\xff"
        return Structure(samples=Samples(bytes(fixed), start, end))
    return WHOLE


def _riff(file: BinaryIO, size: int) -> Structure:
    """AVI: a sequence of RIFF lists of at most 1 or 2 GiB each."""
    place = 0
    while place + 12 <= size:
        name, length = struct.unpack("<4sI", _at(file, place, 8))
        if name != b"RIFF":
            break
        if place + 8 + length > size:
            return Structure(missing=0 if _never_written(length) else place + 8 + length - size)
        place += 8 + length + length % 2
    return WHOLE


def _wave64(file: BinaryIO, size: int) -> Structure:
    place = 40
    while place + 24 <= size:
        name, length = struct.unpack("<16sq", _at(file, place, 24))  # the length includes these 24 bytes
        end = place + length
        following = end + -end % 8
        if name == _W64_DATA:
            if end > size:
                return Structure(missing=end - size if length < 1 << 62 else 0)
            next_length = struct.unpack("<q", _at(file, following + 16, 8).ljust(8, b"\0"))[0]
            right = length > 24 and (size - end <= 8 or 24 <= next_length <= size - following)
            return WHOLE if right or place > _MOST_HEAD else _wave64_to(file, place, size)
        if length < 24:
            return WHOLE
        place = following
    return WHOLE


def _wave64_to(file: BinaryIO, place: int, size: int) -> Structure:
    fixed = bytearray(_at(file, 0, place + 24))
    fixed[place + 16 :] = struct.pack("<q", size - place)
    fixed[16:24] = struct.pack("<q", size)
    return Structure(samples=Samples(bytes(fixed), place + 24, size))


def _aiff(file: BinaryIO, size: int) -> Structure:
    common = b""
    for name, start, length in _chunks(file, 12, size, ">"):
        if name == b"COMM":
            common = _at(file, start, length)
        if name != b"SSND":
            continue
        if start + length > size:
            return Structure(missing=0 if _never_written(length) else start + length - size)
        end = _true_end(file, start, length, size, ">")
        offset = struct.unpack(">I", _at(file, start, 4))[0]
        head = _header_of_aiff(common)
        return WHOLE if end is None or head is None else Structure(samples=Samples(head, start + 8 + offset, end))
    return WHOLE


def _header_of_aiff(common: bytes) -> bytes | None:
    """A WAV or AU header for the same samples, without a known length; None for codings that need AIFF's own."""
    channels, _, bits = struct.unpack(">hIh", common[:8])
    exponent, mantissa = struct.unpack(">HQ", common[8:18])  # 80-bit extended precision
    rate = round(mantissa * 2.0 ** (exponent - 16383 - 63))
    coding = common[18:22] or b"NONE"
    if coding == b"sowt":
        block = channels * bits // 8
        kind = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block, block, bits)
        return b"RIFF\xff\xff\xff\xffWAVEfmt " + kind + b"data\xff\xff\xff\xff"
    plain = {8: 2, 16: 3, 24: 4, 32: 5}.get((bits + 7) // 8 * 8) if coding in (b"NONE", b"twos") else None
    number = plain or {b"fl32": 6, b"FL32": 6, b"fl64": 7, b"FL64": 7, b"ulaw": 1, b"ULAW": 1, b"alaw": 27, b"ALAW": 27}.get(coding)
    return None if number is None else struct.pack(">4sIIIII4x", b".snd", 28, _WRAP - 1, number, rate, channels)


def _au(file: BinaryIO, size: int, head: bytes) -> Structure:
    start, length = struct.unpack(">II", head[4:12])
    if length == _WRAP - 1 or start > min(size, _MOST_HEAD):
        return WHOLE
    if start + length > size:
        return Structure(missing=0 if _never_written(length) else start + length - size)
    if start + length == size:
        return WHOLE
    fixed = bytearray(_at(file, 0, start))
    fixed[8:12] = b"\xff\xff\xff\xff"
    return Structure(samples=Samples(bytes(fixed), start, size))


def _caf(file: BinaryIO, size: int) -> Structure:
    place = 8
    while place + 12 <= size:
        name, length = struct.unpack(">4sq", _at(file, place, 12))
        if name == b"data" and length == -1:
            return WHOLE
        end = place + 12 + length
        if length < 0 or not re.fullmatch(rb"[ -~]{4}", name):
            return WHOLE
        if end > size:
            return Structure(missing=end - size)
        if name == b"data" and end + 12 <= size and not re.fullmatch(rb"[ -~]{4}", _at(file, end, 4)):
            fixed = bytearray(_at(file, 0, place + 12)) if place < _MOST_HEAD else bytearray()
            fixed[-8:] = struct.pack(">q", -1)
            return Structure(samples=Samples(bytes(fixed), place + 12, size)) if place < _MOST_HEAD else WHOLE
        place = end
    return WHOLE


# -- boxes, elements, pages ---------------------------------------------------------------------------------------------


def _boxes(file: BinaryIO, size: int) -> Iterator[int]:
    """End position of each top-level box."""
    place = 0
    while place + 8 <= size:
        length, name = struct.unpack(">I4s", _at(file, place, 8))
        if length == 1:
            length = struct.unpack(">Q", _at(file, place + 8, 8))[0]
        if length == 0 or length < 8 or not re.fullmatch(rb"[ -~\xa9]{4}", name):  # extends to the end, or is not a box
            return
        place += length
        yield place


def _matroska(file: BinaryIO, size: int) -> int:
    """Missing bytes of the segment; 0 when its size is unknown (a live stream)."""
    place = 0
    for _ in range(16):
        data = _at(file, place, 12)
        if len(data) < 2:
            return 0
        id_length = 9 - data[0].bit_length()
        first = data[id_length]
        length = 9 - first.bit_length()
        value = int.from_bytes(data[id_length : id_length + length], "big") - (1 << 7 * length)
        start = place + id_length + length
        if value == (1 << 7 * length) - 1:
            return 0
        if data[:4] == b"\x18S\x80g":
            return max(0, start + value - size)
        place = start + value
    return 0


def _ogg(file: BinaryIO, size: int) -> Structure:
    """Check the last page: whether it is complete, and whether it is the last of the stream."""
    start = max(0, size - _TAIL)
    tail = _at(file, start, size - start)
    place = tail.rfind(b"OggS")
    ended = any(tail[match.start() + 5] & 4 for match in re.finditer(rb"OggS\0.", tail, re.DOTALL))
    if place < 0:
        return WHOLE
    page = tail[place:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return Structure(missing=1, open_end=True)
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return Structure(missing=max(0, length - len(page)), open_end=not ended)


def _asf(file: BinaryIO, size: int) -> Structure:
    head = _at(file, 0, min(size, _TAIL))
    at = head.find(_ASF_FILE)
    if at < 0:
        return WHOLE
    written, flags = struct.unpack("<Q", head[at + 40 : at + 48])[0], struct.unpack("<I", head[at + 88 : at + 92])[0]
    return Structure(missing=0 if flags & 1 else max(0, written - size))  # flag 1: broadcast, sizes are not valid


def _mp3(file: BinaryIO, size: int) -> int:
    head = _at(file, 0, 1 << 16)
    first = 0
    if head[:3] == b"ID3" and len(head) > 10:
        first = 10 + sum((b & 0x7F) << shift for b, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        head = _at(file, first, 4096)
    at = next((p for p in (head.find(b"Xing", 0, 256), head.find(b"Info", 0, 256)) if p >= 0), -1)
    if at < 0:
        return 0
    flags, fields = struct.unpack(">I", head[at + 4 : at + 8])[0], at + 8
    if not flags & 2:
        return 0
    written = struct.unpack(">I", head[fields + 4 * (flags & 1) :][:4])[0]
    return int(max(0, first + written - size))


class Spliced(io.RawIOBase):
    """A file with another header in front of a part of its bytes, for readers."""

    def __init__(self, file: BinaryIO, samples: Samples) -> None:
        self._file, self._samples, self._at = file, samples, 0
        self._length = len(samples.head) + samples.end - samples.start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        head = self._samples.head
        left = max(0, self._length - self._at)
        size = left if size < 0 else min(size, left)
        taken = head[self._at : self._at + size]
        if len(taken) < size:
            self._file.seek(self._samples.start + self._at + len(taken) - len(head))
            taken += self._file.read(size - len(taken))
        self._at += len(taken)
        return taken

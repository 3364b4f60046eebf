"""Recorded runs (``runs/*.gsr``): one frame a second and every event, appended so that a crash costs at most the last record.

A file is ``GSR1`` and then records: kind (1 byte), length (4), CRC-32 of the payload (4), wall time (8, float), payload (zlib of
JSON); numbers little-endian. Kinds: ``H`` the head (label, settings), ``K`` a whole frame, ``D`` the difference to the frame
before (:mod:`gainstage.engine.telemetry.delta`), ``E`` events, ``C`` changes of settings, ``V`` decisions. There is no index to lose: a reader
hops over the payloads, which takes a fraction of a second for a day.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gainstage.engine.telemetry import delta
from gainstage.engine.views.events import Event
from gainstage.engine.views.frame_json import tree
from gainstage.engine.views.rows import ChangeRow, SettingRow
from gainstage.engine.views.snapshot import CLOCK_BACK_S, SCHEMA, Snapshot

MAGIC = b"GSR1"
RECORD = struct.Struct("<cIId")
KEY_EVERY = 60
"""Frames from one whole frame to the next: the most differences a seek applies."""

FRAME_S = 1.0
LARGEST = 64 * 1024**2
"""A length beyond this, packed or unpacked, is a broken record, not a frame."""

LARGEST_IN_ALL = 256 * 1024**2
"""Bytes, unpacked, of everything in a run but its frames, which are read one at a time."""

MOST_FRAMES = 3_000_000
"""Frames of one run: a month of one a second."""

LAST_WALL = 1e11
"""A wall time beyond this (the year 5138) is a broken record."""


class BadRecording(ValueError):
    """The file is not a recorded run."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record lies: its kind, wall time, and the place and length of its payload."""

    kind: str
    wall: float
    offset: int
    length: int
    crc: int


def pack(value: Any) -> bytes:
    """A value of JSON as a compressed document."""
    return zlib.compress(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), 6)


def unpack(payload: bytes) -> Any:
    """The JSON tree of a payload. Raises :class:`BadRecording` for one that :func:`pack` never made, however well it checks."""
    return parsed(inflated(payload))


def inflated(payload: bytes, most: int = LARGEST) -> bytes:
    """The JSON of a payload, of at most ``most`` bytes. Raises :class:`BadRecording`."""
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(payload, max(1, min(most, LARGEST)))
    except zlib.error as error:
        raise BadRecording(f"not a recorded run: a record cannot be read: {error}") from error
    if not inflate.eof:
        raise BadRecording("not a recorded run: a record is larger than any frame, or all together than those of any run")
    return text


def parsed(text: bytes) -> Any:
    """The tree of JSON. Raises :class:`BadRecording`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecording(f"not a recorded run: a record cannot be read: {error}") from error


def records(file: BinaryIO) -> Iterator[Record]:
    """Every record up to the first broken one; a tail cut off by a crash is simply not there. Raises :class:`BadRecording`."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise BadRecording("not a recorded run: it does not begin with GSR1")
    at = len(MAGIC)
    while True:
        file.seek(at)
        head = file.read(RECORD.size)
        if len(head) < RECORD.size:
            return
        kind, length, crc, wall = RECORD.unpack(head)
        at += RECORD.size
        known = kind in (b"H", b"K", b"D", b"E", b"C", b"V") and 0 <= wall <= LAST_WALL
        if not known or length > LARGEST or at + length > size:
            return
        yield Record(kind.decode(), wall, at, length, crc)
        at += length


def payload(file: BinaryIO, record: Record) -> bytes | None:
    """The payload of a record; None when its checksum is wrong."""
    file.seek(record.offset)
    data = file.read(record.length)
    return data if zlib.crc32(data) == record.crc else None


class Recorder:
    """Writes one run to a new file. Belongs to one thread (the publisher's). Raises ``OSError`` as files do."""

    def __init__(self, path: Path, *, label: str = "", settings: Sequence[SettingRow] = ()) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._last: dict[str, Any] | None = None
        self._frames = 0
        self._frame_wall = float("-inf")
        self._decision = 0
        self._file: BinaryIO = open(path, "xb")  # noqa: SIM115 - closed by close()
        self._file.write(MAGIC)
        self._write("H", 0.0, {"schema": SCHEMA, "label": label, "settings": tree(tuple(settings))})

    def follows(self, frame: Snapshot) -> bool:
        """False when the clock was put back since the last frame: the run then goes on in a new file, as times only rise in one."""
        return frame.wall >= self._frame_wall - CLOCK_BACK_S

    def append(self, frame: Snapshot, events: Sequence[Event] = (), changes: Sequence[ChangeRow] = ()) -> bool:
        """Write what is new; True when the frame was due (they are a second apart) and written."""
        if events:
            self._write("E", frame.wall, tree(tuple(events)))
        if changes:
            self._write("C", frame.wall, tree(tuple(changes)))
        if frame.wall - self._frame_wall < FRAME_S - 0.05:
            return False
        fresh = [row for row in frame.decisions.latest if row.id > self._decision]
        if fresh:
            self._decision = max(row.id for row in fresh)
            self._write("V", frame.wall, tree(tuple(fresh)))
        whole = tree(frame)
        key = self._last is None or self._frames % KEY_EVERY == 0
        self._write("K" if key else "D", frame.wall, whole if key else delta.diff(self._last, whole))
        if key:
            os.fsync(self._file.fileno())
        self._last, self._frames, self._frame_wall = whole, self._frames + 1, frame.wall
        return True

    def _write(self, kind: str, wall: float, value: Any) -> None:
        data = pack(value)
        self._file.write(RECORD.pack(kind.encode(), len(data), zlib.crc32(data), wall) + data)
        self._file.flush()

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

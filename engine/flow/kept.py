"""Results of a recording that outlive the engine that computed them: an append-only file beside its work, read by the next attempt.

File: a header record, then one record per result. A record is ``<I length><I crc32><H key length>``, key, payload. The first record
that does not check ends the file: a torn tail or damage loses what follows it, never what came before.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

SUFFIX = ".kept"
FORMAT = 1

_HEAD = struct.Struct("<IIH")
_MOST = 64 * 1024**2
"""Longest record in bytes; a longer one is damage."""


class KeptResults:
    """Results by key. ``header`` names all that they depend on: a file with another header is begun anew.

    Thread-safe. Nothing here fails a recording: without a usable file (disk full, another process has it), results are kept in no
    place, ``report`` is called once with the reason, and work goes on.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], report: Callable[[str], object] = lambda _: None) -> None:
        self.path = path
        self._report = report
        self._lock = threading.Lock()
        self._places: dict[bytes, tuple[int, int]] = {}
        self._end = 0
        self._file: int | None = None
        self.used = 0  # results that were read
        try:
            self._open(json.dumps({"format": FORMAT, **header}, sort_keys=True).encode())
        except OSError as error:
            self._give_up(error)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: bytes) -> bytes | None:
        """The payload kept under a key; None when there is none."""
        with self._lock:
            place = self._places.get(key)
            if place is None or self._file is None:
                return None
            try:
                payload = os.pread(self._file, place[1], place[0])
            except OSError as error:
                self._give_up(error)
                return None
            if len(payload) != place[1]:
                return None
            self.used += 1
            return payload

    def put(self, key: bytes, payload: bytes) -> None:
        """Keep a payload. A record that does not fit on the disk is taken back, and no more are written."""
        with self._lock:
            if self._file is None:
                return
            try:
                self._append(key, payload)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._file, self._end)
                self._give_up(error)

    def close(self) -> None:
        """Close the file; nothing happens the second time."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                os.close(file)

    def __enter__(self) -> KeptResults:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- the file ---------------------------------------------------------------------------------------------------

    def _open(self, header: bytes) -> None:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = file
            self._read(header)
            os.ftruncate(file, self._end)
            if self._end == 0:
                self._append(b"", header)
        except OSError:
            self._file = None
            os.close(file)
            raise

    def _read(self, header: bytes) -> None:
        """Find the records of a file with this header; ``_end`` is 0 for any other file."""
        assert self._file is not None
        size = os.fstat(self._file).st_size
        at = 0
        while (record := self._record(at, size)) is not None:
            key, payload, after = record
            if at == 0 and (key, payload) != (b"", header):
                return
            if at:
                self._places[key] = (after - len(payload), len(payload))
            self._end = at = after

    def _record(self, at: int, size: int) -> tuple[bytes, bytes, int] | None:
        assert self._file is not None
        head = os.pread(self._file, _HEAD.size, at)
        if len(head) < _HEAD.size:
            return None
        length, crc, named = _HEAD.unpack(head)
        if not named <= length <= min(_MOST, size - at - _HEAD.size):
            return None
        body = os.pread(self._file, length, at + _HEAD.size)
        if len(body) < length or zlib.crc32(body) != crc:
            return None
        return body[:named], body[named:], at + _HEAD.size + length

    def _append(self, key: bytes, payload: bytes) -> None:
        assert self._file is not None
        body = key + payload
        record = _HEAD.pack(len(body), zlib.crc32(body), len(key)) + body
        written = os.pwrite(self._file, record, self._end)
        if written != len(record):
            raise OSError(f"{written} of {len(record)} bytes were written")
        if key:
            self._places[key] = (self._end + _HEAD.size + len(key), len(payload))
        self._end += len(record)

    def _give_up(self, error: OSError) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        self._places.clear()
        self._report(f"results are not kept for a next attempt: {error.strerror or error}")

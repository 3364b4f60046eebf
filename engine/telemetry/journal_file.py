"""The journal on disk: JSON Lines in files of bounded size, written by one thread."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from gainstage.engine.views.events import Event, Events

GATHER_S = 0.2
"""Lines are gathered this long before they are written."""

RETRY_S = 2.0
"""After the disk refused, the next try; meanwhile the ring keeps the lines."""

CHUNK = 1000

_FIELDS = tuple(f.name for f in fields(Event))


def line_of(event: Event) -> bytes:
    """An event as one line of JSON; what is None or empty is left out."""
    tree = {name: value for name in _FIELDS if (value := getattr(event, name)) is not None and value != {}}
    return (
        json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str).encode("utf-8", "replace") + b"\n"
    )


class JournalFile:
    """``journal.jsonl`` in ``folder``; when it would pass ``max_bytes`` it becomes ``journal.1.jsonl`` and so on.

    ``files`` are kept, the current one included. Every method may raise ``OSError``; a failed write leaves no half line.
    """

    def __init__(self, folder: Path, max_bytes: int, files: int) -> None:
        if max_bytes < 1 or files < 1:
            raise ValueError("a journal needs at least one file of at least one byte")
        self.path = folder / "journal.jsonl"
        self._max_bytes = max_bytes
        self._files = files
        self._handle: int | None = None
        self._size = 0

    def write(self, lines: list[bytes]) -> None:
        """Append lines, rotating between them where needed, and take them from the list as they are written."""
        while lines:
            handle = self._open()
            if self._size and self._size + len(lines[0]) > self._max_bytes:
                self._rotate()
                continue
            end, room = 1, self._max_bytes - self._size - len(lines[0])
            while end < len(lines) and len(lines[end]) <= room:
                room -= len(lines[end])
                end += 1
            self._append(handle, b"".join(lines[:end]))
            del lines[:end]  # what is written is not written again when a later part fails

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _open(self) -> int:
        if self._handle is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = os.fstat(self._handle).st_size
            if self._size and os.pread(self._handle, 1, self._size - 1) != b"\n":  # a line cut off by a crash
                self._append(self._handle, b"\n")
        return self._handle

    def _append(self, handle: int, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.write(handle, data[done:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, self._size)
            raise
        self._size += len(data)

    def _rotate(self) -> None:
        self.close()
        for n in range(self._files - 1, 0, -1):
            older = self.path.with_name(f"journal.{n}.jsonl")
            newer = self.path.with_name(f"journal.{n - 1}.jsonl") if n > 1 else self.path
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        self.path.unlink(missing_ok=True)


class JournalWriter:
    """Carries events from the ring to the file, so that emitting never waits for a disk.

    The ring is its queue: what leaves the ring before the disk takes it is lost and counted in a line of its own.
    """

    def __init__(self, file: JournalFile, after: Callable[[int, int], Events]) -> None:
        self.trouble: str | None = None  # why the disk refuses at present
        self._file = file
        self._after = after
        self._cursor = 0
        self._pending: list[bytes] = []  # lines taken from the ring and not yet on disk
        self._wake = threading.Event()  # there is something to write
        self._hurry = threading.Event()  # gather no longer
        self._turn = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to write."""
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, seq: int) -> None:
        """Wait until the events up to ``seq`` are on disk, or the disk has refused them."""
        with self._turn:
            while self._thread.is_alive() and (self._cursor < seq or self._pending) and self.trouble is None:
                self._hurry.set()
                self._wake.set()
                self._turn.wait()

    def close(self) -> None:
        """Write what is left and end. Safe to call twice."""
        self._ending = True
        self._hurry.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            self._wake.wait()
            self._wake.clear()
            ending = self._ending  # read before the last round, so that nothing emitted before close() is missed
            try:
                self._write_all()
                trouble = None
            except OSError as error:
                trouble = error.strerror or str(error)
                self._wake.set()
            with self._turn:
                self.trouble = trouble
                if ending:
                    with contextlib.suppress(OSError):
                        self._file.close()
                self._turn.notify_all()
            if not ending and self._hurry.wait(RETRY_S if trouble else GATHER_S):
                self._hurry.clear()

    def _write_all(self) -> None:
        while True:
            if self._pending:
                self._file.write(self._pending)
            events = self._after(self._cursor, CHUNK)
            if not events.items and not events.dropped:
                return
            if events.dropped:
                first = events.items[0] if events.items else None
                wall = first.wall if first else 0.0
                lost = Event(
                    events.cursor - len(events.items), wall, "warning", "lost", f"{events.dropped} events before this were lost"
                )
                self._pending.append(line_of(lost))
            self._pending += [line_of(event) for event in events.items]
            self._cursor = events.cursor

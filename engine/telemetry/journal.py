"""The journal: typed events in a ring in memory and as JSON Lines on disk; the one source of what is shown and summed."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.telemetry.journal_file import JournalFile, JournalWriter
from gainstage.engine.views.events import Event, Events, Level
from gainstage.engine.views.passes import BatchRecord, StageSpan

CAPACITY = 20_000
TRACEBACK_LINES = 60

_SPAN_DATA = tuple(f.name for f in fields(StageSpan) if f.name not in ("stage", "recording"))
_BATCH_DATA = tuple(f.name for f in fields(BatchRecord))


class Journal:
    """Events numbered from 1 in the order they were emitted.

    The newest ``capacity`` stay readable in memory. With a ``folder`` a thread of its own appends every event to
    ``journal.jsonl`` there, at most ``max_bytes`` a file, the newest ``files`` files kept (``journal.1.jsonl`` is the last
    before the current one). :meth:`emit` and what rests on it may be called from any thread and cost microseconds.
    """

    def __init__(
        self,
        folder: Path | None = None,
        capacity: int = CAPACITY,
        max_bytes: int = 32 * 1024**2,
        files: int = 5,
        *,
        engine: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.capacity = capacity
        self._wall = wall
        self._lock = threading.Lock()
        self._ring: list[Event | None] = [None] * capacity
        self._last = 0
        self._echo: Callable[[Event], object] | None = None
        self._writer = None if folder is None else JournalWriter(JournalFile(folder, max_bytes, files), self.after)

    # -- writing ----------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> Event:
        """Take in an event; returns it with its number. Text, traceback and data are made harmless here."""
        return self._append(
            event.wall or self._wall(),
            event.level,
            event.kind,
            clean_text(event.text),
            event.stage,
            event.recording,
            event.engine or self.engine,
            event.thread or threading.current_thread().name,
            plain(event.data),
            None if event.traceback is None else clean_lines(event.traceback),
        )

    def log(
        self,
        level: Level,
        text: str,
        *,
        kind: str = "log",
        stage: str | None = None,
        recording: str | None = None,
        error: BaseException | None = None,
        **data: Any,
    ) -> Event:
        """A line for the operator; ``error`` adds its traceback, ``data`` what a program may want to read."""
        return self._append(
            self._wall(),
            level,
            kind,
            clean_text(text),
            stage,
            recording,
            self.engine,
            threading.current_thread().name,
            plain(data),
            None if error is None else clean_lines("".join(traceback.format_exception(error))),
        )

    def span(self, span: StageSpan) -> Event:
        """A pass of a stage; give this to a stage as ``on_span``."""
        service = "" if span.service_s is None else f" in {span.service_s:.2f} s"
        cause = f": {span.cause}" if span.cause else ""
        return self._append(
            self._wall(),
            "warning" if span.outcome == "failed" else "debug",
            "stage",
            f"{span.stage} {span.outcome}{service}, waited {span.waited_s:.2f} s{cause}",
            span.stage,
            span.recording,
            self.engine,
            threading.current_thread().name,
            {name: getattr(span, name) for name in _SPAN_DATA},
            None,
        )

    def batch(self, record: BatchRecord) -> Event:
        """A call of a batcher; give this to a batcher as ``on_batch``."""
        cause = f": {record.cause}" if record.cause else ""
        return self._append(
            self._wall(),
            "debug" if record.outcome == "ok" else "warning",
            "batch",
            f"{record.batcher} {record.outcome}, {record.items} items in {record.service_s:.3f} s ({record.why}){cause}",
            None,
            None,
            self.engine,
            threading.current_thread().name,
            {name: getattr(record, name) for name in _BATCH_DATA},
            None,
        )

    def echo(self, listener: Callable[[Event], object] | None) -> None:
        """Call ``listener`` with every event, in the emitting thread; for an engine in the foreground."""
        self._echo = listener

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """Number of the newest event, 0 before the first."""
        return self._last

    def after(self, seq: int, limit: int = 500) -> Events:
        """Events after number ``seq``, oldest first, at most ``limit``; ``cursor`` is what to ask after next time.

        ``dropped`` counts events after ``seq`` that have left the ring unread. A ``seq`` from the future belongs to an
        earlier engine: then everything is new.
        """
        with self._lock:
            start = seq if 0 <= seq <= self._last else 0
            first = max(start, self._last - self.capacity) + 1
            end = min(self._last, first + max(0, limit) - 1)
            items = tuple(e for e in (self._ring[n % self.capacity] for n in range(first, end + 1)) if e is not None)
        return Events(items, max(end, first - 1), first - 1 - start)

    def flush(self) -> None:
        """Wait until everything emitted so far is on disk, or the disk has refused it."""
        if self._writer is not None:
            self._writer.flush(self._last)

    def close(self) -> None:
        """Write what is left and end the thread. Safe to call twice; later events stay in memory only."""
        if self._writer is not None:
            self._writer.close()

    @property
    def trouble(self) -> str | None:
        """Why the file cannot be written at present; None when it can, or there is none."""
        return None if self._writer is None else self._writer.trouble

    def _append(
        self,
        wall: float,
        level: Level,
        kind: str,
        text: str,
        stage: str | None,
        recording: str | None,
        engine: str | None,
        thread: str | None,
        data: dict[str, Any],
        trace: str | None,
    ) -> Event:
        with self._lock:
            seq = self._last + 1
            event = Event(seq, wall, level, kind, text, stage, recording, engine, thread, data, trace)
            self._ring[seq % self.capacity] = event
            self._last = seq
        if self._writer is not None:
            self._writer.wake()
        if (echo := self._echo) is not None:
            try:
                echo(event)
            except OSError:  # the terminal behind it is gone; the recording that logged is not to blame
                self._echo = None
        return event


def plain(value: Any) -> Any:
    """A value as JSON can carry it and a terminal can show it: texts cleaned, undefined numbers None, the rest as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, dict):
        return {clean_text(str(k), 200): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy
        return plain(value.tolist())
    return clean_text(str(value))


def clean_lines(text: str, lines: int = TRACEBACK_LINES) -> str:
    """A traceback made harmless line by line, its indents and its last ``lines`` lines kept."""
    return "\n".join(_clean_line(line) for line in text.splitlines()[-lines:])


def _clean_line(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return " " * min(indent, 40) + clean_text(line, 500)

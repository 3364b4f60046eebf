"""Lines of the journal that match, from the database: of every engine, while it runs and after it has ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gainstage.engine.errors import Misconfigured
from gainstage.engine.queue.events import COLUMNS, event_of
from gainstage.engine.store.database import Database
from gainstage.engine.views.events import Event, Events

PAGE = 1000
LEVELS = ("info", "warning", "error")
"""What is kept in the database, least first; the lines of each pass of a stage (debug) are in the engine's ``journal.jsonl`` alone."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which lines; None and empty take all. ``recording`` is the start of an id, ``engines`` are ids or names in a home, ``pattern``
    a regular expression looked for in text and traceback."""

    level: str = "info"
    stage: str | None = None
    recording: str | None = None
    engines: tuple[str, ...] = ()
    since_wall: float | None = None
    pattern: re.Pattern[str] | None = None

    def matches(self, event: Event) -> bool:
        """Whether the pattern is found; the rest is asked of the database."""
        return self.pattern is None or any(self.pattern.search(part) for part in (event.text, event.traceback or ""))


def pattern_of(text: str) -> re.Pattern[str]:
    """A regular expression that ignores case. Raises :class:`Misconfigured` saying where it is wrong."""
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise Misconfigured(
            f"{text!r} is no regular expression: {error}", cause="pattern", hint=r"Put \ before a character that stands for itself."
        ) from None


_WANTED = """
  level = any(%(levels)s) and (%(stage)s::text is null or stage = %(stage)s)
  and (%(recording)s::text is null or starts_with(recording, %(recording)s))
  and (%(since)s::float8 is null or wall >= %(since)s)
  and (%(engines)s::text[] is null or exists (
    select 1 from unnest(%(engines)s::text[]) as name where engine = name or position('-' || name || '-' in engine) > 0))
"""


def _parameters(f: EventFilter) -> dict[str, Any]:
    return {
        "levels": list(LEVELS[LEVELS.index(f.level) :]),
        "stage": f.stage,
        "recording": f.recording,
        "since": f.since_wall,
        "engines": list(f.engines) or None,
    }


def newest(db: Database, f: EventFilter, count: int) -> Events:
    """The newest ``count`` lines that match (0: all that are kept), oldest first; the cursor is that of the newest line of all."""
    head, events = None, list[Event]()
    before: int | None = None
    while head is None or before is not None:
        with db.transaction() as connection:
            if head is None:
                ((head,),) = connection.execute("select seq from event_head").fetchall()
                before = int(head) + 1
            rows = connection.execute(
                f"select {COLUMNS} from event where seq < %(before)s and {_WANTED} order by seq desc limit %(page)s",
                _parameters(f) | {"before": before, "page": PAGE},
            ).fetchall()
        events += [event for event in map(event_of, rows) if f.matches(event)]
        enough = 0 < count <= len(events)
        before = None if enough or len(rows) < PAGE else int(rows[-1][0])
    kept = events[:count] if count else events
    return Events(tuple(reversed(kept)), int(head), 0)


def following(db: Database, f: EventFilter, after: int) -> Iterator[Events]:
    """Pages of lines after number ``after`` that match, without end; an empty page where nothing new has come. ``dropped`` are
    lines that were gone before they were read. The caller waits between pages.
    """
    while True:
        with db.transaction() as connection:
            ((head, gone),) = connection.execute("select seq, dropped from event_head").fetchall()
            rows = connection.execute(
                f"select {COLUMNS} from event where seq > %(after)s and seq <= %(head)s and {_WANTED} order by seq limit %(page)s",
                _parameters(f) | {"after": after, "head": head, "page": PAGE},
            ).fetchall()
        dropped = max(0, gone - after)
        after = int(rows[-1][0]) if len(rows) == PAGE else max(after, int(head))
        yield Events(tuple(event for event in map(event_of, rows) if f.matches(event)), after, dropped)


def engines_seen(db: Database, f: EventFilter) -> int:
    """How many engines the kept lines are of."""
    with db.transaction() as connection:
        row = connection.execute(f"select count(distinct engine) from event where {_WANTED}", _parameters(f)).fetchone()
    return int(row[0]) if row else 0

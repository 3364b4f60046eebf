"""A table that formats only the rows it shows: 200 rows or 100,000 cost the same.

The cursor sticks to the key of its row, not to its place. Rows may come in pages: a row that is not here yet is drawn as a
dot and asked for with :class:`Table.Wanted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar

from textual import events
from textual.message import Message

from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.panel import Panel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column:
    """``width`` in cells; the one with ``grow`` takes what is left. Columns with the lowest ``keep`` go first when it is tight."""

    key: str
    title: str
    width: int
    align: str = "<"
    grow: bool = False
    keep: int = 5
    ids: bool = False
    """Ids of recordings: as wide as the longest seen, at most ``LONGEST_ID``, where the screen is wide."""


LONGEST_ID = 18
ROOM_FOR_IDS = 90
"""Cells of a table from which on ids get what they need."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A column with the width it got."""

    column: Column
    width: int


def fitted(columns: Sequence[Column], cells: int, gap: int = 2) -> list[Fit]:
    """Columns with their widths for a line of ``cells`` cells; the least important ones are left out when they do not fit."""
    kept = list(columns)
    while len(kept) > 1 and sum(c.width for c in kept) + gap * (len(kept) - 1) > cells:
        kept.remove(min(reversed(kept), key=lambda c: c.keep))
    spare = cells - sum(c.width for c in kept) - gap * (len(kept) - 1)
    return [Fit(c, max(1, c.width + spare if c.grow else c.width)) for c in kept]


class Table(Panel, Generic[T]):
    """Subclasses give ``COLUMNS``, :meth:`key_of`, :meth:`cell` and perhaps :meth:`mark` and :meth:`nothing`."""

    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    HEADER = True
    ROW_LINES: ClassVar[int] = 1
    """Lines of one row; the further ones come from :meth:`more_lines`."""

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, table: Table[Any]) -> None:
            super().__init__()
            self.table = table

    class Opened(Message):
        """A row was opened with Enter or a second click."""

        def __init__(self, table: Table[Any]) -> None:
            super().__init__()
            self.table = table

    class Wanted(Message):
        """Rows of a paged table that are about to be seen."""

        def __init__(self, table: Table[Any], first: int, last: int) -> None:
            super().__init__()
            self.table, self.first, self.last = table, first, last

    class HeaderClicked(Message):
        """A column title was clicked."""

        def __init__(self, table: Table[Any], key: str) -> None:
            super().__init__()
            self.table, self.key = table, key

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.items: Sequence[T | None] = ()
        self.cursor = 0
        self.cursor_key: str | None = None
        self.top = 0
        self.marked: frozenset[str] = frozenset()
        self.sorted_by: tuple[str, bool] | None = None  # (column, descending)
        self.touched = False
        """Whether the operator has moved the cursor; until then it stays on the first row."""
        self._requested: tuple[int, int] | None = None
        self._longest_id = 0

    # -- what a table is about

    def key_of(self, item: T) -> str:
        """A key that stays with the row."""
        raise NotImplementedError

    def cell(self, item: T, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        """A cell: a line of exactly ``width`` cells, or a text and its token."""
        raise NotImplementedError

    def mark(self, item: T) -> tuple[str, str]:
        """The glyph before the row and its token."""
        return (" ", "text")

    def more_lines(self, item: T, width: int, p: Palette) -> list[Line]:
        """The further lines of a row, where ``ROW_LINES`` is above one."""
        return []

    def nothing(self, p: Palette) -> list[Line]:
        """What is shown instead of rows."""
        return []

    def columns(self) -> tuple[Column, ...]:
        """The columns for the present width."""
        return self.COLUMNS

    def recording_of(self, item: T) -> str | None:
        """The id in the column of ids."""
        return None

    def _fits(self, cells: int) -> list[Fit]:
        columns = self.columns()
        if cells >= ROOM_FOR_IDS:
            columns = tuple(replace(c, width=max(c.width, min(LONGEST_ID, self._longest_id))) if c.ids else c for c in columns)
        return fitted(columns, cells)

    # -- rows and cursor

    @property
    def selected(self) -> T | None:
        """The row under the cursor."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    def set_items(self, items: Sequence[T | None]) -> None:
        """New rows, already in order; the cursor stays on its row where that is still here."""
        before = self.selected
        self.items = items
        ids = (self.recording_of(item) or "" for item in islice(items, 500) if item is not None)
        self._longest_id = max(self._longest_id, max(map(len, ids), default=0))  # never back: columns keep their places
        self._requested = None
        if self.cursor_key is not None and self.touched:
            there = items[self.cursor] if self.cursor < len(items) else None
            if there is None or self.key_of(there) != self.cursor_key:
                place = self.find(self.cursor_key)
                if place is not None:
                    shift = place - self.cursor
                    if self.top + shift >= 0 and self.top:
                        self.top += shift
                    self.cursor = place
        self.cursor = max(0, min(self.cursor, len(items) - 1))
        now = self.selected
        self.cursor_key = self.key_of(now) if now is not None else None
        self._clamp()
        self.redraw()
        if now != before and self.is_attached:
            self.post_message(self.Moved(self))

    def find(self, key: str) -> int | None:
        """The place of a row that is here."""
        return next((i for i, item in enumerate(self.items) if item is not None and self.key_of(item) == key), None)

    def move_to(self, row: int) -> None:
        """The cursor to a row, clamped."""
        if not self.items:
            return
        self.touched = True
        self.cursor = max(0, min(row, len(self.items) - 1))
        item = self.selected
        self.cursor_key = self.key_of(item) if item is not None else None
        self._show_cursor()
        self.redraw()
        self.post_message(self.Moved(self))

    def move_by(self, rows: int) -> None:
        """The cursor some rows down (negative: up)."""
        self.move_to(self.cursor + rows)

    @property
    def rows_shown(self) -> int:
        """Rows of data that fit."""
        return max(0, self.inner[1] - (1 if self.HEADER else 0)) // self.ROW_LINES

    def _clamp(self) -> None:
        self.top = max(0, min(self.top, len(self.items) - self.rows_shown))

    def _show_cursor(self) -> None:
        rows = self.rows_shown
        if self.cursor < self.top:
            self.top = self.cursor
        elif rows and self.cursor >= self.top + rows:
            self.top = self.cursor - rows + 1
        self._clamp()

    def on_resize(self, event: events.Resize) -> None:
        before = self.top
        self._show_cursor()
        if self.top != before:  # it may have been drawn in its new size before this event came
            self.redraw()

    # -- drawing

    def scroll_thumb(self, rows: int) -> tuple[int, int] | None:
        total, shown = len(self.items), self.rows_shown
        if total <= shown or shown <= 0:
            return None
        lead, lines = (1 if self.HEADER else 0), shown * self.ROW_LINES
        length = max(1, lines * shown // total)
        start = round((lines - length) * self.top / (total - shown))
        return lead + start, lead + start + length - 1

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        lines: list[Line] = []
        fits = self._fits(width - 2)
        if self.HEADER:
            lines.append(self._header(fits, p))
        if not self.items:
            return [*lines, *self.nothing(p)]
        rows = (height - len(lines)) // self.ROW_LINES
        first, last = self.top, min(len(self.items), self.top + rows)
        focused = self.has_focus
        missing = False
        for i in range(first, last):
            item = self.items[i]
            if item is None:
                missing = True
                lines.append(Line().gap(2, p["ground"]).add("·", p["faint"]))
                continue
            here = i == self.cursor
            row = p.on_cursor() if here and focused else p
            lines.append(self._row(item, here, fits, width, row))
            if self.ROW_LINES > 1:
                more = self.more_lines(item, width - 2, row)
                lines += [Line().gap(2, row["ground"]).extend(line).to(width, row["ground"]) for line in more]
                lines += [Line().gap(width, row["ground"])] * (self.ROW_LINES - 1 - len(more))
        if missing and self._requested != (first, last):
            self._requested = (first, last)
            self.post_message(self.Wanted(self, first, last))
        return lines

    def _header(self, fits: list[Fit], p: Palette) -> Line:
        line = Line().gap(2, p["ground"])
        for n, fit in enumerate(fits):
            title = fit.column.title
            if self.sorted_by and self.sorted_by[0] == fit.column.key:
                title = (
                    f"{title} {'▼' if self.sorted_by[1] else '▲'}"
                    if fit.column.align == "<"
                    else f"{'▼' if self.sorted_by[1] else '▲'} {title}"
                )
            line.fit(title, fit.width, p["muted"], fit.column.align)
            if n < len(fits) - 1:
                line.gap(2, p["ground"])
        return line

    def _row(self, item: T, here: bool, fits: list[Fit], width: int, p: Palette) -> Line:
        glyph, token = self.mark(item)
        line = Line()
        if self.key_of(item) in self.marked:
            glyph, token = "✱", "accent"
        if here and glyph == " ":
            glyph, token = "▸", "accent"
        line.fit(glyph, 1, p[token]).gap(1, p["ground"])
        for n, fit in enumerate(fits):
            cell = self.cell(item, fit.column.key, fit.width, p)
            if isinstance(cell, Line):
                line.extend(cell).gap(fit.width - cell.used, p["ground"])
            else:
                text = safe.clip(cell[0].strip(), fit.width, middle=fit.column.ids)  # ids differ at their ends
                line.fit(text, fit.width, p[cell[1]], fit.column.align)
            if n < len(fits) - 1:
                line.gap(2, p["ground"])
        return line.to(width, p["ground"])

    # -- mouse

    def _place(self, event: events.MouseEvent) -> tuple[int, int]:
        margin = (2, 1) if self.framed else (1, 1)
        return event.x - margin[0], event.y - margin[1] - (1 if self.HEADER else 0)

    def on_click(self, event: events.Click) -> None:
        x, y = self._place(event)
        if y == -1 and self.HEADER:
            at = 2
            for fit in self._fits(self.inner[0] - 2):
                if at <= x < at + fit.width:
                    self.post_message(self.HeaderClicked(self, fit.column.key))
                    return
                at += fit.width + 2
            return
        row = self.top + y // self.ROW_LINES
        if y < 0 or row >= len(self.items):
            return
        if row == self.cursor and event.chain > 1:
            self.post_message(self.Opened(self))
        else:
            self.move_to(row)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._scroll(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._scroll(-3)

    def _scroll(self, rows: int) -> None:
        before = self.top
        self.top += rows
        self._clamp()
        if self.top != before:
            self.redraw()

    # -- taking it along

    def cells_of(self, item: T) -> list[str]:
        """The cells of a row as plain text, uncut."""
        p = self.console.palette_of(False)
        texts = []
        for column in self.columns():
            cell = self.cell(item, column.key, 200, p)
            texts.append((cell.text if isinstance(cell, Line) else safe.display(cell[0])).strip())
        return texts

    def exported(self) -> tuple[list[str], list[list[Any]]]:
        names = [c.title.lower() or c.key for c in self.columns()]
        return names, [list(self.cells_of(item)) for item in self.items if item is not None]


class Ranking:
    """An order that changes at most once a second: between two sorts rows keep their place, new ones join at the end."""

    def __init__(self, every_s: float = 1.0) -> None:
        self._every_s = every_s
        self._order: dict[str, int] = {}
        self._due = 0.0

    def order(self, items: Sequence[T], key: Any, rank: Any, now: float, *, at_once: bool = False) -> list[T]:
        """``items`` in the order of before, re-sorted by ``rank`` when a second has passed or ``at_once``."""
        if at_once or now >= self._due or now < self._due - 2 * self._every_s:
            self._due = now + self._every_s
            ranked = sorted(items, key=rank)
            self._order = {key(item): n for n, item in enumerate(ranked)}
            return ranked
        end = len(self._order)
        for item in items:
            if key(item) not in self._order:
                self._order[key(item)] = end
                end += 1
        return sorted(items, key=lambda item: self._order[key(item)])

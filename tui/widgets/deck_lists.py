"""What stands below the recordings in flight where there is room: next in line, last stored, failures by cause, changes."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from gainstage.engine.views.desk import Desk
from gainstage.engine.views.rows import ChangeRow, FailureGroup, Query, RecordingRow
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette

SHOWN = 8
SPARE = 8
"""Rows asked for beyond those: some may be in flight by the time they are drawn."""
LEAST_ROWS = 4
"""Free rows below which nothing is shown: a heading, two lines and a gap."""
TWO_COLUMNS = 110
"""Cells from which on two lists stand side by side."""
GAP = 4


@dataclass(frozen=True, slots=True)
class DeckLists:
    """The first rows of each list, and when they were read: by the desk's clock."""

    next_in_line: tuple[RecordingRow, ...] = ()
    last_stored: tuple[RecordingRow, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    wall: float = 0.0

    def without(self, taken: Container[str]) -> DeckLists:
        """Without recordings that are in flight by a newer frame than these lists: each stands in one place."""
        return replace(
            self,
            next_in_line=tuple(row for row in self.next_in_line if row.id not in taken),
            last_stored=tuple(row for row in self.last_stored if row.id not in taken),
        )


def read_lists(desk: Desk) -> DeckLists:
    """Ask a desk for the lists."""
    wall = desk.now()
    raised = desk.recordings(Query(status=("queued",), sort="priority", descending=True, limit=SHOWN + SPARE)).rows
    oldest = desk.recordings(Query(status=("queued",), sort="added", descending=False, limit=SHOWN + SPARE)).rows
    waiting = {row.id: row for row in (*oldest, *(row for row in raised if row.priority > 0))}

    def turn(row: RecordingRow) -> tuple[bool, int, float]:
        return row.next_try_wall is not None and row.next_try_wall > wall, -row.priority, row.added_wall

    return DeckLists(
        next_in_line=tuple(sorted(waiting.values(), key=turn)[: SHOWN + SPARE]),
        last_stored=desk.recordings(Query(status=("stored",), sort="stored", descending=True, limit=SHOWN)).rows,
        failures=desk.failures()[:SHOWN],
        changes=tuple(change for change in desk.changes(SHOWN) if change.state == "applied"),
        wall=wall,
    )


def draw_lists(lists: DeckLists, width: int, rows: int, now: float, p: Palette) -> list[Line]:
    """Lines for ``rows`` free rows of ``width`` cells; none where there is too little room or nothing to list."""
    parts: list[tuple[str, list[Callable[[int], Line]]]] = [
        ("next in line", [lambda w, r=r: _queued(r, w, now, p) for r in lists.next_in_line[:SHOWN]]),  # type: ignore[misc]
        ("last stored", [lambda w, r=r: _stored(r, w, now, p) for r in lists.last_stored]),  # type: ignore[misc]
        ("failures by cause", [lambda w, g=g: _failure(g, w, p) for g in lists.failures]),  # type: ignore[misc]
        ("changes", [lambda w, c=c: _change(c, w, p) for c in lists.changes]),  # type: ignore[misc]
    ]
    filled = [(title, drawers) for title, drawers in parts if drawers]
    columns = 2 if width >= TWO_COLUMNS else 1  # one list alone takes half as well: a title and its time stay near each other
    cells = (width - GAP * (columns - 1)) // columns
    lines: list[Line] = []
    for at in range(0, len(filled), columns):
        room = rows - len(lines) - 1  # an empty line before each row of lists
        later = -(-(len(filled) - at - columns) // columns)
        share = max(LEAST_ROWS - 1, room // (later + 1)) if room >= LEAST_ROWS - 1 else 0
        if share == 0:
            break
        height = min(room, share)
        blocks = [_block(title, drawers, cells, height, p) for title, drawers in filled[at : at + columns]]
        lines.append(Line())
        for y in range(max(map(len, blocks))):
            line = Line()
            for n, block in enumerate(blocks):
                line.to(n * (cells + GAP), p["ground"])
                if y < len(block):
                    line.extend(block[y])
            lines.append(line)
    return lines


def _block(title: str, drawers: list[Callable[[int], Line]], cells: int, height: int, p: Palette) -> list[Line]:
    lines = [Line().add(title, p["title"])]
    for draw in drawers[: height - 1]:
        line = Line()
        line.parts.extend(draw(cells).strip(cells, p["ground"]))
        line.used = cells
        lines.append(line)
    return lines


def _queued(row: RecordingRow, width: int, now: float, p: Palette) -> Line:
    again = row.next_try_wall is not None and row.next_try_wall > now
    note = f"again in {fmt.roughly((row.next_try_wall or 0.0) - now)}" if again else f"↑{row.priority}" if row.priority > 0 else ""
    line = Line().fit(row.title, width - 22, p["text"]).gap(1, p["ground"]).fit(fmt.runtime(row.duration_s), 8, p["muted"], ">")
    return line.gap(1, p["ground"]).fit(note, 12, p["warn" if again else "accent"], ">")


def _stored(row: RecordingRow, width: int, now: float, p: Palette) -> Line:
    line = Line().add("▲ " if row.warning else "✓ ", p["warn" if row.warning else "ok"])
    line.fit(row.title, width - 24, p["text"]).gap(1, p["ground"]).fit(fmt.runtime(row.duration_s), 8, p["muted"], ">")
    return line.gap(1, p["ground"]).fit(f"{fmt.roughly(now - (row.stored_wall or row.changed_wall))} ago", 12, p["muted"], ">")


def _failure(group: FailureGroup, width: int, p: Palette) -> Line:
    line = Line().fit(f"{group.count:,} ×", 7, p["warn"], ">").add(f" {group.cause}  ", p["text"])
    return line.clip(f"→ {group.hint}", width - line.used, p["muted"])


def _change(change: ChangeRow, width: int, p: Palette) -> Line:
    line = Line().add(fmt.clock(change.wall, seconds=False), p["faint"]).add(f" {change.key} ", p["text"])
    line.add(f"{fmt.value(change.old)} → {fmt.value(change.new)}  ", p["bright"])
    return line.clip(change.effect_text or "", width - line.used, p["muted"])

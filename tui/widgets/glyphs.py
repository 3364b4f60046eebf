"""Small drawings of numbers in cells: meters, sparks, braille graphs, strips, histograms. All on fixed scales.

A scale that follows its data turns 60 → 61 % into a cliff; here the top of the scale is always given by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from rich.style import Style

from gainstage.tui.render.cells import Line
from gainstage.tui.render.format import clock, known
from gainstage.tui.render.theme import Palette

_BLOCKS = " ▁▂▃▄▅▆▇█"
_LEFT = (0, 0x40, 0x44, 0x46, 0x47)
_RIGHT = (0, 0x80, 0xA0, 0xB0, 0xB8)


def meter(line: Line, share: float | None, cells: int, p: Palette, token: str = "bar", limit: float | None = None) -> Line:
    """A bar of ``cells`` cells filled to ``share`` (0..1), half a cell fine, with a ``┊`` where the limit is."""
    if cells <= 0:
        return line
    halves = 0 if share is None or not known(share) else round(min(1.0, max(0.0, share)) * cells * 2)
    if share and not halves:
        halves = 1
    full, half = divmod(halves, 2)
    text = "━" * full + ("╸" if half else "")
    rest = "─" * (cells - len(text))
    mark = None if limit is None else min(cells - 1, max(0, round(limit * cells)))
    if mark is None:
        if text:
            line.add(text, p[token])
        return line.add(rest, p["track"])
    whole = text + rest
    for start, end in ((0, mark), (mark + 1, cells)):
        fill = min(max(len(text), start), end)
        line.add(whole[start:fill], p[token])
        line.add(whole[fill:end], p["track"])
        if start == 0:
            line.add("┊", p["limit"])
    return line


@lru_cache(2048)
def _spark(values: tuple[float | None, ...], cells: int, top: float) -> str:
    shown = values[-cells:]
    text = "".join(
        " " if v is None or not known(v) else _BLOCKS[1 + min(7, max(0, int(v / top * 8)))] if top > 0 else _BLOCKS[1]
        for v in shown
    )
    return text.rjust(cells)


def spark(values: Sequence[float | None], cells: int, top: float = 1.0) -> str:
    """The last ``cells`` values as blocks on the scale 0..top; blanks where nothing is known."""
    return _spark(tuple(values[-cells:]), cells, top) if cells > 0 else ""


@lru_cache(256)
def _braille(values: tuple[float | None, ...], cells: int, rows: int, top: float) -> tuple[str, ...]:
    shown: list[float | None] = list(values[-2 * cells :])
    shown = [*([None] * (2 * cells - len(shown))), *shown]
    most = 4 * rows
    levels = [0 if v is None or not known(v) else min(most, max(1 if v > 0 else 0, round(v / top * most))) for v in shown]
    return tuple(
        "".join(
            chr(0x2800 | _LEFT[min(4, max(0, levels[i] - below))] | _RIGHT[min(4, max(0, levels[i + 1] - below))])
            for i in range(0, 2 * cells, 2)
        )
        for below in range(4 * (rows - 1), -1, -4)
    )


def braille(values: Sequence[float | None], cells: int, rows: int, top: float) -> tuple[str, ...]:
    """A filled graph, two values a cell, four dots a row, newest at the right; ``rows`` strings from the top."""
    if cells <= 0 or rows <= 0:
        return ()
    return _braille(tuple(values[-2 * cells :]), cells, rows, top if top > 0 else 1.0)


def time_axis(start: float, end: float, cells: int, marks: Iterable[float], p: Palette) -> Line:
    """The axis below or above a graph of ``cells`` cells: the time of day at either end, ``◆`` where something was changed."""
    left, right = clock(start, False), clock(end, False)
    if cells < len(left) + len(right) + 2 or end <= start:
        return Line().gap(cells, p["faint"])
    text = list(left + "─" * (cells - len(left) - len(right)) + right)
    first, last = len(left), cells - len(right) - 1  # the cells between the two times
    for wall in marks:
        if start <= wall <= end:
            text[min(last, max(first, int((wall - start) / (end - start) * cells)))] = "◆"
    line = Line()
    for i, piece in enumerate("".join(text).split("◆")):
        if i:
            line.add("◆", p["change"])
        line.add(piece, p["faint"])
    return line


def nice_top(peak: float) -> float:
    """The top of a scale that holds ``peak``: 1, 2, 5 times a power of ten, so that it seldom changes."""
    if peak <= 0 or not known(peak):
        return 1.0
    power = 1.0
    while power * 10 < peak:
        power *= 10
    while power > peak:
        power /= 10
    return next(power * f for f in (1, 2, 5, 10) if power * f >= peak * 0.999)


def similarity(
    line: Line, low: float | None, mean: float | None, high: float | None, limit: float | None, cells: int, p: Palette, token: str
) -> Line:
    """A strip 0..1 with ``├──●──┤`` from the lowest to the highest similarity and ``┊`` at the threshold."""

    def column(value: float) -> int:
        return min(cells - 1, max(0, round(value * (cells - 1))))

    marks: list[tuple[str, Style]] = [("·" if i % 8 == 0 else " ", p["track"]) for i in range(cells)]
    threshold = None if limit is None else column(limit)
    if threshold is not None:
        marks[threshold] = ("┊", p["limit"])
    if low is not None and high is not None:
        a, b = column(low), column(high)
        for i in range(a, b + 1):
            marks[i] = ("┼" if i == threshold else "─", p[token])
        if b > a:
            marks[a], marks[b] = ("├", p[token]), ("┤", p[token])
    if mean is not None:
        marks[column(mean)] = ("●", p[token + "+b"])
    i = 0
    while i < cells:
        j = i
        while j < cells and marks[j][1] == marks[i][1]:
            j += 1
        line.add("".join(m for m, _ in marks[i:j]), marks[i][1])
        i = j
    return line


def columns_of(counts: Sequence[int], rows: int, top: float | None = None, each: int = 2) -> list[str]:
    """A histogram as ``rows`` strings from the top: every count a column of blocks ``each`` cells wide, one of them blank."""
    most = top if top else max([*counts, 1])
    wide = max(1, each - 1)
    lines = []
    for row in range(rows - 1, -1, -1):
        text = ""
        for c in counts:
            eighths = round(c / most * rows * 8)
            if c and not eighths:
                eighths = 1
            text += _BLOCKS[min(8, max(0, eighths - 8 * row))] * wide + " " * (each - wide)
        lines.append(text)
    return lines

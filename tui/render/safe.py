"""The last door before the terminal: whatever is drawn passes here and comes out as harmless cells.

Titles, names, log lines and error texts are hostile: they may hold terminal sequences, control characters, bidi overrides,
combining marks without end, or console markup. :func:`gainstage.engine.clean.clean_text` takes the controls out; this module adds what
only a screen needs: every character has one known width, and text is measured and cut in cells, never in characters. Nothing
here or behind it parses markup.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rich.cells import cell_len, set_cell_size

from gainstage.engine.clean import clean_text

LONGEST = 4000
"""Characters of one drawn text; no terminal line is longer."""

# Joiners and variation selectors change widths from terminal to terminal; private use and unassigned code points have none.
_WIDTHLESS = re.compile("[\u200c\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")
_MARKS = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{2})[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


@lru_cache(8192)
def _cleaned(text: str) -> str:
    if not text.isprintable():
        text = clean_text(text, LONGEST)
    text = _MARKS.sub(r"\1", _WIDTHLESS.sub("", text))
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def display(text: str) -> str:
    """The text as it may be drawn: one line of printable characters. Printable ASCII passes untouched, spaces are kept."""
    if text.isascii() and text.isprintable():
        return text
    return _cleaned(text if len(text) <= LONGEST else text[:LONGEST])


def width(text: str) -> int:
    """Cells of an already drawable text."""
    return len(text) if text.isascii() else cell_len(text)


@lru_cache(8192)
def _cut(text: str, cells: int, middle: bool) -> str:
    if cells <= 1:
        return "…"[:cells]
    if middle:
        head = (cells - 1 + 1) // 2
        tail = cells - 1 - head
        end = text
        while cell_len(end) > tail:
            end = end[1:]
        return set_cell_size(text, head) + "…" + " " * (tail - cell_len(end)) + end
    return set_cell_size(text, cells - 1).rstrip(" ") + "…"


def clip(text: str, cells: int, *, middle: bool = False) -> str:
    """The text in at most ``cells`` cells; what was cut shows as an ellipsis at the end, or in the middle for identifiers."""
    text = display(text)
    if cells <= 0:
        return ""
    return text if width(text) <= cells else _cut(text, cells, middle)


def fit(text: str, cells: int, align: str = "<", *, middle: bool = False) -> str:
    """The text in exactly ``cells`` cells, aligned left ``<``, right ``>`` or centred ``^``."""
    text = clip(text, cells, middle=middle)
    space = cells - width(text)
    if space <= 0:
        return text
    if align == "<":
        return text + " " * space
    if align == ">":
        return " " * space + text
    return " " * (space // 2) + text + " " * (space - space // 2)


def wrapped(text: str, cells: int, most: int = 200) -> list[str]:
    """The text broken into lines of at most ``cells`` cells, at spaces where it can; of more than ``most`` lines the
    last one shown ends in an ellipsis.
    """
    if cells <= 0:
        return []
    lines: list[str] = []
    for paragraph in text[: LONGEST * 4].splitlines() or [""]:
        indent = min(len(paragraph) - len(paragraph.lstrip(" ")), cells // 2)
        line = " " * indent
        for word in display(paragraph.strip()).split(" "):
            while width(word) > cells - indent:
                room = cells - width(line) - (1 if line.strip() else 0)
                if room < min(4, cells - indent):
                    lines.append(line)
                    line = " " * indent
                    continue
                head = set_cell_size(word, room).rstrip(" ")
                if not head:  # one cell, and a character of two
                    head, word = "…", "…" + word[1:]
                lines.append(f"{line} {head}" if line.strip() else line + head)
                line, word = " " * indent, word[len(head) :]
            joined = f"{line} {word}" if line.strip() else line + word
            if width(joined) > cells:
                lines.append(line)
                line = " " * indent + word
            else:
                line = joined
        lines.append(line)
        if len(lines) > most:
            return [*lines[: most - 1], clip(f"{lines[most - 1]} …", cells)]
    return lines


_SECRETS = re.compile(
    r"(?P<url>[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]*@"
    r"|(?P<name>\b(?:password|passwd|secret|token|api_?key|authorization|cookie)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',;)]+",
    re.IGNORECASE,
)


def conceal(text: str) -> str:
    """The text without passwords in URLs and without the values of things called password, token, secret or cookie."""
    return _SECRETS.sub(lambda m: f"{m['url']}…@" if m["url"] else f"{m['name']}…", text)

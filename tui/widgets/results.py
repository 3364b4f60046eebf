"""Passages found in what was said, and one of them in its place."""

from __future__ import annotations

import re

from gainstage.engine.views.search_rows import ContextLine, IndexHealth, SearchHit, SearchResult
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.table import Column, Table

_WIDE = (
    Column("score", "SCORE", 5, ">", keep=6),
    Column("recording", "RECORDING", 11, keep=9, ids=True),
    Column("at", "AT", 7, ">", keep=10),
    Column("speaker", "SPEAKER", 16, keep=7),
    Column("text", "SAID", 20, grow=True, keep=10),
)
_NARROW = (
    Column("score", "SCORE", 5, ">", keep=6),
    Column("at", "AT", 7, ">", keep=10),
    Column("speaker", "SPEAKER", 12, keep=7),
    Column("text", "SAID", 20, grow=True, keep=10),
)


def link_of(hit: SearchHit) -> str | None:
    """The address of a passage, at its time where the site knows how; None for files."""
    if hit.url is None or not hit.url.startswith(("http://", "https://")):
        return None
    if "t=" in hit.url:
        return hit.url
    return f"{hit.url}{'&' if '?' in hit.url else '?'}t={int(hit.start)}"


class ResultsTable(Table[SearchHit]):
    TITLE = "results"

    def __init__(self) -> None:
        super().__init__(id="results")
        self.result: SearchResult | None = None
        self.query_text = ""
        self.error: str | None = None
        self.busy = False

    def key_of(self, item: SearchHit) -> str:
        return str(item.segment)

    def recording_of(self, item: SearchHit) -> str:
        return item.recording

    def show(self, result: SearchResult | None, query: str, error: str | None = None, *, busy: bool = False) -> None:
        self.result, self.query_text, self.error, self.busy = result, query, error, busy
        self.cursor, self.top, self.cursor_key = 0, 0, None
        self.set_items(result.hits if result is not None else ())
        self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        if self.busy:
            return line.add("  searching …", p["muted"])
        if self.result is not None:
            line.add(f"  {len(self.result.hits)}", p["bright"])
            took = f"  {fmt.span(self.result.took_s)}"
            if self.result.embed_s is not None:
                took += f" (embed {fmt.span(self.result.embed_s)})"
            line.add(took, p["muted"])
            if self.result.note:
                line.add(f"  ▲ {self.result.note}", p["warn"])
        return line

    def corner(self, p: Palette) -> Line:
        return Line().add("o open at time  y copy quote", p["faint"])

    def columns(self) -> tuple[Column, ...]:
        return _NARROW if self.size.width < 78 else _WIDE

    def nothing(self, p: Palette) -> list[Line]:
        if self.error is not None:
            return [
                Line(),
                *(
                    Line().add("  ✗ " if i == 0 else "    ", p["crit"]).add(t, p["text"])
                    for i, t in enumerate(safe.wrapped(self.error, max(20, self.inner[0] - 6)))
                ),
            ]
        if self.query_text and not self.busy:
            return [Line(), Line().add("  no passage matches  ", p["muted"]).add(self.query_text, p["accent"])]
        return [] if self.busy else [Line(), Line().add("  Ask what was said: a question, a phrase, a name.", p["muted"])]

    def cell(self, item: SearchHit, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        match key:
            case "score":
                return fmt.decimal(item.score, 2), "muted"
            case "recording":
                return item.recording, "muted"
            case "at":
                return fmt.at(item.start), "text"
            case "speaker":
                return item.speaker, "accent"
            case "text":
                return self._said(item.text, width, p)
        return "", "text"

    def _said(self, text: str, width: int, p: Palette) -> Line:
        """The passage from a little before the first word of the query; all words of the query stand out."""
        text = safe.display(text)
        words = [re.escape(w) for w in re.findall(r"\w+", self.query_text) if len(w) > 2]
        wanted = re.compile(rf"\b(?:{'|'.join(words)})" if words else r"(?!)", re.IGNORECASE)
        first, start = wanted.search(text), 0
        if first is not None and safe.width(text) > width:
            start = text.rfind(" ", 0, max(0, first.start() - width // 3)) + 1
        shown = safe.clip(("… " if start else "") + text[start:], width)
        line, at = Line(), 0
        for hit in wanted.finditer(shown):
            line.add(shown[at : hit.start()], p["text"]).add(hit.group(), p["bright+b"])
            at = hit.end()
        return line.add(shown[at:], p["text"])


class ContextPanel(Panel):
    TITLE = "in its place"

    def __init__(self) -> None:
        super().__init__(id="context")
        self.hit: SearchHit | None = None
        self.lines: tuple[ContextLine, ...] = ()
        self.note = ""

    def show(self, hit: SearchHit | None, lines: tuple[ContextLine, ...], note: str = "") -> None:
        self.hit, self.lines, self.note = hit, lines, note
        self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        return line.add("  ", p["ground"]).add(self.hit.title, p["bright"]) if self.hit is not None else line

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if self.hit is None:
            return [Line().add("The passages around the result under the cursor.", p["faint"])]
        lines: list[Line] = []
        here_at = 0
        for passage in self.lines:
            token = "bright" if passage.here else "muted"
            if passage.here:
                here_at = len(lines)
            head = (
                Line()
                .add(fmt.at(passage.start), p["accent" if passage.here else "faint"])
                .add("▸ " if passage.here else "  ", p["accent"])
            )
            lines.append(head.clip(passage.speaker, width - head.used, p["accent" if passage.here else "muted"]))
            lines += [Line().gap(2, p["ground"]).add(t, p[token]) for t in safe.wrapped(passage.text, width - 2)]
        if not self.lines:
            lines.append(Line().add(self.note or "…", p["muted"]))
        tail: list[Line] = []
        link = link_of(self.hit)
        if link is not None:
            tail = [Line(), Line().clip(link, width, p["info"])]
        room = max(1, height - len(tail))
        top = max(0, min(here_at - room // 3, len(lines) - room))
        return [*lines[top : top + room], *tail]


class IndexPanel(Panel):
    TITLE = "index"

    def __init__(self) -> None:
        super().__init__(id="index", focusable=False)
        self.health: IndexHealth | None = None
        self.note: str | None = None
        self.now = 0.0

    def show(self, health: IndexHealth | None, now: float, note: str | None = None) -> None:
        self.health, self.now, self.note = health, now, note
        self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        h = self.health
        if h is None:
            return [Line().clip(self.note or "…", width, p["crit" if self.note else "faint"])]
        share = h.embedded / h.segments if h.segments else None
        line = Line().add("segments ", p["muted"]).add(fmt.count(h.segments), p["bright"]).add(" · embedded ", p["muted"])
        line.add(fmt.percent(share), p["text" if share is None or share >= 1 else "warn"]).add(" · orphans ", p["muted"]).add(
            fmt.count(h.orphans), p["warn" if h.orphans else "text"]
        )
        line.add(f" · {h.dimension or fmt.UNKNOWN} dimensions · {h.index}", p["muted"])
        if h.last_write_wall is not None:
            line.add(f" · last write {fmt.roughly(self.now - h.last_write_wall)} ago", p["muted"])
        return [line]

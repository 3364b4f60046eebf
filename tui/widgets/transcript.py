"""A transcript: passages one a line, and the one under the cursor in full."""

from __future__ import annotations

import re

from textual import events

from gainstage.engine.views.corrections import StoredTranscript, TranscriptLine
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.table import Column, Table

_WIDE = (
    Column("at", "AT", 8, ">", keep=10),
    Column("speaker", "SPEAKER", 18, keep=9),
    Column("sure", "SURE", 4, ">", keep=6),
    Column("flags", "", 3, keep=7),
    Column("text", "SAID", 20, grow=True, keep=10),
)
_NARROW = (
    Column("at", "AT", 7, ">", keep=10),
    Column("speaker", "SPEAKER", 11, keep=9),
    Column("flags", "", 3, keep=7),
    Column("text", "SAID", 20, grow=True, keep=10),
)
UNKNOWN = "Speaker "
HOW = {
    "manual": "set by hand",
    "corrected": "after a correction",
    "cluster": "by its cluster",
    "per segment": "by its own voice",
    "smoothed": "by its neighbours",
    "fast path": "one speaker alone",
}


def flags_of(line: TranscriptLine) -> str:
    """Marks of a passage: ✓ set by hand, ~ after a correction, ‖ two at once, ? doubtful."""
    hand = {"manual": "✓", "corrected": "~"}.get(line.provenance, " ")
    return f"{hand}{'‖' if line.overlap else ' '}{'?' if line.doubtful else ' '}"


class TranscriptTable(Table[TranscriptLine]):
    """Only the passages in sight are formatted, so that ten hours scroll like ten minutes."""

    TITLE = "transcript"
    FADES = False

    def __init__(self) -> None:
        super().__init__(id="transcript")
        self.transcript: StoredTranscript | None = None
        self.error: str | None = None
        self.searched = ""
        self.matches: tuple[int, ...] = ()
        self._speakers = 0

    def key_of(self, item: TranscriptLine) -> str:
        return str(item.ordinal)

    def find(self, key: str) -> int | None:
        return int(key) if key.isdigit() and int(key) < len(self.items) else None

    def columns(self) -> tuple[Column, ...]:
        return _NARROW if self.size.width < 100 else _WIDE

    def show(self, transcript: StoredTranscript | None, error: str | None = None) -> None:
        """Another transcript, or the same one after a change: the cursor stays on its passage."""
        self.transcript, self.error = transcript, error
        self._speakers = len({x.speaker for x in transcript.lines}) if transcript else 0
        self.set_items(transcript.lines if transcript is not None else ())
        self.search(self.searched)

    def go_to(self, seconds: float) -> None:
        """The cursor to the passage at a time."""
        lines = self.transcript.lines if self.transcript is not None else ()
        self.move_to(max(0, sum(line.start <= seconds for line in lines) - 1))

    def search(self, text: str) -> None:
        """Mark what matches: words of the passages, or a speaker's name."""
        self.searched = text.strip()
        wanted = self.searched.casefold()
        lines = self.transcript.lines if self.transcript is not None and wanted else ()
        self.matches = tuple(n for n, x in enumerate(lines) if wanted in x.text.casefold() or wanted in x.speaker.casefold())
        self.redraw()

    def to_match(self, step: int, *, here: bool = False) -> bool:
        """To the next passage that matches (or the one before), from the end on to the beginning; False when none does."""
        if not self.matches:
            return False
        if here and self.cursor in self.matches:
            return True
        later = [n for n in self.matches if n > self.cursor]
        earlier = [n for n in self.matches if n < self.cursor]
        self.move_to((later or list(self.matches))[0] if step > 0 else (earlier or list(self.matches))[-1])
        return True

    # -- drawing

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        t = self.transcript
        if t is None:
            return line
        line.add("  ", p["ground"]).clip(t.title or t.recording, 60, p["bright"])
        line.add(f"  {fmt.plural(len(t.lines), 'passage')} · {fmt.plural(self._speakers, 'speaker')}", p["muted"])
        if self.searched:
            line.add(f"  {len(self.matches)} match ", p["accent" if self.matches else "warn"]).add(self.searched, p["bright"])
        return line

    def corner(self, p: Palette) -> Line:
        return Line().add("✓ by hand  ~ corrected  ‖ two at once  ? doubtful", p["faint"])

    def nothing(self, p: Palette) -> list[Line]:
        if self.error is not None:
            return [Line(), Line().add("  ✗ ", p["crit"]).add(self.error, p["text"])]
        return [Line(), Line().add("  …", p["muted"])]

    def mark(self, item: TranscriptLine) -> tuple[str, str]:
        return ("▲", "warn") if item.doubtful else (" ", "text")

    def cell(self, item: TranscriptLine, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        match key:
            case "at":
                return fmt.at(item.start), "muted"
            case "speaker":
                return item.speaker, "muted" if item.speaker.startswith(UNKNOWN) else "accent"
            case "sure":
                return "" if item.confidence is None else f"{item.confidence:.2f}".lstrip("0"), "muted"
            case "flags":
                return Line().add(flags_of(item), p["warn" if item.doubtful else "info"])
            case "text":
                return self._said(item, width, p)
        return "", "text"

    def _said(self, item: TranscriptLine, width: int, p: Palette) -> Line:
        """The passage from a little before the first match; matches stand out."""
        text, plain = safe.display(item.text), p["muted" if item.doubtful else "text"]
        if not self.searched:
            return Line().clip(text, width, plain)
        wanted = re.compile(re.escape(self.searched), re.IGNORECASE)
        first, start = wanted.search(text), 0
        if first is not None and safe.width(text) > width:
            start = text.rfind(" ", 0, max(0, first.start() - width // 3)) + 1
        shown, line, at = safe.clip(("… " if start else "") + text[start:], width), Line(), 0
        for hit in wanted.finditer(shown):
            line.add(shown[at : hit.start()], plain).add(hit.group(), p["bright+b"])
            at = hit.end()
        return line.add(shown[at:], plain)


class PassagePanel(Panel):
    """The passage under the cursor in full, with what its name rests on."""

    TITLE = "passage"
    FADES = False

    def __init__(self) -> None:
        super().__init__(id="passage", focusable=False)
        self.line: TranscriptLine | None = None

    def show(self, line: TranscriptLine | None) -> None:
        if line != self.line:
            self.line = line
            self.redraw()

    def heading(self, p: Palette) -> Line:
        head, x = super().heading(p), self.line
        if x is None:
            return head
        head.add(f"  {fmt.at(x.start)} to {fmt.at(x.end)}  ", p["muted"]).add(x.speaker, p["accent+b"])
        if x.doubtful:
            head.add("  ▲ doubtful words", p["warn"])
        if x.overlap:
            head.add("  ‖ two at once", p["info"])
        head.add(f"  {HOW.get(x.provenance, x.provenance)}", p["muted"])
        if x.confidence is not None:
            head.add(f", certainty {x.confidence:.2f}", p["muted"])
        return head

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if self.line is None:
            return []
        return [Line().add(text, p["bright"]) for text in safe.wrapped(self.line.text, width)][:height]

    def on_resize(self, event: events.Resize) -> None:
        self.redraw()

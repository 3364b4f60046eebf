"""Adding sources: typed, previewed by a dry run, and only then queued."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.rows import Preview
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.plan import plan_lines
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog

Chosen = tuple[tuple[str, ...], dict[str, Any]]


def split(text: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Sources and options of a line: ``https://… 'My talks' limit=50 oldest`` - words with ``=`` are options.

    Quotes hold a path with spaces together, as in a shell; a lone apostrophe is only a letter.
    """
    sources: list[str] = []
    options: dict[str, Any] = {}
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    for word in words:
        name, equals, value = word.partition("=")
        if equals and "/" not in name and name.isidentifier():
            options[name] = int(value) if value.isdecimal() else value
        elif word == "oldest":
            options["order"] = "oldest"
        else:
            sources.append(word)
    return tuple(sources), options


def anchored(source: str) -> str:
    """A file or folder that is here, by its whole path: the engine that will list it works in another folder."""
    try:
        path = Path(source).expanduser()
        return str(path.absolute()) if path.exists() else source
    except (OSError, RuntimeError, ValueError):  # no such home, too long for a path, a null byte: then it is no path
        return source


class AddScreen(Dialog[Chosen]):
    """Enter previews; Enter again queues what was previewed."""

    WIDTH = 112
    BINDINGS: ClassVar[list[Any]] = [
        Binding("up", "scroll_by(-1)", show=False, priority=True),
        Binding("down", "scroll_by(1)", show=False, priority=True),
    ]

    def __init__(self, start: str) -> None:
        super().__init__()
        self.start = start
        self.previewed: str | None = None
        self.chosen: Chosen = ((), {})
        self.preview: Preview | None = None
        self.error: str | None = None
        self.asking = False

    def fields(self) -> ComposeResult:
        yield Input(
            self.start,
            placeholder="channel, playlist, video, feed, 'folder or file' …   limit=50   oldest",
            classes="dialog-input",
            compact=True,
            select_on_focus=False,
        )

    def fields_height(self) -> int:
        return 1

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).focus()
        if self.start:
            self._ask(self.start)

    def heading_text(self) -> str:
        return "add sources"

    def corner_text(self) -> str:
        return "Enter previews, again queues  Esc"

    def lines(self, width: int, p: Palette) -> list[Line]:
        if self.error is not None:
            return [Line(), *(Line().add(t, p["crit"]) for t in safe.wrapped(self.error, width)), Line()]
        if self.asking:
            return [Line(), Line().add("asking what a run would take …", p["muted"]), Line()]
        if self.preview is None:
            return [
                Line(),
                Line().add("A dry run shows first what would be taken and what not, and why.", p["text"]),
                Line().add("Nothing is queued before the second Enter.", p["muted"]),
                Line(),
            ]
        return self._previewed(self.preview, width, p)

    def _previewed(self, preview: Preview, width: int, p: Palette) -> list[Line]:
        taken = [r for r in preview.rows if r.take]
        head = Line().add(f"{len(taken):,} taken", p["ok+b"]).add(f"  {len(preview.rows) - len(taken):,} not", p["muted"])
        if preview.audio_s is not None:
            head.add(f"  {fmt.roughly(preview.audio_s)} of audio", p["text"])
        if preview.expected_s is not None and preview.plan is None:
            head.add(f"  about {fmt.roughly(preview.expected_s)} of work", p["text"])
        lines = [head]
        if preview.plan is not None:
            lines += [
                Line().fit(name, 11, p["muted"]).clip(words, width - 11, p["text"])
                for name, words in plan_lines(preview.plan)
                if name != "audio"
            ]
        lines += [*(Line().add("▲ ", p["warn"]).clip(note, width - 2, p["text"]) for note in preview.notes), Line()]
        longest = max((len(row.id) for row in preview.rows), default=0)
        reasons = min(30, max((len(row.reason) + 2 for row in preview.rows if not row.take), default=2))
        id_cells = max(12, min(longest + 1, width // 4))
        for row in preview.rows:
            line = Line().add("✓ " if row.take else "✗ ", p["ok" if row.take else "faint"])
            line.fit(row.id, id_cells, p["text" if row.take else "faint"]).fit(fmt.runtime(row.duration_s), 8, p["muted"], ">").gap(
                2, p["ground"]
            )
            reason = "" if row.take else row.reason
            line.fit(row.title, width - line.used - reasons, p["bright" if row.take else "faint"]).gap(2, p["ground"])
            lines.append(line.clip(reason, width - line.used, p["muted"]))
        return lines

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not split(text)[0]:
            return
        if self.preview is not None and text == self.previewed:
            if any(r.take for r in self.preview.rows):
                self.dismiss(self.chosen)
            return
        self._ask(text)

    @on(Input.Changed)
    def _edited(self) -> None:
        if self.preview is not None or self.error is not None:
            self.preview, self.error = None, None
            self.changed()

    def _ask(self, text: str) -> None:
        self.asking, self.error, self.preview = True, None, None
        self.changed()

        def look(desk: Desk) -> tuple[Chosen, Preview] | str:
            sources, options = split(text)
            chosen = tuple(anchored(source) for source in sources), options
            try:
                return chosen, desk.preview(*chosen)
            except DeskError as problem:
                return str(problem)

        def show(answer: tuple[Chosen, Preview] | str) -> None:
            if not self.is_attached:  # the operator has left the dialog
                return
            self.asking = False
            if isinstance(answer, str):
                self.error = answer
            else:
                (self.chosen, self.preview), self.previewed = answer, text
            self.changed()

        self.console.ask("preview", look, show)

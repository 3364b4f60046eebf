"""The transcript of one recording: who said what and when; searched, played, quoted, corrected."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult

from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff, CorrectionUndone, StoredTranscript, TranscriptLine
from gainstage.engine.views.desk import Desk
from gainstage.tui.render import format as fmt
from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.screens.hearing import hear
from gainstage.tui.screens.modals.correct import CorrectScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.author import author
from gainstage.tui.widgets.table import Table
from gainstage.tui.widgets.transcript import PassagePanel, TranscriptTable

NOBODY = "-"
NO_PASSAGE = "no passage under the cursor"


class TranscriptScreen(DeskScreen):
    """Put over another screen; Escape leads back to it."""

    NAME = "transcript"
    BINDINGS: ClassVar[list[Any]] = bindings("transcript")

    def __init__(self, recording: str, at: float | None = None) -> None:
        super().__init__()
        self.recording, self.start_at = recording, at
        self.lines, self.passage = TranscriptTable(), PassagePanel()
        self.profiles: list[str] = []

    def body(self) -> ComposeResult:
        yield self.lines
        yield self.passage

    def on_mount(self) -> None:
        self.set_focus(self.lines)
        self.load()

    def load(self) -> None:
        """Ask for the transcript again; the cursor stays where it is."""

        def question(desk: Desk) -> tuple[StoredTranscript | None, str | None, list[str]]:
            try:
                return desk.transcript(self.recording), None, [p.name for p in desk.profiles()]
            except DeskError as problem:
                return None, str(problem), []

        def show(answer: tuple[StoredTranscript | None, str | None, list[str]]) -> None:
            transcript, error, self.profiles = answer
            self.lines.show(transcript, error)
            if transcript is not None and self.start_at is not None:
                self.lines.go_to(self.start_at)
            self.start_at = None
            self.passage.show(self.lines.selected)

        self.console.ask("transcript", question, show)

    def on_table_moved(self, event: Table.Moved) -> None:
        self.passage.show(self.lines.selected)

    def selected(self) -> TranscriptLine | None:
        """The passage under the cursor; a notice when there is none."""
        if self.lines.selected is None:
            self.console.notice("no passage under the cursor", "info")
        return self.lines.selected

    # -- searching

    def do_find(self, words: str) -> None:
        if words:
            self._found(words)
        else:
            self.prompt.ask("/", self._found, start=self.lines.searched, changed=self.lines.search, hint="words or a speaker")

    def _found(self, text: str) -> None:
        self.lines.search(text)
        if text.strip() and not self.lines.to_match(1, here=True):
            self.console.notice(f"nothing here matches {text}", "info")

    def do_next_passage(self, _: str) -> None:
        self._step(1)

    def do_previous_passage(self, _: str) -> None:
        self._step(-1)

    def _step(self, step: int) -> None:
        if self.lines.searched:
            if not self.lines.to_match(step):
                self.console.notice(f"nothing here matches {self.lines.searched}", "info")
            return
        doubtful = [
            n for n, x in enumerate(self.lines.items) if x is not None and x.doubtful and (n - self.lines.cursor) * step > 0
        ]
        if doubtful:
            self.lines.move_to(doubtful[0] if step > 0 else doubtful[-1])
        else:
            self.console.notice("no other doubtful passage this way; / searches", "info")

    def do_back(self, words: str) -> None:
        if self.maximised_panel is not None:
            self.maximise()
        elif self.lines.searched:
            self.lines.search("")
        else:
            self.dismiss()

    # -- taking along

    def do_copy_quote(self, _: str) -> None:
        line = self.selected()
        if line is None or self.lines.transcript is None:
            self.console.notice(NO_PASSAGE, "info")
            return
        self.console.copy_to_clipboard(quote(self.lines.transcript, line))
        self.console.notice("quote and link copied", "ok")

    def do_open_link(self, _: str) -> None:
        line, t = self.selected(), self.lines.transcript
        if line is None or t is None:
            self.console.notice(NO_PASSAGE, "info")
        else:
            self.console.open_link(link_at(t, line.start) or t.source)

    def do_play(self, _: str) -> None:
        line = self.selected()
        if line is None:
            self.console.notice(NO_PASSAGE, "info")
        else:
            hear(self.console, self.recording, (line.start + line.end) / 2)

    def do_open(self, _: str) -> None:
        self.do_decision("")

    def do_decision(self, _: str) -> None:
        self.console.perform("voices", self.recording)

    # -- correcting

    def do_correct(self, words: str) -> None:
        line = self.selected()
        if line is None:
            self.console.notice(NO_PASSAGE, "info")
            return
        here = sorted({x.speaker for x in self.lines.items if x is not None})
        names = [*self.profiles, *(name for name in here if name not in self.profiles)]
        if words:
            self._preview(line, words, names)
        else:
            hint = "who really speaks; - for nobody enrolled"
            self.prompt.ask("who: ", lambda name: self._preview(line, name, names), suggest=names, hint=hint)

    def _preview(self, line: TranscriptLine, text: str, names: list[str]) -> None:
        name = text.strip()
        if not name:
            return
        nobody, known = name == NOBODY, name.casefold() in {n.casefold() for n in names}
        middle = (line.start + line.end) / 2
        ask = CorrectionAsk(self.recording, middle, speaker=None if nobody else name, new=not nobody and not known, nobody=nobody)
        self.console.ask("correct", lambda desk: desk.preview_correction(ask), lambda diff: self._choose(ask, diff))

    def _choose(self, ask: CorrectionAsk, diff: CorrectionDiff) -> None:
        def chosen(how: str | None) -> None:
            if how is not None:
                self._write(ask, likes=how == CorrectScreen.ALL)

        self.app.push_screen(CorrectScreen(diff, new=ask.new), chosen)

    def _write(self, ask: CorrectionAsk, *, likes: bool) -> None:
        def written(diff: CorrectionDiff) -> None:
            more = f", and {fmt.at(diff.seconds_moved)} alike" if likes and diff.moves else ""
            self.console.notice(f"{diff.was} → {diff.speaker}{more}; u takes it back", "ok")
            self.load()

        self.console.ask("correct", lambda desk: desk.correct(ask, likes=likes, by=author()), written)

    def do_undo_correction(self, _: str) -> None:
        def undone(what: CorrectionUndone) -> None:
            where = fmt.plural(len(what.recordings), "recording")
            self.console.notice(f"taken back: {what.speaker} → {what.was} in {where}", "ok")
            self.load()

        self.console.ask("correct", lambda desk: desk.undo_correction(None, by=author()), undone)


def link_at(t: StoredTranscript, seconds: float) -> str | None:
    """The address of a recording at a time; None for files."""
    if t.link is None:
        return None
    return f"{t.link}{'&' if '?' in t.link else '?'}t={int(seconds)}"


def quote(t: StoredTranscript, line: TranscriptLine) -> str:
    """A passage as it is cited: words, who, where, link."""
    return f"“{line.text}”\n{line.speaker}, {t.title}, {fmt.at(line.start)}\n{link_at(t, line.start) or t.recording}"

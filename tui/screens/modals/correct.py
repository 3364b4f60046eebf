"""What a correction changes, before anything is written."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.engine.views.corrections import CorrectionDiff
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.confirm import buttons
from gainstage.tui.screens.modals.dialog import Dialog

MOST_MOVES = 12


class CorrectScreen(Dialog[str]):
    """Gives :data:`TURN`, :data:`ALL`, or None; Enter takes what is marked, which is to leave it until moved."""

    WIDTH = 96
    TURN, ALL = "turn", "all"
    BINDINGS: ClassVar[list[Any]] = [
        Binding("left,shift+tab,h", "other(-1)", show=False),
        Binding("right,tab,l", "other(1)", show=False),
        Binding("enter", "take", show=False),
        Binding("t", "answer('turn')", show=False),
        Binding("a", "answer('all')", show=False),
        Binding("n", "leave", show=False),
    ]

    def __init__(self, diff: CorrectionDiff, *, new: bool = False) -> None:
        super().__init__()
        self.diff, self.new = diff, new
        self.answers: list[tuple[str, str | None]] = [("Leave it", None), ("This turn", self.TURN)]
        if diff.moves:
            self.answers.append(("And what is alike", self.ALL))
        self.chosen = 0

    def heading_text(self) -> str:
        return f"{self.diff.was} → {self.diff.speaker}"

    def corner_text(self) -> str:
        return "t  a  n  Esc" if self.diff.moves else "t  n  Esc"

    def lines(self, width: int, p: Palette) -> list[Line]:
        d = self.diff
        rows = [Line().add(f"{fmt.at(d.start)} to {fmt.at(d.end)}, {fmt.plural(d.passages, 'passage')}", p["muted"])]
        rows += [Line().add(text, p["bright"]) for text in safe.wrapped(f"“{d.text}”", width)[:3]]
        if self.new:
            rows += [Line(), Line().add(f"{d.speaker} is new: enrolled by this voice", p["info"])]
        rows.append(Line())
        if d.note:
            rows += [Line().add(text, p["warn"]) for text in safe.wrapped(d.note, width)]
        elif not d.moves:
            rows.append(Line().add("Nothing else is alike.", p["muted"]))
        else:
            what = f"Alike, decided again without a model in {fmt.span(d.took_s)}: "
            rows.append(
                Line()
                .add(what, p["text"])
                .add(f"{fmt.at(d.seconds_moved)} in {fmt.plural(d.recordings, 'recording')}", p["accent+b"])
            )
            for m in d.moves[:MOST_MOVES]:
                row = Line().fit(m.title or m.recording, min(36, width // 2), p["text"]).gap(2, p["ground"])
                row.add(f"{m.before} → {m.after}", p["accent"]).add(f"  {fmt.at(m.seconds)}", p["bright"])
                rows.append(row)
            if len(d.moves) > MOST_MOVES:
                rows.append(Line().add(f"and {len(d.moves) - MOST_MOVES} more", p["muted"]))
        return [*rows, Line(), buttons([name for name, _ in self.answers], self.chosen, p)]

    def action_other(self, step: int) -> None:
        self.chosen = (self.chosen + step) % len(self.answers)
        self.changed()

    def action_take(self) -> None:
        self.dismiss(self.answers[self.chosen][1])

    def action_answer(self, how: str) -> None:
        if how in {answer for _, answer in self.answers}:
            self.dismiss(how)

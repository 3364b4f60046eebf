"""The base of every dialog: one panel in the middle, drawn like all others, scrolled with the cursor keys."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen

from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette, no_palette
from gainstage.tui.state.frame import Frame
from gainstage.tui.state.protocol import ConsoleApp, console_of
from gainstage.tui.widgets.panel import Panel

R = TypeVar("R")


class DialogPanel(Panel):
    """The frame of a dialog and what it says; asks its dialog for the lines."""

    FADES = False

    def __init__(self, dialog: Dialog[Any]) -> None:
        super().__init__(id="dialog", focusable=False)
        self.dialog = dialog
        self.top = 0

    @property
    def narrow(self) -> bool:
        return False

    def heading(self, p: Palette) -> Line:
        return Line().add(self.dialog.heading_text(), p["title+b"])

    def corner(self, p: Palette) -> Line:
        return Line().add(self.dialog.corner_text(), p["faint"])

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        lines = self.dialog.lines(width, p)
        self._total = len(lines)
        top = max(0, min(self.top, len(lines) - height))
        return lines[top : top + height]

    _total = 0

    def scroll_thumb(self, rows: int) -> tuple[int, int] | None:
        if self._total <= rows or rows <= 0:
            return None
        length = max(1, rows * rows // self._total)
        start = round((rows - length) * min(1.0, self.top / max(1, self._total - rows)))
        return start, start + length - 1

    def scroll(self, rows: int) -> None:
        """Down by some rows (negative: up)."""
        self.top = max(0, min(self.top + rows, self._total - self.inner[1]))
        self.redraw()

    def on_mouse_scroll_down(self) -> None:
        self.scroll(3)

    def on_mouse_scroll_up(self) -> None:
        self.scroll(-3)


class Dialog(ModalScreen[R | None], Generic[R]):
    """Subclasses give :meth:`lines` and a size; Escape leaves with None."""

    WIDTH: ClassVar[int] = 76
    BINDINGS: ClassVar[list[Any]] = [
        Binding("escape", "leave", show=False),
        Binding("up,k", "scroll_by(-1)", show=False),
        Binding("down,j", "scroll_by(1)", show=False),
        Binding("pageup", "scroll_by(-10)", show=False),
        Binding("pagedown", "scroll_by(10)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.panel = DialogPanel(self)

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog-box"):
            yield self.panel
            yield from self.fields()

    def fields(self) -> ComposeResult:
        """Inputs below the panel."""
        yield from ()

    @property
    def box_width(self) -> int:
        """Cells that the dialog takes where the screen has them."""
        return self.WIDTH

    @property
    def console(self) -> ConsoleApp:
        """What the console offers this dialog."""
        return console_of(self)

    def heading_text(self) -> str:
        """The title."""
        return ""

    def corner_text(self) -> str:
        """The hint at the right of the title."""
        return "Esc closes"

    def lines(self, width: int, p: Palette) -> list[Line]:
        """What the dialog says."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self._place()

    def on_resize(self) -> None:
        self._place()

    def _place(self) -> None:
        """As wide as wished and as high as needed, inside the screen."""
        width = min(self.box_width, self.app.size.width - 2)
        box = self.query_one("#dialog-box")
        box.styles.width = width
        extra = self.fields_height()
        rows = len(self.lines(width - 4, no_palette()))
        self.panel.styles.height = max(3, min(rows + 2, self.app.size.height - 2 - extra))
        self.panel.redraw()

    def fields_height(self) -> int:
        """Rows of the fields below the panel."""
        return 0

    def changed(self) -> None:
        """Call when :meth:`lines` would come out different."""
        self._place()

    def apply(self, frame: Frame) -> None:
        """A new frame while the dialog is open."""

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_scroll_by(self, rows: int) -> None:
        self.panel.scroll(rows)

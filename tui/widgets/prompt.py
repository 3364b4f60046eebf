"""The line at the bottom for typing: commands after ``:``, filters after ``/``, values after the name of a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import on
from textual.binding import Binding
from textual.containers import Horizontal
from textual.suggester import Suggester, SuggestFromList
from textual.widgets import Input, Static
from textual.widgets.input import Selection

from gainstage.tui.render import safe


class _Suggestions(Suggester):
    """Completes by a function of the line."""

    def __init__(self, complete: Callable[[str], str | None]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        return self._complete(value)


class _Line(Input):
    BINDINGS: ClassVar[list[Any]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("up", "older", "Older", show=False),
        Binding("down", "newer", "Newer", show=False),
        Binding("tab", "complete", "Complete", show=False),
    ]

    def action_complete(self) -> None:
        """Take what is suggested behind the cursor."""
        self.action_end()
        self.action_cursor_right()

    def action_leave(self) -> None:
        self.screen.query_one(Prompt).close()

    def action_older(self) -> None:
        self.screen.query_one(Prompt).walk(-1)

    def action_newer(self) -> None:
        self.screen.query_one(Prompt).walk(1)


class Prompt(Horizontal):
    """Hidden until opened; gives the focus back where it was. ``changed`` is called at every key, ``done`` with the line entered."""

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self._done: Callable[[str], None] | None = None
        self._changed: Callable[[str], None] | None = None
        self._history: list[str] = []
        self._place = 0
        self._back: Any = None

    def compose(self) -> Any:
        yield Static("", id="prompt-sign", markup=False)
        yield _Line(id="prompt-line", compact=True, select_on_focus=False)

    @property
    def open_now(self) -> bool:
        return self.has_class("-open")

    def ask(
        self,
        sign: str,
        done: Callable[[str], None],
        *,
        start: str = "",
        changed: Callable[[str], None] | None = None,
        history: list[str] | None = None,
        suggest: list[str] | Callable[[str], str | None] | None = None,
        hint: str = "",
        replace: bool = True,
    ) -> None:
        """Open with ``sign`` before the line; ``done`` gets what was entered, nothing is called when the operator leaves.

        ``suggest`` are whole lines, or completes a line; Tab takes what it offers. What stands in the line is selected, so that typing replaces it, unless ``replace`` is False.
        """
        self._done, self._changed = done, changed
        self._history = history if history is not None else []
        self._place = len(self._history)
        self._back = self.screen.focused
        sign_box = self.query_one("#prompt-sign", Static)
        sign_box.update(safe.display(sign), layout=True)
        line = self.query_one(_Line)
        if callable(suggest):
            line.suggester = _Suggestions(suggest)
        else:
            line.suggester = SuggestFromList(suggest, case_sensitive=True) if suggest else None
        line.placeholder = safe.display(hint)
        self.add_class("-open")
        with line.prevent(Input.Changed):
            line.value = start
        line.selection = Selection(0 if replace else len(start), len(start))
        line.focus()

    def close(self) -> None:
        """Hide, and give the focus back."""
        self.remove_class("-open")
        self._done = self._changed = None
        back = self._back if self._back is not None and self._back.is_attached else None
        self.screen.set_focus(back)

    def walk(self, step: int) -> None:
        """Through the lines entered before."""
        if not self._history:
            return
        self._place = max(0, min(len(self._history), self._place + step))
        line = self.query_one(_Line)
        line.value = self._history[self._place] if self._place < len(self._history) else ""
        line.cursor_position = len(line.value)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._changed is not None and self.open_now:
            self._changed(event.value)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        done, text = self._done, event.value
        if text.strip() and (not self._history or self._history[-1] != text):
            self._history.append(text)
            del self._history[:-200]
        self.close()
        if done is not None:
            done(text)

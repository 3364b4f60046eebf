"""Keys typed faster than a prompt can open. Over a slow line ``:set …`` may arrive in one packet: the letters belong into the prompt.

Textual hands a key to whatever has the focus at that moment, and a prompt gets the focus only some messages later. So after a
key that opens a place to type in, leaves one, or goes to another screen, the keys behind it wait until the focus has moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic

from textual.app import App
from textual.events import Key, Paste
from textual.widgets import Input

from gainstage.tui.state.actions import BY_ID, SCREENS

OPENS_WITHIN_S = 0.5
LEAVES_WITHIN_S = 0.1
LOOK_EVERY_S = 0.01


class TypeAhead:
    """Between the terminal and the focus. ``pass_on`` does with an event what Textual does."""

    def __init__(self, app: App[int], pass_on: Callable[[Key | Paste], Awaitable[None]]) -> None:
        self._app = app
        self._pass_on = pass_on
        self._waiting: deque[Key | Paste] = deque()
        self._until = 0.0
        self._settled: Callable[[], bool] = lambda: True

    async def take(self, event: Key | Paste) -> None:
        """Pass a key or pasted text on, or keep it behind those that wait."""
        if self._waiting or not self._ready:
            self._waiting.append(event)
            if len(self._waiting) == 1:
                self._look_soon()
            return
        await self._dispatch(event)

    @property
    def _ready(self) -> bool:
        return monotonic() >= self._until or self._settled()

    async def _dispatch(self, event: Key | Paste) -> None:
        app, focused = self._app, self._app.focused
        key = event.key if isinstance(event, Key) else ""
        if isinstance(focused, Input):
            if key in ("enter", "escape"):
                self._until, self._settled = monotonic() + LEAVES_WITHIN_S, lambda: app.focused is not focused
        elif self._moves_focus(key):
            self._until, self._settled = monotonic() + OPENS_WITHIN_S, lambda: app.focused not in (None, focused)
        await self._pass_on(event)

    def _moves_focus(self, key: str) -> bool:
        bound = self._app.active_bindings.get(key)
        action = BY_ID.get(bound.binding.id or "") if bound is not None else None
        if action is None:
            return False
        return action.types or (action.id in SCREENS and action.id != getattr(self._app.screen, "NAME", None))

    def _look_soon(self) -> None:
        self._app.set_timer(LOOK_EVERY_S, lambda: self._app.call_later(self._release))

    async def _release(self) -> None:
        while self._waiting and self._ready:
            await self._dispatch(self._waiting.popleft())
        if self._waiting:
            self._look_soon()

"""From an action's name to the method that does it: the screen's own ``do_<id>``, else the global one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gainstage.tui.console.global_actions import GlobalActions
from gainstage.tui.console.past_actions import PastActions
from gainstage.tui.console.shell import Shell
from gainstage.tui.state.actions import BY_ID, UnknownCommand, parse, refusal


class ActionDispatcher:
    """Refuses what cannot be done now, in words."""

    def __init__(self, shell: Shell, global_actions: GlobalActions) -> None:
        self._shell, self._global, self._past = shell, global_actions, PastActions(shell)

    def perform(self, name: str, words: str = "") -> None:
        """Do an action of the table, or show why not."""
        shell, action = self._shell, BY_ID[name]
        why = refusal(action, shell.frame_now())
        if why is not None:
            shell.notice(f"{action.title}: {why}", "warn")
            return
        screen = shell.desk_screen
        handler = getattr(screen, action.handler, None) or self._everywhere(action.handler)
        if handler is None or (action.screens and screen is not None and screen.NAME not in action.screens):
            where = ", ".join(s.capitalize() for s in action.screens)
            shell.notice(f"{action.title}: only on {where}" if where else f"{action.title}: not here", "info")
            return
        shell.run_guarded(action.id, lambda: handler(words))

    def perform_global(self, name: str, words: str = "") -> None:
        """Do an action as it works on every screen, past the screen's own form of it."""
        handler = self._everywhere(BY_ID[name].handler)
        assert handler is not None
        self._shell.run_guarded(name, lambda: handler(words))

    def _everywhere(self, handler: str) -> Callable[[str], Any] | None:
        """The method that does an action on every screen; None for one that only screens do."""
        handler_of: Callable[[str], Any] | None = getattr(self._global, handler, None) or getattr(self._past, handler, None)
        return handler_of

    def run_line(self, line: str) -> None:
        """Do what a line of the command line says."""
        try:
            action, words = parse(line)
        except UnknownCommand as problem:
            self._shell.notice(str(problem), "warn")
            return
        self._shell.perform(action.id, words)

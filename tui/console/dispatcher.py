"""From an action's name to the method that does it: the screen's own ``do_<id>``, else the global one."""

from __future__ import annotations

from gainstage.tui.console.global_actions import GlobalActions
from gainstage.tui.console.shell import Shell
from gainstage.tui.state.actions import BY_ID, UnknownCommand, parse, refusal


class ActionDispatcher:
    """Refuses what cannot be done now, in words."""

    def __init__(self, shell: Shell, global_actions: GlobalActions) -> None:
        self._shell, self._global = shell, global_actions

    def perform(self, name: str, words: str = "") -> None:
        """Do an action of the table, or show why not."""
        shell, action = self._shell, BY_ID[name]
        why = refusal(action, shell.frame_now())
        if why is not None:
            shell.notice(f"{action.title}: {why}", "warn")
            return
        screen = shell.desk_screen
        handler = getattr(screen, action.handler, None) or getattr(self._global, action.handler, None)
        if handler is None or (action.screens and screen is not None and screen.NAME not in action.screens):
            where = ", ".join(s.capitalize() for s in action.screens)
            shell.notice(f"{action.title}: only on {where}" if where else f"{action.title}: not here", "info")
            return
        shell.run_guarded(action.id, lambda: handler(words))

    def perform_global(self, name: str, words: str = "") -> None:
        """Do an action as it works on every screen, past the screen's own form of it."""
        handler = getattr(self._global, BY_ID[name].handler)
        self._shell.run_guarded(name, lambda: handler(words))

    def run_line(self, line: str) -> None:
        """Do what a line of the command line says."""
        try:
            action, words = parse(line)
        except UnknownCommand as problem:
            self._shell.notice(str(problem), "warn")
            return
        self._shell.perform(action.id, words)

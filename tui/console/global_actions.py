"""The actions that work on every screen. Those of one screen are methods of that screen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from gainstage.engine.views.commands import Command
from gainstage.engine.views.rows import SettingRow
from gainstage.engine.views.snapshot import SCOPES
from gainstage.tui.console.shell import Shell
from gainstage.tui.render import export
from gainstage.tui.render import format as fmt
from gainstage.tui.render.theme import THEMES
from gainstage.tui.state.completion import completion
from gainstage.tui.state.frame import Contact
from gainstage.tui.state.setting_scope import scope_of, set_words


class GlobalActions:
    """``do_<id>`` for every action of the table that no screen does itself."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    # -- moving about

    async def do_deck(self, _: str) -> None:
        await self._shell.go("deck")

    async def do_recordings(self, words: str) -> None:
        await self._filtered("recordings", words)

    async def do_voices(self, words: str) -> None:
        await self._filtered("voices", words)

    async def do_tune(self, words: str) -> None:
        await self._filtered("tune", words)

    async def do_host(self, _: str) -> None:
        await self._shell.go("host")

    async def do_logs(self, words: str) -> None:
        await self._filtered("logs", words)

    async def do_search(self, words: str) -> None:
        await self._shell.go("search")
        if words:
            self._shell.perform("query", words)

    async def _filtered(self, name: str, words: str) -> None:
        await self._shell.go(name)
        if words:
            self._shell.perform("filter", words)

    async def do_goto(self, words: str) -> None:
        if not words:
            self._shell.notice("goto: which recording?", "warn")
            return
        from gainstage.tui.screens.recordings import RecordingsScreen

        screen = await self._shell.go("recordings")
        if isinstance(screen, RecordingsScreen):
            screen.show_recording(words)

    def do_read(self, words: str) -> None:
        """The transcript of a recording, over the screen that is shown."""
        from gainstage.tui.screens.transcript import TranscriptScreen

        id, _, at = words.partition(" ")
        if not id:
            self._shell.notice("read: which recording?", "warn")
            return
        seconds = fmt.seconds_of(at) if at else None
        if at and seconds is None:
            self._shell.notice(f"{at} is no time: write 12:30 or seconds", "warn")
            return
        self._shell.open_dialog(TranscriptScreen(id, seconds))

    async def do_last_view(self, _: str) -> None:
        trail = self._shell.trail
        if trail:
            await self._shell.go(trail.pop(), remember=False)
        else:
            self._shell.notice("no screen before this one", "info")

    def do_back(self, _: str) -> None:
        shell = self._shell
        screen = shell.desk_screen
        if screen is not None and screen.maximised_panel is not None:
            screen.maximise()
        elif shell.timeline.mode != "live":
            shell.perform("live")
        elif shell.desk.engine is not None:
            self._narrow(None)

    async def do_open(self, _: str) -> None:
        shell = self._shell
        if shell.frame.startable:
            self._start_engine()
        else:
            shell.notice("nothing to open here", "info")

    def _start_engine(self) -> None:
        shell = self._shell
        start = shell.start_engine
        if start is None or not shell.can_start:
            shell.notice("this console cannot start an engine: run  gainstage engine", "warn")
            return
        shell.notice("starting an engine …", "info")
        shell.ask("start-engine", lambda _: start(), lambda text: shell.notice(text, "ok"))

    def do_maximise(self, _: str) -> None:
        if self._shell.desk_screen is not None:
            self._shell.desk_screen.maximise()

    def do_jump(self, _: str) -> None:
        from gainstage.tui.screens.modals.jump import JumpScreen

        screen = self._shell.desk_screen
        if screen is not None and screen.panels:
            self._shell.open_dialog(JumpScreen(screen))

    # -- looking

    def do_command(self, words: str) -> None:
        shell = self._shell
        screen = shell.desk_screen
        if screen is not None:
            screen.prompt.ask(
                ":",
                shell.run_line,
                start=words,
                history=shell.past_lines,
                replace=False,
                suggest=lambda line: completion(line, shell.settings),
                hint="set KEY VALUE · goto ID · export csv · Tab completes · ? lists all",
            )

    def do_palette(self, _: str) -> None:
        from gainstage.tui.screens.modals.palette import PaletteScreen

        screen = self._shell.desk_screen
        if screen is not None:
            self._shell.open_dialog(PaletteScreen(screen.NAME), self._chosen)

    def _chosen(self, name: str | None) -> None:
        if name is not None:
            self._shell.perform(name)

    def do_help(self, _: str) -> None:
        from gainstage.tui.screens.modals.help import HelpScreen

        screen = self._shell.desk_screen
        if screen is not None:
            self._shell.open_dialog(HelpScreen(screen.NAME))

    def do_why(self, _: str) -> None:
        from gainstage.tui.screens.modals.why import WhyScreen

        self._shell.open_dialog(WhyScreen(self._shell.frame))

    def do_history(self, _: str) -> None:
        from gainstage.tui.screens.modals.history import HistoryScreen

        self._shell.open_dialog(HistoryScreen(self._shell.command_log))

    def do_fleet(self, _: str) -> None:
        from gainstage.tui.screens.modals.fleet import ALL, FleetScreen

        def chosen(engine: str | None) -> None:
            if engine is not None:
                self._narrow(None if engine == ALL else engine)

        self._shell.open_dialog(FleetScreen(self._shell.desk.engine), chosen)

    def _narrow(self, engine: str | None) -> None:
        """Show one engine on every screen, or all; commands go where the screens look."""
        shell = self._shell
        dropped = len(shell.command_log.take_staged())  # staged for whom was shown before
        shell.desk.narrow(engine)
        shell.live_settings.begin()
        if shell.desk_screen is not None:
            shell.watch_feeds(shell.desk_screen.feeds())
        said = f"showing {engine} alone; Esc shows all" if engine else "showing all engines"
        shell.notice(said + (f"; {fmt.plural(dropped, 'staged value')} dropped" if dropped else ""), "info")
        shell.redraw_now()

    def _scope(self) -> str:
        """Whom a command goes to, said before it is sent; nothing where there is one engine."""
        shell = self._shell
        if shell.desk.engine is not None:
            return f" · {shell.desk.engine} alone"
        return f" · all {shell.frame.engines} engines" if shell.frame.engines > 1 else ""

    def do_scope(self, words: str) -> None:
        shell = self._shell
        if words and words not in SCOPES:
            shell.notice(f"no scope {words!r}: {', '.join(SCOPES)}", "warn")
            return
        if shell.newest is not None and not shell.newest.scopes:
            shell.notice("this engine or record does not tell runs apart", "info")
            return
        wanted = words or SCOPES[(SCOPES.index(shell.frames.scope) + 1) % len(SCOPES)]
        shell.frames.scope = next(name for name in SCOPES if name == wanted)
        shell.redraw_now()

    def do_theme(self, words: str) -> None:
        shell = self._shell
        names = list(THEMES)
        if words and words not in THEMES:
            shell.notice(f"no theme {words!r}: {', '.join(names)}", "warn")
            return
        shell.use_theme(words or names[(names.index(shell.theme_name) + 1) % len(names)])
        shell.notice(f"theme {shell.theme_name}", "info")

    def do_copy(self, _: str) -> None:
        shell = self._shell
        screen = shell.desk_screen
        table = screen.table if screen is not None else None
        if table is None or table.selected is None:
            shell.notice("nothing under the cursor", "info")
            return
        cells = table.cells_of(table.selected)
        shell.copy_to_clipboard("\t".join(cells))
        shell.notice(f"copied: {cells[0] if cells else ''}", "ok")

    def do_copy_panel(self, _: str) -> None:
        shell = self._shell
        panel = self._panel()
        if panel is not None:
            shell.copy_to_clipboard(panel.as_text())
            shell.notice(f"copied the panel {panel.TITLE}", "ok")

    def do_export(self, words: str) -> None:
        shell = self._shell
        panel = self._panel()
        if panel is None:
            return
        kind, _, path = words.partition(" ")
        if not kind:
            from gainstage.tui.screens.modals.choose import ChooseScreen

            def chosen(kind: str | None) -> None:
                if kind:
                    self.do_export(kind)

            shell.open_dialog(
                ChooseScreen("export this panel as", (("csv", "comma separated"), ("json", "JSON"), ("text", "as it is drawn"))),
                chosen,
            )
            return
        if kind not in export.KINDS:
            shell.notice(f"export as {', '.join(export.KINDS)}, not {kind!r}", "warn")
            return
        name = f"gainstage-{panel.TITLE.lower().replace(' ', '-') or 'panel'}-{fmt.stamp(shell.desk.now()).replace(' ', '-').replace(':', '')}"
        target = Path(path).expanduser() if path else shell.exports / f"{name}.{export.KINDS[kind]}"
        columns, rows = panel.exported()
        text = panel.as_text() if kind == "text" else export.render(kind, columns, rows)
        shell.ask("export", lambda _: export.write(target, text), lambda where: shell.notice(f"written {where}", "ok"))

    def _panel(self) -> Any:
        screen = self._shell.desk_screen
        if screen is None:
            return None
        return screen.focused_panel or screen.table or next(iter(screen.panels), None)

    # -- the run

    def do_pause(self, _: str) -> None:
        shell = self._shell
        paused = shell.newest is not None and shell.newest.run.state == "paused"
        shell.send(Command("resume" if paused else "pause"), ("resume intake" if paused else "pause intake") + self._scope())

    def do_drain(self, _: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        shell = self._shell
        running = shell.newest.run.running if shell.newest else 0
        waiting = shell.newest.run.queued if shell.newest else 0
        question = ConfirmScreen(
            f"Drain the engine?{self._scope()}",
            [f"{fmt.plural(running, 'recording')} in flight will be finished, {waiting:,} stay queued for the next run."],
            yes="Drain",
        )
        shell.open_dialog(question, lambda yes: shell.send(Command("drain"), f"drain{self._scope()}") if yes else None)

    def do_stop(self, _: str) -> None:
        from gainstage.tui.screens.modals.confirm import StopScreen

        shell = self._shell
        running = shell.newest.run.running if shell.newest else 0

        def decided(how: str | None) -> None:
            if how == "drain":
                shell.send(Command("drain"), f"drain, then stop{self._scope()}")
            elif how == "stop":
                shell.send(Command("stop"), f"stop now{self._scope()}")

        shell.open_dialog(StopScreen(running, self._scope()), decided)

    def do_detach(self, _: str) -> None:
        shell = self._shell
        live = shell.frame.contact in (Contact.LIVE, Contact.STALE) and shell.frame.live
        shell.farewell = f"The engine goes on. Back with: {shell.attach}" if live else ""
        shell.leave()

    def do_add(self, words: str) -> None:
        from gainstage.tui.screens.modals.add import AddScreen

        shell = self._shell

        def chosen(answer: tuple[tuple[str, ...], dict[str, Any]] | None) -> None:
            if answer is not None:
                sources, options = answer
                shell.send(
                    Command("add", {"sources": list(sources), "options": options}), f"add {fmt.plural(len(sources), 'source')}"
                )

        shell.open_dialog(AddScreen(words), chosen)

    def do_set(self, words: str) -> None:
        shell, typed = self._shell, set_words(words)
        if typed is None:
            shell.notice("set KEY VALUE, such as  set workers.transcribe 3  or  set workers.transcribe 3 --host gpu-07", "warn")
            return
        key, at, inline = typed.key.partition("@")

        def check_and_send(answer: tuple[tuple[SettingRow, ...], str]) -> None:
            from difflib import get_close_matches

            from gainstage.tui.render.values import BadValue, read_value

            rows, scope = {row.key: row for row in answer[0]}, at + inline or answer[1]
            row = rows.get(key + scope, rows.get(key))
            if row is None:
                near = get_close_matches(key, list(rows), n=2)
                shell.notice(f"no setting {key!r}" + (f": did you mean {' or '.join(near)}?" if near else ""), "warn")
                return
            try:
                new = read_value(row, typed.value)
            except BadValue as problem:
                shell.notice(f"{key}: {problem}", "warn")
                return
            old, shown = ("•••", "•••") if row.secret else (fmt.value(row.value), fmt.value(new))
            shell.send(Command("set", {"key": key + scope, "value": new}), f"{key}{scope} {old} → {shown}")

        shell.ask("set", lambda desk: (desk.settings(), scope_of(desk, typed.host, typed.engine)), check_and_send)

    def open_link(self, url: str | None) -> None:
        """A web address in the operator's browser; only http(s), and to the clipboard where a browser would fight for the terminal."""
        shell = self._shell
        if url is None or not url.startswith(("https://", "http://")):
            shell.notice("no link here", "info")
            return
        shell.copy_to_clipboard(url)
        if shell.is_web or browser_here():
            shell.open_url(url)
            shell.notice("opened, and copied", "ok")
        else:
            shell.notice("link copied: no browser on this machine", "ok")


def browser_here() -> bool:
    """Whether this machine has a browser with a window; a text browser would fight for the terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

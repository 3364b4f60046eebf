"""Handlers of the actions that work everywhere. Those of one screen are methods of that screen."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gainstage.engine.views.commands import Command
from gainstage.engine.views.rows import SettingRow
from gainstage.tui.commands import export
from gainstage.tui.console.actions import ACTIONS, SCREENS, shown_key
from gainstage.tui.console.frame import Contact
from gainstage.tui.console.theme import THEMES
from gainstage.tui.render import format as fmt

if TYPE_CHECKING:
    from gainstage.tui.console.app import GainstageApp


class Handlers:
    """Mixed into the app; ``self`` is the app."""

    @property
    def _app(self) -> GainstageApp:
        return cast("GainstageApp", self)

    # -- moving about

    async def do_deck(self, _: str) -> None:
        await self._app.go("deck")

    async def do_recordings(self, words: str) -> None:
        await self._filtered("recordings", words)

    async def do_voices(self, words: str) -> None:
        await self._filtered("voices", words)

    async def do_tune(self, words: str) -> None:
        await self._filtered("tune", words)

    async def do_host(self, _: str) -> None:
        await self._app.go("host")

    async def do_logs(self, words: str) -> None:
        await self._filtered("logs", words)

    async def do_search(self, words: str) -> None:
        screen = await self._app.go("search")
        if words:
            cast(Any, screen).do_query(words)

    async def _filtered(self, name: str, words: str) -> None:
        screen = await self._app.go(name)
        if words:
            cast(Any, screen).do_filter(words)

    async def do_goto(self, words: str) -> None:
        if not words:
            self._app.notice("goto: which recording?", "warn")
            return
        screen = await self._app.go("recordings")
        cast(Any, screen).show_recording(words)

    async def do_last_view(self, _: str) -> None:
        trail = self._app.trail
        if trail:
            await self._app.go(trail.pop(), remember=False)
        else:
            self._app.notice("no screen before this one", "info")

    def do_back(self, _: str) -> None:
        app = self._app
        screen = app.desk_screen
        if screen is not None and screen.maximised_panel is not None:
            screen.maximise()
        elif app.view.mode != "live":
            self.do_live("")

    async def do_open(self, _: str) -> None:
        app = self._app
        if app.frame.startable:
            self._start_engine()

    @property
    def can_start(self) -> bool:
        """Whether Enter can start an engine from this console."""
        return self._app.start_engine is not None and not self._app.read_only

    def _start_engine(self) -> None:
        app = self._app
        start = app.start_engine
        if start is None or not self.can_start:
            app.notice("this console cannot start an engine: run  gainstage engine", "warn")
            return
        app.notice("starting an engine …", "info")
        app.ask("start-engine", lambda _: start(), lambda text: app.notice(text, "ok"))

    def do_maximise(self, _: str) -> None:
        if self._app.desk_screen is not None:
            self._app.desk_screen.maximise()

    def do_jump(self, _: str) -> None:
        from gainstage.tui.screens.modals.jump import JumpScreen

        screen = self._app.desk_screen
        if screen is not None and screen.panels:
            self._app.push_screen(JumpScreen(screen))

    # -- looking

    def do_command(self, words: str) -> None:
        app = self._app
        screen = app.desk_screen
        if screen is not None:
            suggest = [f"{a.id} " if a.usage else a.id for a in ACTIONS]
            screen.prompt.ask(
                ":",
                app.typed,
                start=words,
                history=app.past_lines,
                suggest=suggest,
                hint="set KEY VALUE · goto ID · export csv · ? lists all",
            )

    def do_palette(self, _: str) -> None:
        from gainstage.tui.screens.modals.palette import PaletteScreen

        screen = self._app.desk_screen
        if screen is not None:
            self._app.push_screen(PaletteScreen(screen.NAME), self._chosen)

    def _chosen(self, name: str | None) -> None:
        if name is not None:
            self._app.perform(name)

    def do_help(self, _: str) -> None:
        from gainstage.tui.screens.modals.help import HelpScreen

        screen = self._app.desk_screen
        if screen is not None:
            self._app.push_screen(HelpScreen(screen.NAME))

    def do_why(self, _: str) -> None:
        from gainstage.tui.screens.modals.why import WhyScreen

        self._app.push_screen(WhyScreen(self._app.frame))

    def do_history(self, _: str) -> None:
        from gainstage.tui.screens.modals.history import HistoryScreen

        self._app.push_screen(HistoryScreen(self._app.outbox))

    def do_freeze(self, _: str) -> None:
        app = self._app
        held = app.view.freeze(app.newest, app.desk.now())
        app.notice(
            f"view frozen, the work goes on; {shown_key(_action('freeze'), app.keymap)} again is live" if held else "live again",
            "info",
        )
        app.redraw_now()

    def do_live(self, _: str) -> None:
        self._app.view.live()
        self._app.redraw_now()

    def do_scrub_back(self, _: str) -> None:
        self._scrub(-1)

    def do_scrub_forward(self, _: str) -> None:
        self._scrub(1)

    def do_scrub_minute_back(self, _: str) -> None:
        self._scrub(-60)

    def do_scrub_minute_forward(self, _: str) -> None:
        self._scrub(60)

    def _scrub(self, frames: int) -> None:
        app = self._app
        if frames < 0 and not app.asked_history:
            app.asked_history = True
            app.ask("history", lambda desk: app.pump.ring.prepend(desk.history(7200.0)), lambda _: None)
        why = app.view.scrub(app.newest, app.desk.now(), frames)
        if why is not None:
            app.notice(why, "info")
        app.redraw_now()

    def do_theme(self, words: str) -> None:
        app = self._app
        names = list(THEMES)
        if words and words not in THEMES:
            app.notice(f"no theme {words!r}: {', '.join(names)}", "warn")
            return
        app.theme = words or names[(names.index(app.theme) + 1) % len(names)]
        app.notice(f"theme {app.theme}", "info")

    def do_copy(self, _: str) -> None:
        app = self._app
        screen = app.desk_screen
        table = screen.table if screen is not None else None
        if table is None or table.selected is None:
            app.notice("nothing under the cursor", "info")
            return
        cells = table.cells_of(table.selected)
        app.copy_to_clipboard("\t".join(cells))
        app.notice(f"copied: {cells[0] if cells else ''}", "ok")

    def do_copy_panel(self, _: str) -> None:
        app = self._app
        panel = self._panel()
        if panel is not None:
            app.copy_to_clipboard(panel.as_text())
            app.notice(f"copied the panel {panel.TITLE}", "ok")

    def do_export(self, words: str) -> None:
        app = self._app
        panel = self._panel()
        if panel is None:
            return
        kind, _, path = words.partition(" ")
        if not kind:
            from gainstage.tui.screens.modals.choose import ChooseScreen

            def chosen(kind: str | None) -> None:
                if kind:
                    self.do_export(kind)

            app.push_screen(
                ChooseScreen("export this panel as", (("csv", "comma separated"), ("json", "JSON"), ("text", "as it is drawn"))),
                chosen,
            )
            return
        if kind not in export.KINDS:
            app.notice(f"export as {', '.join(export.KINDS)}, not {kind!r}", "warn")
            return
        name = f"gainstage-{panel.TITLE.lower().replace(' ', '-') or 'panel'}-{fmt.stamp(app.desk.now()).replace(' ', '-').replace(':', '')}"
        target = Path(path).expanduser() if path else app.exports / f"{name}.{export.KINDS[kind]}"
        columns, rows = panel.exported()
        text = panel.as_text() if kind == "text" else export.render(kind, columns, rows)
        app.ask("export", lambda _: export.write(target, text), lambda where: app.notice(f"written {where}", "ok"))

    def _panel(self) -> Any:
        screen = self._app.desk_screen
        if screen is None:
            return None
        return screen.focused_panel or screen.table or next(iter(screen.panels), None)

    # -- the run

    def do_pause(self, _: str) -> None:
        app = self._app
        paused = app.newest is not None and app.newest.run.state == "paused"
        app.send(Command("resume" if paused else "pause"), "resume intake" if paused else "pause intake")

    def do_drain(self, _: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        app = self._app
        running = app.newest.run.running if app.newest else 0
        waiting = app.newest.run.queued if app.newest else 0
        question = ConfirmScreen(
            "Drain the engine?",
            [f"{fmt.plural(running, 'recording')} in flight will be finished, {waiting:,} stay queued for the next run."],
            yes="Drain",
        )
        app.push_screen(question, lambda yes: app.send(Command("drain"), "drain") if yes else None)

    def do_stop(self, _: str) -> None:
        from gainstage.tui.screens.modals.confirm import StopScreen

        app = self._app
        running = app.newest.run.running if app.newest else 0

        def decided(how: str | None) -> None:
            if how == "drain":
                app.send(Command("drain"), "drain, then stop")
            elif how == "stop":
                app.send(Command("stop"), "stop now")

        app.push_screen(StopScreen(running), decided)

    def do_detach(self, _: str) -> None:
        app = self._app
        live = app.frame.contact in (Contact.LIVE, Contact.STALE) and app.frame.live
        app.farewell = "The engine goes on. Back with: gainstage attach" if live else ""
        app.exit(0)

    def do_add(self, words: str) -> None:
        from gainstage.tui.screens.modals.add import AddScreen

        app = self._app

        def chosen(answer: tuple[tuple[str, ...], dict[str, Any]] | None) -> None:
            if answer is not None:
                sources, options = answer
                app.send(
                    Command("add", {"sources": list(sources), "options": options}), f"add {fmt.plural(len(sources), 'source')}"
                )

        app.push_screen(AddScreen(words), chosen)

    def do_set(self, words: str) -> None:
        app = self._app
        key, _, text = words.partition(" ")
        if not key or not text.strip():
            app.notice("set KEY VALUE, such as  set workers.transcribe 3", "warn")
            return

        def found(rows: tuple[SettingRow, ...]) -> None:
            from difflib import get_close_matches

            from gainstage.tui.render.values import BadValue, read_value

            row = next((r for r in rows if r.key == key), None)
            if row is None:
                near = get_close_matches(key, [r.key for r in rows], n=2)
                app.notice(f"no setting {key!r}" + (f": did you mean {' or '.join(near)}?" if near else ""), "warn")
                return
            try:
                new = read_value(row, text)
            except BadValue as problem:
                app.notice(f"{key}: {problem}", "warn")
                return
            old = "•••" if row.secret else fmt.value(row.value)
            app.send(Command("set", {"key": key, "value": new}), f"{key} {old} → {'•••' if row.secret else fmt.value(new)}")

        app.ask("set", lambda desk: desk.settings(), found)

    def open_link(self, url: str | None) -> None:
        """A web address in the operator's browser; only http(s), and to the clipboard where a browser would fight for the terminal."""
        app = self._app
        if url is None or not url.startswith(("https://", "http://")):
            app.notice("no link here", "info")
            return
        import os

        app.copy_to_clipboard(url)
        if app.is_web or sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            app.open_url(url)
            app.notice("opened, and copied", "ok")
        else:
            app.notice("link copied: no browser on this machine", "ok")

    async def settled(self) -> None:
        """Wait for everything asked and sent; for tests."""
        app = self._app
        while app.workers or app.outbox.waiting:
            await app.workers.wait_for_complete()
            await asyncio.sleep(0)


def _action(name: str) -> Any:
    from gainstage.tui.console.actions import BY_ID

    return BY_ID[name]


__all__ = ["SCREENS", "Handlers"]

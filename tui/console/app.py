"""The console: one poller, seven screens, one table of actions. Everything it knows comes from a :class:`gainstage.engine.views.desk.Desk`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from textual.app import App
from textual.binding import Binding
from textual.events import Event as TextualEvent
from textual.events import Key, Paste
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from gainstage.config.paths import Paths
from gainstage.engine.views.commands import Command
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.events import EVENTS_KEPT, Event
from gainstage.engine.views.rows import SettingRow
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.console.crash import write_report
from gainstage.tui.console.desk_calls import DeskCalls
from gainstage.tui.console.dispatcher import ActionDispatcher
from gainstage.tui.console.frame_builder import FrameBuilder
from gainstage.tui.console.global_actions import GlobalActions
from gainstage.tui.console.live_settings import ShownSettings
from gainstage.tui.console.pace import RefreshRate, allowed_hz
from gainstage.tui.console.poller import News, Poller
from gainstage.tui.console.terminal_alerts import TerminalAlerts
from gainstage.tui.console.terminal_guard import guard_terminal
from gainstage.tui.console.timeline import Timeline
from gainstage.tui.console.typeahead import TypeAhead
from gainstage.tui.render import theme as themes
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens import make_screen
from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.state.actions import BY_ID, SCREENS, bindings
from gainstage.tui.state.alerts import Alerts
from gainstage.tui.state.command_log import CommandLog, Sent, describe
from gainstage.tui.state.feeds import Feed, FeedResult
from gainstage.tui.state.frame import EMPTY, Frame
from gainstage.tui.state.notices import Notice, NoticeList, under_way
from gainstage.tui.state.protocol import DrawCounts
from gainstage.tui.widgets.live import Live

T = TypeVar("T")
R = TypeVar("R")


class GainstageApp(App[int]):
    """``start_engine`` starts an engine for an empty desk and returns a message; ``attach`` is the command that opens this
    console again; ``manual`` leaves poller and clock to a test."""

    CSS_PATH = Path(__file__).with_name("gainstage.tcss")
    TITLE = "gainstage"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Any]] = [*bindings(None), Binding("ctrl+q", "app.act('detach')", show=False, id="quit")]
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {name: partial(make_screen, name) for name in SCREENS}
    DEFAULT_MODE = "deck"
    HORIZONTAL_BREAKPOINTS = DeskScreen.HORIZONTAL_BREAKPOINTS
    VERTICAL_BREAKPOINTS = DeskScreen.VERTICAL_BREAKPOINTS

    def __init__(
        self,
        desk: Desk,
        *,
        read_only: bool = False,
        refresh_hz: float = 4.0,
        ascii: bool = False,
        theme: str | None = None,
        keymap: dict[str, str] | None = None,
        log: Path | None = None,
        exports: Path | None = None,
        start_engine: Callable[[], str] | None = None,
        settings_file: Path | None = None,
        attach: str = "gainstage attach",
        early_signals: list[int] | None = None,
        manual: bool = False,
    ) -> None:
        colourless = "NO_COLOR" in os.environ
        super().__init__(ansi_color=True if colourless else None)
        self.desk = desk
        self.read_only = read_only or desk.read_only
        self.pace = RefreshRate(refresh_hz)
        self.plain_ascii = ascii
        self.keymap = {action: keys for action, keys in (keymap or {}).items() if action in BY_ID}
        self.log_path = log or Paths.of().logs / "console.log"
        self.exports = exports or Path.cwd()
        self.start_engine = start_engine
        self.settings_file = settings_file
        self.attach = attach
        self.manual = manual
        self._early_signals = [] if early_signals is None else early_signals
        self.poller = Poller(desk, self.pace.hz)
        self.timeline = Timeline(self.poller.ring)
        self.frames = FrameBuilder(desk, self.timeline, read_only=self.read_only)
        self.command_log = CommandLog()
        self.counts = DrawCounts()
        self.events: list[Event] = []
        self.events_dropped = 0
        self.frame = EMPTY
        self.notices = NoticeList()
        self.past_lines: list[str] = []
        self.trail: list[str] = []
        self.ignored_advice: dict[str, float] = {}
        self.reported: set[str] = set()
        self.live_settings = ShownSettings()
        self.alerts = Alerts(TerminalAlerts(self).look if desk.live else None)
        self.farewell = ""
        self.palette_version = 0
        self.started = time.perf_counter()
        self.first_frame_s: float | None = None
        self._calls = DeskCalls(self)
        self._global_actions = GlobalActions(self)
        self._dispatcher = ActionDispatcher(self, self._global_actions)
        self._typeahead = TypeAhead(self, super().on_event)
        self._palettes = themes.PaletteCache()
        self._interval: Timer | None = None
        self._start_theme(themes.theme_for(theme, colourless=colourless))

    def _start_theme(self, name: str) -> None:
        for known in themes.themes_for(self.console.color_system).values():
            self.register_theme(known)
        if themes.THEMES[name].ansi:
            self.theme = name
        else:  # an assignment would parse every style a second time before the first frame
            self.set_reactive(App.theme, name)
            self.stylesheet.set_variables(self.get_css_variables())

    # -- life

    def on_load(self) -> None:
        # On Python 3.12 and later Textual asks for eager tasks: an input of a screen that is being pushed would then look for
        # the screen on the stack before it is there, and end the app.
        asyncio.get_running_loop().set_task_factory(None)

    def on_mount(self) -> None:
        self.set_keymap(self.keymap)
        if self.manual:
            return
        if not self.is_headless:
            guard_terminal(self, self._early_signals)
        self.poller.start()
        self._interval = self.set_interval(1.0 / self.pace.wanted_hz, self.tick)
        self.set_timer(0.02, self.tick)

    def on_unmount(self) -> None:
        self.poller.close()

    # -- the tick

    def tick(self) -> None:
        """Take what the poller has and let the screen that is shown draw it."""
        start = time.perf_counter()
        if not self.manual and not self.pace.due(start):
            return
        self.run_guarded("a tick", self._tick)
        took = time.perf_counter() - start
        self.counts.ticks += 1
        self.counts.tick_s += took
        self.pace.ticked(start, took, self.newest)
        self.poller.hz = self.pace.hz

    def _tick(self) -> None:
        news = self.poller.take()
        self._note(news)
        self.frame = self.frame_now()
        for staged in self.command_log.take_due(self.frame.now):
            self._calls.send(Command("set", {"key": staged.key, "value": staged.new}), f"{staged.key} {staged.old} → {staged.new}")
        screen = self.desk_screen
        if screen is None:
            return
        for answer in news.answers.values():
            self._receive(answer, screen)
        screen.show(self.frame)
        if self.screen is not screen and hasattr(self.screen, "apply"):
            self.screen.apply(self.frame)
        if self.first_frame_s is None:
            self.first_frame_s = time.perf_counter() - self.started

    def _receive(self, answer: FeedResult, screen: DeskScreen) -> None:
        if answer.feed is self.live_settings.feed and answer.value is not None:
            for key, value in self.live_settings.receive(answer.value).items():
                self._follow_setting(key, value)
        screen.receive(answer)

    def _follow_setting(self, key: str, value: Any) -> None:
        """One of the console's own settings acts at once."""
        if key == "console.refresh":
            self.pace.wanted_hz = allowed_hz(float(value))
            self._restart_interval()
        elif key == "console.theme" and value in themes.THEMES:
            self.theme = str(value)
        elif key == "console.keys":
            self.keymap = {action: str(keys) for action, keys in value.items() if action in BY_ID}
            self.set_keymap(self.keymap)

    def _restart_interval(self) -> None:
        if self._interval is not None:
            self._interval.stop()
            self._interval = self.set_interval(1.0 / self.pace.wanted_hz, self.tick)

    def watch_feeds(self, feeds: tuple[Feed, ...]) -> None:
        """Ask for the settings and for what the screen needs."""
        self.poller.watch((self.live_settings.feed, *feeds))

    @property
    def newest(self) -> Snapshot | None:
        """The newest snapshot, also while the view is frozen."""
        return self.frames.newest

    @property
    def settings(self) -> dict[str, SettingRow]:
        """The settings by key, as the desk last gave them."""
        return self.live_settings.rows

    @property
    def memory_limit(self) -> float:
        return self.live_settings.memory_limit

    def _note(self, news: News) -> None:
        self.frames.note(news)
        if news.frames and news.snapshot is not None:
            self.alerts.step(news.snapshot, self.memory_limit)
        if news.events:
            self.events.extend(news.events)
            del self.events[:-EVENTS_KEPT]
        self.events_dropped += news.dropped
        for ack in news.acks:
            if (sent := self.command_log.acknowledged(ack)) is not None:
                self.finished(sent)
        if news.broken and news.broken not in self.reported:
            self.reported.add(news.broken)
            self.report(RuntimeError(news.broken), "reading the desk")

    def frame_now(self) -> Frame:
        """The frame as it would be drawn now."""
        return self.frames.frame(self.desk.now())

    def redraw_now(self) -> None:
        """Draw the present frame again: the operator changed how it is looked at."""
        self.frame = self.frame_now()
        if (screen := self.desk_screen) is not None:
            self.run_guarded("drawing", lambda: screen.show(self.frame))

    # -- screens

    @property
    def desk_screen(self) -> DeskScreen | None:
        """The uppermost of the seven screens, also while a dialog is over it."""
        return next((s for s in reversed(self.screen_stack) if isinstance(s, DeskScreen)), None)

    async def go(self, name: str, *, remember: bool = True) -> DeskScreen:
        """Show a screen; the one before is kept for Backspace."""
        here = self.desk_screen
        while here is not None and here.NAME not in SCREENS:  # a transcript over a screen is closed by leaving it
            await self.pop_screen()
            here = self.desk_screen
        if here is not None and name != here.NAME:
            if remember:
                self.trail.append(here.NAME)
                del self.trail[:-50]
            await self.switch_mode(name)
        screen = self.desk_screen
        assert screen is not None
        return screen

    # -- keys and actions

    async def on_event(self, event: TextualEvent) -> None:
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            await self._typeahead.take(event)
        else:
            await super().on_event(event)

    def action_act(self, name: str) -> None:
        """What every binding calls."""
        self.perform(name)

    def perform(self, name: str, words: str = "") -> None:
        self._dispatcher.perform(name, words)

    def perform_global(self, name: str, words: str = "") -> None:
        self._dispatcher.perform_global(name, words)

    def run_line(self, line: str) -> None:
        self._dispatcher.run_line(line)

    def run_guarded(self, what: str, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except Exception as problem:  # shown with an id, logged, and the console goes on
            self.report(problem, what)
            return
        if asyncio.iscoroutine(result):
            self.run_worker(result, name=what, group=what, exit_on_error=False)

    def run_in_background(self, work: Coroutine[Any, Any, None], group: str, *, exclusive: bool = False) -> None:
        """Run a coroutine beside the drawing; a fault of it is reported, the console goes on."""
        self.run_worker(work, name=group, group=group, exclusive=exclusive, exit_on_error=False)

    # -- the desk

    def ask(self, group: str, question: Callable[[Desk], T], then: Callable[[T], Any]) -> None:
        self._calls.ask(group, question, then)

    def send(self, command: Command, label: str) -> None:
        self._calls.send(command, label)

    def stage_soon(self, key: str, old: Any, new: Any) -> None:
        self._calls.stage_soon(key, old, new)

    def finished(self, sent: Sent) -> None:
        """A command has its final acknowledgement: say so, and ask for what it may have changed."""
        self.notice(*describe(sent))
        if (screen := self.desk_screen) is not None:
            screen.watch_again()

    @property
    def can_start(self) -> bool:
        """Whether Enter can start an engine from this console."""
        return self.start_engine is not None and not self.read_only

    # -- notices and faults

    def notice(self, text: str, band: str = "info") -> None:
        """Show a short message in the corner."""
        self.notices.add(text, band, self.desk.now())
        if (screen := self.desk_screen) is not None and screen.is_running:
            screen.show_bars(self.frame)

    def notices_now(self) -> list[Notice]:
        """Messages that are still shown, and commands under way."""
        now = self.desk.now()
        return [*self.notices.current(now), *under_way(self.command_log, now)]

    def report(self, problem: BaseException, what: str) -> None:
        """A fault of the console: logged, shown once with its id. The engine is not touched."""
        from gainstage.tui.screens.modals.fault import FaultScreen

        number = write_report(problem, what, self.log_path)
        if number in self.reported:
            return
        self.reported.add(number)
        if self.is_running:
            self.call_later(self.push_screen, FaultScreen(number, what, type(problem).__name__, self.log_path))

    def open_dialog(self, dialog: Screen[R], then: Callable[[R | None], Any] | None = None) -> None:
        """Put a dialog over the screen; ``then`` gets its answer."""
        self.push_screen(dialog, then)

    def open_link(self, url: str | None) -> None:
        self._global_actions.open_link(url)

    def leave(self) -> None:
        """Close the console with status 0."""
        self.exit(0)

    # -- looks

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.report(event.worker.error, event.worker.name)

    def palette_of(self, fades: bool) -> Palette:
        return self._palettes.of(self.theme_variables or self.get_css_variables(), fades and self.frame.faded)

    @property
    def edge(self) -> str:
        return self.frame.edge

    @property
    def theme_name(self) -> str:
        """The theme in use."""
        return self.theme

    def use_theme(self, name: str) -> None:
        """Change the theme."""
        self.theme = name

    def watch_theme(self) -> None:
        self._palettes.clear()
        self.palette_version += 1
        if self.is_running and self.desk_screen is not None:
            self.call_after_refresh(lambda: self.screen.query(Live).refresh())

    def _fatal_error(self) -> None:
        """In place of Textual's own, which prints the locals of every frame, and with them whatever secrets they hold."""
        problem = sys.exc_info()[1]
        number = write_report(problem, "the console", self.log_path) if problem is not None else "?"
        self.panic(
            f"The console failed (fault {number}); the engine goes on.\nDetails: {self.log_path}\nOpen it again with: {self.attach}"
        )

"""The console: one pump, seven screens, one table of actions. Everything it knows it knows from a :class:`gainstage.engine.views.desk.Desk`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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
from gainstage.engine.views.events import Event
from gainstage.engine.views.rows import SettingRow
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.console import theme as themes
from gainstage.tui.console.actions import BY_ID, SCREENS, UnknownCommand, bindings, parse, refusal
from gainstage.tui.console.alerts import Levels
from gainstage.tui.console.command_log import CommandLog
from gainstage.tui.console.crash import write_report
from gainstage.tui.console.desk_calls import Errands
from gainstage.tui.console.frame import EMPTY, Age, Frame, contact_of
from gainstage.tui.console.global_actions import Handlers
from gainstage.tui.console.poller import Feed, FeedResult, News, Poller
from gainstage.tui.console.theme import Palette
from gainstage.tui.console.timeline import Timeline
from gainstage.tui.console.typeahead import TypeAhead
from gainstage.tui.screens import make_screen
from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.widgets.bars import Notice

if TYPE_CHECKING:
    from gainstage.config.settings import Console as ConsoleSettings

SLOW_TICK_S = 0.04
SLOW_HZ = 2.5
CROWDED = 0.95
"""Share of the engine's processors in use from which the picture moves at ``SLOW_HZ``: there every frame is taken from the work."""

EVENTS_KEPT = 20_000


@dataclass(slots=True)
class Counts:
    """What drawing cost, for the tests and the benchmark."""

    ticks: int = 0
    builds: int = 0  # widgets drawn
    lines: int = 0  # lines that came out different
    tick_s: float = 0.0


class GainstageApp(Handlers, Errands, App[int]):
    """``start_engine`` starts an engine for an empty desk and says what it did; ``manual`` leaves pump and clock to a test."""

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
        manual: bool = False,
    ) -> None:
        colourless = "NO_COLOR" in os.environ
        super().__init__(ansi_color=True if colourless else None)
        self.desk = desk
        self.read_only = read_only or desk.read_only
        self.refresh_hz = min(10.0, max(1.0, refresh_hz))
        self.plain_ascii = ascii
        self.keymap = {action: keys for action, keys in (keymap or {}).items() if action in BY_ID}
        self.log_path = log or Paths.of().logs / "console.log"
        self.exports = exports or Path.cwd()
        self.start_engine = start_engine
        self.settings_file = settings_file
        self.manual = manual
        self.pump = Poller(desk, self.refresh_hz)
        self.view = Timeline(self.pump.ring)
        self.outbox = CommandLog()
        self.counts = Counts()
        self.events: list[Event] = []
        self.events_dropped = 0
        self.newest: Snapshot | None = None
        self.frame = EMPTY
        self.notices: list[Notice] = []
        self.past_lines: list[str] = []
        self.trail: list[str] = []
        self.ignored: dict[str, float] = {}
        self.reported: set[str] = set()
        self.settings: dict[str, SettingRow] = {}
        self.levels = Levels()
        self.asked_history = False
        self.farewell = ""
        self.palette_version = 0
        self.started = time.perf_counter()
        self.first_frame_s: float | None = None
        self._age = Age()
        self._settings_feed = Feed("settings", lambda desk: desk.settings(), 2.0)
        self._typeahead = TypeAhead(self, super().on_event)
        self._answer_error: str | None = None
        self._engines = 1
        self._asked = False
        self._palettes: dict[bool, Palette] = {}
        self._interval: Timer | None = None
        self._slow = 0.0
        self._next_tick = 0.0
        for known in themes.THEMES.values():
            self.register_theme(known)
        chosen = "mono" if colourless and theme is None else theme if theme in themes.THEMES else themes.DEFAULT
        if themes.THEMES[chosen].ansi:
            self.theme = chosen
        else:  # an assignment would parse every style a second time before the first frame
            self.set_reactive(App.theme, chosen)
            self.stylesheet.set_variables(self.get_css_variables())

    # -- life

    def on_mount(self) -> None:
        self.set_keymap(self.keymap)
        if self.manual:
            return
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.exit, 128 + number)
            if not self.is_web:
                self.set_interval(2.0, self._check_terminal)
        self.pump.start()
        self._interval = self.set_interval(1.0 / self.refresh_hz, self.tick)
        self.set_timer(0.02, self.tick)

    def on_unmount(self) -> None:
        self.pump.close()

    def _check_terminal(self) -> None:
        try:
            os.ttyname(sys.__stdin__.fileno() if sys.__stdin__ is not None else 0)
        except OSError:
            self.exit(129)

    # -- the tick

    def tick(self) -> None:
        """Take what the pump has and let the screen that is shown draw it."""
        start = time.perf_counter()
        if not self.manual and start < self._next_tick:
            return
        self._guarded("a tick", self._tick)
        took = time.perf_counter() - start
        self.counts.ticks += 1
        self.counts.tick_s += took
        self._slow = 0.8 * self._slow + 0.2 * took
        host = self.newest.host if self.newest is not None else None
        slow = self._slow > SLOW_TICK_S or (host is not None and (host.cpu or 0.0) >= CROWDED)
        self._next_tick = start + 1.0 / SLOW_HZ - 0.01 if slow else 0.0
        self.pump.hz = SLOW_HZ if slow else self.refresh_hz

    def _tick(self) -> None:
        news = self.pump.take()
        self._note(news)
        self.frame = self._frame(self.desk.now())
        for staged in self.outbox.take_due(self.frame.now):
            self.send(Command("set", {"key": staged.key, "value": staged.new}), f"{staged.key} {staged.old} → {staged.new}")
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
        if answer.feed is self._settings_feed and answer.value is not None:
            before, self.settings = self.settings, {row.key: row for row in answer.value}
            self._follow_settings(before)
        screen.receive(answer)

    def _follow_settings(self, before: dict[str, SettingRow]) -> None:
        """The console's own settings act at once; what stood when it started was given to it."""
        for key in ("console.refresh", "console.theme", "console.keys"):
            old, new = before.get(key), self.settings.get(key)
            if old is None or new is None or old.value == new.value:
                continue
            if key == "console.refresh":
                self.refresh_hz = min(10.0, max(1.0, float(new.value)))
                self._restart_interval()
            elif key == "console.theme" and new.value in themes.THEMES:
                self.theme = str(new.value)
            elif key == "console.keys":
                self.keymap = {action: str(keys) for action, keys in new.value.items() if action in BY_ID}
                self.set_keymap(self.keymap)

    def _restart_interval(self) -> None:
        if self._interval is not None:
            self._interval.stop()
            self._interval = self.set_interval(1.0 / self.refresh_hz, self.tick)

    def ask_for(self, feeds: tuple[Feed, ...]) -> None:
        """Ask for the settings and for what the screen needs."""
        self.pump.watch((self._settings_feed, *feeds))

    @property
    def memory_limit(self) -> float:
        """``watch.memory_limit`` as a share."""
        row = self.settings.get("watch.memory_limit")
        return float(row.value) / 100 if row is not None else 0.92

    def _note(self, news: News) -> None:
        self.view.arrived(news.frames)
        if news.frames and news.snapshot is not None:
            self.levels.step(news.snapshot, self.memory_limit)
        self.newest = news.snapshot or self.newest
        self._answer_error, self._engines, self._asked = news.error, news.engines, news.asked
        if news.events:
            self.events.extend(news.events)
            del self.events[:-EVENTS_KEPT]
        self.events_dropped += news.dropped
        for ack in news.acks:
            sent = self.outbox.acknowledged(ack)
            if sent is not None:
                self._acknowledged(sent)
        if news.broken and news.broken not in self.reported:
            self.reported.add(news.broken)
            self.report(RuntimeError(news.broken), "reading the desk")

    def _frame(self, now: float) -> Frame:
        age = self._age.of(self.newest, now)
        return Frame(
            snapshot=self.view.shown(self.newest),
            now=now,
            age_s=age,
            contact=contact_of(self.newest, age, self._asked),
            mode=self.view.mode,
            frozen_for_s=now - self.view.since if self.view.mode != "live" else 0.0,
            newer=self.view.newer,
            label=self.desk.label,
            live=self.desk.live,
            read_only=self.read_only,
            error=self._answer_error,
            engines=self._engines,
        )

    def redraw_now(self) -> None:
        """Draw the present frame again: the operator changed how it is looked at."""
        self.frame = self._frame(self.desk.now())
        screen = self.desk_screen
        if screen is not None:
            self._guarded("drawing", lambda: screen.show(self.frame))

    # -- screens

    @property
    def desk_screen(self) -> DeskScreen | None:
        """The uppermost of the seven screens, also while a dialog is over it."""
        return next((s for s in reversed(self.screen_stack) if isinstance(s, DeskScreen)), None)

    async def go(self, name: str, *, remember: bool = True) -> DeskScreen:
        """Show a screen; the one before is kept for Backspace."""
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
        """Do an action of the table, or say why not."""
        action = BY_ID[name]
        why = refusal(action, self._frame(self.desk.now()))
        if why is not None:
            self.notice(f"{action.title}: {why}", "warn")
            return
        screen = self.desk_screen
        handler = getattr(screen, action.handler, None) or getattr(self, action.handler, None)
        if handler is None or (action.screens and screen is not None and screen.NAME not in action.screens):
            where = ", ".join(s.capitalize() for s in action.screens)
            self.notice(f"{action.title}: only on {where}" if where else f"{action.title}: not here", "info")
            return
        self._guarded(action.id, lambda: handler(words))

    def typed(self, line: str) -> None:
        """A line of the command line."""
        try:
            action, words = parse(line)
        except UnknownCommand as problem:
            self.notice(str(problem), "warn")
            return
        self.perform(action.id, words)

    def _guarded(self, what: str, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except Exception as problem:  # shown with an id, logged, and the console goes on
            self.report(problem, what)
            return
        if asyncio.iscoroutine(result):
            self.run_worker(result, name=what, group=what, exit_on_error=False)

    # -- looks

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.report(event.worker.error, event.worker.name)

    def palette_of(self, fades: bool) -> Palette:
        """The palette of the theme; faded for figures that stopped moving."""
        faded = fades and self.frame.faded
        if faded not in self._palettes:
            variables = self.theme_variables or self.get_css_variables()
            self._palettes[faded] = themes.palette(variables, stale=faded)
        return self._palettes[faded]

    @property
    def edge(self) -> str:
        """The token of frames: their colour tells live from frozen, scrubbed and replayed."""
        if not self.frame.live:
            return "warn"
        return {"live": "line", "frozen": "info", "scrub": "change"}[self.frame.mode]

    def watch_theme(self) -> None:
        self._palettes.clear()
        self.palette_version += 1
        if self.is_running and self.desk_screen is not None:
            self.call_after_refresh(self._redraw_everything)

    def _redraw_everything(self) -> None:
        from gainstage.tui.widgets.live import Live

        for widget in self.screen.query(Live):
            widget.refresh()

    def _fatal_error(self) -> None:
        """In place of Textual's own, which prints the locals of every frame, and with them whatever secrets they hold."""
        problem = sys.exc_info()[1]
        number = write_report(problem, "the console", self.log_path) if problem is not None else "?"
        self.panic(
            f"The console failed (fault {number}); the engine goes on.\nDetails: {self.log_path}\nOpen it again with: gainstage"
        )


def run_console(desk: Desk, *, settings: ConsoleSettings | None = None, **options: Any) -> int:
    """Run the console on a desk until it is left; the exit status. The desk stays open: it is the caller's.

    ``settings`` is the ``console`` section of the settings; options are those of :class:`GainstageApp` and go before it.
    """
    if settings is not None:
        options.setdefault("refresh_hz", settings.refresh)
        options.setdefault("keymap", dict(settings.keys))
        options["theme"] = options.get("theme") or settings.theme
    app = GainstageApp(desk, **options)
    result = app.run()
    if app.farewell:
        print(app.farewell)
    return result if result is not None else app.return_code or 0

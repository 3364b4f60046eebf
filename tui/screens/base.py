"""What every screen of the console has: status line, tabs, body, prompt, footer, notices - and no timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from gainstage.tui.render import format as fmt
from gainstage.tui.state.actions import actions_on
from gainstage.tui.state.feeds import Feed, FeedResult
from gainstage.tui.state.frame import EMPTY, Frame
from gainstage.tui.state.protocol import ConsoleApp, console_of
from gainstage.tui.widgets.bars import FooterBar, NavBar, NoticeBox, StatusBar, TooSmall
from gainstage.tui.widgets.live import Live
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.prompt import Prompt
from gainstage.tui.widgets.table import Table

if TYPE_CHECKING:
    from gainstage.engine.views.events import Event


class DeskScreen(Screen[None]):
    """Subclasses name themselves, give :meth:`body`, and take frames, events and answers when the poller brings them."""

    NAME: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-medium"), (150, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (16, "-low"), (24, "-short"), (32, "-normal"), (44, "-tall")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id=f"screen-{self.NAME}")
        self.frame = EMPTY
        self.maximised_panel: Panel | None = None
        self._status, self._nav, self._footer, self._notices = StatusBar(), NavBar(), FooterBar(), NoticeBox()
        self._too_small = TooSmall()
        self._seen = 0
        self._foot = tuple(a for a in actions_on(self.NAME) if a.foot)

    @property
    def console(self) -> ConsoleApp:
        """What the console offers this screen."""
        return console_of(self)

    def compose(self) -> ComposeResult:
        yield self._status
        yield self._nav
        yield from self.body()
        yield Prompt()
        yield self._footer
        yield self._notices
        yield self._too_small

    def body(self) -> ComposeResult:
        """The panels."""
        raise NotImplementedError

    # -- what the poller brings; each called only while this screen is shown

    def feeds(self) -> tuple[Feed, ...]:
        """What to ask the desk for while this screen is shown."""
        return ()

    def apply(self, frame: Frame) -> None:
        """Draw a frame: hand slices to the panels."""

    def take_events(self, events: list[Event]) -> None:
        """Lines of the journal this screen has not seen yet, oldest first; also those of the time it was not shown."""

    def receive(self, answer: FeedResult) -> None:
        """An answer to one of the feeds."""

    # -- the frame around the body

    def show(self, frame: Frame) -> None:
        """Draw a frame everywhere on this screen."""
        other_look = (frame.faded, frame.mode) != (self.frame.faded, self.frame.mode)
        self.frame = frame
        if other_look:
            for widget in self.query(Live):
                widget.forget()
                widget.refresh()
        past = "" if frame.past_s is None else f"{fmt.roughly(frame.past_s)} ago"
        for panel in self.query(Panel):
            if panel.OF_ENGINE:
                panel.show_past(past)
        self.show_bars(frame)
        if not self._too_small.display:
            if frame.mode == "live":
                self._catch_up()
            self.apply(frame)

    def _catch_up(self) -> None:
        events = self.console.events
        fresh = len(events)
        while fresh > 0 and events[fresh - 1].seq > self._seen:
            fresh -= 1
        if fresh < len(events):
            self._seen = events[-1].seq
            self.take_events(events[fresh:])

    def show_bars(self, frame: Frame) -> None:
        console = self.console
        if self._too_small.display:
            self._too_small.show(frame)
            return
        self._status.show(frame, self.title_of())
        if self._nav.display:
            self._nav.show(frame, self.NAME)
        self._footer.show(frame, self._foot)
        self._notices.show(console.notices_now())

    def title_of(self) -> str:
        from gainstage.tui.state.actions import SCREEN_TITLES

        return SCREEN_TITLES[self.NAME]

    @property
    def prompt(self) -> Prompt:
        return self.query_one(Prompt)

    def watch_again(self) -> None:
        """Have the feeds polled as they are now."""
        if self.is_active:
            self.console.watch_feeds(self.feeds())

    def on_screen_resume(self) -> None:
        """Shown again: ask for what this screen needs and draw the present."""
        self.console.watch_feeds(self.feeds())
        self.call_after_refresh(self.show, self.console.frame)

    # -- panels

    @property
    def panels(self) -> list[Panel]:
        """Panels that can be seen, in order."""
        return [w for w in self.query(Panel) if w.display and w.size.height > 0 and w.can_focus]

    @property
    def focused_panel(self) -> Panel | None:
        node: Widget | None = self.focused
        return node if isinstance(node, Panel) else None

    @property
    def table(self) -> Table[Any] | None:
        """The table that has the focus, else the first one."""
        if isinstance(self.focused, Table):
            return self.focused
        return next((w for w in self.query(Table) if w.display), None)

    def maximise(self) -> None:
        """The focused panel alone, and back."""
        if self.maximised_panel is not None:
            self.maximised_panel.remove_class("-maximised")
            self.remove_class("-one-panel")
            self.maximised_panel = None
            return
        panel = self.focused_panel
        if panel is None:
            self.console.notice("no panel has the focus: Tab", "info")
            return
        panel.add_class("-maximised")
        self.add_class("-one-panel")
        self.maximised_panel = panel

    # -- moving about, for every table

    def do_cursor_up(self, _: str) -> None:
        if self.table:
            self.table.move_by(-1)

    def do_cursor_down(self, _: str) -> None:
        if self.table:
            self.table.move_by(1)

    def do_page_up(self, _: str) -> None:
        if self.table:
            self.table.move_by(-max(1, self.table.rows_shown - 1))

    def do_page_down(self, _: str) -> None:
        if self.table:
            self.table.move_by(max(1, self.table.rows_shown - 1))

    def do_top(self, _: str) -> None:
        if self.table:
            self.table.move_to(0)

    def do_bottom(self, _: str) -> None:
        if self.table:
            self.table.move_to(10**9)

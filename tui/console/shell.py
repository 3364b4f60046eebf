"""What the app gives to its own parts (desk calls, global actions) beyond what every screen gets."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from textual.screen import Screen

from gainstage.tui.console.frame_builder import FrameBuilder
from gainstage.tui.console.live_settings import ShownSettings
from gainstage.tui.console.poller import Poller
from gainstage.tui.console.timeline import Timeline
from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.state.command_log import Sent
from gainstage.tui.state.frame import Frame
from gainstage.tui.state.protocol import ConsoleApp

R = TypeVar("R")


class Shell(ConsoleApp, Protocol):
    """The app as its parts see it."""

    poller: Poller
    live_settings: ShownSettings
    timeline: Timeline
    frames: FrameBuilder
    trail: list[str]
    past_lines: list[str]
    farewell: str

    @property
    def desk_screen(self) -> DeskScreen | None:
        """The uppermost of the seven screens."""

    @property
    def start_engine(self) -> Callable[[], str] | None:
        """Starts an engine and returns a message about it; None where this console cannot start one."""

    @property
    def attach(self) -> str:
        """The command that opens this console again."""

    @property
    def is_web(self) -> bool:
        """Whether the console is shown in a browser."""

    @property
    def theme_name(self) -> str:
        """The theme in use."""

    def use_theme(self, name: str) -> None:
        """Change the theme."""

    async def go(self, name: str, *, remember: bool = True) -> DeskScreen:
        """Show one of the seven screens."""

    def open_dialog(self, dialog: Screen[R], then: Callable[[R | None], Any] | None = None) -> None:
        """Put a dialog over the screen; ``then`` gets its answer."""

    def run_line(self, line: str) -> None:
        """Do what a line of the command line says."""

    def run_guarded(self, what: str, call: Callable[[], Any]) -> None:
        """Call, and report a fault instead of raising it; a coroutine is run to its end."""

    def run_in_background(self, work: Coroutine[Any, Any, None], group: str, *, exclusive: bool = False) -> None:
        """Run a coroutine beside the drawing; ``exclusive`` cancels an earlier one of the group."""

    def finished(self, sent: Sent) -> None:
        """A command has its final acknowledgement."""

    def frame_now(self) -> Frame:
        """The frame as it would be drawn now."""

    def redraw_now(self) -> None:
        """Draw the present frame again."""

    def leave(self) -> None:
        """Close the console with status 0."""

    def open_url(self, url: str) -> None:
        """Open a web address in the browser."""

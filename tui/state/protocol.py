"""What the console offers its widgets and screens. They are typed against these protocols and never import the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from textual.dom import DOMNode

from gainstage.engine.views.commands import Command
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.events import Event
from gainstage.engine.views.rows import SettingRow
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.alerts import Alerts
from gainstage.tui.state.command_log import CommandLog
from gainstage.tui.state.feeds import Feed
from gainstage.tui.state.frame import Frame
from gainstage.tui.state.notices import Notice

T = TypeVar("T")


@dataclass(slots=True)
class DrawCounts:
    """What drawing cost, for the tests and the benchmark."""

    ticks: int = 0
    builds: int = 0  # widgets drawn
    lines: int = 0  # lines that came out different
    tick_s: float = 0.0


class Canvas(Protocol):
    """What a widget needs: colours, keys, and a place to report faults."""

    counts: DrawCounts
    desk: Desk

    @property
    def palette_version(self) -> int:
        """Rises with every change of the theme."""

    @property
    def plain_ascii(self) -> bool:
        """Whether only ASCII characters may be drawn."""

    @property
    def edge(self) -> str:
        """The colour token of frames."""

    @property
    def keymap(self) -> Mapping[str, str]:
        """The operator's own keys by action."""

    @property
    def can_start(self) -> bool:
        """Whether Enter can start an engine from this console."""

    def palette_of(self, fades: bool) -> Palette:
        """The palette of the theme; faded for figures that stopped moving, where the widget fades."""

    def perform(self, name: str, words: str = "") -> None:
        """Do an action of the table of actions, or show why it is refused."""

    def report(self, problem: BaseException, what: str) -> None:
        """Log a fault of the console and show it once."""


class ConsoleApp(Canvas, Protocol):
    """What a screen needs besides: what is known, and the ways to ask and to command."""

    events: list[Event]
    command_log: CommandLog
    alerts: Alerts
    ignored_advice: dict[str, float]

    @property
    def settings(self) -> Mapping[str, SettingRow]:
        """The settings by key, as the desk last gave them; empty until it has."""

    @property
    def frame(self) -> Frame:
        """The frame that was drawn last."""

    @property
    def newest(self) -> Snapshot | None:
        """The newest snapshot, also while the view is frozen."""

    @property
    def events_dropped(self) -> int:
        """Lines of the journal that this console missed."""

    @property
    def memory_limit(self) -> float:
        """``watch.memory_limit`` as a share."""

    @property
    def exports(self) -> Path:
        """The folder that exports are written to."""

    @property
    def settings_file(self) -> Path | None:
        """The settings file, where one is known."""

    def watch_feeds(self, feeds: tuple[Feed, ...]) -> None:
        """Poll these feeds from now on, and no others of a screen."""

    def ask(self, group: str, question: Callable[[Desk], T], then: Callable[[T], Any]) -> None:
        """Ask the desk once in another thread; a newer question of the same group replaces it."""

    def send(self, command: Command, label: str) -> None:
        """Queue a command for the desk."""

    def stage_soon(self, key: str, old: Any, new: Any) -> None:
        """Stage a value that is sent when no other step has followed for a moment."""

    def notice(self, text: str, band: str = "info") -> None:
        """Show a short message."""

    def notices_now(self) -> list[Notice]:
        """Messages that are still shown, and commands under way."""

    def perform_global(self, name: str, words: str = "") -> None:
        """Do an action as it works on every screen, past the screen's own form of it."""

    def open_link(self, url: str | None) -> None:
        """Open a web address in the operator's browser, or copy it."""

    def copy_to_clipboard(self, text: str) -> None:
        """Put text on the operator's clipboard."""


def console_of(node: DOMNode) -> ConsoleApp:
    """The console that a widget or screen belongs to: its app, which offers these members (mypy checks that it does)."""
    return cast("ConsoleApp", node.app)

"""The console on the scripted story: a fake clock, no threads, nothing that depends on when it runs."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.views.commands import Command
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.bench.screenshots import settle
from gainstage.tui.console.app import GainstageApp

SIZES = {"wide": (160, 48), "medium": (120, 36), "narrow": (80, 24)}


class RecordingDesk(ScriptedDesk):
    """The story, and what was sent to it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sent: list[Command] = []

    def send(self, command: Command) -> Any:
        self.sent.append(command)
        return super().send(command)


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One time zone, no blinking, no animation, no colour variables of the machine, a home of its own."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("NO_COLOR", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAINSTAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Input.cursor_blink, "_default", False)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="session")
def story() -> tuple[Snapshot, ...]:
    """The first two and a half minutes of the story, a frame a second."""
    desk = ScriptedDesk()
    desk.advance(150.0)
    return desk.history(7200)


@pytest.fixture
def desk_at() -> Callable[..., RecordingDesk]:
    """A story at a named moment (or second)."""

    def at(mark: str | float = "bottleneck", **options: Any) -> RecordingDesk:
        desk = RecordingDesk(0, label="pg:prod", **options)
        desk.advance(STORY[mark] if isinstance(mark, str) else mark)
        return desk

    return at


class Driven:
    """An app under test: its desk, its pilot, and time that passes when told to."""

    def __init__(self, app: GainstageApp, pilot: Pilot[int]) -> None:
        self.app, self.pilot = app, pilot
        self.desk: Any = app.desk

    async def settle(self) -> None:
        await settle(self.app, self.pilot)
        assert not self.app.reported, self.app.log_path.read_text()

    async def press(self, *keys: str) -> None:
        """Keys one after the other, everything they cause done after each."""
        for i, key in enumerate(keys):
            await self.pilot.press(key)
            typing = isinstance(self.app.focused, Input) and len(key) == 1 and i + 1 < len(keys) and len(keys[i + 1]) == 1
            if not typing:
                await self.settle()

    async def type(self, text: str) -> None:
        await self.press(*({" ": "space", ":": "colon", "/": "slash"}.get(c, c) for c in text))

    async def command(self, line: str) -> None:
        """A line typed into the command line."""
        await self.pilot.press("colon")
        await self.pilot.pause()
        self.app.desk_screen.prompt.query_one(Input).value = line
        await self.press("enter")

    async def palette(self, title: str) -> None:
        """An action chosen in the palette by its title."""
        await self.pilot.press("ctrl+p")
        await self.pilot.pause()
        self.app.screen.query_one(Input).value = title.lower()
        await self.press("enter")

    async def wait(self, seconds: float) -> None:
        """Story seconds pass, in ticks."""
        for _ in range(max(1, round(seconds / 0.25))):
            self.desk.advance(0.25)
            self.app.poller.poll()
            self.app.tick()
        await self.settle()

    @property
    def sent(self) -> list[tuple[str, dict[str, Any]]]:
        return [(c.name, c.args) for c in self.desk.sent]

    @property
    def text(self) -> str:
        """Everything on the screen as plain text."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def noticed(self) -> list[str]:
        return self.app.notices.texts


@pytest.fixture
def driven(tmp_path: Path) -> Callable[..., Any]:
    """``async with driven(desk, size=...) as d``"""

    @asynccontextmanager
    async def run(desk: Any, size: tuple[int, int] = SIZES["wide"], **options: Any) -> AsyncIterator[Driven]:
        app = GainstageApp(desk, manual=True, log=tmp_path / "console.log", exports=tmp_path, **options)
        async with app.run_test(size=size) as pilot:
            d = Driven(app, pilot)
            await d.settle()
            yield d

    return run


assert os.name == "posix"


class Bent:
    """The story seen through a bend: every part of the desk can be put in another state."""

    def __init__(self, desk: ScriptedDesk, snapshot: Callable[[Any], Any] | None = None, **answers: Any) -> None:
        self._desk = desk
        self._bend = snapshot
        self._answers = answers
        self.live = answers.get("live", True)
        self.read_only = answers.get("read_only", False)
        self.label = answers.get("label", desk.label)

    def snapshot(self) -> Any:
        found = self._desk.snapshot()
        return self._bend(found) if self._bend is not None else found

    def __getattr__(self, name: str) -> Any:
        answers = self.__dict__.get("_answers", {})
        if name in answers:
            answer = answers[name]
            if isinstance(answer, Exception):

                def refuse(*_: Any, **__: Any) -> Any:
                    raise answer

                return refuse
            return lambda *_, **__: answer
        return getattr(self._desk, name)

"""Alerts by the terminal itself: the bell, and a notification of the desktop by OSC 9 or OSC 777 where terminals know them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gainstage.engine.advisor.happenings import Happening, SeenSoFar, look
from gainstage.engine.clean import clean_text
from gainstage.engine.views.rows import SettingRow
from gainstage.engine.views.snapshot import Snapshot

OSC_9 = frozenset({"iTerm.app", "WezTerm", "ghostty", "vscode"})
"""Values of TERM_PROGRAM whose terminals show OSC 9; OSC 777 is what the others know that show anything."""

SILENT_TERMS = ("", "dumb", "linux")
"""Terminals that would print a sequence they do not know."""

BANDS = {"done": "ok", "lost": "crit", "stalled": "crit"}


def sequence(one: Happening, environ: Mapping[str, str]) -> str:
    """What makes the terminal of ``environ`` show a notification; empty for one that cannot."""
    if environ.get("TERM", "") in SILENT_TERMS:
        return ""
    title, text = (clean_text(part, 200).replace(";", ",") for part in (one.title, one.text.partition("\n")[0]))
    if environ.get("TERM_PROGRAM") in OSC_9:
        return f"\x1b]9;{title}: {text}\x07"
    return f"\x1b]777;notify;{title};{text}\x07"


def write_to_terminal(text: str) -> None:
    """Write where the console draws, in one piece."""
    if sys.__stderr__ is not None:
        sys.__stderr__.write(text)
        sys.__stderr__.flush()


class AlertHost(Protocol):
    """The app as alerts see it."""

    @property
    def is_headless(self) -> bool: ...
    @property
    def is_web(self) -> bool: ...
    @property
    def settings(self) -> dict[str, SettingRow]: ...
    def notice(self, text: str, band: str = "info") -> None: ...
    def bell(self) -> None: ...


class TerminalAlerts:
    """Looks at each live frame; what is new is a notice in the console, and rings or calls as ``console.alerts`` says."""

    def __init__(self, app: AlertHost, write: Callable[[str], None] = write_to_terminal) -> None:
        self._app = app
        self._write = write
        self._seen = SeenSoFar()
        self._told: set[str] = set()

    def look(self, frame: Snapshot) -> None:
        """A new frame of a system that runs."""
        share, floor = float(self._setting("notify.failed_share", 20.0)), int(self._setting("fetch.disk_floor", 0))
        self._seen, new = look(self._seen, frame, failed_share=share / 100, disk_floor=floor)
        for one in new:
            if one.key not in self._told:
                self._told.add(one.key)
                self._tell(one)

    def _tell(self, one: Happening) -> None:
        how = self._setting("console.alerts", "desktop")
        if how == "off" or self._app.is_headless or self._app.is_web:
            return
        self._app.notice(f"{one.title.removeprefix('gainstage: ')}: {one.text}", BANDS.get(one.kind, "warn"))
        self._app.bell()
        if how == "desktop" and (text := sequence(one, os.environ)):
            self._write(text)

    def _setting(self, key: str, default: Any) -> Any:
        row = self._app.settings.get(key)
        return default if row is None or row.value is None else row.value

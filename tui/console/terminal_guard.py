"""Leaving the console when it is told to end or loses its terminal; Textual itself goes on drawing for nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from textual.app import App

LOOK_EVERY_S = 2.0


def guard_terminal(app: App[Any]) -> None:
    """End on SIGTERM and SIGHUP with 128 plus the signal, and with 129 when the terminal is gone."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, app.exit, 128 + number)
    if not app.is_web:
        app.set_interval(LOOK_EVERY_S, lambda: None if terminal_there() else app.exit(128 + signal.SIGHUP))


def terminal_there() -> bool:
    """Whether standard input is still a terminal."""
    try:
        os.ttyname(sys.__stdin__.fileno() if sys.__stdin__ is not None else 0)
    except OSError:
        return False
    return True

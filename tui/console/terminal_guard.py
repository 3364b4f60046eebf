"""Leaving the console on a signal to end or when the terminal is lost; Textual itself would go on drawing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from textual.app import App

LOOK_EVERY_S = 2.0
ENDING = (signal.SIGTERM, signal.SIGHUP)


def remember_early_signals() -> list[int]:
    """From now on a signal to end is only noted in the list that is returned: the app takes the terminal and gives it back."""
    received: list[int] = []
    for number in ENDING:
        signal.signal(number, lambda n, _: received.append(n))
    return received


def guard_terminal(app: App[Any], received: list[int]) -> None:
    """End on SIGTERM and SIGHUP with 128 plus the signal, also for those ``received`` before; with 129 without a terminal."""
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, app.exit, 128 + number)
    if received:
        app.exit(128 + received[0])
    if not app.is_web:
        app.set_interval(LOOK_EVERY_S, lambda: None if terminal_there() else app.exit(128 + signal.SIGHUP))


def terminal_there() -> bool:
    """Whether standard input is still a terminal."""
    try:
        os.ttyname(sys.__stdin__.fileno() if sys.__stdin__ is not None else 0)
    except OSError:
        return False
    return True

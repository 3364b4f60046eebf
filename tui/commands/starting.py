"""Start an engine of a home in the background, and wait until it has signed on."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gainstage.config.origins import Loaded
from gainstage.config.paths import Paths
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.desk import Desk
from gainstage.tui.commands.common import alive, database_url, waiting, without_secrets

if TYPE_CHECKING:
    from gainstage.engine.desk.postgres import PostgresDesk

ENDING_S = 30.0
"""Longest wait for an engine that has nothing left to do."""


def start_engine(
    args: argparse.Namespace, loaded: Loaded, desk: Desk, paths: Paths, *, title: str, demo: bool, until_empty: bool
) -> bool:
    """Start an engine of this home unless one already serves it or the database; wait until it has signed on. Returns whether one
    was started."""
    from gainstage.engine.process import STARTUP_S, engine_pid, log_tail, start_detached

    if alive(desk) or engine_pid(paths):
        return False
    arguments = ["--home", str(paths.data)] if args.home else []
    url = database_url(args, loaded)
    environ = {"GAINSTAGE_STORE__DATABASE": url} if url else {}
    if args.profile:
        arguments += ["--profile", str(Path(args.profile).absolute()) if args.profile.endswith(".toml") else args.profile]
    pairs, secrets = without_secrets(args.set)
    environ |= secrets
    for pair in pairs:
        arguments += ["--set", pair]
    arguments += ["--title", title]
    arguments += ["--demo"] * demo + ["--until-empty"] * until_empty
    with waiting(f"starting an engine, its log is {paths.engine_log}"):
        child = start_detached(paths, arguments, environ)
        end = time.monotonic() + STARTUP_S
        while not signed_on(desk, paths):
            if child.poll() not in (None, 0):
                raise DeskError(f"the engine did not start; the end of {paths.engine_log}:\n{log_tail(paths)}")
            if child.poll() == 0 or time.monotonic() > end:
                break  # it has ended already, or is slow: following shows which
            time.sleep(0.1)
    return True


def wait_for_end(desk: PostgresDesk, paths: Paths) -> None:
    """Wait until the engine that this command started has ended with the empty queue, so that the command leaves nothing in use.

    Returns at once when the engine has work of others left, and after :data:`ENDING_S` seconds in any case.
    """
    from gainstage.engine.errors import EngineError
    from gainstage.engine.process import engine_pid

    end = time.monotonic() + ENDING_S
    with contextlib.suppress(EngineError):
        while engine_pid(paths) is not None and time.monotonic() < end:
            counts = desk.queue.counts()
            if counts.queued + counts.running:
                return
            time.sleep(0.1)


def starter(
    args: argparse.Namespace, loaded: Loaded, desk: Desk, paths: Paths, *, title: str = "", demo: bool = False
) -> Callable[[], str]:
    """The action of Enter in a console without an engine: starts one and returns a message."""

    def start() -> str:
        started = start_engine(args, loaded, desk, paths, title=title, demo=demo, until_empty=False)
        return f"engine started; its log is {paths.engine_log}" if started else "an engine runs here already"

    return start


def signed_on(desk: Desk, paths: Paths) -> bool:
    """Whether an engine of this home serves and has published a frame: a console opened earlier would report no engine."""
    from gainstage.engine.fleet.home import engine_pids

    pids = engine_pids(paths)
    return desk.snapshot() is not None and any(e.alive and e.pid in pids for e in desk.engines())

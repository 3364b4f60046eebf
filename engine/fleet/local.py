"""Engines of this machine, under the supervisor of the home: it reads from a file in the home which engines are wanted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gainstage.config.paths import Paths
from gainstage.config.whole_files import write_whole
from gainstage.engine import detached
from gainstage.engine.fleet.home import engine_pid, member_names
from gainstage.engine.fleet.launcher import DRAINING, FleetPlan, Launched, LaunchError, free_names

STARTED_S = 30.0
"""Longest wait for a supervisor to lock its home."""


@dataclass(frozen=True, slots=True)
class WantedMembers:
    """The engines that are to run, by name; ``now``: the others stop at once instead of finishing what is in flight."""

    names: tuple[str, ...]
    now: bool = False


def read_wanted(paths: Paths) -> WantedMembers | None:
    """What was written last; None before the first time, and for a file that is not whole."""
    try:
        kept = json.loads((paths.members / "wanted.json").read_text("utf-8"))
        return WantedMembers(tuple(map(str, kept["names"])), bool(kept["now"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_wanted(paths: Paths, wanted: WantedMembers) -> None:
    """Tell the supervisor of this home which engines are to run."""
    paths.members.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(paths.members / "wanted.json", json.dumps({"names": wanted.names, "now": wanted.now}))


class LocalLauncher:
    """Starts the supervisor with the first engine; it ends with the last."""

    def __init__(self, plan: FleetPlan, paths: Paths) -> None:
        self.plan = plan
        self.paths = paths

    def start(self, count: int) -> None:
        there = self.list()
        kept = [engine.name for engine in there if engine.state != DRAINING]
        write_wanted(self.paths, WantedMembers((*kept, *free_names("local", count, [engine.name for engine in there]))))
        if engine_pid(self.paths) is None:
            self._start_supervisor()

    def _start_supervisor(self) -> None:
        environ = {"GAINSTAGE_STORE__DATABASE": self.plan.database} if self.plan.database else {}
        words = [sys.executable, "-P", "-m", "gainstage.engine.process", "--home", str(self.paths.data), "--supervised"]
        child = detached.start([*words, *self.plan.arguments], self.paths.ensure().engine_log, environ)
        end = time.monotonic() + STARTED_S
        while engine_pid(self.paths) is None:
            if child.poll() is not None or time.monotonic() > end:
                raise LaunchError(
                    "the supervisor of the engines did not start",
                    cause="no supervisor",
                    hint=f"Its log is {self.paths.engine_log}.",
                )
            time.sleep(0.05)

    def list(self) -> tuple[Launched, ...]:
        if engine_pid(self.paths) is None:
            return ()
        wanted = (read_wanted(self.paths) or WantedMembers(())).names
        pids = {name: engine_pid(self.paths.member(name)) for name in (*wanted, *member_names(self.paths))}
        return tuple(
            Launched(name, "running" if pid and name in wanted else DRAINING if pid else "starting", f"pid {pid}" if pid else "")
            for name, pid in pids.items()
            if pid or name in wanted
        )

    def stop(self, names: Sequence[str], *, now: bool = False) -> None:
        kept = (read_wanted(self.paths) or WantedMembers(())).names
        write_wanted(self.paths, WantedMembers(tuple(name for name in kept if name not in names), now))

"""How engines are placed: one small protocol, carried out by the supervisor of a home, by Ray or by Slurm.

A launcher places processes and nothing else. What the engines do, are told and have stored goes through the database.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from gainstage.config.paths import Paths
from gainstage.config.whole_files import write_whole
from gainstage.engine.errors import EngineError

NAMES = ("local", "ray", "slurm")


class LaunchError(EngineError):
    """Engines cannot be placed as it was asked for; the text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Launched:
    """One engine as its launcher knows it; ``name`` is that of its folder in the home. ``state`` is the launcher's own word."""

    name: str
    state: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What every engine of a fleet is started with. ``arguments`` are those of ``gainstage engine``; ``options`` the launcher's own."""

    launcher: str
    arguments: tuple[str, ...] = ()
    database: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    def save(self, paths: Paths) -> None:
        """Keep the plan in the home, readable by its owner only: an address may hold a password."""
        write_whole(plan_file(paths), json.dumps(asdict(self)), mode=0o600)

    @classmethod
    def load(cls, paths: Paths) -> FleetPlan:
        """The plan of the last ``fleet up`` of this home. Raises :class:`LaunchError` without one."""
        try:
            kept = json.loads(plan_file(paths).read_text("utf-8"))
            return cls(kept["launcher"], tuple(kept["arguments"]), kept["database"], kept["options"])
        except FileNotFoundError:
            raise LaunchError("this home has no fleet", cause="no fleet", hint="`gainstage fleet up` starts one.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LaunchError(
                f"{plan_file(paths)} cannot be read: {error}",
                cause="no fleet",
                hint="Remove it; `gainstage fleet up` writes a new one.",
            ) from None


class Launcher(Protocol):
    """Every call raises :class:`LaunchError` where the launcher is not there or refuses."""

    def start(self, count: int) -> None:
        """Start so many engines more; they end by themselves when they have been drained."""

    def list(self) -> tuple[Launched, ...]:
        """The engines that run or wait for a place, the oldest first."""

    def stop(self, names: Sequence[str], *, now: bool = False) -> None:
        """Drain engines (finish what is in flight, then end), or stop them ``now``; returns before they have ended."""


@runtime_checkable
class Scaling(Protocol):
    """A launcher that can let the number of engines follow the length of the queue."""

    def scale(self, least: int) -> None:
        """Follow it from now on, with at least so many engines and at most those of the plan."""

    def unscale(self) -> None:
        """Leave the number of engines as it is."""


def plan_file(paths: Paths) -> Path:
    """Where the plan of the fleet is stored."""
    return paths.data / "fleet.json"


def resize(launcher: Launcher, count: int, *, now: bool = False) -> tuple[int, int]:
    """Have ``count`` engines, draining the newest where there are more. (before, after) as the launcher counts them."""
    there = [engine for engine in launcher.list() if engine.state != DRAINING]
    if count > len(there):
        launcher.start(count - len(there))
    elif count < len(there):
        launcher.stop([engine.name for engine in there[count:]], now=now)
    return len(there), count


DRAINING = "draining"
"""The state in which every launcher shows an engine that was told to end and has not yet."""


def free_names(prefix: str, count: int, taken: Sequence[str]) -> list[str]:
    """The first ``count`` names ``prefix-0``, ``prefix-1`` ... that are not taken."""
    names: list[str] = []
    number = 0
    while len(names) < count:
        if (name := f"{prefix}-{number}") not in taken:
            names.append(name)
        number += 1
    return names

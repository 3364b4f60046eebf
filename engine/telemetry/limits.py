"""What this process may use, counted before it is used up: open files, threads, memory; in a container often less than the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from gainstage.engine.errors import Misconfigured

OWN_FILES, FILES_EACH = 256, 16
"""Files an engine has open (models, connections, logs), and those of a recording in flight (audio, downloads, sockets)."""

MOST_IN_FLIGHT = 512
"""The largest ``in_flight``: the soft limit is raised for it, as the setting may change while the engine runs."""

OWN_THREADS, THREADS_EACH = 128, 4
"""Threads of an engine (those of the model libraries among them), and of a recording in flight."""

GROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60
"""Version 1 of the control groups has no word for "no limit", but the largest number of pages."""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """None is "no limit", or a platform that has none. ``files`` is as far as this process may raise its own limit."""

    files: int | None
    threads: int | None
    memory: int

    def shortage(self, in_flight: int) -> Misconfigured | None:
        """The refusal of an engine that would meet a limit with so many recordings in flight; None where there is room."""
        for resource, limit, need, names in (
            ("open files", self.files, OWN_FILES + FILES_EACH * in_flight, "ulimit -n, LimitNOFILE of systemd"),
            (
                "threads",
                self.threads,
                OWN_THREADS + THREADS_EACH * in_flight,
                "ulimit -u, TasksMax of systemd, pids of a container",
            ),
        ):
            if limit is not None and limit < need:
                return Misconfigured(
                    f"{limit} {resource} are allowed here, and an engine with in_flight {in_flight} needs {need}",
                    cause=f"too few {resource}",
                    hint=f"Raise the limit ({names}), or lower in_flight.",
                )
        return None


def limits(groups: Path = GROUPS, membership: Path = Path("/proc/self/cgroup")) -> ProcessLimits:
    """The limits of this process: its own, those of its user, and those of the control groups it is in."""
    memory = [psutil.virtual_memory().total, *group_values("memory.max", "memory", "memory.limit_in_bytes", groups, membership)]
    threads = list(group_values("pids.max", "pids", "pids.max", groups, membership))
    files = None
    with suppress(ImportError, OSError, ValueError):  # POSIX only
        import resource

        files = _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        if (addresses := _finite(resource.getrlimit(resource.RLIMIT_AS)[0])) is not None:  # ulimit -v
            memory.append(addresses)
        if hasattr(resource, "RLIMIT_NPROC"):
            threads += [n for n in (_finite(resource.getrlimit(resource.RLIMIT_NPROC)[0]),) if n is not None]
    return ProcessLimits(files, min(threads, default=None), min(memory))


def memory_limit() -> int:
    """Bytes of memory this process and its group may use: the machine's, or less in a container."""
    return limits().memory


def memory_in_use() -> int | None:
    """Bytes that the group with the memory limit uses, without what it can give back at once; None where no group has a limit."""
    for folder in _folders("memory", GROUPS, Path("/proc/self/cgroup")):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if limit is None or limit >= psutil.virtual_memory().total:
            continue
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        with suppress(OSError, ValueError):
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            given_back = int(statistics.get("inactive_file", statistics.get("total_inactive_file", 0)))
            return None if used is None else max(0, used - given_back)
    return None


def raise_open_files() -> None:
    """Raise the soft limit of open files to what the largest engine needs, or as far as the hard one allows. Never lowers it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OWN_FILES + FILES_EACH * MOST_IN_FLIGHT
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def group_values(name: str, controller: str, name_before: str, groups: Path, membership: Path) -> Iterator[int]:
    """A limit in every control group around this process: ``name`` in version 2, ``name_before`` of ``controller`` in version 1."""
    for folder in _folders(controller, groups, membership):
        for file in {name, name_before}:
            value = _number(folder / file)
            if value is not None and value < NO_LIMIT:
                yield value


def _folders(controller: str, groups: Path, membership: Path) -> Iterator[Path]:
    """The folders of the groups around this process, from the inside out. Inside a container its own group looks like the root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        inside = root / path.lstrip("/")
        yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(root))


def _number(file: Path) -> int | None:
    with suppress(OSError, ValueError):  # "max"
        return int(file.read_text())
    return None


def _finite(limit: int) -> int | None:
    import resource

    return None if limit == resource.RLIM_INFINITY else limit

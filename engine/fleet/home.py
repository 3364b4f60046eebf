"""Who serves a home: the lock its engine holds for life, and the process ids beside it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from gainstage.config.paths import Paths
from gainstage.config.whole_files import write_whole
from gainstage.engine.errors import Misconfigured
from gainstage.engine.flow.locks import FileLock

LOOK_S = 1.0
"""How long a starting engine tries to lock its home before it says that another engine serves it."""


class Served(Exception):
    """Another engine serves this home. The text names the home and the process."""


def lock_of(paths: Paths) -> FileLock:
    """The lock an engine holds for its whole life; the kernel drops it with the process."""
    return FileLock(paths.engine_lock)


def engine_pid(paths: Paths) -> int | None:
    """The process id of the engine (or the supervisor of several) that serves this home, None when there is none."""
    lock = lock_of(paths)
    if not lock.path.exists() or lock.is_free():
        return None
    with contextlib.suppress(OSError, ValueError):
        return int(paths.engine_pid.read_text())
    return None


def member_names(paths: Paths) -> tuple[str, ...]:
    """The engines that a supervisor of this home has ever run, in name order."""
    try:
        return tuple(sorted(p.name for p in paths.members.iterdir() if p.is_dir()))
    except OSError:
        return ()


def engine_pids(paths: Paths) -> frozenset[int]:
    """The process ids of all that serve this home: its engine, or its supervisor and each of the engines under it."""
    served = (engine_pid(p) for p in (paths, *(paths.member(name) for name in member_names(paths))))
    return frozenset(pid for pid in served if pid is not None)


@contextlib.contextmanager
def serving(paths: Paths) -> Iterator[None]:
    """Hold the home for the block. Raises :class:`Served` when another engine does, :class:`Misconfigured` where it cannot be written."""
    lock = lock_of(paths)
    if not _acquired(lock):
        raise Served(f"an engine serves {paths.own} already (pid {engine_pid(paths)}); `gainstage status` shows it")
    try:
        write_whole(paths.engine_pid, str(os.getpid()), mode=0o600)
    except OSError as error:
        lock.release()
        raise Misconfigured(
            f"{paths.own} cannot be written: {error.strerror}",
            cause="home: files",
            hint="Check whether the disk is full, or choose another home with --home.",
        ) from error
    try:
        yield
    finally:
        paths.engine_pid.unlink(missing_ok=True)
        lock.release()


def _acquired(lock: FileLock) -> bool:
    """Take the lock of the home. Whoever only looks whether it is free holds it for a moment: tried for a second."""
    end = time.monotonic() + LOOK_S
    while not lock.acquire(blocking=False):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True

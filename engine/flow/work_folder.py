"""Work folders: every recording in flight owns one, and it is gone when the recording is done or has failed for good.

Between two attempts of a recording, only the results kept for the next one stay (:mod:`gainstage.engine.flow.kept`). The owner holds a kernel lock on ``.owner`` inside the folder, so after kill -9 the folder is known to be nobody's. The file
says who it was.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.kept import SUFFIX
from gainstage.engine.flow.locks import FileLock

_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_OWNER = ".owner"

KEEP_DAYS = 7.0
"""Results kept for a next attempt are removed when none has come for so many days."""

_DOOR = ".door.lock"  # held for the instants in which folders get or lose an owner


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a work folder, or did last."""

    pid: int
    host: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """What :meth:`WorkFolders.sweep` found, by recording id."""

    removed: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()  # their owner lives, or is on another host
    kept: tuple[str, ...] = ()  # with results for a next attempt
    failed: tuple[tuple[str, str], ...] = ()  # (id, why) of what could not be removed


def is_safe(recording_id: str) -> bool:
    """Whether an id may name a file. Ours do; those of a shared database may be anybody's."""
    return _SAFE_ID.fullmatch(recording_id) is not None


class WorkFolders:
    """The work folders below ``root``, which is made when it is missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def open(self, recording_id: str) -> Iterator[Path]:
        """The recording's own folder, empty but for results kept by an earlier attempt; removed at the end. After an error that
        another attempt may follow (any but :class:`Permanent`), kept results stay.

        Raises :class:`Transient` when the folder has a living owner or cannot be made, :class:`Permanent` for an id unsafe in
        file names.
        """
        path = self._path(recording_id)
        lock = self._claim(path)
        again = False
        try:
            yield path
        except BaseException as error:
            again = not isinstance(error, Permanent)
            raise
        finally:
            try:
                self._remove(path, lock, keeping=again)  # what stays is for the next sweep
            finally:
                lock.release()

    def sweep(self, resumable: Callable[[Sequence[str]], Collection[str]] = lambda _: ()) -> Sweep:
        """Remove every folder whose owner is dead; to be called at start and now and then. Folders of another host stay: its locks
        may not reach here. Of the recordings that ``resumable`` names, kept results stay for :data:`KEEP_DAYS`.
        """
        fates: dict[str, list[str]] = {"removed": [], "owned": [], "kept": []}
        failed: list[tuple[str, str]] = []
        paths = sorted(p for p in self.root.iterdir() if p.is_dir() and not p.is_symlink())
        recent = [path.name for path in paths if _kept_lately(path)]
        again = frozenset(resumable(recent)) if recent else frozenset()
        for path in paths:
            try:
                keeping = path.name in recent and path.name in again
                fates["kept" if keeping and _only_kept(path) else self._sweep_one(path, keeping)].append(path.name)
            except FileNotFoundError:  # its owner finished just now
                continue
            except OSError as error:
                failed.append((path.name, error.strerror or str(error)))
        return Sweep(tuple(fates["removed"]), tuple(fates["owned"]), tuple(fates["kept"]), tuple(failed))

    def bytes_used(self) -> int:
        """Bytes of disk taken by all work folders; what vanishes while counting is not counted."""
        return _bytes_below(self.root)

    def check_floor(self, floor_bytes: int) -> None:
        """Raises :class:`Transient` with cause "disk floor" when less than ``floor_bytes`` is free."""
        free = shutil.disk_usage(self.root).free
        if free < floor_bytes:
            raise Transient(
                f"{free / 1024**3:.1f} GiB free in {self.root}, the floor is {floor_bytes / 1024**3:.1f} GiB",
                cause="disk floor",
                hint="Free disk space, or lower fetch.disk_floor.",
            )

    def _path(self, recording_id: str) -> Path:
        if not is_safe(recording_id):
            raise Permanent(
                f"recording id {clean_text(recording_id, 100)!r} is not safe in a file name",
                cause="unsafe id",
                hint="It was not queued by gainstage: see who else writes to this database.",
            )
        return self._own(self.root / recording_id)

    def _own(self, path: Path) -> Path:
        """The path of a folder that is about to be emptied: one in the root, whatever it is called."""
        if path.parent != self.root or path.name in ("", "..") or path.is_symlink():
            raise Permanent(
                f"{path} is no work folder of {self.root}", cause="unsafe id", hint="See who else writes to this database."
            )
        return path

    def _door(self) -> FileLock:
        return FileLock(self.root / _DOOR)

    def _claim(self, path: Path) -> FileLock:
        lock = FileLock(path / _OWNER)
        try:
            with self._door():
                path.mkdir(mode=0o700, exist_ok=True)
                free = lock.acquire(blocking=False)
                previous = _owner_of(lock)
                if free:
                    lock.write(json.dumps(asdict(Owner(os.getpid(), socket.gethostname()))).encode())
            if free:
                _empty(path, keeping=True)
        except OSError as error:
            lock.release()
            raise Transient(
                f"no work folder: {error.strerror or error}",
                cause="work folder not writable",
                hint=f"Look at the disk and the permissions of {self.root}.",
                recording=path.name,
            ) from error
        if not free:
            who = f"process {previous.pid} on {previous.host}" if previous else "another process"
            raise Transient(
                f"its work folder belongs to {who}",
                cause="work folder in use",
                hint="The recording is being processed elsewhere; it is tried again later.",
                recording=path.name,
            )
        return lock

    def _take_over(self, path: Path) -> FileLock | None:
        """The lock of a folder that nobody owns; None when somebody does, or there is no such folder."""
        lock = FileLock(path / _OWNER)
        with self._door():
            return lock if path.is_dir() and lock.acquire(blocking=False) else None

    def _sweep_one(self, path: Path, keeping: bool) -> str:
        lock = self._take_over(path)
        if lock is None:
            return "owned"
        try:
            owner = _owner_of(lock)
            if owner is not None and owner.host != socket.gethostname():
                return "owned"
            if (failure := self._remove(path, lock, keeping=keeping)) is not None:
                raise failure
            return "kept" if path.exists() else "removed"
        finally:
            lock.release()

    def _remove(self, path: Path, lock: FileLock, *, keeping: bool = False) -> OSError | None:
        """Remove a folder whose lock we hold, with ``keeping`` only if nothing is kept in it; why not, when something stays for
        the next sweep."""
        try:
            _empty(path, keeping=keeping)
            if keeping and next(path.glob(f"*{SUFFIX}"), None) is not None:
                return None
            with self._door():
                lock.path.unlink(missing_ok=True)
                path.rmdir()
        except OSError as error:
            return error
        return None


def adopt(kept: Path, roots: Iterable[Path]) -> bool:
    """Move the file of kept results here from the folder that another engine had for the recording, when nobody has that now;
    whether there was one. ``roots`` are the work folders to look in.
    """
    for root in roots:
        other = root / kept.parent.name / kept.name
        if other.parent != kept.parent and other.is_file() and FileLock(other.parent / _OWNER).is_free():
            with suppress(OSError):
                other.rename(kept)
                return True
    return False


def _owner_of(lock: FileLock) -> Owner | None:
    with suppress(ValueError, TypeError, KeyError):
        owner = json.loads(lock.read())
        return Owner(int(owner["pid"]), str(owner["host"]))
    return None


def _kept_lately(path: Path) -> bool:
    oldest = time.time() - KEEP_DAYS * 86_400
    try:
        return any(kept.stat().st_mtime > oldest for kept in path.glob(f"*{SUFFIX}"))
    except OSError:
        return False


def _only_kept(path: Path) -> bool:
    return all(name == _OWNER or name.endswith(SUFFIX) for name in os.listdir(path))


def _empty(path: Path, *, keeping: bool = False) -> None:
    """Remove all but the owner file, and kept results with ``keeping``. Raises ``OSError`` for the first thing that cannot be
    removed."""
    for _ in range(3):  # a child process that is just ending may still take its own files away
        try:
            for entry in list(os.scandir(path)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name != _OWNER and not (keeping and entry.name.endswith(SUFFIX)):
                    os.unlink(entry.path)
            return
        except FileNotFoundError:
            continue


def _bytes_below(folder: Path | str) -> int:
    total = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                total += _bytes_below(entry.path)
            else:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total

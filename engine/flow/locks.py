"""Locks between processes that the kernel releases when their holder dies, even by kill -9. POSIX: ``flock``."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType


class FileLock:
    """An exclusive lock on a file, held by this object until :meth:`release` or the end of the process.

    Two objects exclude each other also inside one process. The file is made when it is missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        return self._handle is not None

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock; False when ``blocking`` is off and somebody else holds it.

        Raises ``OSError`` when the file cannot be opened, ``FileNotFoundError`` when its folder is missing.
        """
        if self._handle is not None:
            raise RuntimeError(f"{self.path} is held already")
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(handle)
                return False
            except BaseException:
                os.close(handle)
                raise
            if self._is_current(handle):
                self._handle = handle
                return True
            os.close(handle)  # the last holder removed the file while we waited: lock the new one

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def read(self) -> bytes:
        """What the holder wrote into the file, empty when there is none."""
        with contextlib.suppress(OSError):
            return self.path.read_bytes()
        return b""

    def write(self, data: bytes) -> None:
        """Replace the content of the held file."""
        if self._handle is None:
            raise RuntimeError(f"{self.path} is not held")
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, data, 0)

    def is_free(self) -> bool:
        """Whether the file exists and nobody holds its lock. A file that is missing or closed to this user says nothing: False."""
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True

    def _is_current(self, handle: int) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(handle)
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

"""The embedded Postgres: one server per home, shared by every process that uses it, stopped by the last one (POSIX).

Users are counted by ``flock``: the kernel drops a dead process's share, so kill -9 leaks nothing. A second lock, the gate,
lets one process at a time start or stop the server.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote

import psutil

from gainstage.engine.errors import Misconfigured, Transient
from gainstage.engine.store.embedded_place import ServerPlace, place_of
from gainstage.engine.store.embedded_server import Server, tuned

GATE_S = 120.0
"""Longest wait for another process that starts or stops the same server."""

POLL_S = 0.01


class EmbeddedPostgres:
    """The server of ``folder``. :meth:`start` starts it or joins it, :meth:`stop` leaves it; the last user's stop ends it.

    ``settings`` are Postgres settings over those of :func:`gainstage.engine.store.embedded_server.tuned`; they count when this process is
    the one that starts it. A context manager. Raises :class:`Misconfigured` when it cannot run here, :class:`Transient` when it does not start now.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(os.path.realpath(folder.expanduser()))
        self.settings = {**tuned(), **(settings or {})}
        self._server: Server | None = None
        self._users: IO[str] | None = None
        self._process: psutil.Process | None = None  # the server as it was when it was joined or started last

    def __enter__(self) -> EmbeddedPostgres:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def place(self) -> ServerPlace:
        """Where its files are; known once started."""
        return self._started.place

    @property
    def _started(self) -> Server:
        if self._server is None:
            raise RuntimeError("not started")
        return self._server

    @property
    def url(self) -> str:
        """Address for any Postgres client of this machine."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.place.sockets), safe='')}&port=5432"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        process = self._server.process() if self._server else None
        return process.pid if process else None

    @property
    def shared(self) -> bool:
        """Whether another process uses the server now; only while it is started here."""
        if self._users is None:
            return False
        with self._gate():
            alone = self._alone(self._users)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            return not alone

    def start(self) -> EmbeddedPostgres:
        if self._users is not None:
            return self
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._gate():
                self._server = Server(place_of(self.folder), self.settings)
                users = self._open("users.lock")
                try:
                    fcntl.flock(users, fcntl.LOCK_SH)
                    if not self._server.answers():
                        self._server.start()
                except BaseException:
                    users.close()
                    raise
                self._users, self._process = users, self._server.process()
        except OSError as error:
            raise Misconfigured(
                f"the embedded database cannot use {self.folder}: {error}",
                cause="embedded database: files",
                hint="Check who owns the folder and whether the disk is full, or choose another home with --home.",
            ) from error
        return self

    def revive(self) -> None:
        """Start the server again when it was killed while in use here. Raises :class:`Transient` when it does not start, and
        :class:`Misconfigured` when its folder was removed."""
        if self._users is None:
            return
        self.check_there()
        with self._gate():
            if not self._started.answers():
                self._started.start()
                self._process = self._started.process()

    def check_there(self) -> None:
        """Raise :class:`Misconfigured` when the folder was removed: what answers at its address now is somebody else's."""
        if self._users is not None and self._removed(self._users):
            raise Misconfigured(
                f"the embedded database in {self.folder} was removed while it was in use",
                cause="embedded database: gone",
                hint="Stop this gainstage and start it again: it begins with an empty database.",
            )

    def stop(self) -> None:
        """Leave the server; the last user to leave ends it. Nothing happens when it was not started here.

        A server whose folder was removed is discarded; one that others started there since is theirs.
        """
        if self._users is None:
            return
        apart = self.place.base != self.folder  # nobody else ever gets that place
        with suppress(FileNotFoundError), nullcontext() if self._removed(self._users) else self._gate():  # it may go at any moment
            if self._alone(self._users):
                if apart or not self._removed(self._users):
                    self._started.end()
                elif self._process is not None:
                    self._started.discard(self._process)
        self._users.close()
        self._users = None

    def remove(self) -> None:
        """Leave the server and delete the cluster with all that is in it. Raises :class:`Transient` while others use it."""
        with self._gate():
            users = self._users or self._open("users.lock")
            if not self._alone(users):
                if self._users is None:
                    users.close()
                else:
                    fcntl.flock(users, fcntl.LOCK_SH)
                raise Transient(
                    "others are using the embedded database",
                    cause="embedded database: in use",
                    hint="Stop the engine and every console first.",
                )
            self._server = self._server or Server(place_of(self.folder), self.settings)
            self._server.end()
            users.close()
            self._users = None
            for folder in {self.place.base, self.place.sockets, self.folder}:
                shutil.rmtree(folder, ignore_errors=True)

    # -- locks ------------------------------------------------------------------------------------------------------

    def _open(self, name: str) -> IO[str]:
        file = open(self.folder / name, "a", encoding="ascii")  # noqa: SIM115  (held as long as the lock)
        if os.geteuid() == 0:
            owner = self.folder.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        return file

    def _removed(self, users: IO[str]) -> bool:
        """Whether the folder that was joined is gone; another may have its name."""
        try:
            return not os.path.samestat(os.fstat(users.fileno()), os.stat(self.folder / "users.lock"))
        except FileNotFoundError:
            return True

    @staticmethod
    def _alone(users: IO[str]) -> bool:
        """Whether nobody else uses the server. The share held here may be lost by asking: only with the gate held."""
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _gate(self) -> Iterator[None]:
        end = time.monotonic() + GATE_S
        with self._open("gate.lock") as gate:
            while True:
                try:
                    fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise Transient(
                            f"another process has been starting or stopping the database of {self.folder} for {GATE_S:.0f} s",
                            cause="embedded database: gate",
                            hint="Look for a gainstage that hangs, and at the server.log of that folder.",
                        ) from None
                    time.sleep(POLL_S)
            yield

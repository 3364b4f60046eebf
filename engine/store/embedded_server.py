"""One embedded Postgres server: made, started, found, ended (POSIX). Who may do that when is for :mod:`gainstage.engine.store.embedded`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from psycopg.pq import PGconn, Ping

from gainstage.engine.backoff import Backoff
from gainstage.engine.errors import Misconfigured, Transient
from gainstage.engine.store.embedded_place import MAJOR, ServerPlace
from gainstage.engine.telemetry.limits import memory_limit

START_S = 300.0
"""Longest wait for a server that lives but does not answer yet: after a crash it reads its log first."""

STUCK_S = 20.0
"""A server that neither answers nor reads its log for this long is killed and started again."""

AFTER_KILL_S = 15.0
"""A killed server's children hold its memory for a moment: starting is tried again for this long."""

STOP_S = 60.0
TOOL_S = 120.0
LOG_BYTES = 4_000_000
POLL_S = 0.01

_REASON = re.compile(r"(?:FATAL|PANIC):\s+(.*)")
"""Why a server ended, in a line of its log."""


def tuned() -> dict[str, str]:
    """Server settings that pay, from the memory that may be used here: in a container less than the machine has."""
    mib = memory_limit() // 2**20
    maintenance = min(1024, mib // 8)
    shared = Path("/dev/shm")  # nosec B108
    shared_memory = shutil.disk_usage(shared).free // 2**20 if shared.is_dir() else mib
    return {
        "shared_buffers": f"{max(64, min(2048, mib // 4))}MB",
        "max_wal_size": "4GB",
        "maintenance_work_mem": f"{maintenance}MB",
        # a parallel index build puts all of it into /dev/shm, which containers keep tiny
        "max_parallel_maintenance_workers": "2" if shared_memory > 2 * maintenance else "0",
        "max_connections": "200",
        "jit": "off",
        "log_checkpoints": "off",
    }


class Server:
    """The server of a place. Nothing here is safe against another process doing the same."""

    def __init__(self, place: ServerPlace, settings: Mapping[str, str]) -> None:
        self.place = place
        self.settings = settings

    def answers(self) -> bool:
        """Whether it takes connections now."""
        host = str(self.place.sockets).replace("\\", r"\\").replace("'", r"\'")
        return PGconn.ping(f"host='{host}' port=5432 user=postgres dbname=postgres connect_timeout=2".encode()) == Ping.OK

    def process(self) -> psutil.Process | None:
        """The living server of our cluster, and never another process that was given its number."""
        try:
            lines = (self.place.data / "postmaster.pid").read_text(errors="replace").splitlines()
            process = psutil.Process(int(lines[0]))
            if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
                return None
            try:
                ours = Path(process.cwd()) == self.place.data
            except psutil.AccessDenied:  # root without ptrace, in a container
                ours = abs(process.create_time() - int(lines[2])) < 5
            return process if ours else None
        except (OSError, psutil.Error, ValueError, IndexError):
            return None

    def start(self) -> None:
        """Start it, making the cluster first where there is none, and wait until it answers."""
        place = self.place
        place.own(place.sockets)
        if not (place.data / "PG_VERSION").exists():
            self._initialise()
        version = (place.data / "PG_VERSION").read_text().strip()
        if version != str(MAJOR):
            raise Misconfigured(
                f"the embedded database in {place.data} was written by Postgres {version}, this gainstage has {MAJOR}",
                cause="embedded database: version",
                hint="Move it with pg_dump and psql of both versions, or choose another home.",
            )
        self._configure()
        if place.log.exists() and place.log.stat().st_size > LOG_BYTES:
            place.log.replace(place.log.with_suffix(".log.1"))
        end = time.monotonic() + AFTER_KILL_S
        while True:
            server = self.process()
            if server is None:
                (place.data / "postmaster.pid").unlink(missing_ok=True)  # stale: its process is gone, or is not ours
                server = self._spawn()
            began = time.monotonic()
            if self._comes_up(server):
                return
            if time.monotonic() - began >= STUCK_S:  # it was killed only now
                end = time.monotonic() + AFTER_KILL_S
            if time.monotonic() > end:
                raise Transient(
                    f"the embedded database does not start: {self._last_words()}",
                    cause="embedded database: start",
                    hint=f"Its log is {place.log}.",
                )
            time.sleep(0.2)

    def end(self) -> None:
        """Stop it; nothing happens when it does not run."""
        server = self.process()
        # fast shutdown closes the connections and writes everything; after an immediate one the next start reads the log
        for shutdown in (signal.SIGINT, signal.SIGQUIT):
            if server is None or _ended(server):
                return
            with suppress(psutil.NoSuchProcess):
                server.send_signal(shutdown)
            end = time.monotonic() + STOP_S
            while not _ended(server) and time.monotonic() < end:
                time.sleep(POLL_S)

    def discard(self, server: psutil.Process) -> None:
        """End a server whose files were removed. Left alone it would do so within a minute, and remove by its name the socket of whoever
        was started there since."""
        if not _ended(server):
            _kill(server)

    def _comes_up(self, server: psutil.Process | None) -> bool:
        """Wait until the server takes connections; False when it ended before."""
        end, backoff = time.monotonic() + START_S, Backoff(POLL_S, 0.2, factor=1.2)  # a server that recovers logs each refusal
        at_work = time.monotonic()
        while server is not None and time.monotonic() < end:
            if self.answers():
                return True
            if _ended(server):
                return False
            if _recovers(server):
                at_work = time.monotonic()
            elif time.monotonic() - at_work > STUCK_S:  # it waits for children that are gone: it would do so for minutes
                _kill(server)
                return False
            time.sleep(backoff.next())
        return False

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there, so that a kill half-way leaves nothing that looks whole."""
        place = self.place
        fresh = place.base / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        made = self._run(
            str(place.binaries / "initdb"),
            *("-D", str(fresh), "-U", "postgres", "-A", "trust", "--encoding=UTF8"),
            # the environment's locale would stay in the cluster for ever: LANG=C breaks case folding
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            *(["--no-sync"] if self.settings.get("fsync") == "off" else []),
        )
        if made.returncode:
            raise Misconfigured(
                f"initdb failed: {_reason(made.stdout)}",
                cause="embedded database: initdb",
                hint="Check the disk and the folder, or name a server in store.database.",
            )
        with open(fresh / "postgresql.conf", "a", encoding="utf-8") as configuration:
            configuration.write("\ninclude_if_exists = '../engine.conf'\n")
        fresh.rename(place.data)

    def _configure(self) -> None:
        place = self.place
        sockets = str(place.sockets).replace('"', '""')
        settings = {
            **self.settings,
            "listen_addresses": self.settings.get("listen_addresses", ""),
            "port": "5432",
            "unix_socket_directories": f'"{sockets}"',
            "unix_socket_permissions": "0700",
        }
        quoted = {key: value.replace("\\", r"\\").replace("'", "''").replace("\n", r"\n") for key, value in settings.items()}
        draft = place.configuration.with_suffix(".new")
        draft.write_text("".join(f"{key} = '{value}'\n" for key, value in quoted.items()), encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(place.configuration)

    def _spawn(self) -> psutil.Process | None:
        """Start the server as a process of its own, nobody's child, its output in the log."""
        place = self.place
        made = self._run(
            *("/bin/sh", "-c", 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!', "sh"),
            *(str(place.log), str(place.binaries / "postgres"), "-D", str(place.data)),
        )
        try:
            return psutil.Process(int(made.stdout))
        except (psutil.NoSuchProcess, ValueError):
            return None

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        account = self.place.account
        environment = {name: os.environ[name] for name in ("PATH", "TZ", "TMPDIR") if name in os.environ}
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd="/",
                env={**environment, "LC_ALL": "C"},
                start_new_session=True,  # the terminal's Ctrl-C is not the server's
                umask=0o077,
                timeout=TOOL_S,
                check=False,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except subprocess.SubprocessError as error:
            raise Transient(
                f"{Path(command[0]).name}: {error}",
                cause="embedded database: start",
                hint="Look at the disk, and at what else keeps this machine busy.",
            ) from error

    def _last_words(self) -> str:
        try:
            log = self.place.log.read_text(errors="replace")[-4000:]
        except OSError:
            return "it left no log"
        return _reason(log)


def _reason(output: str) -> str:
    """What a tool or a server said last of why it ended; else the end of what it wrote."""
    reasons = _REASON.findall(output)
    return " ".join((reasons[-1] if reasons else output).split())[-600:]


def _recovers(server: psutil.Process) -> bool:
    """Whether one of its children reads the log, which takes as long as it takes."""
    try:
        return any("startup" in " ".join(child.cmdline()) for child in server.children() if not _ended(child))
    except psutil.Error:
        return False


def _kill(server: psutil.Process) -> None:
    """End a server that no longer reacts, and its children: the next start reads the log."""
    with suppress(psutil.Error):
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=STOP_S)


def _ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or dead and not yet collected by its parent."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

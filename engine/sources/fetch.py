"""Get the complete media of one recording, exactly once: a local file in place, a direct download, or yt-dlp."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gainstage.config.settings import Settings
from gainstage.config.whole_files import sync
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Elsewhere, EngineError, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.work_folder import is_safe
from gainstage.engine.sources import captions as publishers
from gainstage.engine.sources.hosts import COUNTED_S, Hosts
from gainstage.engine.sources.http import Progress, download
from gainstage.engine.sources.local import path_of
from gainstage.engine.sources.policy import host_of
from gainstage.engine.sources.recent import BoundedDict
from gainstage.engine.sources.web import Web
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import Recording
from gainstage.engine.views.snapshot import HostBudget

SWEEP_EVERY_S = 60.0
UNKNOWN_S = 86_400.0
"""Seconds to keep files that belong to no recording of the queue, such as those of an enrolment."""
KEPT, CAPTIONS = ".media", ".captions"
NOT_HERE = "file not on this host"


class Fetcher:
    """Fetches media for all slots of the stage. Thread-safe.

    ``partial`` keeps unfinished downloads, and finished ones until their recording has ended, so that a file is downloaded once
    whatever process is killed.
    """

    def __init__(self, settings: Callable[[], Settings], database: Database, journal: Journal, partial: Path) -> None:
        self._settings = settings
        self._database = database
        self._journal = journal
        self._partial = partial
        self.web = Web(lambda: settings().fetch)
        self.hosts = Hosts(database, lambda: settings().fetch)
        self._lock = threading.Lock()
        self._credited: BoundedDict[str, bool] = BoundedDict(10_000)
        self._swept = float("-inf")
        self._throttled: set[str] = set()
        self._budgets: tuple[HostBudget, ...] = ()

    def fetch(
        self,
        recording: Recording,
        folder: Path,
        *,
        token: CancelToken,
        progress: Progress,
        captions: str | None = None,
        waiting: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> Path:
        """The path of the media: under ``folder``, or the place of a local file. Raises the errors of the way it is fetched.

        ``captions``: the language of the subtitles to take with it ("" for the recording's own), None for none; see
        :meth:`captions`. ``waiting`` is entered while its host wants to be left alone.
        """
        if "://" not in recording.source:
            return self._local_file(recording)
        self._partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._partial.chmod(0o700)  # files fetched with somebody's cookies are private
        self.sweep()
        target, kept = folder / "media", self._partial / f"{recording.id}{KEPT}"
        if kept.exists():
            _same_file(kept, target)
            self._journal.log("info", "downloaded before: not asked for again", recording=recording.id, stage="fetch")
            return target
        permit = self.hosts.enter(host_of(recording.source), token, counted=self._is_counted(recording), waiting=waiting)
        has_answered = threading.Event()

        def answered(share: float | None) -> None:
            if not has_answered.is_set():
                has_answered.set()
                self.hosts.answered(permit)
            progress(share)

        try:
            self._download(recording, target, token, answered, captions)
        except EngineError as error:
            raise self.hosts.failed(permit, error)  # noqa: B904 - the same error, with the host's wait filled in
        self.hosts.answered(permit)
        token.check()
        with contextlib.suppress(OSError):  # a file system without links: after a kill it is downloaded again
            sync(target)
            os.link(target, kept)
        return target

    def captions(self, recording: Recording, wanted: str, *, token: CancelToken) -> publishers.Taken:
        """The publisher's captions of a recording that was fetched with ``captions``, and warnings about them.

        Raises :class:`Cancelled`, :class:`gainstage.engine.errors.Postponed`.
        """
        if "://" not in recording.source:
            return None, ()
        path = self._partial / f"{recording.id}{CAPTIONS}"
        if (kept := publishers.kept(path)) is not None:
            return kept
        if recording.extra.get("fetch") != "http":
            return None, ()
        taken = publishers.of_feed(recording, wanted, self._settings().fetch, self.web, self.hosts, token)
        publishers.keep(path, taken)
        return taken

    def _local_file(self, recording: Recording) -> Path:
        """See :func:`local_file`. A file that this machine does not have is left to the machine where it was added, where an engine
        lives there, else to any other machine.
        """
        try:
            return local_file(recording, self._settings().fetch.shared)
        except Permanent as error:
            here, added_on = socket.gethostname(), str(recording.extra.get("host", ""))
            with self._database.connection() as connection:
                rows = connection.execute("select distinct e.host from engine_alive a join engine e on e.id = a.id").fetchall()
            others = {host for (host,) in rows} - {here}
            if not others:
                raise
            hint = (
                "Mount its folder on every machine of the fleet (fetch.shared, where its path differs), or add an http(s) address."
            )
            message = f"{error.message} on {here}"
            if added_on in others:
                raise Elsewhere(message, host=added_on, cause=NOT_HERE, hint=hint) from error
            raise Transient(message, cause=NOT_HERE, hint=hint) from error

    def _is_counted(self, recording: Recording) -> bool:
        """Whether an earlier request for its page was counted for this download too; a second download is counted separately."""
        looked = recording.extra.get("counted")
        with self._lock:
            if (
                not isinstance(looked, int | float)
                or not 0 <= self._database.clock.now() - looked < COUNTED_S
                or recording.id in self._credited
            ):
                return False
            self._credited[recording.id] = True
            return True

    def forget(self, id: str) -> None:
        """Delete the files kept for a recording that has ended; an id that is not a valid file name has none."""
        if not is_safe(id):
            return
        for path in (self._partial / f"{id}{suffix}" for suffix in (KEPT, CAPTIONS, ".part", ".etag", ".size")):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._partial / id, ignore_errors=True)

    def budgets(self) -> tuple[HostBudget, ...]:
        """Request budgets per host, for the snapshot; the last known ones while the database is away."""
        with contextlib.suppress(Transient):
            self._budgets = self.hosts.views()
            self._log_throttling(self._budgets)
        return self._budgets

    def _log_throttling(self, budgets: tuple[HostBudget, ...]) -> None:
        """Log once when a host throttles, and once when it answers again."""
        now_open = {b.host for b in budgets if b.state != "closed"}
        for host in now_open - self._throttled:
            self._journal.log("warning", f"{host} throttles: no requests until it has cooled down", kind="state", stage="fetch")
        for host in self._throttled - now_open:
            self._journal.log("info", f"{host} answers again", kind="state", stage="fetch")
        self._throttled = now_open

    def close(self) -> None:
        self.web.close()

    def _download(self, recording: Recording, target: Path, token: CancelToken, progress: Progress, captions: str | None) -> None:
        settings = self._settings().fetch
        if recording.extra.get("fetch") == "http":
            part = self._partial / f"{recording.id}.part"
            download(recording.source, target, part, settings, web=self.web, token=token, progress=progress)
            return
        from gainstage.engine.sources.ytdlp_apart import fetch_media

        partial = self._partial / recording.id
        partial.mkdir(exist_ok=True)

        media = fetch_media(
            recording.source,
            partial,
            settings,
            token=token,
            progress=progress,
            captions=captions,
            captions_file=self._partial / f"{recording.id}{CAPTIONS}",
        )
        media.replace(target)
        shutil.rmtree(partial)

    def sweep(self) -> None:
        """At intervals, and at an engine's start, delete files kept for recordings that have ended. Raises Transient in an outage."""
        if not self._partial.is_dir():
            return
        with self._lock:
            if time.monotonic() - self._swept < SWEEP_EVERY_S:
                return
            self._swept = time.monotonic()
        kept = {path.name.split(".")[0]: path for path in self._partial.iterdir()}
        draft = kept.pop("", None)  # of captions, left by a kill
        if draft is not None and _is_old(draft):
            draft.unlink(missing_ok=True)
        if not kept:
            return
        with self._database.connection() as connection:
            rows = connection.execute("select id, status from recording where id = any(%s)", [list(kept)]).fetchall()
        status = dict(rows)
        for id, path in kept.items():
            if status.get(id, "unknown") not in ("queued", "running", "unknown") or (id not in status and _is_old(path)):
                self.forget(id)


def _is_old(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > UNKNOWN_S
    return False


def _same_file(kept: Path, target: Path) -> None:
    try:
        os.link(kept, target)
    except OSError:
        shutil.copyfile(kept, target)


def local_file(recording: Recording, shared: Mapping[str, str] | None = None) -> Path:
    """The path of a local recording, under ``shared`` (path elsewhere: path here) where it is not there itself; raises
    :class:`Permanent` when the file is missing or unreadable.
    """
    path = path_of(recording)
    for there, here in (shared or {}).items():
        if not path.exists() and path.is_relative_to(there):
            path = Path(here) / path.relative_to(there)
    if not path.exists():
        raise Permanent(
            f"no file {clean_text(str(path), 300)}", cause="missing file", hint="Was it moved? Add it again from where it is now."
        )
    if not path.is_file() or not os.access(path, os.R_OK):
        raise Permanent(f"cannot read {clean_text(str(path), 300)}", cause="unreadable file", hint="Check its permissions.")
    return path

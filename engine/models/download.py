"""Download models from the hub: planned first, with progress, resumed after any interruption, verified by checksum.

The files have huggingface_hub's layout (``blobs``, ``snapshots``, ``refs``), so each finds what the other downloaded. Its own
download starts again after a kill and cannot be stopped, so this module downloads the bytes itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from gainstage.config.whole_files import keep_whole, write_whole
from gainstage.engine.errors import Cancelled, Misconfigured
from gainstage.engine.models import quiet

CHUNK = 256 * 1024
READ_S = 30.0
"""After this many seconds without data the request is repeated, from the byte reached."""

TRIES = 4
RATE_OVER_S = 5.0
REPORT_EVERY_S = 0.5
STOP_POLL_S = 0.1
ROOM = 256 * 1024**2
"""Bytes of disk that stay free beside the models."""

PARTIAL = ".gainstage-partial"

MAIN_FILE = {"asr": "model.bin", "diarization": "config.yaml", "voice": "hyperparams.yaml", "embed": "modules.json"}
"""A folder without this file is not a model of that role (or an unfinished download)."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: its size and checksum (sha256 of large files, git's sha1 of small ones)."""

    path: str
    size: int
    blob: str
    sha256: str | None

    @property
    def name(self) -> str:
        """Its file name among the blobs."""
        return self.sha256 or self.blob


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The files to download for a role: those of a repository at one commit that are needed."""

    role: str
    repository: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a download; ``per_s`` (bytes per second) is None before it is known."""

    done: int
    total: int
    per_s: float | None

    def __str__(self) -> str:
        text = f"fetching {_size(self.done)} of {_size(self.total)}"
        if not self.per_s:
            return text
        left = round((self.total - self.done) / self.per_s)
        return f"{text}, {_size(self.per_s)}/s, {left // 60}:{left % 60:02} left"


Report = Callable[[Progress], object]


def plan(role: str, repository: str, revision: str | None, allow: Sequence[str] | None, ignore: Sequence[str]) -> DownloadPlan:
    """Ask the hub for a model's files and check that we have access. Raises the errors of huggingface_hub and httpx."""
    with quiet.importing():
        import huggingface_hub

    hub = huggingface_hub.HfApi()
    info = hub.model_info(repository, revision=revision, files_metadata=True, timeout=10)
    if info.gated:
        hub.auth_check(repository)
    files = []
    for sibling in info.siblings or ():
        path = sibling.rfilename
        if (allow is not None and not any(fnmatch(path, pattern) for pattern in allow)) or any(fnmatch(path, p) for p in ignore):
            continue
        if path.startswith("/") or ".." in Path(path).parts:
            raise ValueError(f"the repository has a file outside of itself: {path}")
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        files.append(RemoteFile(path, sibling.size or 0, sibling.blob_id or "", sha256))
    return DownloadPlan(role, repository, revision or "main", str(info.sha), tuple(files))


def missing_bytes(plan: DownloadPlan, cache: Path) -> int:
    """Bytes of a plan that are not in the cache yet."""
    blobs = _home(plan, cache) / "blobs"
    missing = 0
    for file in plan.files:
        if not (blobs / file.name).exists():
            partial = blobs / (file.name + PARTIAL)
            missing += file.size - (partial.stat().st_size if partial.exists() else 0)
    return missing


def check_room(plans: Sequence[DownloadPlan], cache: Path) -> None:
    """Refuse downloads that would fill the disk before they start. Raises :class:`Misconfigured`."""
    existing = next(p for p in (cache.absolute(), *cache.absolute().parents) if p.exists())
    free, needed = shutil.disk_usage(existing).free, sum(missing_bytes(plan, cache) for plan in plans)
    if needed + ROOM > free:
        names = ", ".join(f"{plan.repository} {_size(plan.size)}" for plan in plans)
        raise Misconfigured(
            f"no room for the models: {_size(needed)} are to be fetched ({names}), {_size(free)} are free in {existing}",
            cause="disk full",
            hint="Free disk space, or choose another place with --home.",
        )


def fetch(plan: DownloadPlan, cache: Path, *, stopped: Callable[[], bool], report: Report) -> Path:
    """Download all files of a plan into the cache; returns the folder of its snapshot.

    Raises :class:`Cancelled` soon after ``stopped`` returns True; the next call resumes. Raises :class:`Misconfigured` when a file
    has a wrong checksum twice, and the errors of huggingface_hub, httpx and the system.
    """
    work = _Fetch(plan, cache, report)
    thread = threading.Thread(target=work.run, name=f"fetch-{plan.role}", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(STOP_POLL_S)
            if stopped():
                raise Cancelled("the download of a model was stopped")
    finally:
        work.ending.set()  # also when Ctrl-C ends the wait
    if work.error is not None:
        raise work.error
    return work.folder


class _Fetch:
    """One download on its own thread, so that a hub that does not respond cannot block the caller."""

    def __init__(self, plan: DownloadPlan, cache: Path, report: Report) -> None:
        self.plan = plan
        self.home = _home(plan, cache)
        self.folder = self.home / "snapshots" / plan.commit
        self.ending = threading.Event()
        self.error: Exception | None = None
        self._report = report
        self._done = 0
        self._began = (time.monotonic(), 0)
        self._reported_at = float("-inf")

    def run(self) -> None:
        try:
            (self.home / "blobs").mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.home / "gainstage.lock")
            while not self.ending.wait(0.0):
                try:
                    with lock.acquire(timeout=0.2):
                        self._all()
                    return
                except Timeout:  # another process downloads the same
                    continue
        except Exception as error:  # raised in the waiting thread
            self.error = error

    def _all(self) -> None:
        blobs = self.home / "blobs"
        self._done = sum(f.size for f in self.plan.files if (blobs / f.name).exists())
        self._began = (time.monotonic(), self._done)
        for file in self.plan.files:
            if not (blobs / file.name).exists():
                self._one(file)
            if self.ending.is_set():
                return
        main = MAIN_FILE[self.plan.role]
        for file in sorted(self.plan.files, key=lambda f: f.path == main):  # main file last: a folder with it is complete
            self._link(file)
        refs = self.home / "refs"
        refs.mkdir(exist_ok=True)
        if self.plan.revision != self.plan.commit:
            write_whole(refs / self.plan.revision.replace("/", "--"), self.plan.commit)
        for orphan in (*blobs.glob(f"*{PARTIAL}"), *blobs.glob("*.incomplete")):  # left by downloads that were killed
            orphan.unlink(missing_ok=True)

    def _one(self, file: RemoteFile) -> None:
        """Download one file, once more when its checksum is wrong: a transfer error is more likely than a wrong file on the hub."""
        blob = self.home / "blobs" / file.name
        partial = blob.with_name(blob.name + PARTIAL)
        for last in (False, True):
            before = self._done
            self._bytes(file, partial)
            if self.ending.is_set():
                return
            if digest(partial, file) == file.name and partial.stat().st_size == file.size:
                keep_whole(partial, blob)
                return
            partial.unlink()
            self._done = before
            if last:
                raise Misconfigured(
                    f"{self.plan.role} model {self.plan.repository}: {file.path} came with a wrong checksum twice",
                    cause="wrong checksum",
                    hint="Try again later, or through another network: what lies between this machine and the hub changes files.",
                )

    def _bytes(self, file: RemoteFile, partial: Path) -> None:
        tries = 0
        while not self.ending.is_set():
            have = partial.stat().st_size if partial.exists() else 0
            if have >= file.size:
                self._advance(0)
                return
            try:
                for chunk in self._stream(file, have, partial):
                    self._advance(chunk)
                tries = 0 if partial.exists() and partial.stat().st_size > have else tries + 1
            except _cut_errors():
                tries = 0 if partial.exists() and partial.stat().st_size > have else tries + 1
                if tries >= TRIES:
                    raise
            if tries >= TRIES:
                return
            if tries and self.ending.wait(min(8.0, 2.0**tries / 2)):
                return

    def _stream(self, file: RemoteFile, have: int, partial: Path) -> Iterator[int]:
        import huggingface_hub
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        url = huggingface_hub.hf_hub_url(self.plan.repository, file.path, revision=self.plan.commit)
        headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        session = huggingface_hub.get_session()
        with session.stream("GET", url, headers=headers, timeout=READ_S, follow_redirects=True) as answer:
            if answer.status_code >= 400:
                answer.read()
            hf_raise_for_status(answer)
            if have and answer.status_code != 206:  # the server sends everything again
                self._done -= have
                have = 0
            elif have:
                self._done = max(self._done, have)
            with partial.open("ab" if have else "wb") as out:
                for chunk in answer.iter_raw():
                    if self.ending.is_set():
                        return
                    out.write(chunk)
                    yield len(chunk)

    def _advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._reported_at < REPORT_EVERY_S and self._done < self.plan.size:
            return
        self._reported_at = now
        began, done = self._began
        per_s = (self._done - done) / (now - began) if now - began > 0.2 else None
        if now - began > RATE_OVER_S:
            self._began = (began + (now - began) / 2, done + (self._done - done) // 2)
        self._report(Progress(min(self._done, self.plan.size), self.plan.size, per_s))

    def _link(self, file: RemoteFile) -> None:
        place = self.folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(self.home / "blobs" / file.name, place.parent)
        if not place.is_symlink() or os.readlink(place) != target:
            place.unlink(missing_ok=True)
            place.symlink_to(target)


def digest(path: Path, file: RemoteFile) -> str:
    """The checksum of a file by the algorithm that the hub uses for it."""
    with path.open("rb") as content:
        if file.sha256 is not None:
            return hashlib.file_digest(content, "sha256").hexdigest()
        sha1 = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        while block := content.read(CHUNK):
            sha1.update(block)
        return sha1.hexdigest()


def damaged(folder: Path) -> list[str]:
    """Files of a snapshot whose content does not match their blob's name; only large files have a checksum that is known here."""
    wrong = []
    for path in sorted(p for p in folder.rglob("*") if p.is_symlink()):
        blob = path.resolve()
        if not blob.exists():
            wrong.append(path.relative_to(folder).as_posix())
        elif len(blob.name) == 64:
            with blob.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != blob.name:
                    wrong.append(path.relative_to(folder).as_posix())
    return wrong


def _home(plan: DownloadPlan, cache: Path) -> Path:
    return cache / f"models--{plan.repository.replace('/', '--')}"


def _cut_errors() -> tuple[type[Exception], ...]:
    """The exceptions of an interrupted connection, without those of a refused request."""
    from huggingface_hub.errors import HfHubHTTPError

    library = sys.modules[HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]  # httpx, or its successor
    return (library.TransportError, library.StreamError, ConnectionError, TimeoutError)


def _size(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"

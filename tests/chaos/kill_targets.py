"""What the kill loops run in processes of their own: one craft each, no engine around it. Every target repeats its work until killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from gainstage.config.settings import Fetch, Settings
from gainstage.config.whole_files import write_whole
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.flow.work_folder import WorkFolders
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.schema import ensure
from gainstage.engine.sources.fetch import Fetcher
from gainstage.engine.sources.ytdlp_fetch import fetch_with_ytdlp
from gainstage.engine.store.database import Database
from gainstage.engine.store.export import export_recording
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.vector_index import build_indexes
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import Recording
from tests.engine.store_kit import recording, segments, store

SAID = 40
"""Passages of each recording that :func:`store_recordings` writes."""


def download(url: str, folder: str, source: str, ids: list[str]) -> None:
    """Fetch recordings one after the other, as an engine fetches them."""
    settings = Settings.model_validate({"fetch": {"allow_private": True, "rate": 100_000, "sleep": 0, "disk_floor": 0}})
    with Database.open(url, Path(folder)) as database:
        fetcher = Fetcher(lambda: settings, database, Journal(), Path(folder) / "partial")
        for id in ids:
            work = Path(folder) / f"work-{id}-{time.monotonic_ns()}"
            work.mkdir()
            wanted = Recording(id, f"url:{id}", f"{source}/{id}.mp3", id, extra={"fetch": "http"})
            fetcher.fetch(wanted, work, token=CancelToken(), progress=lambda _: None)
        time.sleep(60)


def download_streams(urls: list[str], folder: str) -> None:
    """Fetch streams of many pieces one after the other, as an engine's child does."""
    settings = Fetch.model_validate({"allow_private": True, "timeout": 5})
    for n, url in enumerate(urls):
        place, whole = Path(folder) / f"stream{n}", Path(folder) / f"stream{n}.media"
        place.mkdir(exist_ok=True)
        if not whole.exists():
            fetch_with_ytdlp(url, place, settings, token=CancelToken(), progress=lambda _: None).replace(whole)
    time.sleep(60)


def store_recordings(url: str, folder: str, count: int) -> None:
    """Store ``count`` recordings, again and again, each time over what is there."""
    with Database.open(url, Path(folder)) as database:
        target = RecordingStore(database)
        while True:
            for n in range(count):
                store(target, recording(n), segments(SAID))


def build_index(url: str, folder: str) -> None:
    with Database.open(url, Path(folder)) as database:
        build_indexes(database, 1_000)


def migrate(url: str, folder: str) -> None:
    with Database.open(url, Path(folder)) as database, database.transaction() as connection:
        ensure(connection)


def export(url: str, folder: str, ids: list[str]) -> None:
    with Database.open(url, Path(folder)) as database:
        while True:
            for id in ids:
                export_recording(RecordingStore(database), id, "json", Path(folder) / "out")


KEPT = 60
"""Results of each kind that :func:`keep_results` computes."""

KINDS = ("windows", "chunks", "vectors")


def kept_key(number: int) -> bytes:
    return f"result {number}".encode()


def kept_payload(kind: str, number: int) -> bytes:
    """Up to 200 kB that follow from their name."""
    draw = random.Random(f"{kind} {number}")
    return draw.randbytes(draw.randrange(1, 200_000))


def kept_digest() -> str:
    """What an attempt that is not killed ends with."""
    return sha256(b"".join(kept_payload(kind, n) for kind in KINDS for n in range(KEPT))).hexdigest()


def keep_results(folder: str) -> None:
    """One attempt of a recording, whose stages keep each result and go on from those that are kept."""
    total = sha256()
    with WorkFolders(Path(folder) / "work").open("talk") as work:
        for kind in KINDS:
            with KeptResults(work / f"{kind}.kept", {"of": kind}) as kept:
                for n in range(KEPT):
                    if (payload := kept.get(kept_key(n))) is None:
                        time.sleep(0.002)  # a model computes
                        payload = kept_payload(kind, n)
                        kept.put(kept_key(n), payload)
                    total.update(payload)
        write_whole(Path(folder) / "result", total.hexdigest())


def redo_stored(url: str, folder: str, ids: list[str]) -> None:
    """Queue stored recordings for a stage, as ``gainstage redo`` does."""
    with Database.open(url, Path(folder)) as database:
        Backlog(database).redo(ids, "embed")
        time.sleep(60)


ENGINE = [
    "gainstage.engine.process",
    "gainstage.engine.redo",
    "gainstage.engine.runtime.engine",
    "gainstage.engine.runtime.simulated",
]
"""What an engine imports when it starts."""

SITES = ["yt_dlp", "yt_dlp.extractor.extractors", "gainstage.engine.sources.ytdlp_guard"]
"""What its child imports for a site."""


def engine(arguments: list[str], log: str, url: str) -> None:
    """An engine as ``gainstage engine`` runs it: in a session of its own, its output in ``log``."""
    from gainstage.engine import process

    os.setsid()
    for name in [name for name in os.environ if name.startswith("GAINSTAGE_")]:
        del os.environ[name]
    os.environ["GAINSTAGE_STORE__DATABASE"] = url
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.exit(process.main(arguments))


def context() -> ForkServerContext:
    """Processes that start in milliseconds: everything above, and what an engine needs, is imported once."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([__name__, *ENGINE, *SITES])
    return made


def kill_again_and_again(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    kills: int,
    draw: random.Random,
    longest_s: float,
    look: Callable[[], object],
) -> int:
    """Start ``target``, kill it (SIGKILL) at a moment drawn up to ``longest_s``, look at what it left; ``kills`` times. How many of
    the kills met it at work; the others came after its end.
    """
    met = 0
    for _ in range(kills):
        process = context().Process(target=target, args=arguments, daemon=True)
        process.start()
        process.join(draw.uniform(0.0, longest_s))
        process.kill()
        process.join()
        assert process.exitcode in (0, -9), f"{target.__name__} ended with exit code {process.exitcode}"
        met += process.exitcode == -9
        look()
    return met

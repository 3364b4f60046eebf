"""What the kill loops run in processes of their own: one craft each, no engine around it. Every target repeats its work until killed."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from gainstage.config.settings import Settings
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue.schema import ensure
from gainstage.engine.sources.fetch import Fetcher
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


def context() -> ForkServerContext:
    """Processes that start in milliseconds: everything above is imported once."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([__name__])
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

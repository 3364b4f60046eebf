"""A database and an engine beside the real ones: same profiles and models, results that nobody else sees, gone afterwards (POSIX)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.sql import SQL, Identifier, Literal

from gainstage.config.origins import ENV_PREFIX
from gainstage.config.paths import Paths
from gainstage.config.settings import SPECS, Settings, value_of
from gainstage.config.write_back import write_back
from gainstage.engine.clean import clean_text
from gainstage.engine.desk.summary import standing
from gainstage.engine.errors import Permanent
from gainstage.engine.experiment.leftovers import PREFIX, SERVER, note, remove_leftovers
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.schema import ensure
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.migrate import SCHEMA
from gainstage.engine.terms import Recording

PROFILE_TABLES = ("model", "model_alias", "profile", "profile_version", "exemplar", "voice_cohort", "voice_calibration")
"""What names depend on; the cache of voices stays behind, or only the first side would have to compute them."""

OWN = ("store", "watch", "notify", "console", "engines", "queue", "autopilot")
"""Sections that an engine of an experiment has its own values of."""

FIXED: Mapping[str, Any] = {
    "watch.record": False,
    "retry.backoff": 0.5,
    "fetch.duplicates": "process",
    "fetch.disk_floor": 0,
}

POLL_S = 0.2
ENDING_S = 20.0


class Shadow:
    """A server with a database that is copied for each run. Made by :func:`shadow`."""

    def __init__(self, server: EmbeddedPostgres, folder: Path, paths: Paths) -> None:
        self._server = server
        self._folder = folder
        self._paths = paths

    def _url(self, name: str) -> str:
        return self._server.url.replace("/postgres?", f"/{name}?")

    def prepare(self, source: Database) -> None:
        """Make the tables, and copy the profiles of the real database."""
        self._execute(SQL("create database {}").format(Identifier("base")))
        with Database.open(self._url("base"), self._folder) as base:
            with base.transaction() as inside:
                ensure(inside)
            with source.transaction() as real, base.transaction() as copy:
                for table in PROFILE_TABLES:
                    _copy(real, copy, table)

    @contextmanager
    def database(self, name: str) -> Iterator[Database]:
        """A fresh copy of the base for one run, dropped afterwards."""
        self._execute(SQL("create database {} template base").format(Identifier(name)))
        try:
            with Database.open(self._url(name), self._folder) as database:
                yield database
        finally:
            self._execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))

    def work(
        self,
        database: Database,
        name: str,
        recordings: Sequence[Recording],
        settings: Settings,
        progress: Callable[[int], None],
        *,
        simulated: bool = False,
    ) -> tuple[int, int | None]:
        """Take the recordings apart with an engine of these settings; the most memory it used: (bytes, bytes on the GPU).

        Raises :class:`Permanent` with its last words when it ends before they are done.
        """
        home = Paths.of(self._folder / name).ensure()
        home.cache.rmdir()
        self._paths.cache.mkdir(parents=True, exist_ok=True)
        home.cache.symlink_to(self._paths.cache.absolute(), target_is_directory=True)  # its models are ours
        write_back(home.settings_file, engine_values(settings))
        Backlog(database).add([replace(r, priority=0) for r in recordings])
        log = self._folder / f"{name}.log"
        command = [sys.executable, "-P", "-m", "gainstage.engine.process", "--home", str(home.data), "--until-empty"]
        environ = {key: value for key, value in os.environ.items() if not key.startswith(ENV_PREFIX)}
        environ[f"{ENV_PREFIX}STORE__DATABASE"] = self._url(name)
        with log.open("ab") as out:
            child = subprocess.Popen(
                [*command, *["--simulated"] * simulated],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us
                env=environ,
            )
        try:
            peaks = _watched(child, database, [r.id for r in recordings], progress)
        finally:
            _end(child)
        if standing(database, [r.id for r in recordings]).left:
            lines = log.read_text("utf-8", "replace").split("\n")
            last = clean_text(next((line for line in reversed(lines) if line.strip()), ""), 600)
            hint = "What the engine wrote last stands above; leave those recordings out, or run it again."
            raise Permanent(f"the engine of the experiment ended early: {last}", cause="experiment: engine ended", hint=hint)
        shutil.rmtree(home.data, ignore_errors=True)
        return peaks

    def _execute(self, statement: Any) -> None:
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def shadow(source: Database, paths: Paths, experiment: int) -> Iterator[Shadow]:
    """A shadow of a real database, removed with all that is in it; so is what experiments left that were killed."""
    remove_leftovers(source, paths)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    server = EmbeddedPostgres(folder / SERVER)
    try:
        note(folder, experiment, paths)
        with server:
            made = Shadow(server, folder, paths)
            made.prepare(source)
            yield made
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def engine_values(settings: Settings) -> dict[str, Any]:
    """The values that decide how recordings are taken apart, as a settings file holds them; no secret is among them."""
    values = {
        key: value
        for key, spec in SPECS.items()
        if not spec.secret and key.partition(".")[0] not in OWN and (value := value_of(settings, key)) not in (None, {})
    }
    return values | dict(FIXED)


def _copy(real: Any, copy: Any, table: str) -> None:
    columns = [
        str(name)
        for (name,) in real.execute(
            "select column_name from information_schema.columns where table_schema = %s and table_name = %s", [SCHEMA, table]
        )
    ]
    names = SQL(", ").join(map(Identifier, columns))
    copy.execute(SQL("truncate {} cascade").format(Identifier(table)))
    with (
        real.cursor().copy(SQL("copy (select {} from {}) to stdout").format(names, Identifier(table))) as out,
        copy.cursor().copy(SQL("copy {} ({}) from stdin").format(Identifier(table), names)) as into,
    ):
        for block in out:
            into.write(block)
    whole_name = f"{SCHEMA}.{table}"
    if "id" in columns:  # the next row of its own must not take a number that was copied
        copy.execute(
            SQL("select setval(pg_get_serial_sequence({}, 'id'), coalesce(max(id), 0) + 1, false) from {}").format(
                Literal(whole_name), Identifier(table)
            )
        )


def _watched(
    child: subprocess.Popen[bytes], database: Database, ids: list[str], progress: Callable[[int], None]
) -> tuple[int, int | None]:
    """Wait for the end of the engine; its greatest memory, here and on the GPU."""
    from gainstage.engine.desk.postgres import PostgresDesk

    desk, rss, gpu, looked = PostgresDesk(database), 0, None, float("-inf")
    while child.poll() is None:
        try:
            rss = max(rss, psutil.Process(child.pid).memory_info().rss)
        except psutil.Error:
            break
        if time.monotonic() - looked > 1.0:
            looked = time.monotonic()
            progress(standing(database, ids).done)
            frame = desk.snapshot()
            used = [d.memory_ours for d in frame.devices if d.memory_ours is not None] if frame else []
            gpu = max([*used, gpu or 0]) if used else gpu
        time.sleep(POLL_S)
    return rss, gpu


def _end(child: subprocess.Popen[bytes]) -> None:
    """End an engine that is not wanted any more: gently, then at once."""
    for stop, wait_s in ((child.terminate, 0.2), (child.terminate, ENDING_S), (child.kill, None)):  # drains, stops, ends
        if child.poll() is None:
            stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(wait_s)

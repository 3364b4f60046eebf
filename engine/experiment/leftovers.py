"""What an experiment that was killed leaves behind: an engine, a Postgres, a folder. The next one on this machine removes it (POSIX)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from gainstage.config.paths import Paths
from gainstage.config.regular_files import read_regular
from gainstage.engine.errors import EngineError
from gainstage.engine.queue import experiments
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres

PREFIX = "gainstage-experiment-"
SERVER = "postgres"
_NOTE = "experiment.json"
_MOST_NOTE = 10_000


def note(folder: Path, id: int, paths: Paths) -> None:
    """Write into a folder whose it is."""
    (folder / _NOTE).write_text(json.dumps({"id": id, "home": str(paths.data)}), encoding="utf-8")


def remove_leftovers(database: Database, paths: Paths) -> None:
    """Remove the folders of experiments of this user whose process is gone; those of this home are called ended early."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.lstat().st_uid != os.geteuid() or not (folder / SERVER / "users.lock").exists():
                continue  # somebody else's, or one that begins just now
            _remove(folder, database, paths)


def _remove(folder: Path, database: Database, paths: Paths) -> None:
    id = _experiment_of(folder, paths)
    try:
        EmbeddedPostgres(folder / SERVER).remove()
    except EngineError:  # its process lives, and uses it
        return
    for process in psutil.process_iter(["cmdline"]):
        if any(word.startswith(f"{folder}{os.sep}") for word in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.Error):
                process.kill()
    shutil.rmtree(folder, ignore_errors=True)
    if id is not None:
        experiments.end_early(database, id)


def _experiment_of(folder: Path, paths: Paths) -> int | None:
    """The number of the experiment, where it is one of this home."""
    try:
        document = json.loads(read_regular(folder / _NOTE, _MOST_NOTE))
        return int(document["id"]) if document["home"] == str(paths.data) else None
    except (OSError, ValueError, KeyError, TypeError, EngineError):
        return None

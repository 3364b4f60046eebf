"""The media of one recording, whole, exactly once: a local file in place, a direct download, or yt-dlp."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from config.settings import Settings
from engine.clean import clean_text
from engine.errors import Permanent
from engine.flow.cancel import CancelToken
from engine.sources.http import Progress, download
from engine.store.database import Database
from engine.terms import Recording
from engine.watch.journal import Journal
from engine.watch.snapshot import HostBudget


class Fetcher:
    """Fetches for every slot of the stage. ``partial`` keeps unfinished downloads, so that a kill -9 costs little."""

    def __init__(self, settings: Callable[[], Settings], database: Database, journal: Journal, partial: Path) -> None:
        self._settings = settings
        self._database = database
        self._journal = journal
        self._partial = partial

    def fetch(self, recording: Recording, folder: Path, *, token: CancelToken, progress: Progress) -> Path:
        """The path of the media: under ``folder``, or where a local file lies."""
        if "://" not in recording.source:
            return local_file(recording)
        settings = self._settings().fetch
        if recording.extra.get("fetch") == "http":
            self._partial.mkdir(parents=True, exist_ok=True)
            return download(
                recording.source, folder / "media", self._partial / f"{recording.id}.part", settings, token=token, progress=progress
            )
        from engine.sources.ytdlp import fetch_with_ytdlp

        partial = self._partial / recording.id
        partial.mkdir(parents=True, exist_ok=True)
        media = fetch_with_ytdlp(recording.source, partial, settings, token=token, progress=progress)
        moved = media.rename(folder / media.name)
        for rest in partial.iterdir():
            rest.unlink()
        partial.rmdir()
        return moved

    def budgets(self) -> tuple[HostBudget, ...]:
        """Politeness per host, for the snapshot."""
        return ()


def local_file(recording: Recording) -> Path:
    """The file, checked to be there and readable."""
    path = Path(recording.source)
    if not path.exists():
        raise Permanent(
            f"no file {clean_text(str(path), 300)}", cause="missing file", hint="was it moved? add it again from where it is now"
        )
    if not path.is_file() or not os.access(path, os.R_OK):
        raise Permanent(f"cannot read {clean_text(str(path), 300)}", cause="unreadable file", hint="check its permissions")
    return path

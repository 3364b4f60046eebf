"""From what the operator points at to recordings: newest first as the source gives them, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from config.settings import Settings
from engine.clean import clean_text
from engine.errors import Permanent
from engine.flow.cancel import CancelToken
from engine.sources.local import MEDIA, list_local
from engine.store.database import Database
from engine.terms import Recording


def list_sources(
    sources: Iterable[str],
    settings: Settings,
    database: Database,
    *,
    token: CancelToken,
    limit: int | None = None,
    force: bool = False,
) -> list[Recording]:
    """Recordings of all sources in order. ``limit`` counts those that are not stored yet; stored ones are left out unless
    ``force``. Raises :class:`Permanent` for a source that is nothing.
    """
    wanted: dict[str, Recording] = {}
    for source in sources:
        for recording in list_source(source, settings, token=token):
            wanted.setdefault(recording.key, recording)
    stored = set() if force else stored_keys(database, list(wanted))
    fresh = [r for key, r in wanted.items() if key not in stored]
    return fresh[:limit]


def stored_keys(database: Database, keys: list[str]) -> set[str]:
    with database.connection() as connection:
        rows = connection.execute("select key from recording where key = any(%s) and status = 'stored'", [keys]).fetchall()
    return {str(key) for (key,) in rows}


def list_source(source: str, settings: Settings, *, token: CancelToken) -> Iterator[Recording]:
    token.check()
    if "://" in source:
        yield from list_url(source, settings, token=token)
        return
    path = Path(source).expanduser()
    if not path.exists() and path.suffix.lower() not in MEDIA:
        raise Permanent(
            f"no such file or folder: {clean_text(source, 300)}", cause="missing source", hint="give a file, a folder or a URL"
        )
    yield from list_local(path)


def list_url(url: str, settings: Settings, *, token: CancelToken) -> Iterator[Recording]:
    """A direct media URL by its ending, anything else through yt-dlp."""
    if Path(unquote(urlsplit(url).path)).suffix.lower() in MEDIA:
        yield url_recording(url)
    else:
        from engine.sources.ytdlp import list_with_ytdlp

        yield from list_with_ytdlp(url, settings, token=token)


def url_recording(url: str) -> Recording:
    """A recording whose identity is its address."""
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    name = clean_text(unquote(Path(urlsplit(url).path).stem), 300)
    return Recording(id=f"u{digest[:15]}", key=f"url:{digest}", source=url, title=name or digest[:15], extra={"fetch": "http"})

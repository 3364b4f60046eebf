"""Local files and folders as recordings. Identity is the content, so a moved or renamed file is the same recording."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.ids import own_id
from gainstage.engine.terms import Recording

_KINDS = "wav mp3 m4a aac opus ogg oga flac mp4 m4v mov mkv webm avi wma aiff aif"
MEDIA = frozenset("." + kind for kind in _KINDS.split(" "))
BLOCK = 1 << 20
MOST_HASHES = 200_000
MOST_NAME, MOST_PATH = 255, 4095
"""Bytes."""
_hashes: dict[tuple[Path, int, int, int], str] = {}  # a watched folder is listed again and again
SETTLED_S = 3.0
"""A file of a watched folder is taken when it has not changed for this long: before, it may still be written."""


def content_hash(path: Path, token: CancelToken | None = None) -> str:
    """sha256 of a file, hex. A file that has not changed since this process read it is not read again."""
    seen = path.stat()
    version = (path, seen.st_size, seen.st_mtime_ns, seen.st_ino)
    if (known := _hashes.get(version)) is not None:
        return known
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if token is not None:
                token.check()
    if len(_hashes) >= MOST_HASHES:
        _hashes.clear()
    _hashes[version] = found = digest.hexdigest()
    return found


def place_of(source: str) -> Path:
    """Where a source that is no address lies, there or not. Raises :class:`Permanent` for what can be no path."""
    if not source.strip():  # it would be the folder we happen to be in
        raise Permanent("an empty source", cause="missing source", hint="give a file, a folder or a URL")
    place = Path(os.path.expanduser(source))
    try:
        longest, whole = max(len(os.fsencode(part)) for part in place.parts), len(os.fsencode(place))
    except UnicodeEncodeError:  # half a character, as JSON may hold it
        longest, whole = MOST_NAME + 1, 0
    if "\0" in source or whole > MOST_PATH or longest > MOST_NAME:
        raise Permanent(
            f"not a file name: {clean_text(source, 100)}", cause="missing source", hint="give a file, a folder or a URL"
        )
    return place


def media_files(folder: Path) -> list[Path]:
    """Media below a folder, by name, hidden ones left out. A folder that cannot be read is passed over."""
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += (Path(here, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in MEDIA)
    return sorted(path for path in found if path.is_file())


def file_recording(path: Path, token: CancelToken | None = None) -> Recording:
    """The recording of one file; one that cannot be read is still listed, so that it fails visibly with its cause."""
    path = path.absolute()
    raw = os.fsencode(path)
    extra: dict[str, str] = {} if raw == str(path).encode("utf-8", "replace") else {"raw_path": raw.hex()}
    try:
        digest, kind = content_hash(path, token), "sha256"
    except OSError as error:
        digest, kind = hashlib.sha256(raw).hexdigest(), "path"
        extra["listed"] = error.strerror or "unreadable"
    title = clean_text(path.stem, 300) or digest[:15]
    return Recording(id=own_id(path.stem, digest, "file"), key=f"{kind}:{digest}", source=str(path), title=title, extra=dict(extra))


def path_of(recording: Recording) -> Path:
    """Where the file of a local recording lies; a name that is no text is kept as it is beside its readable form."""
    raw = recording.extra.get("raw_path")
    return Path(os.fsdecode(bytes.fromhex(str(raw)))) if raw else Path(recording.source)


def list_local(path: Path, *, token: CancelToken | None = None) -> Iterator[Recording]:
    """One file, or every media file of a folder. :class:`Permanent` when a folder holds none."""
    if not os.path.isdir(path):  # pathlib's own would raise for a folder we may not look into
        yield file_recording(path, token)
        return
    files = media_files(path)
    if not files:
        raise Permanent(
            f"no media files in {clean_text(str(path), 300)}", cause="no media", hint=f"looked for {' '.join(sorted(MEDIA))}"
        )
    for file in files:
        yield file_recording(file, token)


def is_settled(file: Path) -> bool:
    """Whether a file has not been written to for a few seconds."""
    try:
        return abs(time.time() - file.stat().st_mtime) >= SETTLED_S
    except OSError:
        return False

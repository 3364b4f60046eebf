"""Local files and folders as recordings. Identity is the content, so a moved or renamed file is the same recording."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from engine.clean import clean_text
from engine.errors import Permanent
from engine.terms import Recording

MEDIA = frozenset(
    [
        ".wav",
        ".mp3",
        ".m4a",
        ".aac",
        ".opus",
        ".ogg",
        ".oga",
        ".flac",
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".wma",
        ".aiff",
        ".aif",
    ]
)
BLOCK = 1 << 20


def content_hash(path: Path) -> str:
    """sha256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def media_files(folder: Path) -> list[Path]:
    """Media below a folder, by name, hidden ones left out."""
    found = (
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in MEDIA and not any(q.startswith(".") for q in p.relative_to(folder).parts)
    )
    return sorted(p for p in found if p.is_file())


def file_recording(path: Path) -> Recording:
    """The recording of one file; one that cannot be read is still listed, so that it fails visibly with its cause."""
    path = path.absolute()
    try:
        digest = content_hash(path)
    except OSError as error:
        digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()
        return Recording(
            id=f"f{digest[:15]}",
            key=f"path:{digest}",
            source=str(path),
            title=clean_text(path.stem, 300),
            extra={"listed": error.strerror or "unreadable"},
        )
    return Recording(
        id=f"f{digest[:15]}", key=f"sha256:{digest}", source=str(path), title=clean_text(path.stem, 300) or digest[:15]
    )


def list_local(path: Path) -> Iterator[Recording]:
    """One file, or every media file of a folder. :class:`Permanent` when a folder holds none."""
    if path.is_dir():
        files = media_files(path)
        if not files:
            raise Permanent(
                f"no media files in {clean_text(str(path), 300)}", cause="no media", hint=f"looked for {' '.join(sorted(MEDIA))}"
            )
        for file in files:
            yield file_recording(file)
    else:
        yield file_recording(path)

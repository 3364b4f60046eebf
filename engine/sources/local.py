"""Local files and folders as recordings. Identity is the content, so a moved or renamed file is the same recording."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.ids import own_id
from gainstage.engine.terms import Recording

_KINDS = (
    "wav mp3 m4a aac opus ogg oga flac mp4 m4v mov mkv webm avi wma aiff aif"
    " m4b mka 3gp 3g2 amr caf mpg mpeg flv ogv weba spx mp2 wv ape ac3 w64"
)
MEDIA = frozenset("." + kind for kind in _KINDS.split(" "))
OTHER = frozenset(
    "." + kind
    for kind in [
        "txt",
        "md",
        "rst",
        "log",
        "csv",
        "tsv",
        "json",
        "jsonl",
        "ndjson",
        "urls",
        "yaml",
        "yml",
        "toml",
        "ini",
        "cfg",
        "xml",
        "opml",
        "rss",
        "atom",
        "html",
        "htm",
        "css",
        "js",
        "py",
        "sh",
        "c",
        "h",
        "rs",
        "go",
        "java",
        "sql",
        "db",
        "sqlite",
        "jpg",
        "jpeg",
        "png",
        "gif",
        "webp",
        "svg",
        "bmp",
        "tif",
        "tiff",
        "heic",
        "ico",
        "psd",
        "pdf",
        "epub",
        "mobi",
        "doc",
        "docx",
        "odt",
        "xls",
        "xlsx",
        "ppt",
        "pptx",
        "rtf",
        "tex",
        "zip",
        "gz",
        "bz2",
        "xz",
        "zst",
        "7z",
        "rar",
        "tar",
        "iso",
        "dmg",
        "exe",
        "dll",
        "so",
        "deb",
        "rpm",
        "srt",
        "vtt",
        "ass",
        "sub",
        "lrc",
        "nfo",
        "cue",
        "m3u",
        "m3u8",
        "pls",
        "torrent",
        "part",
        "crdownload",
        "tmp",
        "bak",
        "swp",
        "pyc",
        "lock",
        "key",
        "pem",
        "npy",
        "npz",
        "pt",
        "safetensors",
        "bin",
    ]
)
"""Endings of files that are not media: such files are not opened."""
BLOCK = 1 << 20
MOST_HASHES = 200_000
MOST_NAME, MOST_PATH = 255, 4095
"""Longest file name and longest path, in bytes."""
_hashes: dict[tuple[Path, int, int, int], str] = {}  # a watched folder is listed again and again
SETTLED_S = 3.0
"""A file of a watched folder is taken when no process has it open for writing and it has not changed for this many seconds."""
LONG_REST_S = 60.0
"""The same where the system does not report writers: recorders and network copies pause."""
NOT_A_FILE = "not a file"


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
    _hashes[version] = digest_hex = digest.hexdigest()
    return digest_hex


def place_of(source: str) -> Path:
    """The path of a source that is not an address, whether it exists or not. Raises :class:`Permanent` for an invalid path."""
    if not source.strip():  # an empty path would mean the current folder
        raise Permanent("an empty source", cause="missing source", hint="Give a file, a folder or a URL.")
    place = Path(os.path.expanduser(source))
    try:
        longest, whole = max(len(os.fsencode(part)) for part in place.parts), len(os.fsencode(place))
    except UnicodeEncodeError:  # a lone surrogate, which JSON can contain
        longest, whole = MOST_NAME + 1, 0
    if "\0" in source or whole > MOST_PATH or longest > MOST_NAME:
        raise Permanent(
            f"not a file name: {clean_text(source, 100)}", cause="missing source", hint="Give a file, a folder or a URL."
        )
    return place


def files_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, reason why it is left out, empty when it is taken) of everything below a folder, by name; hidden files are omitted.

    A file whose ending is not known is opened to check for audio.
    """
    entries: list[tuple[Path, str]] = []
    broken: list[OSError] = []
    for here, folders, names in os.walk(folder, onerror=broken.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        entries += ((Path(here, name), "") for name in names if not name.startswith("."))
    entries += ((Path(os.fsdecode(error.filename)), f"cannot be read: {error.strerror}") for error in broken if error.filename)
    for path, reason in sorted(entries):
        yield path, reason or why_not(path)


def why_not(path: Path) -> str:
    """Why a path is not a media file; empty when it is one by its ending, or else by its content."""
    kind = path.suffix.lower()
    try:
        status = path.stat()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return NOT_A_FILE
    if kind in MEDIA:
        return ""
    if kind in OTHER:
        return f"no audio or video ({kind})"
    return "" if holds_audio(path) else "no audio in it"


def holds_audio(path: Path) -> bool:
    """Whether the decoder finds an audio stream in a file."""
    from gainstage.engine.speech.media import looked_into

    return looked_into(path)[0]


def check_regular(path: Path) -> None:
    """Raises :class:`Permanent` for an existing path that is not a regular file: a FIFO would block, a device has no end."""
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kinds = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
            kind = next((name for test, name in kinds if test(mode)), "a device")
            raise Permanent(
                f"{clean_text(str(path), 300)} is {kind}", cause=NOT_A_FILE, hint="Write it to a file first, and give that."
            )


def file_recording(path: Path, token: CancelToken | None = None) -> Recording:
    """The recording of one file; an unreadable file is still listed, so that its failure and cause are shown."""
    path = path.absolute()
    check_regular(path)
    raw = os.fsencode(path)
    extra: dict[str, Any] = {} if raw == str(path).encode("utf-8", "replace") else {"raw_path": raw.hex()}
    try:
        digest, kind = content_hash(path, token), "sha256"
        extra["bytes"] = path.stat().st_size
    except OSError as error:
        digest, kind = hashlib.sha256(raw).hexdigest(), "path"
        extra["listed"] = error.strerror or "unreadable"
    title = clean_text(path.stem, 300) or digest[:15]
    return Recording(id=own_id(path.stem, digest, "file"), key=f"{kind}:{digest}", source=str(path), title=title, extra=dict(extra))


def path_of(recording: Recording) -> Path:
    """The path of a local recording; a name that is not valid text is stored in its raw form beside the readable one."""
    raw = recording.extra.get("raw_path")
    return Path(os.fsdecode(bytes.fromhex(str(raw)))) if raw else Path(recording.source)


def is_settled(path: Path) -> bool:
    """Whether no process writes to a file any more, as far as this machine can tell."""
    try:
        rested_s = abs(time.time() - path.stat().st_mtime)
        if rested_s < SETTLED_S:
            return False
        writer = has_writer(path)
    except OSError:
        return False
    return rested_s >= LONG_REST_S if writer is None else not writer


def has_writer(path: Path) -> bool | None:
    """Whether a process of this machine has a file open for writing; None where the system does not report it.

    A read lease is granted only while no process has (fcntl(2), F_SETLEASE).
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.fcntl(
            file, fcntl.F_SETSIG, signal.SIGURG
        )  # a writer that opens the file meanwhile is announced by a signal: use one without effect
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(file)


def grew_from(path: Path, size: int, digest: str, token: CancelToken | None = None) -> bool:
    """Whether a file starts with content of ``size`` bytes and sha256 ``digest`` (hex) and is longer."""
    content = hashlib.sha256()
    with contextlib.suppress(OSError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= size:
            return False
        left = size
        while left and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            content.update(block)
            if token is not None:
                token.check()
    return content.hexdigest() == digest

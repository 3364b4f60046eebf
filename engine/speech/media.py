"""Open media files with PyAV, with typed errors for files that are not media and for faults of the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer

from gainstage.engine.errors import EngineError, Permanent, Transient

_FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,tta,w64,wav,wv"
"""Only media formats: a playlist format (hls, concat, dash) would open whatever its text names."""

_SIGNATURES = (b"RIFF", b"RF64", b"ID3", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"FORM", b"caff", b"\xff\xfb", b"\xff\xf1", b"0&\xb2u")

_LIBRARY_FAULTS = (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError, AttributeError, AssertionError)
"""Exceptions that PyAV raises, beside its own, when a damaged header contains numbers it cannot use."""

_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""A title in a broken encoding is not a reason to refuse a file; PyAV replaces undecodable text itself from version 19 on."""


@contextmanager
def opened(source: Path) -> Iterator[BinaryIO]:
    """The open file. Raises :class:`Permanent` "missing file", "unreadable file", "empty file", "not a media file"."""
    try:
        if source.exists() and not source.is_file():
            raise Permanent(f"{source} is not a file", cause="not a media file", hint="Name a media file.")
        file = source.open("rb")
    except FileNotFoundError as error:
        raise Permanent(f"there is no file {source}", cause="missing file", hint="It was moved or deleted.") from error
    except PermissionError as error:
        raise Permanent(
            f"{source} cannot be read", cause="unreadable file", hint="Give the user of the engine the right to read it."
        ) from error
    with file:
        if os.fstat(file.fileno()).st_size == 0:
            raise Permanent(f"{source.name} is empty", cause="empty file", hint="Get the file again.")
        yield file


class _Seeking:
    """A file that answers an invalid seek as FFmpeg expects; PyAV would print and drop an exception."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return int(self._file.seek(offset, whence))
        except (ValueError, OverflowError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            return -1


@contextmanager
def container(source: Path, file: Any, head: bytes) -> Iterator[InputContainer]:
    """The container read from ``file``. Raises :class:`Permanent` "corrupt media", or "not a media file" when the first bytes are
    of no media format."""
    try:
        opened_container = av.open(_Seeking(file), mode="r", options={"format_whitelist": _FORMATS}, **_OPTIONS)
    except (av.error.FFmpegError, *_LIBRARY_FAULTS) as error:
        if head.startswith(_SIGNATURES) or head[4:8] == b"ftyp":
            raise corrupt(f"{source.name} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
        raise Permanent(
            f"{source.name} is not a media file", cause="not a media file", hint="It holds neither audio nor video."
        ) from error
    with opened_container:
        yield opened_container


def looked_into(source: Path) -> tuple[bool, float | None]:
    """Whether a file has audio, and its length in seconds by its header; (False, None) for what cannot be opened as media."""
    try:
        with opened(source) as file:
            head = file.read(16)
            file.seek(0)
            with container(source, file, head) as container_in, reading(source):
                return bool(container_in.streams.audio), container_in.duration / av.time_base if container_in.duration else None
    except (EngineError, OSError):
        return False, None


def audio_streams(source: Path, container: InputContainer) -> list[AudioStream]:
    """The streams that can be decoded, first the one a player would choose. Raises :class:`Permanent` "no audio stream",
    "unsupported codec".
    """
    best = container.streams.best("audio")
    if best is None:
        raise Permanent(f"{source.name} has no audio stream", cause="no audio stream", hint="It is a picture or a silent video.")
    streams = [s for s in (best, *(s for s in container.streams.audio if s.index != best.index)) if s.codec_context is not None]
    if not streams:
        raise Permanent(
            f"{source.name}: no decoder for its audio", cause="unsupported codec", hint="Convert it to FLAC, Opus or AAC first."
        )
    assert all(isinstance(s, AudioStream) for s in streams)
    return streams  # type: ignore[return-value]


@contextmanager
def reading(source: Path) -> Iterator[None]:
    """Context that turns the library's exceptions for a damaged file into :class:`Permanent` "corrupt media"."""
    try:
        yield
    except (av.error.FFmpegError, *_LIBRARY_FAULTS) as error:
        raise corrupt(f"{source.name} cannot be decoded: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Context that turns errors of the disk into :class:`Transient` "disk full" or "input or output error"."""
    try:
        yield
    except EngineError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Transient(
                f"no room left in {folder}", cause="disk full", hint="Free disk space or raise fetch.disk_floor."
            ) from error
        raise Transient(
            f"{folder}: {error.strerror or error}", cause="input or output error", hint="Look at the disk of this folder."
        ) from error


def corrupt(message: str) -> Permanent:
    """The error for a damaged file."""
    return Permanent(message, cause="corrupt media", hint="Get the file again: it is damaged or was cut short.")

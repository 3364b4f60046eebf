"""A media file to 16 kHz mono PCM on disk: once per recording, in constant memory, with typed errors for bad input."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from gainstage.engine.errors import EngineError, Permanent, Rejected, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.terms import SAMPLE_RATE, Audio

SHORTEST_S = 0.5
"""Less audio than this is no recording."""

LOST_S, LOST_SHARE = 2.0, 0.02
"""A file that yields less than its header promises is corrupt when more than both of these is missing."""

_GAP_S, _JUMP_S = 0.1, 600.0
"""Holes in the timestamps up to ``_JUMP_S`` are filled with silence, so that times keep their meaning; beyond, the clock jumped."""

_FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,tta,w64,wav,wv"
"""Media only: a playlist format (hls, concat, dash) would open whatever its text names."""

_EXACT = ("matroska", "mov", "wav", "w64", "flac", "aiff", "caf", "ogg")
"""Formats whose header states the true duration; the others estimate it from the bit rate."""

_TAGS: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Tags that are not UTF-8 refuse no file: PyAV 19 reads them always, an older one is asked to."""

_SIGNATURES = (b"RIFF", b"ID3", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"FORM", b"caff", b"\xff\xfb", b"\xff\xf1", b"0&\xb2u")


def decode(
    source: Path,
    folder: Path,
    *,
    token: CancelToken,
    progress: Callable[[float], None] | None = None,
    max_seconds: float | None = None,
) -> Audio:
    """Decode the audio of ``source`` to ``folder/audio.pcm`` (int16, 16 kHz, mono) and take its fingerprint.

    Raises :class:`Permanent` with the cause "missing file", "unreadable file", "empty file", "not a media file", "no audio
    stream", "unsupported codec", "corrupt media" or "too short"; :class:`Rejected` "too long" above ``max_seconds``;
    :class:`Transient` "disk full"; :class:`gainstage.engine.errors.Cancelled`. Nothing is left in ``folder`` then.
    """
    part, target = folder / "audio.pcm.part", folder / "audio.pcm"
    try:
        with _opened(source) as file, _disk(folder), part.open("wb", buffering=1 << 20) as out:
            head = file.read(1 << 16)
            file.seek(0)
            sink = _Sink(source, out, max_seconds)
            with _container(source, file, head) as container:
                stream = _audio_stream(source, container)
                _copy(
                    container, stream, sink, _claimed_s(container, stream, head, os.fstat(file.fileno()).st_size), token, progress
                )
        with _disk(folder):
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return Audio(target, sink.samples, sink.digest.hexdigest())


class _Sink:
    """Where PCM goes: the file, the fingerprint, the count."""

    def __init__(self, source: Path, out: BinaryIO, max_seconds: float | None) -> None:
        self.source = source
        self.out = out
        self.samples = 0
        self.digest = hashlib.sha256()
        self.most = None if max_seconds is None else round(max_seconds * SAMPLE_RATE)
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def frame(self, frame: AudioFrame) -> None:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # some broadcasts change from stereo to mono and back
            self.flush()
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            self._kind = kind
        assert self._resampler is not None
        frame.pts = None
        self._write(self._resampler.resample(frame))

    def flush(self) -> None:
        if self._resampler is not None:
            self._write(self._resampler.resample(None))
            self._resampler = None

    def silence(self, seconds: float) -> None:
        self._put(bytes(2 * round(seconds * SAMPLE_RATE)))

    def _write(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self._put(memoryview(frame.planes[0])[: 2 * frame.samples])

    def _put(self, pcm: bytes | memoryview) -> None:
        self.out.write(pcm)
        self.digest.update(pcm)
        self.samples += len(pcm) // 2
        if self.most is not None and self.samples > self.most:
            raise Rejected(
                f"{self.source.name} is longer than {self.most / SAMPLE_RATE:.0f} s",
                cause="too long",
                hint="Raise fetch.max_duration to take it.",
            )


def _copy(
    container: InputContainer,
    stream: AudioStream,
    sink: _Sink,
    claimed: float | None,
    token: CancelToken,
    progress: Callable[[float], None] | None,
) -> None:
    length = claimed or (container.duration or 0) / av.time_base
    origin = (container.start_time or 0) / av.time_base
    packets = broken = 0
    told = 0.0
    for packet in _packets(container, stream):
        token.check()
        packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken += 1
            continue
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            if frame.time is not None:
                hole = frame.time - origin - sink.seconds
                if hole > _JUMP_S or hole < -_JUMP_S:
                    origin += hole
                elif hole > _GAP_S:
                    sink.silence(hole)
            sink.frame(frame)
        if progress is not None and length and sink.seconds - told >= 1.0:
            told = sink.seconds
            progress(min(1.0, told / length))
    sink.flush()
    _judge(sink, claimed, packets, broken)
    if progress is not None:
        progress(1.0)


def _packets(container: InputContainer, stream: AudioStream) -> Iterator[av.Packet[AudioStream]]:
    """The packets up to the end of the file, or up to where it can be read no further: what is missing is judged later."""
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        return


def _judge(sink: _Sink, claimed: float | None, packets: int, broken: int) -> None:
    name, seconds = sink.source.name, sink.seconds
    if claimed is not None and claimed - seconds > max(LOST_S, LOST_SHARE * claimed):
        raise _corrupt(f"{name} holds {seconds:.1f} s of audio, its header promises {claimed:.1f} s")
    if broken > max(1, LOST_SHARE * packets):
        raise _corrupt(f"{name}: {broken} of {packets} packets cannot be decoded")
    if seconds < SHORTEST_S:
        raise Permanent(f"{name} holds {seconds:.2f} s of audio", cause="too short", hint=f"Nothing under {SHORTEST_S} s is taken.")


def _claimed_s(container: InputContainer, stream: AudioStream, head: bytes, size: int) -> float | None:
    """How long the audio is by the header; None where the header only guesses, or speaks of the video."""
    formats = set(container.format.name.split(","))
    if not formats & set(_EXACT) and not (b"Xing" in head or b"Info" in head):
        return None
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
        if "wav" in formats and head[:4] == b"RIFF":  # there the duration is that of the bytes present
            promised = int.from_bytes(head[4:8], "little") + 8
            return seconds * promised / size if size < promised < 0xFFFFFFF0 else seconds
        return seconds
    tag = stream.metadata.get("DURATION", "")  # Matroska: per track, "00:01:02.345000000"
    try:
        hours, minutes, rest = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(rest)
    except ValueError:
        return container.duration / av.time_base if container.duration and not container.streams.video else None


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
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


@contextmanager
def _container(source: Path, file: BinaryIO, head: bytes) -> Iterator[InputContainer]:
    try:
        container = av.open(file, mode="r", options={"format_whitelist": _FORMATS}, **_TAGS)
    except av.error.FFmpegError as error:
        if head.startswith(_SIGNATURES) or head[4:8] == b"ftyp":
            raise _corrupt(f"{source.name} cannot be opened: {error.strerror}") from error
        raise Permanent(
            f"{source.name} is not a media file", cause="not a media file", hint="It holds neither audio nor video."
        ) from error
    with container:
        yield container


def _audio_stream(source: Path, container: InputContainer) -> AudioStream:
    stream = container.streams.best("audio")
    if stream is None:
        raise Permanent(f"{source.name} has no audio stream", cause="no audio stream", hint="It is a picture or a silent video.")
    assert isinstance(stream, AudioStream)
    if stream.codec_context is None:
        raise Permanent(
            f"{source.name}: no decoder for its audio", cause="unsupported codec", hint="Convert it to FLAC, Opus or AAC first."
        )
    return stream


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
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


def _corrupt(message: str) -> Permanent:
    return Permanent(message, cause="corrupt media", hint="Get the file again: it is damaged or was cut short.")

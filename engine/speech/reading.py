"""One pass over a media file: packets to frames to PCM, and a check that the file is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.containers import Structure
from gainstage.engine.speech.media import corrupt, reading
from gainstage.engine.speech.pcm import Clock, PcmWriter
from gainstage.engine.terms import RecordingWarning

LOST_S, LOST_SHARE = 2.0, 0.02
"""Two lengths differ when both limits (seconds, share) are exceeded."""

_LATE_S = 10.0
"""A first timestamp later than this many seconds gives a warning."""

_MOST_STRANGERS = 10_000
"""Most packets of streams that start later; they are skipped."""

_EXACT = ("matroska", "mov", "wav", "w64", "flac", "aiff", "caf", "avi", "asf", "au")
"""Formats whose header states the duration; the others estimate it from the bit rate."""


@dataclass(slots=True)
class Reading:
    """The result of a pass. ``promised``: the length in seconds stated by the header, None when it states none."""

    name: str
    promised: float | None
    start_s: float = 0.0
    packets: int = 0
    broken: int = 0
    torn: bool = False  # ended by an error, or inside a packet that cannot be decoded
    jumps: list[tuple[float, float]] = field(default_factory=list)


def promised_s(container: InputContainer, stream: AudioStream, head: bytes) -> float | None:
    """Length of the audio by the header, in seconds; None when the header only estimates it, or means the video."""
    formats = set(container.format.name.split(","))
    if not formats & set(_EXACT) and not (b"Xing" in head or b"Info" in head):
        return None
    start = (container.start_time or 0) / av.time_base if "matroska" in formats else 0.0  # it counts from zero
    seconds = _stated_s(container, stream)
    if seconds is None or seconds <= 0:
        return None
    return seconds - start if 0 < start < seconds else seconds


def _stated_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # Matroska: per track, "00:01:02.345000000"
    try:
        hours, minutes, rest = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(rest)
    except ValueError:
        return container.duration / av.time_base if container.duration and not container.streams.video else None


def read(
    name: str,
    container: InputContainer,
    head: bytes,
    writers: Mapping[int, tuple[AudioStream, PcmWriter]],
    token: CancelToken,
    progress: Callable[[float], None] | None = None,
) -> Reading:
    """Decode the streams of ``writers`` (by stream index, the main one first) to the end of the file, or as far as it can be read.

    Raises :class:`gainstage.engine.errors.Permanent` "corrupt media", :class:`gainstage.engine.errors.Cancelled` and the errors
    of the writers.
    """
    (main, first), *_ = writers.values()
    source = first.source
    with reading(source):
        result = Reading(name, promised_s(container, main, head), (container.start_time or 0) / av.time_base)
        length = result.promised or (container.duration or 0) / av.time_base
    clocks = {index: Clock(result.start_s, result.promised) for index in writers}
    reported = 0.0
    for packet in _packets(container, [stream for stream, _ in writers.values()], result):
        token.check()
        index = packet.stream.index
        result.packets += 1
        try:
            with reading(source):
                frames = packet.decode()
        except Exception as error:
            if not _is_library_fault(error):
                raise
            result.broken += 1
            result.torn = packet.dts is not None
            continue
        result.torn = False if packet.size else result.torn
        for frame in frames:
            if isinstance(frame, AudioFrame):
                _take(frame, clocks[index], writers[index][1])
        if progress is not None and length and first.seconds - reported >= 1.0:
            reported = first.seconds
            progress(min(1.0, reported / length))
    for _, writer in writers.values():
        writer.flush()
    result.jumps = clocks[main.index].jumps
    return result


def _is_library_fault(error: Exception) -> bool:
    return getattr(error, "cause", "") == "corrupt media"


def _take(frame: AudioFrame, clock: Clock, writer: PcmWriter) -> None:
    if frame.time is not None and (hole := clock.hole(frame.time, writer.seconds)):
        writer.silence(hole)
    writer.frame(frame)


def _packets(container: InputContainer, streams: Sequence[AudioStream], result: Reading) -> Iterator[av.Packet[Any]]:
    """The packets up to the end of the file, or as far as it can be read; :func:`judge` later decides what is missing."""
    packets = iter(container.demux(list(streams)))
    strangers = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except IndexError:  # a packet of a stream that did not exist at the start, which PyAV cannot handle
            strangers += 1
            if strangers > _MOST_STRANGERS:
                result.torn = True
                return
            packets = iter(container.demux(list(streams)))
            continue
        except (av.error.FFmpegError, ValueError, RuntimeError):
            result.torn = True
            return
        yield packet


def judge(result: Reading, seconds: float, structure: Structure, size: int) -> list[RecordingWarning]:
    """The warnings for a complete recording. Raises :class:`Permanent` "corrupt media" for a damaged or truncated one."""
    if result.broken > max(1, LOST_SHARE * result.packets):
        raise corrupt(f"{result.name}: {result.broken} of {result.packets} packets cannot be decoded")
    promised = result.promised
    expected = max(promised or 0.0, seconds * (size + structure.missing) / size)
    if (structure.missing or result.torn or result.broken) and _differ(expected, seconds) and expected > seconds:
        raise corrupt(f"{result.name} holds {seconds:.1f} s of audio, its header promises {expected:.1f} s")
    return list(_remarks(result, seconds, structure))


def _remarks(result: Reading, seconds: float, structure: Structure) -> Iterator[RecordingWarning]:
    promised = result.promised
    if structure.samples is not None:
        yield RecordingWarning("header", f"its size field is too small: all {seconds:.1f} s that are there were taken")
    elif promised is not None and _differ(promised, seconds):
        yield RecordingWarning("header", f"its header promises {promised:.1f} s, {seconds:.1f} s are there")
    if structure.missing or structure.open_end:
        what = "it ends in the middle of a block" if structure.missing else "it has no end mark"
        yield RecordingWarning(
            "cut short", f"{what}: more may have followed after {seconds:.1f} s", "Get the file again if its end matters."
        )
    if result.start_s > _LATE_S:
        yield RecordingWarning("clock", f"its clock begins at {result.start_s:.0f} s: times here count from the first sound")
    for at, by in result.jumps[:3]:
        yield RecordingWarning("clock", f"its clock jumps by {by:+.0f} s at {at:.1f} s: times here count the audio that is there")


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > max(LOST_S, LOST_SHARE * max(one, other))

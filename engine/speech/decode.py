"""Decode a media file to 16 kHz mono PCM on disk: once per recording, in constant memory, with typed errors for bad input.

The data decides, not the headers: everything that can be decoded is used, and a difference from the header is a warning. A file is
refused only when its own data shows that it is damaged or truncated.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech import containers, media
from gainstage.engine.speech import tracks as choosing
from gainstage.engine.speech.activity import seconds_of, speech_spans
from gainstage.engine.speech.pcm import WINDOW_S, Levels, PcmWriter
from gainstage.engine.speech.reading import judge, read
from gainstage.engine.terms import SAMPLE_RATE, Audio, RecordingWarning, SpeakerTrack

SHORTEST_S = 0.5
"""Least seconds of audio in a recording."""

_QUIET = 0.01
"""A recording whose loudest sample is below this (-40 dBFS) is amplified before it is rounded to 16 bits."""

_PEAK, _SILENT = 0.5, 1e-5
"""Peak of amplified audio; audio that peaks below -100 dBFS is silence."""

_MOST_GAIN = _PEAK / _SILENT

_ONLY = "audio.pcm.part"

_MOST_TRACKS = 8
"""Most tracks that are decoded: each needs a file of PCM."""

_MOST_APART = 8
"""Most channels that may each be one person; more are a microphone array."""

_Parts = tuple[PcmWriter, list[SpeakerTrack]]
"""What is heard as a whole, and the people who have a line of their own in it."""

Tracks = Literal["auto", "first", "mix", "separate"]
"""The values of ``fetch.tracks``."""


@dataclass(frozen=True, slots=True)
class DecodedRecording:
    """The audio, and the warnings about its file."""

    audio: Audio
    warnings: tuple[RecordingWarning, ...] = ()


def decode(
    source: Path,
    folder: Path,
    *,
    token: CancelToken,
    progress: Callable[[float], None] | None = None,
    max_seconds: float | None = None,
) -> Audio:
    """:func:`decode_recording` for callers that need only the audio."""
    return decode_recording(source, folder, token=token, progress=progress, max_seconds=max_seconds, tracks="first").audio


def decode_recording(
    source: Path,
    folder: Path,
    *,
    token: CancelToken,
    progress: Callable[[float], None] | None = None,
    max_seconds: float | None = None,
    tracks: Tracks = "auto",
) -> DecodedRecording:
    """Decode the audio of ``source`` to ``folder/audio.pcm`` (int16, 16 kHz, mono) and take its fingerprint.

    ``tracks``: which of several audio tracks, or of the channels of one, are used; see ``fetch.tracks``.

    Raises :class:`Permanent` with the cause "missing file", "unreadable file", "empty file", "not a media file", "no audio
    stream", "unsupported codec", "corrupt media" or "too short"; :class:`gainstage.engine.errors.Rejected` "too long" above
    ``max_seconds``; :class:`gainstage.engine.errors.Transient` "disk full"; :class:`gainstage.engine.errors.Cancelled`. After
    an error, no file of this call is left in ``folder``.
    """
    with media.opened(source) as file, media.writing(folder):
        decoder = _Decoder(source, file, folder, token, progress, max_seconds, tracks)
        try:
            return decoder.run()
        except BaseException:
            decoder.remove()
            raise


class _Decoder:
    """The steps of :func:`decode_recording`, where the arguments are described."""

    def __init__(
        self,
        source: Path,
        file: BinaryIO,
        folder: Path,
        token: CancelToken,
        progress: Callable[[float], None] | None,
        max_seconds: float | None,
        choice: Tracks,
    ) -> None:
        self.source, self.file, self.folder, self.token, self.progress = source, file, folder, token, progress
        self.max_seconds, self.choice = max_seconds, choice
        self.size = os.fstat(file.fileno()).st_size
        self.structure = containers.structure(file, self.size)
        self.warnings: list[RecordingWarning] = []
        self._made: set[Path] = set()

    def remove(self, kept: Collection[Path] = ()) -> None:
        """Delete every file made here except ``kept``."""
        for path in self._made - set(kept):
            path.unlink(missing_ok=True)

    def run(self) -> DecodedRecording:
        with self._container() as (container, head), ExitStack() as files:
            streams = media.audio_streams(self.source, container)
            taken = streams[:1] if self.choice == "first" else streams[:_MOST_TRACKS]
            many = len(taken) > 1
            levels = [Levels() for _ in taken]
            writers = {
                stream.index: (stream, self._writer(files, f"track-{n + 1}.pcm" if many else _ONLY, levels[n], number=n))
                for n, stream in enumerate(taken)
            }
            result = read(self.source.name, container, head, writers, self.token, self.progress)
            order = sorted(stream.index for stream in streams)
            names = [_name(order.index(stream.index), stream) for stream in taken]
        done = [writer for _, writer in writers.values()]
        self.warnings += judge(result, max(writer.seconds for writer in done), self.structure, self.size)
        if many:
            chosen, lines = self._of_tracks(done, names, levels)
        else:
            split = {"separate": True, "mix": False}.get(self.choice)
            chosen, lines = self._of_channels(done[0], levels[0], split=split)
        chosen = self._amplified(chosen)
        if chosen.seconds < SHORTEST_S:
            hint = f"Nothing under {SHORTEST_S} s is taken."
            raise Permanent(f"{self.source.name} holds {chosen.seconds:.2f} s of audio", cause="too short", hint=hint)
        if self.progress is not None:
            self.progress(1.0)
        return self._result(chosen, lines)

    def _result(self, chosen: PcmWriter, lines: Sequence[SpeakerTrack]) -> DecodedRecording:
        audio, target = chosen.audio(), self.folder / "audio.pcm"
        kept = {line.audio.path for line in lines}
        if audio.path in kept:  # the only line
            shutil.copyfile(audio.path, target)
        else:
            audio.path.replace(target)
        self.remove(kept)
        return DecodedRecording(Audio(target, audio.samples, audio.fingerprint, tuple(lines)), tuple(self.warnings))

    # -- reading ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _container(self) -> Iterator[tuple[InputContainer, bytes]]:
        self.file.seek(0)
        head = self.file.read(1 << 16)
        self.file.seek(0)
        samples = self.structure.samples
        file = self.file if samples is None else containers.Spliced(self.file, samples)
        with media.container(self.source, file, head) as container:
            yield container, head

    def _writer(
        self,
        files: ExitStack,
        name: str,
        levels: Levels | None = None,
        channel: int | None = None,
        gain: float = 1.0,
        number: int = 0,
    ) -> PcmWriter:
        path = self.folder / name
        self._made.add(path)
        out = files.enter_context(path.open("wb", buffering=1 << 20))
        levels = None if self.choice == "first" else levels
        made = PcmWriter(self.source, path, out, max_seconds=self.max_seconds, channel=channel, gain=gain, levels=levels)
        made.number = number
        return made

    def _again(self, name: str, *, number: int = 0, channel: int | None = None, gain: float = 1.0) -> PcmWriter:
        """Decode one track again to another file: only one of its channels, or with a gain."""
        with self._container() as (container, head), ExitStack() as files:
            stream = media.audio_streams(self.source, container)[number]
            writer = self._writer(files, name, channel=channel, gain=gain, number=number)
            read(self.source.name, container, head, {stream.index: (stream, writer)}, self.token)
        return writer

    # -- what holds speech ------------------------------------------------------------------------------------------

    def _of_channels(self, whole: PcmWriter, levels: Levels, track: str = "", *, split: bool | None = None) -> _Parts:
        """The down-mix of a track, or its loudest channel when the mix cancels out, and the channels that each hold one person.

        ``track`` is the track's name where there are several. ``split``: whether channels become people; None where they are.
        """
        table = levels.table()
        if self.choice == "first" or table.shape[1] < 3 or not len(table):
            return whole, []
        energies, mean = table[:, :-1], table[:, -1]
        alive = choosing.alive(energies)
        split = split is not False and (
            bool(split) or (len(alive) <= _MOST_APART and choosing.apart(energies, alive, max(1.0, 0.02 * whole.seconds), WINDOW_S))
        )
        number, before = whole.number or 0, f"{track} " if track else ""
        if split and len(alive) > 1:
            lines = [
                SpeakerTrack(
                    self._again(f"track-{number + 1}-channel-{k + 1}.pcm", number=number, channel=k).audio(),
                    f"{before}channel {k + 1}",
                )
                for k in alive
            ]
            speaking = [line for line in lines if seconds_of(speech_spans(line.audio, self.token)) >= choosing.SPEAKS_S]
            if len(speaking) > 1:
                return whole, speaking
        loudest = choosing.cancelled(energies, mean)
        if loudest is None:
            return whole, []
        self._warn(
            "opposite phase",
            f"{before or 'its '}channels cancel each other in a mix: channel {loudest + 1} alone was taken",
            "A cable of one microphone is reversed.",
        )
        return self._again(f"track-{number + 1}-loudest.pcm", number=number, channel=loudest), []

    def _of_tracks(self, tracks: Sequence[PcmWriter], names: Sequence[str], levels: Sequence[Levels]) -> _Parts:
        """The track with the speech, or a mix of several, and the tracks, or channels of them, that each hold one person."""
        split = False if self.choice == "mix" else None
        parts = [self._of_channels(*each, split=split) for each in zip(tracks, levels, names, strict=True)]
        tracks = [track for track, _ in parts]
        audios = [track.audio() for track in tracks]
        spans = [speech_spans(audio, self.token) if audio.samples else () for audio in audios]
        speaking = [k for k, track_spans in enumerate(spans) if seconds_of(track_spans) >= choosing.SPEAKS_S]
        if not speaking:
            loudest = max(range(len(tracks)), key=lambda k: (tracks[k].peak > 0, -k))
            return tracks[loudest], []
        in_order = sorted(speaking, key=lambda k: names[k])
        people = [line for k in in_order for line in parts[k][1] or [SpeakerTrack(audios[k], names[k])]]
        if len(speaking) == 1:
            only = speaking[0]
            if only:
                self._warn("tracks", f"{names[0]} holds no speech: {names[only]} was taken")
            return tracks[only], people if len(people) > 1 or self.choice == "separate" else []
        if self.choice == "separate" or (self.choice == "auto" and self._are_people([line.audio for line in people])):
            return self._mixed([tracks[k] for k in speaking]), people
        main = max(speaking, key=lambda k: (k == 0, seconds_of(spans[k])))
        others = [k for k in speaking if k != main]
        if self.choice == "auto" and choosing.covers(spans[main], [spans[k] for k in others]):
            left_out = ", ".join(names[k] for k in others)
            self._warn(
                "tracks",
                f"{names[main]} was taken; {left_out} hold speech at the same times",
                "fetch.tracks chooses: mix hears all of them, separate keeps them apart.",
            )
            return tracks[main], parts[main][1]
        self._warn("tracks", f"{', '.join(names[k] for k in speaking)} were mixed: each holds speech")
        return self._mixed([tracks[k] for k in speaking]), []

    def _are_people(self, audios: Sequence[Audio]) -> bool:
        energies = _energies(audios)
        seconds = len(energies) * WINDOW_S
        return choosing.apart(energies, range(len(audios)), max(1.0, 0.02 * seconds), WINDOW_S)

    def _mixed(self, tracks: Sequence[PcmWriter]) -> PcmWriter:
        """The sum of several tracks, clipped where it is too loud."""
        audios = [track.audio() for track in tracks]
        with ExitStack() as files:
            mix = self._writer(files, "mix.pcm")
            mix.number = None
            for start in range(0, max(a.samples for a in audios), 60 * SAMPLE_RATE):
                self.token.check()
                parts = [a.read(start / SAMPLE_RATE, start / SAMPLE_RATE + 60) for a in audios]
                total = np.zeros(max(map(len, parts)), np.float32)
                for part in parts:
                    total[: len(part)] += part
                mix.put((np.clip(total, -1, 32767 / 32768) * 32768).astype("<i2").tobytes())
        return mix

    def _amplified(self, chosen: PcmWriter) -> PcmWriter:
        """Decode a recording that is too quiet for 16 bits again, with its peak at a normal level."""
        if chosen.peak >= _QUIET * 32768 or chosen.number is None or self.choice == "first":
            return chosen
        peak = self._again("probe.pcm", number=chosen.number, channel=chosen.channel, gain=_MOST_GAIN).loudest
        if peak < _SILENT:
            return chosen
        gain = _PEAK / peak
        level, raised = 20 * math.log10(peak), 20 * math.log10(gain)
        self._warn("very quiet", f"its loudest sound is at {level:.0f} dBFS: it was amplified by {raised:.0f} dB")
        return self._again("amplified.pcm", number=chosen.number, channel=chosen.channel, gain=gain)

    def _warn(self, cause: str, message: str, hint: str = "") -> None:
        self.warnings.append(RecordingWarning(cause, message, hint))


def _name(number: int, stream: AudioStream) -> str:
    """A track's name for the operator: "track 2 (eng, commentary)"."""
    said = [stream.metadata.get(key, "") for key in ("language", "title")]
    said = [text for text in said if text and text != "und"]
    return f"track {number + 1}" + (f" ({', '.join(said)})" if said else "")


def _energies(audios: Sequence[Audio]) -> choosing.Energies:
    """``(windows, tracks)`` mean squares in windows of the same times."""
    width = round(WINDOW_S * SAMPLE_RATE)
    table = np.zeros((max(a.samples for a in audios) // width, len(audios)), np.float32)
    for k, audio in enumerate(audios):
        for start in range(0, audio.samples // width, 1200):
            samples = audio.read(start * WINDOW_S, (start + 1200) * WINDOW_S)
            rows = samples[: len(samples) // width * width].reshape(-1, width)
            table[start : start + len(rows), k] = np.square(rows).mean(axis=1)
    return table

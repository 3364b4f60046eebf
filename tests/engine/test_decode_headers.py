"""Bytes before headers: what can be decoded is taken whole, whatever the header says, and what differs is a warning."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.containers import structure
from gainstage.engine.speech.decode import DecodedRecording, decode_recording
from gainstage.engine.terms import SAMPLE_RATE
from tests.engine.speech_kit import Samples, tone, write_media

SECONDS = 12.0


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def decoded(source: Path, work: Path) -> DecodedRecording:
    return decode_recording(source, work, token=CancelToken())


REFUSALS = ("corrupt media", "not a media file", "no audio stream", "unsupported codec", "too short")


def length_or_cause(source: Path, work: Path) -> float | str:
    try:
        return decoded(source, work).audio.seconds
    except Permanent as error:
        return error.cause


def causes(result: DecodedRecording) -> list[str]:
    return [warning.cause for warning in result.warnings]


def whole(source: Path, work: Path, *expected: str, seconds: float = SECONDS) -> DecodedRecording:
    """Decoded to its true length, heard to the end, with these warnings."""
    result = decoded(source, work)
    assert result.audio.seconds == pytest.approx(seconds, abs=0.12)
    last = result.audio.read(seconds - 0.5, seconds - 0.2)
    assert np.abs(last).max() > 0.2
    assert causes(result) == list(expected)
    return result


def patch(source: Path, pattern: bytes, at: int, new: bytes, *, every: bool = False) -> Path:
    """Overwrite ``at`` bytes behind the first (or every) match of ``pattern``."""
    data = bytearray(source.read_bytes())
    found = [match.start() for match in re.finditer(pattern, bytes(data), re.DOTALL)]
    assert found
    for place in found if every else found[:1]:
        data[place + at : place + at + len(new)] = new
    source.write_bytes(data)
    return source


def talk(path: Path, **how: object) -> Path:
    return write_media(path, tone(SECONDS), **how)  # type: ignore[arg-type]


# -- sizes of PCM -------------------------------------------------------------------------------------------------------

LIE = 64_000  # two seconds of the twelve


@pytest.mark.parametrize(
    ("data", "riff", "expected"),
    [
        (LIE, LIE + 36, ["header"]),  # a recorder that died
        (0, 0, ["header"]),  # never written
        (0xFFFFFFFF, 0xFFFFFFFF, []),  # the convention of a stream
        (0x7FFFF000, 0x7FFFF024, []),
        (None, 100, []),  # only the outer size is wrong
    ],
)
def test_a_wav_is_as_long_as_its_samples(tmp_path: Path, work: Path, data: int | None, riff: int, expected: list[str]) -> None:
    source = patch(talk(tmp_path / "a.wav"), b"RIFF", 4, struct.pack("<I", riff))
    if data is not None:
        patch(source, b"data", 4, struct.pack("<I", data))
    whole(source, work, *expected)


def test_what_follows_the_samples_of_a_wav_is_not_heard(tmp_path: Path, work: Path) -> None:
    source = talk(tmp_path / "a.wav")
    before = decoded(source, work).audio.fingerprint
    with source.open("ab") as file:
        file.write(b"LIST" + struct.pack("<I", 5000) + b"\x7f\x01" * 2500 + b"id3 " + struct.pack("<I", 10) + b"0123456789")
    assert whole(source, work).audio.fingerprint == before
    with source.open("ab") as file:
        file.write(b"TAG" + b"x" * 125)
    assert whole(source, work).audio.fingerprint == before


def test_a_small_size_and_chunks_behind_end_at_the_wrapped_place(tmp_path: Path) -> None:
    """The field of 5 GiB of samples says 1 GiB; the file is sparse."""
    source, length = tmp_path / "a.wav", 5 * 1024**3
    with source.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 2, 48000, 192000, 4, 16))
        file.write(b"data" + struct.pack("<I", length % 2**32))
        file.seek(44 + length)
        file.write(b"LIST" + struct.pack("<I", 4) + b"INFO")
    with source.open("rb") as opened:
        found = structure(opened, source.stat().st_size).samples
    assert found is not None
    assert (found.start, found.end) == (44, 44 + length)


def test_rf64_says_its_size_elsewhere(tmp_path: Path, work: Path) -> None:
    pcm = (tone(SECONDS) * 32767).astype("<i2").tobytes()
    kind = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    for size, expected in ((len(pcm), ()), (LIE, ("header",)), (0, ("header",))):
        sizes = b"ds64" + struct.pack("<IQQQI", 28, size + 72, size, size // 2, 0)
        source = tmp_path / f"{size}.wav"
        source.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + sizes + kind + b"data\xff\xff\xff\xff" + pcm)
        whole(source, work, *expected)


@pytest.mark.parametrize("lie", [LIE, 0])
@pytest.mark.parametrize(
    ("name", "codec", "pattern", "at", "form"),
    [
        ("a.aiff", "pcm_s16be", b"SSND", 4, ">I"),
        ("a.aiff", "pcm_s24be", b"SSND", 4, ">I"),
        ("a.au", "pcm_s16be", rb"\.snd", 8, ">I"),
        ("a.caf", "pcm_s16le", b"data", 4, ">q"),
        ("a.w64", "pcm_s16le", b"data\xf3\xac", 16, "<q"),
    ],
)
def test_the_neighbours_of_wav_too(
    tmp_path: Path, work: Path, name: str, codec: str, pattern: bytes, at: int, form: str, lie: int
) -> None:
    source = talk(tmp_path / name, codec=codec)
    whole(source, work)
    whole(patch(source, pattern, at, struct.pack(form, lie)), work, "header")


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.caf", "a.w64", "a.avi"])
def test_half_of_it_is_corrupt_all_the_same(tmp_path: Path, work: Path, name: str) -> None:
    codecs = {"avi": "libmp3lame", "aiff": "pcm_s16be", "au": "pcm_s16be"}
    source = talk(tmp_path / name, codec=codecs.get(name[2:], "pcm_s16le"))
    os.truncate(source, source.stat().st_size // 2)
    with pytest.raises(Permanent) as caught:
        decoded(source, work)
    assert caught.value.cause == "corrupt media"
    assert os.listdir(work) == []


# -- clocks -------------------------------------------------------------------------------------------------------------


def later(source: Path, target: Path, by: Callable[[float], float], format: str | None = None) -> Path:
    """The same packets with other times: ``by`` gives the seconds added at each."""
    with av.open(str(source)) as old, av.open(str(target), "w", format=format) as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is None or packet.time_base is None:
                continue
            add = round(by(float(packet.dts * packet.time_base)) / float(packet.time_base))
            packet.dts, packet.pts = packet.dts + add, (packet.pts or 0) + add
            packet.stream = stream
            new.mux(packet)
    return target


@pytest.mark.parametrize("name", ["late.mkv", "late.webm", "late.ogg"])
@pytest.mark.parametrize("hours", [1, 30])
def test_a_clock_that_begins_late_is_no_missing_audio(tmp_path: Path, work: Path, name: str, hours: int) -> None:
    source = later(talk(tmp_path / "a.opus"), tmp_path / name, lambda at: 3600.0 * hours)
    whole(source, work, "clock")


def test_the_clock_of_a_broadcast_begins_anywhere_and_wraps(tmp_path: Path, work: Path) -> None:
    aac = talk(tmp_path / "a.m4a")
    whole(later(aac, tmp_path / "a.ts", lambda at: 70_000.0), work, "clock")
    whole(later(aac, tmp_path / "b.ts", lambda at: 2**33 / 90_000 - 5), work)


@pytest.mark.parametrize("name", ["a.ogg", "a.mkv", "a.webm"])
@pytest.mark.parametrize("jump", [300.0, 4000.0])
def test_a_clock_that_jumps_adds_no_silence_and_loses_nothing(tmp_path: Path, work: Path, name: str, jump: float) -> None:
    source = later(talk(tmp_path / "b.opus"), tmp_path / name, lambda at: jump if at > 5 else 0.0)
    result = decoded(source, work)
    if name == "a.ogg" or jump > 600:
        assert result.audio.seconds == pytest.approx(SECONDS, abs=0.12)
        assert "clock" in causes(result)
    else:  # Matroska wrote down a length that agrees: somebody was silent for so long
        assert result.audio.seconds == pytest.approx(SECONDS + jump, abs=0.12)
        assert not result.audio.read(10, 290).any()


def test_a_short_hole_is_silence(tmp_path: Path, work: Path) -> None:
    source = later(talk(tmp_path / "b.opus"), tmp_path / "a.ogg", lambda at: 4.0 if at > 5 else 0.0)
    result = decoded(source, work)
    assert result.audio.seconds == pytest.approx(SECONDS + 4, abs=0.12)
    assert causes(result) == []


# -- durations ----------------------------------------------------------------------------------------------------------


def fragmented(path: Path) -> Path:
    with av.open(io.BytesIO(talk(path.with_suffix(".m4a")).read_bytes())) as old:
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "2000000"}
        with av.open(str(path), "w", format="mp4", options=options) as new:
            stream = new.add_stream_from_template(old.streams.audio[0])
            for packet in old.demux(old.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    new.mux(packet)
    return path


@pytest.mark.parametrize("seconds", [1, 3, 3600])
def test_a_fragmented_mp4_is_as_long_as_its_fragments(tmp_path: Path, work: Path, seconds: int) -> None:
    source = fragmented(tmp_path / "a.mp4")
    whole(source, work)
    scale = struct.pack(">I", 1000 * seconds)
    patch(source, b"mvhd", 20, scale)
    patch(source, b"tkhd", 24, scale)
    patch(source, b"mdhd", 20, struct.pack(">I", SAMPLE_RATE * seconds))
    result = decoded(source, work)
    assert result.audio.seconds == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize("seconds", [1.0, 3600.0])
def test_a_matroska_is_as_long_as_its_blocks(tmp_path: Path, work: Path, seconds: float) -> None:
    source = talk(tmp_path / "a.mkv")
    patch(source, rb"\x44\x89\x88", 3, struct.pack(">d", 1000 * seconds))
    patch(source, rb"00:00:1\d\.\d{9}", 0, f"{int(seconds // 3600):02d}:00:{int(seconds % 3600):02d}.000000000".encode())
    whole(source, work, "header")


@pytest.mark.parametrize("samples", [0, 20_000, 10**9])
def test_a_flac_is_as_long_as_its_frames(tmp_path: Path, work: Path, samples: int) -> None:
    source = talk(tmp_path / "a.flac")
    data = bytearray(source.read_bytes())
    at = data.index(b"fLaC") + 8 + 13
    data[at] = (data[at] & 0xF0) | (samples >> 32)
    data[at + 1 : at + 5] = struct.pack(">I", samples & 0xFFFFFFFF)
    source.write_bytes(data)
    whole(source, work, *(["header"] if samples else []))


def test_mp3_without_a_header_and_two_in_one_file(tmp_path: Path, work: Path) -> None:
    source = talk(tmp_path / "a.mp3")
    data = source.read_bytes()
    frame = next(m.start() for m in re.finditer(b"Xing|Info", data))
    bare = data[: data.rindex(b"\xff", 0, frame)] + data[data.index(b"\xff", frame + 160) :]
    source.write_bytes(bare)
    whole(source, work)
    source.write_bytes(data + bare)  # the header of the first speaks for the first
    whole(source, work, seconds=2 * SECONDS)


def test_a_late_moov_and_an_edit_keep_the_usual_length(tmp_path: Path, work: Path) -> None:
    whole(talk(tmp_path / "a.mp4"), work)
    whole(talk(tmp_path / "a.mov"), work)


# -- what is really short -----------------------------------------------------------------------------------------------


def test_an_ogg_cut_short_is_stored_with_a_word(tmp_path: Path, work: Path) -> None:
    source = talk(tmp_path / "a.opus")
    whole(source, work)
    os.truncate(source, source.stat().st_size // 2)
    result = decoded(source, work)
    assert 4 < result.audio.seconds < 8
    assert causes(result) == ["cut short"]


def test_a_damaged_avi_does_not_grow(tmp_path: Path, work: Path) -> None:
    source = talk(tmp_path / "a.avi", codec="libmp3lame")
    data = bytearray(source.read_bytes())
    draw = np.random.default_rng(3)
    start = data.index(b"movi")
    for _ in range(40):
        at = int(draw.integers(start, len(data) - 64))
        data[at : at + 24] = draw.bytes(24)
    source.write_bytes(data)
    assert length_or_cause(source, work) in ("corrupt media", pytest.approx(SECONDS, abs=2))


def test_a_length_beyond_any_file_is_corrupt_and_not_tried_again(tmp_path: Path, work: Path) -> None:
    source = talk(tmp_path / "a.mkv")
    data = source.read_bytes()
    source.write_bytes(data[:4] + b"\x01\x7f\xff\xff\xff\xff\xff\xf0" + data[12:])
    assert length_or_cause(source, work) in REFUSALS or length_or_cause(source, work) == pytest.approx(SECONDS, abs=0.2)


@pytest.mark.parametrize("channels", [3, 7, 9, 24, 32, 64])
def test_any_number_of_channels_becomes_one(tmp_path: Path, work: Path, channels: int) -> None:
    samples: Samples = np.repeat(tone(SECONDS)[:, None], channels, 1)
    pcm = (samples * 32767).astype("<i2").tobytes()
    source = tmp_path / "a.wav"
    kind = struct.pack("<IHHIIHH", 16, 1, channels, SAMPLE_RATE, 2 * channels * SAMPLE_RATE, 2 * channels, 16)
    source.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVEfmt " + kind + b"data" + struct.pack("<I", len(pcm)) + pcm
    )
    whole(source, work)


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.m4a", "aac"), ("a.mkv", "libopus")])
@pytest.mark.parametrize("layout", ["quad", "5.1", "7.1"])
def test_planes_of_many_channels_do_not_crash_the_reader(tmp_path: Path, work: Path, name: str, codec: str, layout: str) -> None:
    source = tmp_path / name
    count = {"quad": 4, "5.1": 6, "7.1": 8}[layout]
    with av.open(str(source), "w", format="ipod" if name == "a.m4a" else None) as container:
        stream = container.add_stream(codec, rate=48_000, layout=layout)
        pcm = np.repeat((tone(SECONDS, 48_000) * 32767).astype(np.int16)[:, None], count, 1)
        for at in range(0, len(pcm), 960):
            frame = av.AudioFrame.from_ndarray(pcm[at : at + 960].reshape(1, -1), format="s16", layout=layout)
            frame.rate, frame.pts = 48_000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole(source, work)


@pytest.mark.parametrize("name", ["a.ts", "a.flv", "a.mp3", "a.aac", "a.mkv", "a.mp4", "a.opus", "a.wav", "a.avi"])
def test_a_broken_file_is_refused_in_words_or_taken(tmp_path: Path, work: Path, name: str) -> None:
    codec = {"ts": "aac", "flv": "aac", "avi": "libmp3lame"}.get(name[2:])
    source = talk(tmp_path / name, codec=codec)
    original = source.read_bytes()
    draw = np.random.default_rng(len(name))
    for _ in range(25):
        data = bytearray(original)
        for _ in range(int(draw.integers(1, 30))):
            at = int(draw.integers(0, len(data)))
            data[at] = int(draw.integers(256))
        source.write_bytes(data)
        found = length_or_cause(source, work)
        assert found in REFUSALS or (isinstance(found, float) and found < 2 * SECONDS)

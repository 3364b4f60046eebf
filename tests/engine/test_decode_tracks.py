"""Where the mix holds nothing the tracks, channels and levels are looked at; separate people stay apart."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.selftest import clip
from gainstage.engine.speech.decode import DecodedRecording, Tracks, decode_recording
from gainstage.engine.speech.emptiness import why_nothing
from gainstage.engine.speech.lines import named, transcribe_lines, turns_of
from gainstage.engine.terms import SAMPLE_RATE, Provenance, SpeakerTurn
from tests.engine.speech_kit import Samples, audio_of, demo_settings, models, silence, tone


def conversation() -> tuple[Samples, Samples]:
    """Two people in turn, each on a line of their own."""
    one, more, other = clip("one_a"), clip("one_b"), clip("other")
    a = np.concatenate(
        [silence(0.3), one, silence(0.5 + len(other) / SAMPLE_RATE), more, silence(0.5), silence(len(other) / SAMPLE_RATE)]
    )
    b = np.concatenate([silence(0.5 + len(one) / SAMPLE_RATE), other, silence(0.5 + len(more) / SAMPLE_RATE), other])
    length = max(len(a), len(b))
    return np.pad(a, (0, length - len(a))), np.pad(b, (0, length - len(b)))


A, B = conversation()
BOTH = A + B
NOTHING = np.zeros_like(A)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def decoded(source: Path, work: Path, tracks: Tracks = "auto") -> DecodedRecording:
    return decode_recording(source, work, token=CancelToken(), tracks=tracks)


def with_tracks_of_channels(path: Path, tracks: Sequence[Sequence[Samples]]) -> Path:
    """A Matroska file of 16-bit PCM; a track is one or two channels."""
    with av.open(str(path), "w") as container:
        layouts = ["mono" if len(channels) == 1 else "stereo" for channels in tracks]
        streams = [container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout=layout) for layout in layouts]
        for at in range(0, len(tracks[0][0]), 960):
            for stream, layout, channels in zip(streams, layouts, tracks, strict=True):
                part = (np.stack([samples[at : at + 960] for samples in channels], 1) * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout=layout)
                frame.rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), at
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def with_tracks(path: Path, tracks: Sequence[Samples], languages: Sequence[str] = ()) -> Path:
    with av.open(str(path), "w") as container:
        streams = [
            container.add_stream("aac" if path.suffix == ".mp4" else "libopus", rate=SAMPLE_RATE, layout="mono") for _ in tracks
        ]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        for at in range(0, max(map(len, tracks)), 960):
            for stream, samples in zip(streams, tracks, strict=True):
                part = (samples[at : at + 960] * 32767).astype(np.int16)
                if len(part):
                    frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
                    frame.rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), at
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def with_channels(path: Path, channels: Sequence[Samples], form: str = "<i2") -> Path:
    """A WAV of 16-bit integers or 32-bit floats."""
    whole = np.dtype(form).kind == "i"
    samples = (np.stack(channels, 1) * (32767 if whole else 1)).astype(form).tobytes()
    width = np.dtype(form).itemsize
    block = width * len(channels)
    kind = struct.pack("<IHHIIHH", 16, 1 if whole else 3, len(channels), SAMPLE_RATE, SAMPLE_RATE * block, block, 8 * width)
    data = b"data" + struct.pack("<I", len(samples)) + samples
    path.write_bytes(b"RIFF" + struct.pack("<I", 28 + len(data)) + b"WAVEfmt " + kind + data)
    return path


def holds(result: DecodedRecording, expected: Samples, least: float = 0.95) -> bool:
    """Whether the audio sounds like this: the correlation of their loudness over time."""
    heard = result.audio.read()[: len(expected)]
    rows = len(heard) // 800
    one, two = (np.sqrt(np.square(x[: rows * 800].reshape(rows, 800)).mean(axis=1)) for x in (heard, expected))
    return float(np.corrcoef(one, two)[0, 1]) > least


def said(result: DecodedRecording) -> list[tuple[str, str]]:
    return [(w.cause, w.message) for w in result.warnings]


# -- tracks -------------------------------------------------------------------------------------------------------------


def test_a_silent_first_track_gives_way_to_the_one_that_speaks(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks(tmp_path / "a.mkv", [NOTHING, BOTH]), work)
    assert holds(result, BOTH)
    assert said(result) == [("tracks", "track 1 holds no speech: track 2 was taken")]
    assert os.listdir(work) == ["audio.pcm"]


def test_a_first_track_of_music_too(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks(tmp_path / "a.mkv", [tone(len(A) / SAMPLE_RATE), BOTH]), work)
    assert holds(result, BOTH)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_one_person_per_track_stay_apart(tmp_path: Path, work: Path, name: str) -> None:
    result = decoded(with_tracks(tmp_path / name, [NOTHING, A, B]), work)
    assert [line.name for line in result.audio.lines] == ["track 2", "track 3"]
    assert holds(result, BOTH)
    assert result.warnings == ()


def test_a_dub_is_left_out_with_a_word(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks(tmp_path / "a.mkv", [BOTH, BOTH * 0.8], ["eng", "deu"]), work)
    assert result.audio.lines == ()
    assert said(result) == [("tracks", "track 1 (eng) was taken; track 2 (deu) hold speech at the same times")]


def test_the_operator_chooses(tmp_path: Path, work: Path) -> None:
    source = with_tracks(tmp_path / "a.mkv", [A, B])
    assert holds(decoded(source, work, "first"), A)
    mixed = decoded(source, work, "mix")
    assert holds(mixed, BOTH)
    assert mixed.audio.lines == ()
    dub = with_tracks(tmp_path / "b.mkv", [BOTH, BOTH])
    assert len(decoded(dub, work, "separate").audio.lines) == 2


def three_people() -> tuple[Samples, Samples, Samples]:
    """Three people who speak one after the other, twice."""
    clips = (clip("one_a"), clip("other"), clip("one_b"))
    lines: list[list[Samples]] = [[], [], []]
    for _ in range(2):
        for k, samples in enumerate(clips):
            for n, line in enumerate(lines):
                line += [samples if n == k else silence(len(samples) / SAMPLE_RATE), silence(0.5)]
    one, two, three = (np.concatenate(line) for line in lines)
    return one, two, three


ONE, TWO, THREE = three_people()


def test_channels_of_one_of_several_tracks_are_people_too(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks_of_channels(tmp_path / "a.mkv", [[ONE], [TWO, THREE]]), work)
    assert [line.name for line in result.audio.lines] == ["track 1", "track 2 channel 1", "track 2 channel 2"]
    assert holds(result, ONE + (TWO + THREE) / 2, 0.9)
    for line, samples in zip(result.audio.lines, (ONE, TWO, THREE), strict=True):
        assert holds(DecodedRecording(line.audio), samples)
    assert result.warnings == ()


def test_channels_of_the_only_track_that_speaks(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks_of_channels(tmp_path / "a.mkv", [[np.zeros_like(ONE)], [ONE, TWO]]), work)
    assert [line.name for line in result.audio.lines] == ["track 2 channel 1", "track 2 channel 2"]
    assert result.warnings == (), "the stereo track is the one a player chooses"


def test_a_stereo_mix_in_a_track_is_one_line(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks_of_channels(tmp_path / "a.mkv", [[ONE], [TWO, TWO * 0.7]]), work)
    assert [line.name for line in result.audio.lines] == ["track 1", "track 2"]


def test_a_track_whose_channels_cancel_each_other_is_heard(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks_of_channels(tmp_path / "a.mkv", [[ONE], [TWO, -TWO]]), work)
    assert [line.name for line in result.audio.lines] == ["track 1", "track 2"]
    assert [w.cause for w in result.warnings] == ["opposite phase"]
    assert holds(result, ONE + TWO)


def test_a_dub_beside_people_on_channels_is_left_out(tmp_path: Path, work: Path) -> None:
    both = ONE + TWO
    result = decoded(with_tracks_of_channels(tmp_path / "a.mkv", [[ONE, TWO], [both, both]]), work)
    assert [line.name for line in result.audio.lines] == ["track 1 channel 1", "track 1 channel 2"]
    assert [w.cause for w in result.warnings] == ["tracks"]


def test_mix_splits_no_channels(tmp_path: Path, work: Path) -> None:
    result = decoded(with_tracks_of_channels(tmp_path / "a.mkv", [[ONE], [TWO, THREE]]), work, "mix")
    assert result.audio.lines == ()


# -- channels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [-BOTH, -0.8 * BOTH])
def test_channels_of_opposite_phase_do_not_cancel(tmp_path: Path, work: Path, second: Samples) -> None:
    result = decoded(with_channels(tmp_path / "a.wav", [BOTH, second]), work)
    assert holds(result, BOTH, 0.99)
    assert [w.cause for w in result.warnings] == ["opposite phase"]


@pytest.mark.parametrize("more", [0, 2])
def test_a_call_with_one_party_per_channel(tmp_path: Path, work: Path, more: int) -> None:
    result = decoded(with_channels(tmp_path / "a.wav", [A, B, *[NOTHING] * more]), work)
    assert [line.name for line in result.audio.lines] == ["channel 1", "channel 2"]
    assert holds(result, BOTH)


@pytest.mark.parametrize(
    "channels",
    [(BOTH, BOTH), (A + 0.4 * B, 0.4 * A + B), (BOTH, NOTHING), (BOTH, 0.001 * BOTH)],
    ids=["same", "panned", "one", "faint"],
)
def test_ordinary_stereo_is_one_mix(tmp_path: Path, work: Path, channels: tuple[Samples, Samples]) -> None:
    result = decoded(with_channels(tmp_path / "a.wav", channels), work)
    assert result.audio.lines == ()
    assert result.warnings == ()
    assert holds(result, BOTH, 0.9)


def test_one_microphone_of_many_is_heard(tmp_path: Path, work: Path) -> None:
    result = decoded(with_channels(tmp_path / "a.wav", [NOTHING] * 20 + [BOTH] + [NOTHING] * 11), work)
    assert holds(result, BOTH)


# -- level --------------------------------------------------------------------------------------------------------------


def test_a_level_of_minus_81_dbfs_is_raised(tmp_path: Path, work: Path) -> None:
    quiet = BOTH * 10 ** (-81 / 20) / np.abs(BOTH).max()
    result = decoded(with_channels(tmp_path / "a.wav", [quiet], "<f4"), work)
    assert said(result) == [("very quiet", "its loudest sound is at -81 dBFS: it was amplified by 75 dB")]
    assert holds(result, BOTH, 0.99)
    assert np.abs(result.audio.read()).max() == pytest.approx(0.5, abs=0.01)


def test_silence_stays_silence(tmp_path: Path, work: Path) -> None:
    result = decoded(with_channels(tmp_path / "a.wav", [NOTHING, NOTHING]), work)
    assert not result.audio.read().any()
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("samples", "cause"),
    [(NOTHING, "silent"), (tone(4), "no speech"), (tone(4) * 0.001, "no speech"), (BOTH, "no words")],
)
def test_why_there_are_no_words(tmp_path: Path, samples: Samples, cause: str) -> None:
    assert why_nothing(audio_of(tmp_path, samples), CancelToken()).cause == cause


# -- people apart -------------------------------------------------------------------------------------------------------


def test_lines_become_one_transcript_in_time_order_one_speaker_each(tmp_path: Path, work: Path) -> None:
    lines = decoded(with_channels(tmp_path / "a.wav", [A, B]), work).audio.lines
    heard = turns_of(lines, CancelToken())
    assert {t.cluster for t in heard.turns} == {"TRACK_00", "TRACK_01"}
    assert all(a.end <= b.start for a, b in zip(heard.exclusive, heard.exclusive[1:], strict=False))
    transcript = transcribe_lines(models().transcriber(), lines, demo_settings().asr, token=CancelToken())
    starts = [w.start for w in transcript.words]
    assert starts == sorted(starts)
    turns = [
        SpeakerTurn(t.start, t.end, t.cluster, {"TRACK_00": "Ada", "TRACK_01": "Ben"}[t.cluster], None, None, Provenance.CLUSTER)
        for t in heard.exclusive
    ]
    words = named(transcript.words, turns, ())
    alone = {
        name: [w.text for w in models().transcriber().transcribe(line.audio, demo_settings().asr, token=CancelToken()).words]
        for name, line in zip(("Ada", "Ben"), lines, strict=True)
    }
    assert {name: [w.text for w in words if w.speaker == name] for name in alone} == alone
    assert [w.speaker for w in words] != sorted(w.speaker or "" for w in words), "they take turns"

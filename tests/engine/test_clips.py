"""Stretches of recordings as sound files, players, and audio that is kept."""

from __future__ import annotations

import os
import stat
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from gainstage.engine.desk.playing import clip_name, export_clips, playable, write_clip
from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech import clips
from gainstage.engine.speech.decode import decode
from gainstage.engine.speech.keeping import keep_audio
from gainstage.engine.store.database import Database
from gainstage.engine.store.kept_audio import kept_file, opus_bytes, sweep
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.playing import Playable
from gainstage.tui.state.player import play, player_command
from tests.cli_kit import said, told
from tests.engine.store_kit import recording, segments, store

RATE = 44_100
TONES = (300, 700, 1100, 1500, 1900, 2300)
"""One tone per second, so that a stretch says where it is from."""


def samples() -> NDArray[np.int16]:
    time = np.arange(RATE) / RATE
    return np.concatenate([(12_000 * np.sin(2 * np.pi * hz * time)).astype(np.int16) for hz in TONES])


def media(folder: Path, codec: str, form: str) -> Path:
    path = folder / f"talk.{form}"
    rate = 48_000 if codec == "libopus" else RATE
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = AudioFrame.from_ndarray(samples()[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.format.name, "mono", rate, frame_size=stream.frame_size or 0)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def heard(path: Path) -> tuple[float, list[int]]:
    """Seconds of a clip, and the tone of each of its half seconds."""
    with wave.open(str(path), "rb") as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(float)
        rate = file.getframerate()
    half, found = rate // 2, []
    for start in range(0, len(sound) - half + 1, half):
        spectrum = np.abs(np.fft.rfft(sound[start : start + half] * np.hanning(half)))
        peak = float(np.argmax(spectrum)) * rate / half
        found.append(min(TONES, key=lambda hz: abs(hz - peak)))
    return len(sound) / rate, found


@pytest.mark.parametrize(("codec", "form"), [("pcm_s16le", "wav"), ("libopus", "ogg"), ("flac", "flac"), ("aac", "m4a")])
def test_a_clip_holds_exactly_its_stretch(tmp_path: Path, codec: str, form: str) -> None:
    clip = clips.write_clip(media(tmp_path, codec, form), 3.0, 5.0, tmp_path / "clips" / "a.wav")
    seconds, tones = heard(clip)
    assert seconds == pytest.approx(2.0, abs=0.06)
    assert tones[0] == TONES[3]
    assert tones[-1] == TONES[4]
    assert [p.name for p in clip.parent.iterdir()] == ["a.wav"], "nothing half-written is left"


def test_a_stretch_outside_the_audio_and_what_is_no_media_are_refused(tmp_path: Path) -> None:
    source = media(tmp_path, "pcm_s16le", "wav")
    with pytest.raises(Permanent, match="has nothing from"):
        clips.write_clip(source, 60.0, 61.0, tmp_path / "a.wav")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(Permanent, match="not a media file"):
        clips.write_clip(tmp_path / "text.wav", 0.0, 1.0, tmp_path / "a.wav")
    assert not (tmp_path / "a.wav").exists()


def test_kept_opus_has_the_length_and_the_sound_and_its_price(tmp_path: Path) -> None:
    audio = decode(media(tmp_path, "flac", "flac"), tmp_path, token=CancelToken())
    kept = keep_audio(tmp_path / "talk.flac", audio, tmp_path / "kept", "opus", CancelToken())
    assert kept is not None
    assert kept == kept_file(tmp_path / "kept", audio.fingerprint)
    assert kept.stat().st_size < 2 * opus_bytes(audio.seconds) + 10_000
    (tmp_path / "again").mkdir()
    again = decode(kept, tmp_path / "again", token=CancelToken())
    assert again.seconds == pytest.approx(audio.seconds, abs=0.05)
    seconds, tones = heard(clips.write_clip(kept, 1.0, 2.0, tmp_path / "b.wav"))
    assert (round(seconds, 1), tones[0]) == (1.0, TONES[1])
    assert keep_audio(tmp_path / "gone", audio, tmp_path / "kept", "original", CancelToken()) == kept, "once per audio"
    assert keep_audio(tmp_path / "talk.flac", audio, tmp_path / "none", "never", CancelToken()) is None


def test_audio_of_deleted_recordings_goes(database: Database, tmp_path: Path) -> None:
    store(RecordingStore(database), recording(1), segments(2))
    for name in ("sha-rec00001.ogg", "sha-gone.ogg", "sha-new.ogg"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("sha-rec00001.ogg", "sha-gone.ogg"):
        os.utime(tmp_path / name, (0, 0))
    assert sweep(database, tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sha-new.ogg", "sha-rec00001.ogg"]


def test_a_player_gets_the_stretch_without_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mpv", "ffplay"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/{name}.args\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    hostile = tmp_path / "-x; touch pwned $(id).wav"
    what = Playable("id", "A talk", 12.0, 15.5, "Ada", str(hostile), None)
    command = player_command(what)
    assert command is not None
    assert play(command).wait(20) == 0
    assert (tmp_path / "mpv.args").read_text().splitlines()[-4:] == ["--start=12.00", "--length=3.50", "--", str(hostile)]
    (tmp_path / "mpv").unlink()
    command = player_command(what)
    assert command is not None
    assert command[0].endswith("ffplay")
    assert play(command).wait(20) == 0
    assert str(hostile) in (tmp_path / "ffplay.args").read_text()
    assert player_command(Playable("id", "A talk", 0.0, 1.0, "", None, "https://example.org/v")) is None, "ffplay opens no sites"


def test_play_and_clips_by_the_command_line(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = media(tmp_path, "flac", "flac")
    held = RecordingStore(database)
    one = [s for s in segments(1)]
    store(held, recording(1, source=str(source), key="sha256:1", duration=6.0), one)
    monkeypatch.setenv("PATH", str(tmp_path))  # no player
    where = ("--database", database_url, "--home", tmp_path / "home")
    answer = told("play", "rec00001", "--at", "0:02", "--for", "2", "-o", tmp_path, *where)
    assert answer["player"] is None
    assert heard(Path(answer["clip"]))[1][0] == TONES[2]
    assert "no player" in said("play", "rec00001", "-o", tmp_path, *where)
    assert "ends at 6 s" in said("play", "rec00001", "--at", "9:00", *where, status=1)
    said("export", "rec00001", "--format", "clips", "-o", tmp_path, *where)
    (made,) = (tmp_path / "rec00001.clips").iterdir()
    assert made.name.startswith("1_rec00001_0-00-00_Speaker")
    source.unlink()
    gone = said("play", "rec00001", *where, status=1)
    assert "store.keep_audio" in gone


def test_a_recording_that_is_elsewhere_has_an_address_and_no_clip(database: Database, tmp_path: Path) -> None:
    held = RecordingStore(database)
    store(held, recording(1, duration=100.0), segments(2))
    what = playable(held, "rec00001", 12.0, tmp_path)
    assert (what.path, what.url) == (None, "https://www.youtube.com/watch?v=1")
    assert what.start <= 10.0 <= what.end
    assert clip_name(what).startswith("rec00001_0-00-1")
    with pytest.raises(Permanent, match="not on this machine"):
        write_clip(what, tmp_path)
    with pytest.raises(Permanent):
        export_clips(held, "rec00001", tmp_path, tmp_path)

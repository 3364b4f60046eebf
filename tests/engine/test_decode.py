"""Any media file becomes 16 kHz mono PCM; what cannot is refused with a cause an operator can act on."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from speech_kit import WarningLog, silence, tone, write_media

from gainstage.engine.errors import Cancelled, EngineError, Permanent, Rejected, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech import media
from gainstage.engine.speech.decode import decode
from gainstage.engine.terms import SAMPLE_RATE, Audio


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def decoded(source: Path, work: Path) -> Audio:
    return decode(source, work, token=CancelToken())


def refused(source: Path, work: Path, kind: type[EngineError] = Permanent) -> str:
    """The cause of the refusal; nothing may be left behind."""
    with pytest.raises(kind) as caught:
        decoded(source, work)
    assert os.listdir(work) == []
    assert caught.value.hint
    return caught.value.cause


def pitch(audio: Audio, start: float, end: float) -> float:
    """The loudest frequency of a stretch, in hertz."""
    x = audio.read(start, end)
    return float(np.abs(np.fft.rfft(x)).argmax() * SAMPLE_RATE / len(x))


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.opus", "a.flac", "a.mp4", "a.mkv", "a.webm", "a.ogg"])
def test_every_usual_format_keeps_its_length_and_pitch(tmp_path: Path, work: Path, name: str) -> None:
    source = write_media(tmp_path / name, tone(3, 48000), rate=48000, channels=2)
    audio = decoded(source, work)
    assert audio.seconds == pytest.approx(3, abs=0.07)
    assert pitch(audio, 1, 2) == pytest.approx(440, abs=2)
    assert audio.path == work / "audio.pcm"
    assert audio.path.stat().st_size == 2 * audio.samples


def test_tags_that_are_not_utf8_refuse_no_file(tmp_path: Path, work: Path) -> None:
    source = write_media(tmp_path / "a.wav", tone(3))
    tags = b"INFOINAM" + struct.pack("<I", 4) + b"\xff\xfe\xfd\0"
    file = source.read_bytes()
    at = file.index(b"data")
    source.write_bytes(file[:at] + b"LIST" + struct.pack("<I", len(tags)) + tags + file[at:])
    assert decoded(source, work).seconds == pytest.approx(3, abs=0.07)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (96000, 2), (44100, 1)])
def test_any_rate_and_channel_count_comes_out_the_same(tmp_path: Path, work: Path, rate: int, channels: int) -> None:
    audio = decoded(write_media(tmp_path / "a.wav", tone(2, rate), rate=rate, channels=channels), work)
    assert audio.seconds == pytest.approx(2, abs=0.01)
    assert pitch(audio, 0.5, 1.5) == pytest.approx(440, abs=2)
    assert float(np.abs(audio.read(0.5, 1.5)).max()) == pytest.approx(0.4, rel=0.05)


def test_a_video_gives_its_audio_at_the_right_time(tmp_path: Path, work: Path) -> None:
    audio = decoded(write_media(tmp_path / "a.mkv", tone(2), video=True, starts_at=1.5), work)
    assert audio.seconds == pytest.approx(3.5, abs=0.1)
    assert not audio.read(0, 1.4).any()
    assert pitch(audio, 2, 3) == pytest.approx(440, abs=2)


def test_the_fingerprint_is_of_the_sound_not_of_the_file(tmp_path: Path, work: Path) -> None:
    one = decoded(write_media(tmp_path / "a.wav", tone(1)), work)
    two = decoded(write_media(tmp_path / "b.flac", tone(1)), work)
    other = decoded(write_media(tmp_path / "c.wav", tone(1, hertz=330)), work)
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_digital_silence_is_a_recording(tmp_path: Path, work: Path) -> None:
    audio = decoded(write_media(tmp_path / "a.flac", silence(2)), work)
    assert audio.seconds == pytest.approx(2)
    assert not audio.read().any()


@pytest.mark.parametrize(
    "name", ["with space.wav", 'it\'s "quoted".wav', "new\nline.wav", "\U0001f600.wav", "http:.wav", b"\xff\xfe.wav"]
)
def test_a_file_name_is_only_a_name(tmp_path: Path, work: Path, name: str | bytes) -> None:
    plain = write_media(tmp_path / "plain.wav", tone(1))
    source = tmp_path / os.fsdecode(name)
    plain.rename(source)
    assert decoded(source, work).seconds == pytest.approx(1)


def test_progress_rises_to_one(tmp_path: Path, work: Path) -> None:
    told = WarningLog()
    decode(write_media(tmp_path / "a.flac", tone(5)), work, token=CancelToken(), progress=told)
    assert told.rises
    assert told.shares[-1] == 1
    assert len(told.shares) > 3


def test_a_cancel_ends_it_between_packets_and_leaves_nothing(tmp_path: Path, work: Path) -> None:
    token = CancelToken()
    source = write_media(tmp_path / "a.flac", tone(20))
    with pytest.raises(Cancelled, match="enough"):
        decode(source, work, token=token, progress=WarningLog(lambda share: token.cancel("enough")))
    assert os.listdir(work) == []


# -- bad input ----------------------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path, work: Path) -> None:
    assert refused(tmp_path / "gone.wav", work) == "missing file"


def test_an_empty_file(tmp_path: Path, work: Path) -> None:
    source = tmp_path / "a.mp3"
    source.touch()
    assert refused(source, work) == "empty file"


def test_text_named_like_a_video(tmp_path: Path, work: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_text("only words " * 1000)
    assert refused(source, work) == "not a media file"


def test_a_folder_and_a_pipe_are_no_media(tmp_path: Path, work: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    assert refused(tmp_path, work) == "not a media file"
    assert refused(pipe, work) == "not a media file"


def test_a_playlist_opens_nothing_it_names(tmp_path: Path, work: Path) -> None:
    named = write_media(tmp_path / "a.wav", tone(2))
    source = tmp_path / "list.m3u8"
    source.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{named}\n#EXT-X-ENDLIST\n")
    assert refused(source, work) == "not a media file"


def test_a_video_without_sound(tmp_path: Path, work: Path) -> None:
    assert refused(write_media(tmp_path / "a.mp4", tone(1), video=True, audio=False), work) == "no audio stream"


@pytest.mark.parametrize("name", ["a.mp4", "a.m4a", "a.mkv", "a.webm", "a.wav", "a.flac", "a.mp3"])
def test_a_file_cut_in_half_is_corrupt(tmp_path: Path, work: Path, name: str) -> None:
    source = write_media(tmp_path / name, tone(20))
    os.truncate(source, source.stat().st_size // 2)
    assert refused(source, work) == "corrupt media"


def test_a_file_damaged_inside_is_corrupt(tmp_path: Path, work: Path) -> None:
    source = write_media(tmp_path / "a.mp3", tone(20))
    data = bytearray(source.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = np.random.default_rng(0).bytes(third)
    source.write_bytes(data)
    assert refused(source, work) == "corrupt media"


def test_a_fifth_of_a_second_is_too_short(tmp_path: Path, work: Path) -> None:
    assert refused(write_media(tmp_path / "a.wav", tone(0.2)), work) == "too short"


def test_a_recording_above_the_cap_is_rejected_before_it_is_all_decoded(tmp_path: Path, work: Path) -> None:
    source = write_media(tmp_path / "a.flac", tone(10))
    with pytest.raises(Rejected) as caught:
        decode(source, work, token=CancelToken(), max_seconds=4)
    assert caught.value.cause == "too long"
    assert os.listdir(work) == []


def test_an_unreadable_file() -> None:
    with tempfile.TemporaryDirectory() as place:  # of pytest's own folders other users see nothing
        folder = Path(place)
        work = folder / "work"
        work.mkdir()
        for open_to_all in (folder, work):
            open_to_all.chmod(0o777)
        source = write_media(folder / "a.wav", tone(1))
        source.chmod(0)
        superuser = os.geteuid() == 0  # who may read everything, and so asks as somebody else
        if superuser:
            os.seteuid(65534)
        try:
            assert refused(source, work) == "unreadable file"
        finally:
            if superuser:
                os.seteuid(0)


def test_a_full_disk_is_said_and_may_pass(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    work = tmp_path / "work"
    work.mkdir()
    (work / "audio.pcm.part").symlink_to(full)
    with pytest.raises(Transient) as caught:
        decoded(write_media(tmp_path / "a.wav", tone(60)), work)
    assert caught.value.cause == "disk full"
    assert caught.value.retry
    assert os.listdir(work) == []


def test_another_fault_of_the_disk_may_pass_too(tmp_path: Path, work: Path) -> None:
    with pytest.raises(Transient) as caught, media.writing(work):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.cause == "input or output error"


# -- size ---------------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from pathlib import Path
status = Path("/proc/self/status")
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.decode import decode
audio = decode(Path(sys.argv[1]), Path(sys.argv[2]), token=CancelToken())
if status.exists():  # what getrusage tells on Linux begins with the size of the process that forked this one
    peak = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(audio.seconds, peak)
"""


def test_four_hours_decode_in_little_memory(tmp_path: Path, work: Path) -> None:
    source = tmp_path / "long.wav"
    size = 2 * 8000 * 4 * 3600
    with source.open("wb") as file:  # a sparse file: silence that takes no room
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)
    out = subprocess.run([sys.executable, "-c", MEASURE, str(source), str(work)], check=True, capture_output=True, text=True)
    seconds, peak = map(float, out.stdout.split())
    assert seconds == 4 * 3600
    assert peak < 300e6

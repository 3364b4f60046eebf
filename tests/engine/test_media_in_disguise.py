"""A text that names other files or addresses is no media, whatever its name: nothing that it names is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.local import file_recording, files_below, holds_audio
from gainstage.engine.sources.plan import probe
from gainstage.engine.speech.decode import decode_recording
from tests.engine.speech_kit import tone, write_media

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{}'\nduration 9\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\na={}\n",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ending", ["mp3", "talk", ""])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_what_a_playlist_names_is_never_opened(tmp_path: Path, kind: str, ending: str) -> None:
    """A FIFO blocks whoever opens it."""
    os.mkfifo(tmp_path / "named.mp3")
    path = tmp_path / f"list.{ending}"
    path.write_text(PLAYLISTS[kind].format(tmp_path / "named.mp3"))
    assert holds_audio(path) is False
    assert probe(file_recording(path)) is None
    with pytest.raises(Permanent):
        decode_recording(path, tmp_path, token=CancelToken(), max_seconds=60)


def test_a_file_whose_name_is_a_protocol_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_media(Path("talk.wav"), tone(2.0)).rename("concat:a|b.wav")
    write_media(Path("talk.wav"), tone(3.0)).rename("file:talk")
    assert [(str(path), why) for path, why in files_below(Path())] == [("concat:a|b.wav", ""), ("file:talk", "")]
    assert probe(file_recording(Path("concat:a|b.wav"))) == pytest.approx(2.0, abs=0.1)


def test_a_damaged_file_without_a_known_ending_ends_no_listing(tmp_path: Path) -> None:
    from tests.fuzz.media import mutant

    sound = write_media(tmp_path / "talk.wav", tone(1.0)).read_bytes()
    for number in range(60):
        (tmp_path / f"file{number}.xyz").write_bytes(mutant(number, [sound]))
    assert len(list(files_below(tmp_path))) == 61

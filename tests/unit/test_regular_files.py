"""A FIFO, a device or a folder in the place of a file is refused at once, wherever a file is read or given its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from gainstage.config.errors import SettingError
from gainstage.config.origins import MOST_BYTES, read_toml
from gainstage.config.regular_files import check_regular, read_regular
from gainstage.config.settings import Fetch
from gainstage.config.whole_files import keep_whole, write_whole
from gainstage.config.write_back import write_back
from gainstage.engine.desk.replay import ReplayDesk
from gainstage.engine.errors import EngineError
from gainstage.engine.evaluation.references import load_reference
from gainstage.engine.sources.cookies import cookies_text
from gainstage.engine.telemetry.recorder import BadRecording
from gainstage.engine.terms import ModelId
from gainstage.engine.voices.imports import read_profile

REFUSALS = (OSError, EngineError, SettingError, BadRecording)

READERS: dict[str, Callable[[Path], object]] = {
    "settings": read_toml,
    "settings written back": lambda path: write_back(path, {"in_flight": 3}),
    "reference": load_reference,
    "profile of a voice": lambda path: read_profile(path, ModelId("m", "1", 8)),
    "cookies": lambda path: cookies_text(Fetch(cookies=SecretStr(str(path)))),
    "recorded run": ReplayDesk,
    "file given a name": lambda path: write_whole(path, "text"),
}


@pytest.fixture(params=["fifo", "device", "device without an end", "folder"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "named.stm"
    match request.param:
        case "fifo":
            os.mkfifo(path, 0o600)
        case "folder":
            path.mkdir(mode=0o700)
        case "device":
            path.symlink_to("/dev/tty")
        case _:
            path.symlink_to("/dev/zero")
    return path


@pytest.mark.timeout(20)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_at_once(reader: str, no_file: Path) -> None:
    with pytest.raises(REFUSALS):
        READERS[reader](no_file)
    assert not no_file.is_file()


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_regular(path, 100) == b"x" * 100
    with pytest.raises(OSError, match="larger than 99"):
        read_regular(path, 99)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "none")


def test_a_settings_file_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gainstage.toml"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # of zeros, which take no disk
    with pytest.raises(SettingError, match="larger than"):
        read_toml(path)


def test_a_device_keeps_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "draft").write_text("whole")
    with pytest.raises(OSError, match="FIFO"):
        keep_whole(tmp_path / "draft", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_settings_behind_a_link_are_written_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real, link = tmp_path / "dotfiles" / "gainstage.toml", tmp_path / "gainstage.toml"
    real.write_text("# mine\nin_flight = 4\n")
    link.symlink_to(real)
    assert write_back(link, {"in_flight": 6}) == 1
    assert link.is_symlink()
    assert real.read_text() == "# mine\nin_flight = 6\n"

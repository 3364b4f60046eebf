"""A file is there whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.config.whole_files import keep_whole, write_whole
from gainstage.config.write_back import write_back
from gainstage.engine.views.commands import DeskError
from gainstage.tui.render import export

NO_ROOM = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
{work}
"""


def without_room(work: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run ``work`` in a process whose files end after 1,000 bytes, as on a full disk."""
    command = [sys.executable, "-c", NO_ROOM.format(work=work), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    write_whole(kept, "whole\n")
    work = "from gainstage.config.whole_files import write_whole\nwrite_whole(Path(sys.argv[1]), 'x' * 5000)"
    assert f"[Errno {errno.EFBIG}]" in without_room(work, kept).stderr
    assert kept.read_text() == "whole\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_settings_and_exports_of_the_console_are_whole_or_absent(tmp_path: Path) -> None:
    settings, table = tmp_path / "settings.toml", tmp_path / "table.csv"
    write_back(settings, {"in_flight": 3})
    work = (
        "from gainstage.config.write_back import write_back\nfrom gainstage.tui.render.export import write\n"
        "for call in (lambda: write_back(Path(sys.argv[1]), {'identify.primary': 'x' * 5000}), lambda: write(Path(sys.argv[2]), 'x' * 5000)):\n"
        "    try:\n        call()\n    except Exception as error:\n        print(type(error).__name__)"
    )
    assert without_room(work, settings, table).stdout.split() == ["SettingError", "DeskError"]
    assert settings.read_text().split() == ["in_flight", "=", "3"]
    assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"]


def test_a_new_file_does_not_replace_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    export.write(path, "a\r\n")
    assert path.read_bytes() == b"a\r\n"
    with pytest.raises(DeskError, match="there already"):
        export.write(path, "b")
    assert path.read_bytes() == b"a\r\n"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_file_system_without_links_has_new_files_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "a", "one", new=True)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", "two", new=True)
    assert (tmp_path / "a").read_text() == "one"


def test_the_mode_of_a_secret_file_is_never_wider(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "secret", mode=0o600)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_a_finished_draft_takes_the_name(tmp_path: Path) -> None:
    draft, path = tmp_path / "draft", tmp_path / "path"
    path.write_text("before")
    draft.write_text("after")
    keep_whole(draft, path)
    assert path.read_text() == "after"
    assert not draft.exists()

"""A work folder where something goes wrong: what cannot be removed, what vanishes, whose it is, what is kept for how long."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from gainstage.engine.errors import Transient
from gainstage.engine.flow.locks import FileLock
from gainstage.engine.flow.work_folder import KEEP_DAYS, Sweep, WorkFolders, adopt, is_safe


def owned(folder: Path, **owner: Any) -> Path:
    """A folder whose owner is dead."""
    folder.mkdir()
    (folder / ".owner").write_text(json.dumps({"pid": 1, "host": socket.gethostname(), **owner}))
    return folder


def kept(folder: Path, age_s: float = 0.0, name: str = "transcribe.kept") -> Path:
    file = folder / name
    file.write_bytes(b"results")
    at = time.time() - age_s
    os.utime(file, (at, at))
    return file


@pytest.mark.parametrize(
    ("name", "safe"), [("a", True), ("A-b_9.x", True), ("x" * 128, True), ("x" * 129, False), (".a", False), ("a b", False)]
)
def test_names_that_are_safe(name: str, safe: bool) -> None:
    assert is_safe(name) is safe


def test_a_root_is_made_with_all_above_it_and_may_be_there(tmp_path: Path) -> None:
    WorkFolders(tmp_path / "a" / "b")
    WorkFolders(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_an_owner_is_written_with_its_process_and_host(tmp_path: Path) -> None:
    with WorkFolders(tmp_path).open("rec") as path:
        assert json.loads((path / ".owner").read_text()) == {"pid": os.getpid(), "host": socket.gethostname()}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": 1}', '{"pid": "x", "host": "h"}'])
def test_an_owner_that_cannot_be_read_is_another_process(tmp_path: Path, content: str) -> None:
    (tmp_path / "rec").mkdir()
    other = FileLock(tmp_path / "rec" / ".owner")
    assert other.acquire()
    other.write(content.encode())
    with pytest.raises(Transient) as caught, WorkFolders(tmp_path).open("rec"):
        pytest.fail("must not get in")
    assert caught.value.message == "its work folder belongs to another process"
    assert caught.value.recording == "rec"
    other.release()
    assert WorkFolders(tmp_path).sweep().removed == ("rec",)


def test_the_owner_of_another_host_is_named(tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    other = FileLock(tmp_path / "rec" / ".owner")
    assert other.acquire()
    other.write(json.dumps({"pid": 7, "host": "far"}).encode())
    with pytest.raises(Transient, match="process 7 on far"), WorkFolders(tmp_path).open("rec"):
        pytest.fail("must not get in")
    other.release()


def test_a_sweep_looks_at_folders_only(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path / "work")
    outside = owned(tmp_path / "outside")
    (folders.root / "link").symlink_to(outside)
    (folders.root / "file").write_text("")
    owned(folders.root / "b")
    owned(folders.root / "a")
    assert folders.sweep() == Sweep(removed=("a", "b"))
    assert outside.is_dir()


def test_a_sweep_asks_once_for_those_with_recent_results(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    for name, age_s in (("new", 0.0), ("old", (KEEP_DAYS + 1) * 86_400), ("bare", None)):
        folder = owned(tmp_path / name)
        if age_s is not None:
            kept(folder, age_s)
    asked: list[list[str]] = []

    def resumable(ids: Any) -> list[str]:
        asked.append(list(ids))
        return ["new", "old", "bare"]

    assert folders.sweep(resumable) == Sweep(removed=("bare", "old"), kept=("new",))
    assert asked == [["new"]]
    (tmp_path / "new" / "transcribe.kept").unlink()
    asked.clear()
    assert folders.sweep(resumable) == Sweep(removed=("new",))
    assert asked == [], "nobody has results"


def test_results_are_kept_for_seven_days(tmp_path: Path) -> None:
    assert KEEP_DAYS == 7
    folders = WorkFolders(tmp_path)
    kept(owned(tmp_path / "a"), 7 * 86_400 - 60)
    kept(owned(tmp_path / "b"), 7 * 86_400 + 60)
    both = owned(tmp_path / "c")
    kept(both, 8 * 86_400)
    kept(both, 0.0, "diarize.kept")
    assert folders.sweep(lambda ids: ids) == Sweep(removed=("b",), kept=("a", "c"))


def test_beside_kept_results_all_else_is_swept(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    folder = owned(tmp_path / "rec")
    kept(folder)
    (folder / "media.part").write_bytes(b"half")
    (folder / "deep").mkdir()
    (folder / "deep" / "transcribe.kept").write_bytes(b"")
    assert folders.sweep(lambda ids: ids) == Sweep(kept=("rec",))
    assert sorted(p.name for p in folder.iterdir()) == [".owner", "transcribe.kept"]


def test_what_cannot_be_removed_is_reported_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = WorkFolders(tmp_path)
    for name in ("a", "b"):
        (owned(tmp_path / name) / "media").write_text("")
    real = os.unlink

    def unlink(path: Any, **more: Any) -> None:
        if str(path).endswith("a/media"):
            raise PermissionError(13, "Permission denied")
        real(path, **more)

    monkeypatch.setattr(os, "unlink", unlink)
    assert folders.sweep() == Sweep(removed=("b",), failed=(("a", "Permission denied"),))
    monkeypatch.setattr(os, "unlink", real)
    assert folders.sweep() == Sweep(removed=("a",)), "its lock was released"


def test_an_error_without_words_of_the_system_is_said_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = WorkFolders(tmp_path)
    broken, real = owned(tmp_path / "a"), os.scandir

    def fail(path: Any) -> Any:
        if isinstance(path, int) or Path(path) == broken:
            raise OSError("odd")
        return real(path)

    monkeypatch.setattr(os, "scandir", fail)
    assert folders.sweep().failed == (("a", "odd"),)


def test_a_folder_that_vanishes_during_a_sweep_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = WorkFolders(tmp_path)
    for name in ("a", "b"):
        owned(tmp_path / name)
    real = Path.rmdir

    def rmdir(self: Path) -> None:
        if self.name == "a":
            raise FileNotFoundError(2, "No such file or directory")
        real(self)

    monkeypatch.setattr(Path, "rmdir", rmdir)
    assert folders.sweep() == Sweep(removed=("b",))


def test_emptying_is_tried_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = shutil.rmtree, [FileNotFoundError(), FileNotFoundError()]

    def rmtree(path: Any) -> None:
        if failures:
            raise failures.pop()
        real(path)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with WorkFolders(tmp_path).open("rec") as path:
        (path / "deep").mkdir()
    assert not path.exists()
    failures += [FileNotFoundError() for _ in range(4)]
    with WorkFolders(tmp_path).open("rec") as path:
        (path / "deep").mkdir()
    assert path.exists(), "what stays is for the next sweep"
    assert len(failures) == 1


def test_results_are_adopted_from_another_folder_only(tmp_path: Path) -> None:
    here, there = owned(tmp_path / "here", pid=1), tmp_path / "there"
    there.mkdir()
    (here / "rec").mkdir()
    wanted = here / "rec" / "transcribe.kept"
    assert not adopt(wanted, [here, there]), "there is none"
    owned(there / "rec")
    kept(there / "rec")
    assert adopt(wanted, [here, there])
    assert wanted.read_bytes() == b"results"
    assert not (there / "rec" / "transcribe.kept").exists()
    assert not adopt(wanted, [here]), "it is here already"


def test_results_that_cannot_be_moved_are_not_adopted(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    owned(there / "rec")
    kept(there / "rec")
    assert not adopt(tmp_path / "gone" / "rec" / "transcribe.kept", [there])
    assert (there / "rec" / "transcribe.kept").exists()


def test_bytes_of_links_are_their_own(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path / "work")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 1_000_000)
    (folders.root / "link").symlink_to(outside)
    (folders.root / "file").symlink_to(outside / "large")
    assert folders.bytes_used() < 100_000


def test_a_link_in_a_work_folder_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with WorkFolders(tmp_path / "work").open("rec") as path:
        (path / "link").symlink_to(outside)
    assert not path.exists()
    assert outside.is_dir()


def test_bytes_of_what_vanishes_while_counting_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = WorkFolders(tmp_path)
    sizes = {}
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x" * 10_000)
        sizes[name] = (tmp_path / name).stat().st_blocks * 512
    real = os.scandir

    class Vanishing:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.entry = entry

        def is_dir(self, **how: Any) -> bool:
            return False

        def stat(self, **how: Any) -> os.stat_result:
            if self.entry.name == "a":
                raise FileNotFoundError
            return self.entry.stat(**how)

    monkeypatch.setattr(os, "scandir", lambda folder: sorted((Vanishing(e) for e in real(folder)), key=lambda v: v.entry.name))
    assert folders.bytes_used() == sizes["b"]

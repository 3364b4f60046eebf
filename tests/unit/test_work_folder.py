"""A recording's work folder is its own while it is in flight, and gone afterwards, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gainstage.engine.errors import Cancelled, Permanent, Transient
from gainstage.engine.flow.locks import FileLock
from gainstage.engine.flow.work_folder import KEEP_DAYS, WorkFolders, adopt

HOLD = """
import sys, time
from pathlib import Path
from gainstage.engine.flow.work_folder import WorkFolders
with WorkFolders(Path(sys.argv[1])).open(sys.argv[2]) as path:
    (path / "audio.pcm").write_bytes(b"x" * 100_000)
    print("ready", flush=True)
    time.sleep(600)
"""


def held_elsewhere(root: Path, recording: str) -> subprocess.Popen[str]:
    """Another process that has the folder open."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root), recording], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def attempt(folders: WorkFolders, error: BaseException) -> None:
    """Open the folder of "rec", leave half a download in it and fail."""
    with folders.open("rec") as path:
        (path / "media.part").write_bytes(b"half")
        raise error


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()


def test_a_folder_is_there_for_the_block_and_gone_after(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path / "work")
    with folders.open("rec-1") as path:
        (path / "deep" / "er").mkdir(parents=True)
        (path / "deep" / "er" / "audio.pcm").write_bytes(b"x" * 50_000)
        assert folders.bytes_used() >= 50_000
        assert path.name == "rec-1"
    assert not path.exists()
    assert folders.bytes_used() < 50_000


@pytest.mark.parametrize("error", [Permanent("bad file"), Transient("host away"), Cancelled("drain"), KeyboardInterrupt()])
def test_a_folder_is_gone_after_any_end(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        attempt(WorkFolders(tmp_path), error)
    assert not (tmp_path / "rec").exists()


def test_two_owners_exclude_each_other(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    with folders.open("rec"):
        with pytest.raises(Transient) as caught, folders.open("rec"):
            pytest.fail("must not get in")
        assert caught.value.cause == "work folder in use"
        assert f"process {os.getpid()}" in caught.value.message
        assert folders.sweep().owned == ("rec",)
    assert folders.sweep() == type(folders.sweep())()


def test_a_killed_owner_leaves_nothing_that_a_sweep_does_not_find(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    process = held_elsewhere(tmp_path, "rec")
    try:
        assert folders.sweep().owned == ("rec",)
        assert (tmp_path / "rec" / "audio.pcm").exists()
    finally:
        killed(process)
    assert folders.sweep().removed == ("rec",)
    assert not (tmp_path / "rec").exists()


def test_a_recording_of_a_killed_engine_can_be_opened_without_a_sweep(tmp_path: Path) -> None:
    killed(held_elsewhere(tmp_path, "rec"))
    with WorkFolders(tmp_path).open("rec") as path:
        assert not (path / "audio.pcm").exists()


def test_folders_of_other_hosts_and_plain_files_are_left_alone(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    (tmp_path / "readme").write_text("mine")
    for name, host in (("theirs", "another-host"), ("ours", socket.gethostname())):
        (tmp_path / name).mkdir()
        owner = {"pid": 1, "host": host, "boot": "as an older version wrote it"}
        (tmp_path / name / ".owner").write_text(json.dumps(owner))
    (tmp_path / "crashed-early").mkdir()
    swept = folders.sweep()
    assert (swept.removed, swept.owned, swept.failed) == (("crashed-early", "ours"), ("theirs",), ())
    assert (tmp_path / "readme").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../escape", "a/b", ".hidden", "nul\0", "x" * 200, "café"])
def test_ids_unsafe_in_file_names_are_refused(tmp_path: Path, name: str) -> None:
    folders = WorkFolders(tmp_path / "work")
    with pytest.raises(Permanent, match="not safe"), folders.open(name):
        pytest.fail("must not get in")


def test_too_little_free_disk_is_a_transient_error_with_its_cause(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    folders.check_floor(0)
    with pytest.raises(Transient) as caught:
        folders.check_floor(2**60)
    assert caught.value.cause == "disk floor"
    assert "fetch.disk_floor" in caught.value.hint


def test_a_root_that_cannot_be_written_is_a_transient_error(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path / "work")
    (tmp_path / "work").rmdir()
    with pytest.raises(Transient) as caught, folders.open("rec"):
        pytest.fail("must not get in")
    assert caught.value.cause == "work folder not writable"


def test_a_lock_follows_the_file_and_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = FileLock(path), FileLock(path)
    assert first.acquire()
    assert first.held
    assert not second.acquire(blocking=False)
    first.write(b"me")
    first.write(b"x")
    assert second.read() == b"x"
    path.unlink()
    assert second.acquire(blocking=False), "the old file is nobody's any more"
    first.release()
    first.release()
    second.release()
    with pytest.raises(RuntimeError, match="not held"):
        second.write(b"late")


def test_only_the_engines_user_may_look_into_a_work_folder(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path / "above" / "work")
    with folders.open("rec") as path:
        assert [p.stat().st_mode & 0o777 for p in (folders.root, path)] == [0o700, 0o700]


def test_bytes_are_those_of_the_disk_blocks(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path / "work")
    assert folders.bytes_used() == 0
    with folders.open("rec") as path:
        (path / "deep").mkdir()
        files = [path / "a", path / "deep" / "b"]
        for file in files:
            file.write_bytes(b"x" * 10_000)
        assert folders.bytes_used() == 512 * sum(f.stat().st_blocks for f in (*files, path / ".owner"))
    folders.root.joinpath(".door.lock").unlink()
    folders.root.rmdir()
    assert folders.bytes_used() == 0


def test_the_floor_is_reached_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders, gib = WorkFolders(tmp_path), 1024**3
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * gib // 2))
    folders.check_floor(3 * gib // 2)
    with pytest.raises(Transient) as caught:
        folders.check_floor(2 * gib)
    assert caught.value.message == f"1.5 GiB free in {tmp_path}, the floor is 2.0 GiB"


def test_what_vanishes_while_a_folder_is_emptied_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process that is just ending takes its own file away, between the list and the removal."""
    real, gone = os.unlink, []

    def unlink(path: str) -> None:
        real(path)
        if not gone:
            gone.append(path)
            real(path)

    with WorkFolders(tmp_path).open("rec") as path:
        (path / "a").write_text("")
        (path / "b").write_text("")
        monkeypatch.setattr(os, "unlink", unlink)
    assert gone
    assert not path.exists()


def test_a_long_unsafe_id_is_named_in_part(tmp_path: Path) -> None:
    with pytest.raises(Permanent) as caught, WorkFolders(tmp_path).open("a/" * 250):
        pytest.fail("must not get in")
    assert caught.value.message == f"recording id {'a/' * 49 + 'a' + '…'!r} is not safe in a file name"


def kept_in(folders: WorkFolders, error: BaseException | None) -> None:
    """Open the folder of "rec", keep a result in it, leave a half download beside it, and end so."""
    with folders.open("rec") as path:
        (path / "transcribe.kept").write_bytes(b"results")
        (path / "media.part").write_bytes(b"half")
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [Transient("away"), Cancelled("stopped"), RuntimeError("fault"), KeyboardInterrupt()])
def test_kept_results_stay_for_another_attempt(tmp_path: Path, error: BaseException) -> None:
    folders = WorkFolders(tmp_path)
    with pytest.raises(type(error)):
        kept_in(folders, error)
    assert sorted(p.name for p in (tmp_path / "rec").iterdir()) == [".owner", "transcribe.kept"]
    with folders.open("rec") as path:
        assert (path / "transcribe.kept").read_bytes() == b"results"
    assert not (tmp_path / "rec").exists(), "gone with the recording"


def test_a_failure_for_good_keeps_nothing(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    with pytest.raises(Permanent):
        kept_in(folders, Permanent("broken"))
    assert not (tmp_path / "rec").exists()


def test_the_sweep_keeps_results_of_what_will_be_tried_again(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    process = held_elsewhere(tmp_path, "rec")
    (tmp_path / "rec" / "transcribe.kept").write_bytes(b"results")
    killed(process)
    assert folders.sweep(lambda ids: ids).kept == ("rec",)
    assert sorted(p.name for p in (tmp_path / "rec").iterdir()) == [".owner", "transcribe.kept"]
    old = time.time() - (KEEP_DAYS + 1) * 86_400
    assert folders.sweep(lambda ids: ids).kept == ("rec",)
    os.utime(tmp_path / "rec" / "transcribe.kept", (old, old))
    assert folders.sweep(lambda ids: ids).removed == ("rec",)


def test_the_sweep_removes_results_that_nobody_will_use(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    with pytest.raises(Transient):
        kept_in(folders, Transient("away"))
    assert folders.sweep().removed == ("rec",)
    assert not (tmp_path / "rec").exists()


def test_another_engine_of_the_home_adopts_what_a_dead_one_kept(tmp_path: Path) -> None:
    one, two = WorkFolders(tmp_path / "one"), WorkFolders(tmp_path / "two")
    process = held_elsewhere(one.root, "rec")
    (one.root / "rec" / "transcribe.kept").write_bytes(b"results")
    with two.open("rec") as path:
        kept = path / "transcribe.kept"
        assert not adopt(kept, [one.root, two.root]), "its engine lives"
        killed(process)
        assert adopt(kept, [one.root, two.root])
        assert kept.read_bytes() == b"results"
        assert not adopt(path / "diarize.kept", [one.root, two.root])
    assert one.sweep(lambda ids: ids).removed == ("rec",)

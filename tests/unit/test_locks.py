"""A lock on a file excludes everybody else for as long as it is held, and leaves no open file behind."""

from __future__ import annotations

import errno
import fcntl
import threading
from pathlib import Path

import psutil
import pytest

from gainstage.engine.flow.locks import FileLock

PATIENCE_S = 60.0


def open_files() -> int:
    return psutil.Process().num_fds()


def test_a_lock_is_taken_once_and_excludes_others(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    before = open_files()
    with first as entered:
        assert entered is first
        assert first.held
        with pytest.raises(RuntimeError, match="held already"):
            first.acquire()
        assert second.acquire(blocking=False) is False
        assert not second.held
        assert open_files() == before + 1
    assert not first.held
    assert second.acquire(blocking=False) is True
    second.release()
    assert open_files() == before


def test_who_waits_gets_the_lock_when_it_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    flock, asking, ways = fcntl.flock, threading.Event(), []

    def noting(handle: int, how: int) -> None:
        ways.append(how)
        asking.set()
        flock(handle, how)

    first.acquire()
    monkeypatch.setattr(fcntl, "flock", noting)
    waiter = threading.Thread(target=second.acquire, daemon=True)
    waiter.start()
    assert asking.wait(PATIENCE_S)
    first.release()
    waiter.join(PATIENCE_S)
    assert second.held
    assert ways == [fcntl.LOCK_EX], "it waits as long as it takes"
    second.release()


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_taken_on_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, flock, removed = FileLock(tmp_path / "lock"), fcntl.flock, []

    def removing(handle: int, how: int) -> None:
        if not removed:
            (tmp_path / "lock").unlink()
            removed.append(handle)
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", removing)
    before = open_files()
    with lock:
        assert (tmp_path / "lock").exists()
        assert FileLock(tmp_path / "lock").acquire(blocking=False) is False
        assert open_files() == before + 1


def test_a_file_system_without_locks_is_an_error_and_leaves_no_open_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    before = open_files()
    monkeypatch.setattr(fcntl, "flock", refusing)
    with pytest.raises(OSError, match="no locks"):
        FileLock(tmp_path / "lock").acquire()
    assert not FileLock(tmp_path / "lock").is_free()
    assert open_files() == before


def test_what_the_holder_writes_replaces_what_was_there(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.read() == b""
    with pytest.raises(RuntimeError, match="not held"):
        lock.write(b"x")
    with lock:
        lock.write(b"first and long")
        lock.write(b"second")
        assert FileLock(lock.path).read() == b"second"
        lock.write(b"")
        assert lock.read() == b""


def test_a_lock_is_free_only_where_its_file_is_and_nobody_holds_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert not lock.is_free()
    before = open_files()
    with lock:
        assert not FileLock(lock.path).is_free()
    assert FileLock(lock.path).is_free()
    assert open_files() == before

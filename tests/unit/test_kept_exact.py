"""The file of kept results byte by byte, and what is left of it when something fails."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import pytest

from gainstage.engine.flow.kept import KeptResults

HEADER = {"model": "m@1"}
HEAD = struct.Struct("<IIH")
MOST = 64 * 1024**2


def record(key: bytes, payload: bytes) -> bytes:
    body = key + payload
    return HEAD.pack(len(body), zlib.crc32(body), len(key)) + body


FIRST = record(b"", json.dumps({"format": 1, **HEADER}, sort_keys=True).encode())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_file_is_a_header_and_a_record_for_each_result(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    with KeptResults(path, HEADER) as kept:
        assert (len(kept), kept.used) == (0, 0)
        assert path.read_bytes() == FIRST
        kept.put(b"one", b"first")
        kept.put(b"two", b"")
        assert path.read_bytes() == FIRST + record(b"one", b"first") + record(b"two", b"")
        assert (len(kept), kept.get(b"one"), kept.get(b"two"), kept.get(b"three")) == (2, b"first", b"", None)
        assert kept.used == 2
    with KeptResults(path, HEADER) as again:
        assert (len(again), again.used) == (2, 0)
        assert (again.get(b"one"), again.get(b"two")) == (b"first", b"")


def test_a_header_is_the_same_in_whatever_order_its_parts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    with KeptResults(path, {"model": "m@1", "audio": "a"}) as kept:
        kept.put(b"one", b"first")
    with KeptResults(path, {"audio": "a", "model": "m@1"}) as again:
        assert again.get(b"one") == b"first"


def test_after_the_end_nothing_is_kept_and_nothing_breaks(tmp_path: Path) -> None:
    before = descriptors()
    kept = KeptResults(tmp_path / "a.kept", HEADER)
    kept.put(b"one", b"first")
    kept.close()
    kept.close()
    assert descriptors() == before
    assert kept.get(b"one") is None
    kept.put(b"two", b"second")
    with KeptResults(tmp_path / "a.kept", HEADER) as again:
        assert (again.get(b"one"), again.get(b"two")) == (b"first", None)


def test_a_torn_tail_is_taken_off_when_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    path.write_bytes(FIRST + record(b"one", b"first") + record(b"two", b"second")[:-1])
    with KeptResults(path, HEADER) as kept:
        assert path.read_bytes() == FIRST + record(b"one", b"first")
        kept.put(b"2", b"")
        assert path.read_bytes() == FIRST + record(b"one", b"first") + record(b"2", b"")


def test_a_name_longer_than_its_record_and_a_wrong_sum_end_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    for broken in (HEAD.pack(3, zlib.crc32(b"key"), 4) + b"key", HEAD.pack(3, zlib.crc32(b"kez"), 3) + b"key"):
        path.write_bytes(FIRST + broken + record(b"one", b"first"))
        with KeptResults(path, HEADER) as kept:
            assert len(kept) == 0
    path.write_bytes(FIRST + record(b"key", b""))
    with KeptResults(path, HEADER) as kept:
        assert kept.get(b"key") == b""


def test_a_record_of_64_mebibytes_is_the_longest(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    for length, there in ((MOST, True), (MOST + 1, False)):
        path.write_bytes(FIRST + record(b"key", bytes(length - 3)) + record(b"one", b"first"))
        with KeptResults(path, HEADER) as kept:
            assert (len(kept), kept.get(b"one")) == ((2, b"first") if there else (0, None))


def test_a_file_cut_short_behind_our_back_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    with KeptResults(path, HEADER) as kept:
        kept.put(b"one", b"first")
        os.truncate(path, path.stat().st_size - 1)
        assert kept.get(b"one") is None
        assert kept.used == 0


@pytest.mark.parametrize("fault", ["short", "error"])
def test_a_record_that_was_not_written_whole_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    path, said = tmp_path / "a.kept", []
    before, real = descriptors(), os.pwrite
    kept = KeptResults(path, HEADER, said.append)
    kept.put(b"one", b"first")

    def pwrite(file: int, data: bytes, at: int) -> int:
        written = real(file, data[:-2], at)
        if fault == "error":
            raise OSError(28, "No space left on device")
        return written

    monkeypatch.setattr(os, "pwrite", pwrite)
    kept.put(b"two", b"second")
    assert path.read_bytes() == FIRST + record(b"one", b"first")
    why = (
        "No space left on device"
        if fault == "error"
        else f"{len(record(b'two', b'second')) - 2} of {len(record(b'two', b'second'))} bytes were written"
    )
    assert said == [f"results are not kept for a next attempt: {why}"]
    assert (len(kept), kept.get(b"one"), descriptors()) == (0, None, before)
    kept.put(b"three", b"third")
    assert len(said) == 1


def test_a_file_that_cannot_be_read_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    kept = KeptResults(tmp_path / "a.kept", HEADER, said.append)
    kept.put(b"one", b"first")

    def pread(file: int, size: int, at: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", pread)
    assert kept.get(b"one") is None
    assert said == ["results are not kept for a next attempt: Input/output error"]
    assert (len(kept), kept.used) == (0, 0)


def test_who_cannot_have_the_file_leaves_no_descriptor(tmp_path: Path) -> None:
    with KeptResults(tmp_path / "a.kept", HEADER):
        before, said = descriptors(), []
        second = KeptResults(tmp_path / "a.kept", HEADER, said.append)
        assert (descriptors(), len(said), len(second)) == (before, 1, 0)
        second.put(b"one", b"first")
        second.close()
        assert descriptors() == before

"""Results kept for a next attempt: what comes back, what is dropped, and that nothing here fails a recording."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.engine.flow.kept import KeptResults

HEADER = {"model": "m@1", "settings": {"beam": 5}}
RECORDS = [(bytes([n]) * 16, bytes([n]) * (10 * n)) for n in range(1, 6)]


def written(path: Path) -> Path:
    with KeptResults(path, HEADER) as kept:
        for key, payload in RECORDS:
            kept.put(key, payload)
    return path


def read(path: Path, header: object = HEADER) -> list[bytes | None]:
    with KeptResults(path, header) as kept:  # type: ignore[arg-type]
        return [kept.get(key) for key, _ in RECORDS]


ALL = [payload for _, payload in RECORDS]


def test_results_come_back_and_the_last_of_a_key_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.kept")
    assert read(path) == ALL
    with KeptResults(path, HEADER) as kept:
        kept.put(RECORDS[0][0], b"new")
        assert kept.get(RECORDS[0][0]) == b"new"
    assert read(path) == [b"new", *ALL[1:]]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "other", [{"model": "m@2", "settings": {"beam": 5}}, {"model": "m@1", "settings": {"beam": 4}}, {**HEADER, "audio": "x"}, {}]
)
def test_a_file_of_another_model_or_settings_is_begun_anew(tmp_path: Path, other: dict[str, object]) -> None:
    path = written(tmp_path / "a.kept")
    assert read(path, other) == [None] * 5
    assert read(path) == [None] * 5, "and is that other's now"


def test_every_torn_tail_keeps_the_records_before_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.kept")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with KeptResults(path, HEADER) as kept:
            there = [kept.get(key) for key, _ in RECORDS]
            complete = len([one for one in there if one is not None])
            assert there == [*ALL[:complete], *[None] * (5 - complete)]
            kept.put(b"more", b"data")
        assert read(path) == there
        with KeptResults(path, HEADER) as kept:
            assert kept.get(b"more") == b"data", f"appended behind {length} bytes"


def test_damage_anywhere_never_gives_a_wrong_result(tmp_path: Path) -> None:
    path = written(tmp_path / "a.kept")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        assert all(one in (None, right) for one, right in zip(read(path), ALL, strict=True)), f"byte {at}"


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\xff" * 4096, b"{}\n" * 50])
def test_foreign_content_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.kept"
    path.write_bytes(content)
    assert read(path) == [None] * 5
    assert read(written(path)) == ALL


def test_a_second_opener_goes_on_without_the_file(tmp_path: Path) -> None:
    path, said = written(tmp_path / "a.kept"), []
    with KeptResults(path, HEADER) as first, KeptResults(path, HEADER, said.append) as second:
        second.put(b"lost", b"x")
        assert second.get(RECORDS[0][0]) is None
        first.put(b"kept", b"y")
    assert len(said) == 1
    with KeptResults(path, HEADER) as kept:
        assert (kept.get(b"lost"), kept.get(b"kept")) == (None, b"y")
    assert read(path) == ALL


FULL = """
import resource, sys
from pathlib import Path
from gainstage.engine.flow.kept import KeptResults
said = []
with KeptResults(Path(sys.argv[1]), {"model": "m@1", "settings": {"beam": 5}}, said.append) as kept:
    size = Path(sys.argv[1]).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, size + 500))
    for n in range(20):
        kept.put(b"n%d" % n, b"x" * 100)
print(len(said), said[0])
"""


def test_a_full_disk_ends_the_keeping_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path / "a.kept")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 results are not kept for a next attempt: ")
    assert read(path) == ALL
    with KeptResults(path, HEADER) as kept:
        assert [kept.get(b"n%d" % n) is not None for n in range(20)] == [True] * 4 + [False] * 16


def test_a_place_that_cannot_be_written_is_reported_once(tmp_path: Path) -> None:
    said: list[str] = []
    with KeptResults(tmp_path / "missing" / "a.kept", HEADER, said.append) as kept:
        kept.put(b"a", b"b")
        assert kept.get(b"a") is None
    target = tmp_path / "other"
    target.write_bytes(b"untouched")
    (tmp_path / "link.kept").symlink_to(target)
    with KeptResults(tmp_path / "link.kept", HEADER, said.append) as kept:
        kept.put(b"a", b"b")
    assert len(said) == 2
    assert target.read_bytes() == b"untouched"

"""The first mutants of ``make fuzz-media`` at every run, and what thousands of them once broke."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fuzz import media
from tests.fuzz.media import MOST_BYTES, Child, mutant, run


def test_a_hundred_mutants_end_in_audio_or_a_typed_refusal(tmp_path: Path) -> None:
    report = run(range(100), tmp_path / "kept")
    assert report.faults == []
    assert report.outcomes.total() == 100
    assert report.outcomes["audio"] > 20
    assert report.outcomes["refused: corrupt media"] > 5
    assert 0 < report.most_bytes < MOST_BYTES


def test_a_mutant_is_a_function_of_its_number() -> None:
    files = [b"RIFF" * 100, b"OggS" * 100]
    assert [mutant(n, files) for n in range(20)] == [mutant(n, files) for n in range(20)]
    assert len({mutant(n, files) for n in range(20)}) > 15


def test_a_decoder_that_stands_still_is_a_hang_and_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "HANG_S", 0.1)
    child = Child()
    try:
        stopped = child.pid
        os.kill(stopped, signal.SIGSTOP)
        outcome, detail = child.decode(tmp_path / "none.mp3")
        assert outcome == "hang", detail
        assert child.pid != stopped
    finally:
        child.close()

"""The first mutants of ``make fuzz-media`` at every run, and what thousands of them once broke."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.media import mutant, run


def test_a_hundred_mutants_end_in_audio_or_a_typed_refusal(tmp_path: Path) -> None:
    outcomes, faults = run(range(100), tmp_path / "kept")
    assert faults == []
    assert outcomes.total() == 100
    assert outcomes["audio"] > 20
    assert outcomes["refused: corrupt media"] > 5


def test_a_mutant_is_a_function_of_its_number() -> None:
    files = [b"RIFF" * 100, b"OggS" * 100]
    assert [mutant(n, files) for n in range(20)] == [mutant(n, files) for n in range(20)]
    assert len({mutant(n, files) for n in range(20)}) > 15

"""The benchmark of the console measures a real console on a real terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gainstage.tui.bench import console as bench
from gainstage.tui.bench.terminal import on_terminal


def test_a_console_is_started_and_seen_on_a_terminal(tmp_path: Path) -> None:
    frames = tmp_path / "frames.jsonl"
    bench.record(frames, 3)
    assert 0 < bench.process_to_frame(tmp_path, frames, 1) < 60
    with bench.started(tmp_path, frames, "--seconds", "0.5", "--settle", "0.2") as child:
        found = child.drain()
    assert found["first_frame_s"] > 0
    assert found["rss"] > 1e6
    assert 0 <= found["cpu"] < 2
    with bench.started(tmp_path, frames, "--mode", "table") as other:
        assert set(other.drain()) == {"scroll_ms", "filter_ms"}


def test_a_console_that_failed_gives_no_figures(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write = f'import pathlib; pathlib.Path({str(out)!r}).write_text(\'{{"failed": "fault 1"}}\')'
    with on_terminal([sys.executable, "-c", write], out) as child, pytest.raises(RuntimeError, match="fault 1"):
        child.drain()


def test_the_table_says_which_goals_are_reached() -> None:
    text = bench.table({"first_frame_s": 0.2, "idle_cpu_share": 0.5, "engine_ratio": 0.9, "cores": 2, "key_p95_ms": None})
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["first_frame_s"].endswith("reached")
    assert lines["idle_cpu_share"].endswith("missed")
    assert lines["engine_ratio"].endswith("missed")
    assert lines["key_p95_ms"] == "unknown"
    assert "goal" not in lines["cores"]


def test_a_phase_that_takes_too_long_gives_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = tmp_path / "frames.jsonl"
    bench.record(frames, 3)
    with bench.started(tmp_path, frames, "--seconds", "600") as child:
        assert bench.phase("ten minutes", 1, child.drain) is None
    assert bench.phase("at once", 1, lambda limit_s: limit_s) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["ten minutes, at most 1 s", "  not measured: the console did not end within 1 s", "at once, at most 1 s"]

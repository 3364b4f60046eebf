"""The benchmark of the console measures a real console on a real terminal."""

from __future__ import annotations

from pathlib import Path

from gainstage.tui.bench import console as bench


def test_a_console_is_started_and_seen_on_a_terminal(tmp_path: Path) -> None:
    frames = tmp_path / "frames.jsonl"
    bench.record(frames, 3)
    assert 0 < bench.process_to_frame(tmp_path, frames, 1) < 60
    with bench.started(tmp_path, frames, "--seconds", "0.5", "--settle", "0.2") as child:
        found = child.drain()
    assert found["first_frame_s"] > 0
    assert found["rss"] > 1e6
    assert 0 <= found["cpu"] < 2


def test_the_table_says_which_goals_are_reached() -> None:
    text = bench.table({"first_frame_s": 0.2, "idle_cpu_share": 0.5, "engine_ratio": 0.9, "cores": 2, "key_p95_ms": None})
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["first_frame_s"].endswith("reached")
    assert lines["idle_cpu_share"].endswith("missed")
    assert lines["engine_ratio"].endswith("missed")
    assert lines["key_p95_ms"] == "unknown"
    assert "goal" not in lines["cores"]

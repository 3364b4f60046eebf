"""The benchmark of voices measures what it says."""

from __future__ import annotations

import pytest

from engine.bench import decisions
from engine.bench import voices as bench
from engine.store.database import Database
from tests.engine.voices_kit import encoder


def test_spans_lie_inside_the_recording_and_repeat_by_seed() -> None:
    found = bench.spans_of(200, 1)
    assert found == bench.spans_of(200, 1) != bench.spans_of(200, 2)
    assert all(0 <= start < end <= 600 and 0.99 < end - start < 8.01 for start, end in found)


def test_a_small_run_gives_every_figure() -> None:
    result = bench.run(1, ways=("ours",), device="cpu", equality=0)
    assert set(result) >= {"device", "segments", "seconds", "peak_mb", "max_cosine_distance"}
    assert result["seconds"]["ours"] > 0
    assert result["peak_mb"]["ours"] > 100
    assert "ours" not in bench.table(result)
    assert bench.WORDS["ours"] in bench.table(result)


def test_equality_is_measured_against_each_span_alone() -> None:
    encoder()
    found = bench._equality(12, 0)
    assert found["distance"] < bench.GOAL_DISTANCE < found["uncut"] < 0.2


@pytest.mark.parametrize("device", ["cpu", "cuda (some GPU)"])
def test_the_table_names_the_goals_of_the_device(device: str) -> None:
    seconds = {"per_segment": 40.0, "one_by_one": 4.0, "arrival_order": 3.0, "ours": 1.1, "floor": 1.0}
    text = bench.table(
        {
            "device": device,
            "segments": 281,
            "audio_seconds": 1000.0,
            "threads": 1,
            "repeats": 3,
            "seconds": seconds,
            "cpu_seconds": seconds,
            "peak_mb": dict.fromkeys(seconds, 500),
            "batches": 12,
            "max_cosine_distance": 1e-7,
            "max_cosine_distance_uncut": 0.03,
        }
    )
    assert ("goal >= 26x: reached" in text) == device.startswith("cuda")
    assert "ours to the floor                  1.1x (goal <= 1.15x: reached)" in text


def test_stored_decisions_are_decided_again_in_the_benchmark(database: Database) -> None:
    result = decisions.measured(database, 60, 0, 1)
    assert result["decisions"] == 60
    assert set(result["seconds"]) == {"total", "read", "judge"}
    assert "60 stored decisions" in decisions.table(result)

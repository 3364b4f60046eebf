"""The benchmark of voices measures what it says."""

from __future__ import annotations

import pytest

from gainstage.engine.bench import decisions, voices_ways
from gainstage.engine.bench import voices as bench
from gainstage.engine.store.database import Database
from tests.engine.voices_kit import encoder


def test_spans_lie_inside_the_recording_and_repeat_by_seed() -> None:
    found = voices_ways.spans_of(200, 1)
    assert found == voices_ways.spans_of(200, 1) != voices_ways.spans_of(200, 2)
    assert all(0 <= start < end <= 600 and 0.99 < end - start < 8.01 for start, end in found)


def test_slices_hold_every_span_once_and_whole_batches_of_the_padded_way() -> None:
    found = bench.slices_of(281, voices_ways.ARRIVAL_BATCH)
    assert [n for first, end in found for n in range(first, end)] == list(range(281))
    assert {end - first for first, end in found[:-1]} == {voices_ways.ARRIVAL_BATCH}
    assert bench.slices_of(281, 281) == [(0, 281)]


def test_every_way_is_first_as_often_as_the_others_and_has_every_slice() -> None:
    rounds = list(bench.turns("abc", 3, 2))
    assert [which for which, _ in rounds] == [0, 1, 2, 0, 1, 2]
    assert [order for _, order in rounds] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]] * 2


def test_slices_add_up_and_repeats_give_medians() -> None:
    told = [({"seconds": 1.0, "peak_mb": 5.0}, {"seconds": 9.0, "peak_mb": 7.0}, {"seconds": 2.0, "peak_mb": 6.0})] * 2
    assert bench.VoiceFigures(tuple(told)).total("seconds") == 4.0
    assert bench.VoiceFigures(tuple(told)).peak_mb == 7.0


def test_a_small_run_gives_every_figure() -> None:
    result = bench.run(2, ways=("ours", "one_by_one"), device="cpu", equality=0)
    assert set(result) >= {"device", "segments", "seconds", "peak_mb", "max_cosine_distance"}
    assert set(result["seconds"]) == set(result["peak_mb"]) == {"ours", "one_by_one"}
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert all(peak > 100 for peak in result["peak_mb"].values())
    assert result["batches"] == 2
    assert "ours" not in bench.table(result)
    assert bench.WORDS["ours"] in bench.table(result)


def test_a_process_that_ends_early_is_an_error_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match=r"abacus ended with 2:(.|\n)*invalid choice: 'abacus'"):
        bench.run(1, ways=("abacus",), device="cpu", equality=0)


def test_equality_is_measured_against_each_span_alone() -> None:
    encoder()
    found = voices_ways.equality(12, 0)
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

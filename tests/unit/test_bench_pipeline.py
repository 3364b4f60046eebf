"""The pipeline benchmark measures what it says."""

from __future__ import annotations

import pytest

from gainstage.engine.bench.pipeline import SERVICE_S, ideal, plan, run, table

ONE_EACH = dict.fromkeys(SERVICE_S, 1)


def test_plans_follow_from_the_seed() -> None:
    assert plan(3, 7) == plan(3, 7)
    assert plan(3, 7) != plan(3, 8)
    assert plan(4, 7) != plan(3, 7)
    assert plan(0, 0, 2.0)["fetch"] == pytest.approx(2 * plan(0, 0)["fetch"])


def test_the_ideal_of_one_recording_is_its_own_way_through() -> None:
    times = plan(0, 0)
    ideal_s, _ = ideal([times], ONE_EACH)
    whole = sum(times.values()) - min(times["transcribe"], times["diarize"])
    assert ideal_s == pytest.approx(whole)


def test_the_ideal_of_many_is_the_work_of_the_bottleneck_with_a_way_in_and_out() -> None:
    times = dict.fromkeys(SERVICE_S, 0.0) | {"fetch": 1.0, "transcribe": 6.0, "store": 2.0}
    assert ideal([times] * 10, ONE_EACH) == (63.0, "transcribe")
    assert ideal([times] * 10, {**ONE_EACH, "transcribe": 6}) == (27.0, "store")


def test_a_run_reports_every_stage_and_keeps_its_bounds() -> None:
    result = run(recordings=12, scale=0.2, in_flight=8, overhead_passes=300)
    assert result["bottleneck"] == "transcribe"
    assert set(result["stages"]) == set(SERVICE_S)
    for row in result["stages"].values():
        assert row["done"] == 12
        assert 0 < row["work_share"] <= row["busy_share"] <= 1.001
    assert result["ideal_s"] <= result["makespan_s"]
    assert 0 < result["efficiency"] <= 1
    assert all(us > 0 for us in result["overhead"].values())
    text = table(result)
    assert "bottleneck transcribe" in text
    assert "gate pass, uncontended" in text
    assert len(text.splitlines()) == 7 + len(SERVICE_S) + len(result["overhead"])

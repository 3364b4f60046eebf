"""The bench of watching and steering gives its figures; how good they are is for the bench, on a quiet machine."""

from __future__ import annotations

from gainstage.engine.bench import live


def test_the_bench_of_watching_and_steering_gives_every_figure(database_url: str) -> None:
    result = live.run(400, frames=10, commands=4, database_url=database_url)
    assert all(value > 0 for value in result.values())
    assert result["publish_cpu_s"] > result["build_cpu_s"]
    assert result["effect_p95_s"] < 1.0 or result["effect_p95_s"] < 500 * result["round_trip_s"]
    text = live.table(result)
    assert "status, 400 queued" in text
    assert "% of a core" in text

"""The benchmark of search measures what it says; how good the figures are at 300,000 passages is for the bench."""

from __future__ import annotations

from gainstage.engine.bench.search import PER_RECORDING, SPEAKERS, run, table


def test_recall_latency_and_stores_are_measured() -> None:
    result = run(4_000, queries=10)
    assert list(result["searches"]) == ["all", "all, 100 hits", *(f"only {name}, {share:.1%}" for name, share in SPEAKERS.items())]
    assert {name: way["recall"] for name, way in result["searches"].items() if not 0.9 < way["recall"] <= 1} == {}
    assert [way["lost"] for way in result["searches"].values()] == [0] * 5
    assert min(way["p95_s"] for way in result["searches"].values()) > 0
    assert result["stores"]["before"]["count"] == result["stores"]["after"]["count"] == 20
    text = table(result)
    assert f"a recording of {PER_RECORDING} passages stored before the build" in text
    assert "recall@100" in text
    assert "lost 0 of 10" in text

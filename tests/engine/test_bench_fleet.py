"""The bench of a fleet measures what it says, in its short form; the model is arithmetic."""

from __future__ import annotations

import pytest

from gainstage.engine.bench import fleet, fleet_claims
from gainstage.engine.bench.fleet_model import RATE, Load, errors, fit, predicted
from gainstage.engine.store.database import Database

ASKED = {"linear_2", "claims_per_s", "claim_p95_ms", "console_cpu_share", "status_s", "connections_per_engine"}
BESIDE = {"durable_commit_p50_ms", "durable_commit_p95_ms", "round_trip_p50_ms", "round_trip_p95_ms"}
"""What a claim's time is compared with."""


def test_the_short_form_gives_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_claims, "LONG_S", 1.0)
    monkeypatch.setattr(Database, "NESTED_FROM", 0)  # it opens every connection of its pool at once
    result = fleet.run(1500, minutes=0.05, fleets=(1, 2), beside=2, window_s=4.0)
    assert result.keys() >= ASKED | BESIDE
    assert result["claim_p50_ms"] > result["round_trip_p50_ms"], "a claim is a trip and more"
    assert {name: result[name] for name in ASKED | BESIDE if result[name] <= 0} == {}
    assert 0.3 < result["linear_2"] < 2, "how linear it is, is for the bench"
    assert result["connections_per_engine"] <= 4
    assert result["claim_rows_read"] < 20, "the search for the next recording reads the queue"
    assert [load["engines"] for load in result["loads"]] == [1, 2]
    text = fleet.table(result)
    assert "claim_p95_ms" in text
    parts = result["parts"]
    assert len(parts) > fleet_claims.PARTS // 2, "how it went, part by part"
    assert sum(part["claims_per_s"] for part in parts) / len(parts) == pytest.approx(result["claims_per_s"], rel=0.5)
    assert all(part["bytes"].keys() >= part["dead"].keys() for part in parts)
    assert "minute  claims/s" in text
    assert text.splitlines()[-1].split()[:3] == ["1000", f"{RATE:.1f}", "1000"]


def test_costs_that_are_linear_are_found_again() -> None:
    loads = [Load(n, 0.2 * n, 0.01 + 0.2 * n * 0.002 + n * 0.003, 0.2 * n * 5e3 + n * 1e3) for n in (8, 32, 64)]
    costs = fit(Load(0, 200.0, 0.01 + 200 * 0.002, 200 * 5e3), loads[:2], 0.01)
    assert (costs.cores_per_claim, costs.cores_per_engine) == pytest.approx((0.002, 0.003))
    assert (costs.wal_per_claim, costs.wal_per_engine) == pytest.approx((5e3, 1e3))
    assert errors(costs, loads) == pytest.approx({8: 0.0, 32: 0.0, 64: 0.0})
    assert predicted(costs, 1000).cores == pytest.approx(0.01 + 210 * 0.002 + 3.0)


def test_a_rate_is_that_of_the_whole_window() -> None:
    bunches = [float(cycle) for cycle in range(10) for _ in range(4)]  # four slots that end together
    assert fleet.slope(bunches) == pytest.approx(4.0, rel=0.01)

"""Bands change late and come back later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.advisor import bands
from gainstage.engine.advisor.bands import Band, BandState, step

HOT = Band(82, 87, hysteresis=3, dwell_s=10)


def play(band: Band, *points: tuple[float, float | None]) -> list[str]:
    held, levels = BandState(), []
    for now, value in points:
        held = step(band, held, value, now)
        levels.append(held.level)
    return levels


@pytest.mark.parametrize(
    ("points", "levels"),
    [
        (((0, 80), (60, 81.9)), ["ok", "ok"]),
        (((0, 83), (9, 83), (10, 83)), ["ok", "ok", "warn"]),  # enters after the dwell
        (((0, 83), (5, 80), (10, 83), (19, 83), (20, 83)), ["ok", "ok", "ok", "ok", "warn"]),  # a break starts it again
        (((0, 83), (10, 83), (11, 79.5), (12, 78.9)), ["ok", "warn", "warn", "ok"]),  # leaves past the hysteresis
        (((0, 90), (10, 90)), ["ok", "crit"]),  # straight to the worst
        (((0, 83), (8, 90), (10, 90), (18, 90)), ["ok", "ok", "warn", "crit"]),  # each level has its own dwell
        (((0, 90), (10, 90), (11, 83.5), (12, 78)), ["ok", "crit", "warn", "ok"]),
        (((0, 83), (10, 83), (11, None), (12, 70)), ["ok", "warn", "warn", "ok"]),  # unknown keeps the level
        (((0, 83), (9, None), (10, 83), (20, 83)), ["ok", "ok", "ok", "warn"]),  # and ends the dwell
    ],
)
def test_a_temperature_moves_between_its_bands(points: tuple[tuple[float, float | None], ...], levels: list[str]) -> None:
    assert play(HOT, *points) == levels


def test_an_idle_gpu_is_bad_only_while_it_is_the_bottleneck() -> None:
    low = ((0.0, 0.1), (30.0, 0.1))
    assert play(bands.gpu_share(while_bottleneck=True), *low) == ["ok", "crit"]
    assert play(bands.gpu_share(while_bottleneck=False), *low) == ["ok", "ok"]
    assert play(bands.gpu_share(while_bottleneck=True), (0, 0.4), (30, 0.4), (31, 0.54), (32, 0.56)) == ["ok", "warn", "warn", "ok"]


def test_relative_hysteresis_follows_the_limit() -> None:
    assert play(bands.DATABASE_P95_S, (0, 0.12), (30, 0.12), (31, 0.085), (32, 0.079)) == ["ok", "warn", "warn", "ok"]


def test_a_disk_that_fills_soon_is_worse_than_one_that_fills_later() -> None:
    assert play(bands.DISK_FULL_S, (0, 30 * 3600), (600, 30 * 3600), (601, 3600), (1201, 3600)) == ["ok", "warn", "warn", "crit"]


def test_without_a_limit_there_is_no_band() -> None:
    assert play(bands.gpu_temperature(None), (0, 200), (100, 200)) == ["ok", "ok"]
    assert play(bands.stage_age(None), (0, 1e9)) == ["ok"]
    assert play(bands.stage_age(10.0), (0, 14), (1, 16), (2, 31)) == ["ok", "warn", "crit"]
    assert play(bands.gpu_memory(0.92), (0, 0.9), (5, 0.9), (6, 0.93), (11, 0.93)) == ["ok", "warn", "warn", "crit"]


@given(st.lists(st.tuples(st.floats(0.1, 30), st.one_of(st.none(), st.floats(0, 120))), max_size=60))
def test_a_level_is_never_entered_without_its_dwell_nor_left_within_its_hysteresis(moves: list[tuple[float, float | None]]) -> None:
    held, now = BandState(), 0.0
    past: list[tuple[float, float | None]] = []
    order = ["ok", "warn", "crit"]
    for dt, value in moves:
        now += dt
        past.append((now, value))
        before, held = held, step(HOT, held, value, now)
        if order.index(held.level) > order.index(before.level):
            limit = HOT.limit(held.level)
            assert limit is not None
            recent = [v for t, v in past if t > now - HOT.dwell_s]
            assert all(v is not None and v >= limit for v in recent)
        if order.index(held.level) < order.index(before.level):
            limit = HOT.limit(before.level)
            assert limit is not None
            assert value is not None
            assert value < limit - HOT.hysteresis


def test_the_limits_are_those_of_the_manual() -> None:
    assert bands.gpu_memory(0.92) == Band(pytest.approx(0.87), 0.92, hysteresis=0.02, dwell_s=5)  # type: ignore[arg-type]
    assert bands.gpu_temperature(90.0) == Band(85.0, 90.0, hysteresis=3, dwell_s=10)
    assert bands.stage_age(10.0) == Band(15.0, 30.0)
    assert bands.gpu_share(while_bottleneck=True) == Band(0.5, 0.2, hysteresis=0.05, dwell_s=30, high_is_bad=False)
    assert Band(0.02, 0.10, hysteresis=0.5, dwell_s=60, relative=True) == bands.ERROR_RATE
    assert Band(3, 10) == bands.THROTTLED
    assert Band(172_800, 21_600, dwell_s=600, high_is_bad=False) == bands.DISK_FULL_S
    assert Band(0.1, 1.0, hysteresis=0.2, dwell_s=30, relative=True) == bands.DATABASE_P95_S


def test_a_band_without_a_limit_is_reached_by_nothing_but_ok() -> None:
    none = Band(None, None)
    assert [none.reached(1e9, level) for level in ("ok", "warn", "crit")] == [True, False, False]
    assert [none.holds(1e9, level) for level in ("ok", "warn", "crit")] == [True, False, False]


def test_a_value_at_the_edge_of_the_hysteresis_still_holds() -> None:
    assert HOT.reached(82, "warn")
    assert not HOT.reached(81.99, "warn")
    assert not Band(82, 87).holds(81.99, "warn"), "no hysteresis unless it is given"
    assert HOT.holds(79, "warn")
    assert not HOT.holds(78.99, "warn")
    low = Band(0.5, 0.25, hysteresis=0.125, high_is_bad=False)
    assert low.holds(0.625, "warn")
    assert not low.holds(0.6251, "warn")
    assert low.reached(0.5, "warn")
    assert not low.reached(0.5001, "warn")

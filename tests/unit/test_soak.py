"""The soak finds what grows; that nothing does is for `make soak`, in hours."""

from __future__ import annotations

from tests.chaos.soak import Sample, grown


def test_what_grows_is_named_and_what_swings_is_not() -> None:
    steady = [Sample(200e6 + n % 7 * 1e6, 30 + n % 3, 60 + n % 5, 6, 5e6 + n % 4 * 1e6) for n in range(40)]
    assert grown(steady, {"event": 20_000, "run": 10**6}, 30e6) == []
    leaking = [Sample(200e6 + n * 5e6, 30 + n, 60 + n, 6, 5e6 + n * 1e6) for n in range(40)]
    assert [fault.split()[0] for fault in grown(leaking, {"event": 90_000}, 30e6)] == ["memory", "threads", "files", "event", "the"]

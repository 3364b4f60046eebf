"""Rates are over the time in which there was work, and a minute is a minute of the clock."""

from __future__ import annotations

import pytest

from gainstage.engine.runtime.throughput import Throughput


class Clock:
    """Looks at the throughput each second, as the publisher does."""

    def __init__(self, wall: float = 1_000_040.0) -> None:  # 20 s into a minute
        self.throughput = Throughput()
        self.now = 0.0
        self.wall = wall
        self.throughput.look(self.now, self.wall, False)

    def run(self, seconds: int, *, working: bool, each_s: int = 0, audio_s: float = 0.0) -> None:
        """``seconds`` with or without work; a recording of ``audio_s`` is stored every ``each_s`` seconds."""
        self.throughput.look(self.now, self.wall, working)
        for second in range(1, seconds + 1):
            self.now, self.wall = self.now + 1, self.wall + 1
            self.throughput.look(self.now, self.wall, working)
            if each_s and second % each_s == 0:
                self.throughput.stored(self.wall, audio_s)


def test_an_idle_hour_changes_no_rate() -> None:
    clock = Clock()
    clock.run(600, working=True, each_s=10, audio_s=220.0)
    assert clock.throughput.rtfx() == pytest.approx(22.0)
    clock.run(3600, working=False)
    assert clock.throughput.rtfx() is None  # idle is said as idle
    assert clock.throughput.work_s == pytest.approx(600.0)
    clock.run(60, working=True, each_s=10, audio_s=220.0)
    assert clock.throughput.rtfx() == pytest.approx(22.0)


def test_now_is_the_last_minute_of_work() -> None:
    clock = Clock()
    clock.run(540, working=True, each_s=10, audio_s=100.0)
    clock.run(70, working=True, each_s=10, audio_s=400.0)
    assert clock.throughput.rtfx() == pytest.approx(40.0, rel=0.05)


def test_long_recordings_are_looked_back_for() -> None:
    clock = Clock()
    clock.run(1500, working=True, each_s=200, audio_s=600.0)
    assert clock.throughput.rtfx() == pytest.approx(3.0, rel=0.05)


def test_the_past_keeps_its_shape() -> None:
    clock = Clock()
    clock.run(220, working=True, each_s=5, audio_s=50.0)  # to the end of the minute, and three minutes more
    before = clock.throughput.history(clock.wall)
    assert before[1:] == pytest.approx((10.0, 10.0, 10.0), rel=0.1)
    for _ in range(59):
        clock.run(1, working=True)
        assert clock.throughput.history(clock.wall) == before
    clock.run(1, working=True)
    assert clock.throughput.history(clock.wall)[: len(before)] == before
    assert len(clock.throughput.history(clock.wall)) == len(before) + 1


def test_an_idle_minute_is_a_gap_and_an_hour_is_kept() -> None:
    clock = Clock(wall=1_000_000.0 // 60 * 60)
    clock.run(60, working=True, each_s=5, audio_s=50.0)
    clock.run(120, working=False)
    clock.run(60, working=True, each_s=5, audio_s=50.0)
    first, *gap, last = clock.throughput.history(clock.wall)
    assert gap == [None, None]
    assert first == pytest.approx(10.0, rel=0.1)
    assert last == pytest.approx(10.0, rel=0.1)
    clock.run(2 * 3600, working=False)
    assert len(clock.throughput.history(clock.wall)) == 60


def test_nothing_stored_is_no_rate() -> None:
    clock = Clock()
    assert clock.throughput.rtfx() is None
    clock.run(90, working=True)
    assert clock.throughput.rtfx() is None
    assert clock.throughput.history(clock.wall)[-1] == 0.0


def test_work_begins_after_an_idle_time_once() -> None:
    throughput = Throughput()
    assert not throughput.look(0.0, 1e6, False)
    assert throughput.look(1.0, 1e6, True)
    assert not throughput.look(2.0, 1e6, True)
    assert not throughput.look(3.0, 1e6, False)
    assert not throughput.look(8.0, 1e6, True)  # the next recording, not another run
    assert not throughput.look(9.0, 1e6, False)
    assert throughput.look(18.0, 1e6, True)

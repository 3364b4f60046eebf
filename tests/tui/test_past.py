"""Through time: a recorded run is paused, sped up, sought and jumped through; so are the last two hours of a running system."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gainstage.engine.desk.replay import ReplayDesk
from gainstage.engine.desk.scripted.desk import START_WALL, STORY, FakeClock, ScriptedDesk
from gainstage.engine.telemetry.recorder import Recorder
from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands import console
from gainstage.tui.state.moments import moment_of, neighbour

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes of the story, in which somebody changes a setting."""
    path = tmp_path_factory.mktemp("runs") / "story.gsr"
    desk = ScriptedDesk(start_at=STORY["bottleneck"])
    recorder = Recorder(path, label="story", settings=desk.settings())
    cursor, known = desk.events(0, 100_000).cursor, 0
    for _ in range(120):
        desk.advance(1.0)
        frame, page = desk.snapshot(), desk.events(cursor)
        assert frame is not None
        cursor, fresh = page.cursor, desk.changes()[: len(desk.changes()) - known]
        known = len(desk.changes())
        recorder.append(frame, page.items, fresh)
    recorder.close()
    return path


class Playing(ReplayDesk):
    """A replay whose clock a test moves."""

    def advance(self, seconds: float) -> None:
        assert isinstance(self._clock, FakeClock)
        self._clock.advance(seconds)


@pytest.fixture
def replay(recorded: Path) -> Iterator[Playing]:
    desk = Playing(recorded, clock=FakeClock())
    yield desk
    desk.close()


async def test_a_replay_is_paused_sped_up_sought_and_jumped_through(driven: Run, replay: Playing) -> None:
    change = replay._changes[0].wall
    async with driven(replay) as d:
        await d.wait(5)
        assert d.app.frame.snapshot.wall == pytest.approx(replay.start_wall + 5, abs=1.1)
        await d.press("space")
        await d.wait(5)
        assert replay.now() == pytest.approx(replay.start_wall + 5, abs=0.3)
        assert "paused" in d.text.splitlines()[0]
        await d.press("space", "greater_than_sign", "greater_than_sign")
        await d.wait(5)
        assert replay.now() == pytest.approx(replay.start_wall + 25, abs=0.5)
        assert "×4" in d.text.splitlines()[0]
        await d.press("less_than_sign", "less_than_sign", "space")
        await d.command("seek 2")
        assert replay.now() == pytest.approx(replay.start_wall + 2, abs=0.1)
        await d.command("seek +30s")
        await d.press("right_curly_bracket", "left_square_bracket")
        assert replay.now() == pytest.approx(replay.start_wall + 91, abs=0.1)
        await d.command("seek 2")
        await d.press("right_parenthesis")
        await d.wait(0.25)
        first = replay.moments[0]
        assert replay.now() == pytest.approx(first + 1, abs=0.1)
        for _ in range(sum(moment < change for moment in replay.moments)):
            if replay.now() < change:
                await d.press("right_parenthesis")
        await d.wait(1)
        assert replay.now() == pytest.approx(change + 1, abs=0.1)
        await d.press("4")
        await d.wait(1)
        assert "workers.transcribe" in d.app.desk_screen.changes.as_text()
        before = [moment for moment in replay.moments if moment + 1.5 < replay.now()]
        await d.press("left_parenthesis")
        assert replay.now() == pytest.approx(before[-1] + 1 if before else change + 1, abs=0.5)
        await d.command("seek never")
        assert "no time" in d.noticed[-1]
        await d.press("backslash")
        assert replay.now() == replay.end_wall
        await d.press("right_parenthesis")
        assert "no later change or failure" in d.noticed[-1]


async def test_the_last_two_hours_are_sought_and_jumped_through(driven: Run, desk_at: Run) -> None:
    """The console attaches late: what was before comes from what is kept."""
    async with driven(desk_at("after-change")) as d:
        change = d.desk.changes()[0].wall
        newest = d.app.newest.wall
        await d.press("left_parenthesis")
        for _ in d.app.events:
            if d.app.frame.snapshot.wall > change + 2:
                await d.press("left_parenthesis")
        assert d.app.frame.snapshot.wall == pytest.approx(change + 1, abs=1.1)
        assert d.app.frame.mode == "scrub"
        await d.command("seek -10s")
        assert d.app.frame.snapshot.wall == pytest.approx(change - 9, abs=1.1)
        await d.command("seek 0")
        assert d.app.frame.snapshot.wall == pytest.approx(START_WALL, abs=12)
        await d.command(f"seek {newest - START_WALL + 99}")
        assert d.app.frame.mode == "live"
        await d.press("greater_than_sign")
        assert "only a replay has a speed" in d.noticed[-1]


@pytest.mark.parametrize(
    ("text", "wall"),
    [("90", 1090.0), ("-5m", 4700.0), ("+90s", 5090.0), ("+1h", 8600.0), ("12", 1012.0), ("+7", 5007.0)],
)
def test_times_are_read_as_typed(text: str, wall: float) -> None:
    assert moment_of(text, 1000.0, 5000.0) == wall


def test_times_of_day_are_the_first_after_the_beginning() -> None:
    """The zone of the tests is UTC. 82,800 is 23:00 of the first day."""
    assert moment_of("23:30", 82_800.0, 0.0) == 84_600.0
    assert moment_of("00:10:05", 82_800.0, 0.0) == 87_005.0
    assert moment_of("23:00", 82_830.0, 0.0) == 82_800.0, "the minute in which it begins"
    for none in ("24:00", "12:61", "soon", "", "1.2.3"):
        assert moment_of(none, 82_800.0, 0.0) is None


def test_the_neighbour_of_a_moment_is_another_one() -> None:
    assert neighbour([1.0, 5.0, 9.0], 5.0, 1) == 9.0
    assert neighbour([1.0, 5.0, 9.0], 5.0, -1) == 1.0
    assert neighbour([1.0], 1.2, 1) is None


def test_a_replay_begins_where_it_is_told_to(recorded: Path) -> None:
    whole = ReplayDesk(recorded)
    desk = console.replay(recorded, "60")
    assert desk.now() == pytest.approx(desk.start_wall + 60, abs=1.0)
    desk.close()
    whole.close()
    for at, why in (("soon", "time of day"), ("900", "is not in the recorded run, which begins 2026-11-22")):
        with pytest.raises(DeskError, match=why):
            console.replay(recorded, at)


def test_a_wrong_file_is_refused_in_words(tmp_path: Path) -> None:
    other = tmp_path / "talk.mp3"
    other.write_bytes(b"ID3 is no recorded run")
    with pytest.raises(DeskError, match=r"talk\.mp3: not a recorded run"):
        console.replay(other, None)
    with pytest.raises(DeskError, match=r"nothing\.gsr cannot be read: No such file"):
        console.replay(tmp_path / "nothing.gsr", None)
    with pytest.raises(DeskError, match="cannot be read: Is a directory"):
        console.replay(tmp_path, None)


def test_the_option_takes_a_time(recorded: Path) -> None:
    parser = argparse.ArgumentParser()
    console.add_arguments(parser, "console")
    assert parser.parse_args(["--replay", str(recorded), "--at", "03:12"]).at == "03:12"

"""Recorded runs: written a second at a time, cut off anywhere, played back on a desk."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gainstage.engine.desk import replay
from gainstage.engine.desk.replay import MOST_HISTORY, ReplayDesk
from gainstage.engine.desk.scripted.desk import STORY, FakeClock, ScriptedDesk
from gainstage.engine.telemetry.recorder import MAGIC, RECORD, BadRecording, Recorder, pack, records
from gainstage.engine.views.commands import Command, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.rows import Query
from gainstage.engine.views.snapshot import Snapshot

BEGIN = STORY["bottleneck"]


@dataclass
class Recorded:
    path: Path
    frames: list[Snapshot]
    live: ScriptedDesk


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """150 seconds of the story, with a change in it."""
    path = tmp_path_factory.mktemp("runs") / "story.gsr"
    desk = ScriptedDesk(start_at=BEGIN)
    recorder = Recorder(path, label="story", settings=desk.settings())
    frames, cursor, known = [], desk.events(0, 100_000).cursor, 0
    for _ in range(150):
        desk.advance(1.0)
        frame = desk.snapshot()
        assert frame is not None
        page = desk.events(cursor)
        cursor = page.cursor
        changes = desk.changes()[: len(desk.changes()) - known]
        known = len(desk.changes())
        assert recorder.append(frame, page.items, changes)
        frames.append(frame)
    recorder.close()
    return Recorded(path, frames, desk)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def desk(recorded: Recorded, clock: FakeClock) -> Iterator[ReplayDesk]:
    desk = ReplayDesk(recorded.path, clock=clock)
    yield desk
    desk.close()


def test_every_frame_comes_back_from_any_direction(recorded: Recorded, desk: ReplayDesk) -> None:
    for frame in [*recorded.frames[::13], *reversed(recorded.frames[::17]), recorded.frames[-1]]:
        desk.seek(frame.wall)
        assert desk.snapshot() == frame


def test_it_plays_at_its_speed_and_stops_at_the_end(recorded: Recorded, desk: ReplayDesk, clock: FakeClock) -> None:
    start = desk.now()
    assert start == recorded.frames[0].wall
    clock.advance(10)
    assert desk.now() == start + 10
    desk.speed = 4.0
    clock.advance(5)
    assert desk.now() == start + 30
    desk.playing = False
    clock.advance(100)
    assert desk.now() == start + 30
    assert desk.snapshot() == recorded.frames[30]
    desk.playing = True
    clock.advance(1000)
    assert desk.now() == recorded.frames[-1].wall
    desk.seek(0.0)
    assert desk.now() == start


def test_events_follow_the_moment_shown(recorded: Recorded, desk: ReplayDesk) -> None:
    desk.seek(recorded.frames[-1].wall)
    whole = desk.events(0, limit=10_000)
    assert whole.items == recorded.live.events(whole.items[0].seq - 1, 10_000).items
    desk.seek(recorded.frames[60].wall)
    early = desk.events(0, limit=10_000)
    assert 0 < len(early.items) < len(whole.items)
    assert all(e.wall <= desk.now() for e in early.items)
    assert desk.events(whole.cursor).cursor == early.cursor  # after a seek back the cursor comes back too
    pages, cursor = [], 0
    while (page := desk.events(cursor, limit=3)).items:
        pages += page.items
        cursor = page.cursor
    assert tuple(pages) == early.items


def test_decisions_and_changes_are_those_of_the_moment(recorded: Recorded, desk: ReplayDesk) -> None:
    desk.seek(recorded.frames[-1].wall)
    live = {d.id: d for d in recorded.live.decisions(10_000)}
    rows = desk.decisions(10_000)
    assert len(rows) > 20
    assert all(live[r.id] == r for r in rows)
    assert {r.recording for r in desk.decisions(recording=rows[0].recording)} == {rows[0].recording}
    assert [c.key for c in desk.changes()] == ["workers.transcribe"]
    assert next(s for s in desk.settings() if s.key == "workers.transcribe").value == 4
    desk.seek(recorded.frames[3].wall)
    assert desk.changes() == ()
    assert next(s for s in desk.settings() if s.key == "workers.transcribe").value == 2


def test_other_limits_can_be_tried_on_recorded_decisions(recorded: Recorded, desk: ReplayDesk) -> None:
    desk.seek(recorded.frames[-1].wall)
    same = desk.what_if({})
    assert same.flips == ()
    tighter = desk.what_if({"identify.range_limit": 0.2})
    assert tighter.split_after == sum(1 for d in desk.decisions() if d.range is not None and d.range > 0.2)
    assert tighter.split_after - tighter.split_before == len(tighter.flips) > 0
    with pytest.raises(DeskError, match="replay can only try"):
        desk.what_if({"workers.fetch": 1})


def test_a_replay_sends_nothing(desk: ReplayDesk) -> None:
    typed: Desk = desk
    assert not typed.live
    assert typed.read_only
    assert typed.label.startswith("REPLAY 2026-11-2")
    for refused in (
        lambda: typed.send(Command("pause")),
        lambda: typed.ack(1),
        lambda: typed.search("fibre"),
        lambda: typed.context(1),
        lambda: typed.preview(("x",), {}),
    ):
        with pytest.raises(DeskError):
            refused()
    assert typed.failures() == ()
    assert typed.profiles() == ()
    assert len(typed.engines()) == 1
    assert typed.index_health().segments > 0


def test_what_was_in_flight_can_be_looked_at(recorded: Recorded, desk: ReplayDesk) -> None:
    desk.seek(recorded.frames[80].wall)
    flights = recorded.frames[80].flights
    for sort in ("id", "title", "duration", "stage", "changed"):
        assert {r.id for r in desk.recordings(Query(sort=sort)).rows} == {f.id for f in flights}
    assert desk.recordings(Query(status=("stored",))).matched == 0
    assert desk.recordings(Query(stage="transcribe")).matched == sum(f.stage == "transcribe" for f in flights)
    assert desk.recording(flights[0].id).row.title == flights[0].title
    with pytest.raises(DeskError, match="not in flight"):
        desk.recording("nothere")


def test_history_is_thinned_and_ends_now(recorded: Recorded, desk: ReplayDesk) -> None:
    desk.seek(recorded.frames[100].wall)
    assert desk.history(20.0) == tuple(recorded.frames[80:101])
    desk.seek(recorded.frames[-1].wall)
    assert len(desk.history(7200)) <= MOST_HISTORY
    assert desk.history(7200)[-1] == recorded.frames[-1]


def test_a_file_cut_off_anywhere_plays_up_to_there(recorded: Recorded, tmp_path: Path) -> None:
    """Whatever a crash leaves of the last record, the rest is there."""
    data = recorded.path.read_bytes()
    with open(recorded.path, "rb") as file:
        places = [r for r in records(file) if r.kind in "KD"]
    last, before = places[-1], places[-2]
    assert last.offset + last.length == len(data)
    cuts = {last.offset - 17, last.offset - 5, last.offset, last.offset + last.length // 2, len(data) - 1}
    for cut in sorted(cuts):
        path = tmp_path / f"cut{cut}.gsr"
        path.write_bytes(data[:cut])
        desk = ReplayDesk(path, clock=FakeClock())
        desk.seek(recorded.frames[-1].wall)
        found = desk.snapshot()
        assert found is not None
        assert found.wall == before.wall
        desk.close()


def test_a_damaged_frame_shows_the_one_before_it(recorded: Recorded, tmp_path: Path) -> None:
    data = bytearray(recorded.path.read_bytes())
    with open(recorded.path, "rb") as file:
        frames = [r for r in records(file) if r.kind in "KD"]
    data[frames[75].offset + 5] ^= 0xFF
    path = tmp_path / "damaged.gsr"
    path.write_bytes(data)
    desk = ReplayDesk(path, clock=FakeClock())
    desk.seek(recorded.frames[75].wall)
    assert desk.snapshot() == recorded.frames[74]
    desk.seek(recorded.frames[77].wall)
    assert desk.snapshot() == recorded.frames[74]
    desk.seek(recorded.frames[125].wall)  # the next whole frame mends it
    assert desk.snapshot() == recorded.frames[125]
    desk.close()


def test_frames_closer_than_a_second_are_not_written(recorded: Recorded, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "often.gsr")
    base = recorded.frames[0]
    written = [recorder.append(replace(base, wall=base.wall + i / 5)) for i in range(26)]
    recorder.close()
    assert sum(written) == 6


def test_a_run_is_not_gone_on_with_once_the_clock_was_put_back(recorded: Recorded, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "back.gsr")
    base = recorded.frames[0]
    assert recorder.follows(base)
    recorder.append(base)
    assert recorder.follows(replace(base, wall=base.wall - 2.0))
    assert not recorder.follows(replace(base, wall=base.wall - 3600.0))
    recorder.close()


def test_a_second_of_a_run_costs_few_bytes(recorded: Recorded) -> None:
    """A frame is about 34,000 characters; a day of two kilobytes a second is under 200 MB."""
    per_frame = recorded.path.stat().st_size / len(recorded.frames)
    print(f"{per_frame:.0f} bytes per frame")
    assert per_frame < 4000


@pytest.mark.parametrize(("content", "why"), [(b"", "GSR1"), (b"hello world", "GSR1"), (b"GSR1", "no frame")])
def test_what_is_no_recorded_run_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "other.gsr"
    path.write_bytes(content)
    with pytest.raises(BadRecording, match=why):
        ReplayDesk(path)


def written(path: Path, *parts: tuple[str, bytes], wall: float = 1000.0) -> Path:
    """A file whose every checksum is right, whatever its records hold."""
    packed = (RECORD.pack(kind.encode(), len(data), zlib.crc32(data), wall) + data for kind, data in parts)
    path.write_bytes(MAGIC + b"".join(packed))
    return path


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("E", pack([{"seq": 1}])),
        ("E", pack([7])),
        ("C", pack({"a": 1})),
        ("H", pack([])),
        ("V", pack("no rows")),
        ("E", zlib.compress(b"no json")),
        ("E", b"no zlib"),
        ("E", pack([])[:-3]),
        ("E", zlib.compress(b"[" * 200_000)),
    ],
)
def test_records_of_another_make_are_refused(tmp_path: Path, kind: str, data: bytes) -> None:
    path = written(tmp_path / "hostile.gsr", (kind, data), ("K", pack({})))
    with pytest.raises(BadRecording, match="not a recorded run"):
        ReplayDesk(path)


def test_a_record_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    squeeze = zlib.compressobj(9)
    bomb = b"".join([*(squeeze.compress(bytes(1 << 20)) for _ in range(80)), squeeze.flush()])
    with pytest.raises(BadRecording, match="larger than any frame"):
        ReplayDesk(written(tmp_path / "bomb.gsr", ("E", bomb), ("K", pack({}))))


def test_records_that_unpack_to_too_much_all_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "LARGEST_IN_ALL", 3_000_000)
    rows = zlib.compress(b"[" + b" " * 1_000_000 + b"]", 9)
    assert len(rows) < 10_000
    with pytest.raises(BadRecording, match="larger than"):
        ReplayDesk(written(tmp_path / "bomb.gsr", *[("E", rows)] * 4, ("K", pack({}))))


def test_frames_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST_FRAMES", 50)
    with pytest.raises(BadRecording, match="more than 50 frames"):
        ReplayDesk(written(tmp_path / "many.gsr", *[("K", pack({}))] * 51))


@pytest.mark.parametrize("frame", [{}, [], 7, {"schema": 1, "run": 3}])
def test_a_frame_of_another_make_is_told_as_damaged(tmp_path: Path, frame: object) -> None:
    desk = ReplayDesk(written(tmp_path / "odd.gsr", ("K", pack(frame))))
    with pytest.raises(DeskError, match="damaged"):
        desk.snapshot()
    with pytest.raises(DeskError, match="damaged"):
        desk.history(60)
    desk.close()


@pytest.mark.parametrize("wall", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_is_none_ends_a_recorded_run(tmp_path: Path, wall: float) -> None:
    with pytest.raises(BadRecording, match="no frame"):
        ReplayDesk(written(tmp_path / "late.gsr", ("K", pack({})), wall=wall))

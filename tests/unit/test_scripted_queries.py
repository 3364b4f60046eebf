"""What the scripted desk shows: decisions, recordings, search, history and events."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from gainstage.engine.desk.scripted.cast import AWKWARD, HOST
from gainstage.engine.desk.scripted.desk import SPECIAL, FakeClock, ScriptedDesk
from gainstage.engine.views.commands import Command, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.rows import Query
from gainstage.engine.views.snapshot import SCHEMA
from tests.unit.test_scripted_desk import desk, frame, late

__all__ = ["desk", "late"]  # the fixtures


def test_decisions_carry_their_evidence(late: ScriptedDesk) -> None:
    rows = late.decisions(10_000)
    assert len(rows) == frame(late).decisions.clusters > 200
    assert [r.id for r in rows] == sorted((r.id for r in rows), reverse=True)
    for row in rows:
        assert row.why
        assert sum(s for _, s in row.speakers) == pytest.approx(row.seconds, abs=0.3)
        if row.mean is not None and row.low is not None and row.high is not None:
            assert row.low <= row.mean <= row.high
            assert row.mean == pytest.approx(sum(row.similarities) / len(row.similarities), abs=1e-3)
    one = rows[0].recording
    assert {r.recording for r in late.decisions(recording=one)} == {one}


def test_what_if_at_the_present_limits_changes_nothing(late: ScriptedDesk) -> None:
    same = late.what_if({}, last=10_000)
    assert (same.flips, same.seconds_moved, same.recordings) == ((), 0.0, 0)
    assert same.split_before == same.split_after == frame(late).decisions.split


def test_what_if_tells_which_clusters_another_limit_would_split(late: ScriptedDesk) -> None:
    tighter = late.what_if({"identify.range_limit": 0.3}, last=10_000)
    looser = late.what_if({"identify.range_limit": 2.0, "identify.variance_limit": 1.0}, last=10_000)
    assert tighter.split_after > tighter.split_before > looser.split_after == 0
    assert tighter.recordings == len({f.recording for f in tighter.flips})
    assert tighter.seconds_moved == pytest.approx(sum(f.seconds for f in tighter.flips), abs=1.0)
    with pytest.raises(DeskError, match=r"workers\.fetch"):
        late.what_if({"workers.fetch": 3})


@pytest.mark.parametrize(
    "sort", ["changed", "added", "id", "title", "status", "duration", "stage", "attempt", "priority", "segments"]
)
@pytest.mark.parametrize("descending", [True, False])
def test_pages_of_recordings_join_into_the_whole(late: ScriptedDesk, sort: str, descending: bool) -> None:
    query = Query(sort=sort, descending=descending, limit=50)
    rows = []
    while len(page := late.recordings(replace(query, offset=len(rows))).rows):
        rows += page
    assert len({r.id for r in rows}) == len(rows) == late.recordings(query).total


def test_filters_of_recordings(late: ScriptedDesk) -> None:
    whole = late.recordings(Query(limit=10_000))
    stored = late.recordings(Query(status=("stored",), limit=10_000))
    others = late.recordings(Query(status=("stored",), invert=True, limit=10_000))
    assert stored.matched + others.matched == whole.total
    assert stored.matched == frame(late).run.stored
    assert all(r.segments and r.speakers for r in stored.rows)
    assert all((r.duration_s or 0) > 1800 for r in late.recordings(Query(min_duration_s=1800.0)).rows)
    some = whole.rows[7]
    assert some.id in {r.id for r in late.recordings(Query(text=some.id.lower())).rows}
    assert {r.stage for r in late.recordings(Query(stage="transcribe", status=("running",))).rows} == {"transcribe"}
    assert {r.cause for r in late.recordings(Query(cause="no audio")).rows} == {"no audio stream"}
    with pytest.raises(DeskError, match="cannot sort"):
        late.recordings(Query(sort="mood"))


def test_a_recording_shows_its_way_through_the_stages(late: ScriptedDesk) -> None:
    row = next(r for r in late.recordings(Query(status=("stored",))).rows if (r.speakers or 0) > 1)
    detail = late.recording(row.id)
    assert [s.stage for s in detail.spans if s.stage not in ("transcribe", "diarize")] == [
        "fetch", "decode", "identify", "segment", "embed", "store",
    ]  # fmt: skip
    assert all(s.outcome == "ok" and s.wait_s >= 0 and (s.service_s or 0) > 0 for s in detail.spans)
    assert len(detail.speakers) == row.speakers
    assert detail.decisions
    assert dict(detail.facts)["settings revision"]
    assert any(e.kind == "stored" for e in detail.events)
    with pytest.raises(DeskError, match="unknown recording"):
        late.recording("nothere")


def test_search_finds_by_words_and_by_meaning(late: ScriptedDesk) -> None:
    meaning = late.search("does roughage feed the microbiome", mode="meaning")
    assert meaning.hits
    assert any("butyrate" in h.text.lower() or "fibre" in h.text.lower() for h in meaning.hits)
    words = late.search("fungi", mode="words")
    assert words.hits
    assert all("fungi" in h.text for h in words.hits)
    assert words.embed_s is None
    assert [h.score for h in meaning.hits] == sorted((h.score for h in meaning.hits), reverse=True)
    assert {h.speaker for h in late.search("fibre", speaker=HOST).hits} == {HOST}
    assert late.search("the of and").hits == ()
    around = late.context(words.hits[0].segment)
    assert sum(line.here for line in around) == 1
    assert [line.start for line in around] == sorted(line.start for line in around)
    with pytest.raises(DeskError, match="no segment"):
        late.context(-1)
    with pytest.raises(DeskError, match="mode"):
        late.search("x", mode="telepathy")


def test_search_and_store_wait_for_a_database_that_is_down() -> None:
    desk = ScriptedDesk.special("database-down")
    with pytest.raises(DeskError, match="connection refused"):
        desk.search("fibre")
    assert frame(desk).stages[-1].depth > 5


def test_a_read_only_desk_sends_nothing() -> None:
    desk = ScriptedDesk.special("read-only")
    with pytest.raises(DeskError, match="read-only"):
        desk.send(Command("pause"))
    assert frame(desk).run.state == "running"


@pytest.mark.parametrize("state", [s for s in SPECIAL if s not in ("many", "done", "database-down")])
def test_every_designed_state_shows_what_it_is_named_for(state: str) -> None:
    desk = ScriptedDesk.special(state)
    found = desk.snapshot()
    if state == "no-engine":
        assert found is None
        assert desk.engines() == ()
        assert desk.history(100) == ()
        return
    assert found is not None
    assert len(desk.engines()) == 1
    holds: dict[str, bool] = {
        "starting": found.run.state == "starting",
        "empty": found.run.queued == found.run.running == 0 and desk.recordings(Query()).total == 0,
        "stale": 1.5 < desk.now() - found.wall < 5,
        "offline": desk.now() - found.wall > 5,
        "no-gpu": found.devices == () and "libnvidia-ml" in (found.host.gpu_note or ""),
        "two-gpus": len(found.devices) == 2,
        "no-profiles": desk.profiles() == () and found.decisions.clusters == 0 and found.run.stored > 0,
        "no-decisions": found.decisions.clusters == 0,
        "schema": found.schema == SCHEMA + 1,
        "read-only": desk.read_only,
        "dropped": desk.events(0).dropped > 0,
    }
    assert holds[state]


def test_a_hundred_thousand_recordings_are_listed_in_pages() -> None:
    desk = ScriptedDesk.special("many", start_at=40.0)
    page = desk.recordings(Query(sort="title", descending=False, offset=50_000))
    assert page.total > 100_000
    assert len(page.rows) == 200
    assert frame(desk).run.queued > 99_000
    forecast = frame(desk).verdict.forecast.left_s
    assert forecast is None or forecast > 86_400


def test_titles_are_as_awkward_as_the_world_is(late: ScriptedDesk) -> None:
    titles = {r.title for r in late.recordings(Query(limit=10_000)).rows}
    assert titles.issuperset(AWKWARD[:12])


def test_the_story_can_be_played_on_a_running_clock() -> None:
    clock = FakeClock(1000.0)
    desk = ScriptedDesk(clock=lambda: clock.seconds, speed=4.0, start_at=10.0)
    first = frame(desk)
    clock.advance(5.0)
    assert frame(desk).wall - first.wall == pytest.approx(20.0)
    assert desk.now() == pytest.approx(frame(desk).wall)
    with pytest.raises(TypeError, match="fake clock"):
        desk.advance(1.0)


def test_history_is_a_frame_each_second(desk: ScriptedDesk) -> None:
    desk.advance(0.7)
    frames = desk.history(60)
    assert 59 <= len(frames) <= 61
    assert all(b.wall - a.wall == pytest.approx(1.0) for a, b in pairwise(frames))
    assert all(f.verdict.why for f in frames)


def test_events_come_in_pages_after_a_cursor(desk: ScriptedDesk) -> None:
    first = desk.events(0, limit=10)
    second = desk.events(first.cursor, limit=10)
    assert [e.seq for e in (*first.items, *second.items)] == list(range(1, 21))
    newest = desk.events(0, limit=100_000).cursor
    assert desk.events(newest).items == ()
    assert desk.events(newest).cursor == newest


def test_the_desk_keeps_the_protocol(desk: ScriptedDesk) -> None:
    typed: Desk = desk
    assert typed.live
    assert typed.index_health().orphans == 0
    assert len(typed.profiles()) == 7
    assert sum(p.primary for p in typed.profiles()) == 1
    typed.close()
    with pytest.raises(DeskError, match="no command"):
        typed.ack(4711)

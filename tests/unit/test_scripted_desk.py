"""The scripted desk answers every question and command of the protocol."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from gainstage.engine.desk.scripted.cast import AWKWARD, HOST
from gainstage.engine.desk.scripted.desk import SPECIAL, STORY, FakeClock, ScriptedDesk
from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.rows import Query
from gainstage.engine.views.snapshot import SCHEMA, Snapshot


def frame(desk: Desk) -> Snapshot:
    found = desk.snapshot()
    assert found is not None
    return found


def do(desk: ScriptedDesk, command: Any, /, **args: Any) -> Ack:
    """Send a command and wait for its answer."""
    sent = desk.send(Command(command, args))
    assert sent.state == "pending"
    assert desk.ack(sent.id).state == "pending"
    desk.advance(0.6)
    return desk.ack(sent.id)


@pytest.fixture
def desk() -> ScriptedDesk:
    return ScriptedDesk(start_at=STORY["bottleneck"])


@pytest.fixture(scope="module")
def late() -> ScriptedDesk:
    """Near the end: with failures, splits and much that is stored. Only read from."""
    return ScriptedDesk(start_at=STORY["split"])


def test_a_setting_is_acknowledged_with_its_revision(desk: ScriptedDesk) -> None:
    before = frame(desk).revision
    ack = do(desk, "set", key="workers.transcribe", value=3)
    assert (ack.state, ack.old, ack.new, ack.revision, ack.effect) == ("done", 2, 3, before + 1, "now")
    assert ack.applied_after_s is not None
    assert 0 < ack.applied_after_s < 1
    assert frame(desk).stages[2].capacity == 3
    row = next(r for r in desk.settings() if r.key == "workers.transcribe")
    assert (row.value, row.default, row.origin, row.revision) == (3, 2, "live", before + 1)
    assert desk.changes()[0].predicted is not None


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("set", {"key": "workers.transcribe", "value": 99}, "1-16"),
        ("set", {"key": "workers.transcribe", "value": "many"}, "workers.transcribe"),
        ("set", {"key": "transcribe", "value": 3}, "did you mean workers.transcribe"),
        ("cancel", {"ids": ("nothere",)}, "unknown recording nothere"),
        ("retry", {"ids": ()}, "no recording named"),
        ("retry", {"cause": "no such cause"}, "nothing to retry"),
        ("pause_stage", {"stage": "coffee"}, "no stage 'coffee'"),
        ("resume", {}, "nothing to resume"),
        ("undo", {}, "nothing to undo"),
        ("reload", {"role": "pilot"}, "no model role"),
        ("enrol", {"name": " "}, "needs a name"),
    ],
)
def test_a_refused_command_says_why(name: Any, args: dict[str, Any], why: str) -> None:
    desk = ScriptedDesk(start_at=30.0)
    ack = do(desk, name, **args)
    assert ack.state == "refused"
    assert why in ack.text


def test_a_refused_setting_is_a_row_of_the_history_and_changes_nothing(desk: ScriptedDesk) -> None:
    before = frame(desk).revision
    do(desk, "set", key="workers.transcribe", value=99)
    assert frame(desk).revision == before
    assert desk.changes()[0].state == "refused"
    assert next(r for r in desk.settings() if r.key == "workers.transcribe").value == 2


def test_undo_takes_back_the_last_change_and_then_the_one_before(desk: ScriptedDesk) -> None:
    do(desk, "set", key="workers.transcribe", value=3)
    do(desk, "set", key="identify.range_limit", value=0.3)
    assert "identify.range_limit back to 0.5" in do(desk, "undo").text
    assert "workers.transcribe back to 2" in do(desk, "undo").text
    assert do(desk, "undo").state == "refused"
    assert frame(desk).stages[2].capacity == 2
    undone = [c for c in desk.changes() if c.undone_by is not None]
    assert {c.key for c in undone} == {"workers.transcribe", "identify.range_limit"}


def test_undo_to_goes_back_to_a_revision(desk: ScriptedDesk) -> None:
    start = frame(desk).revision
    for value in (3, 4, 5):
        do(desk, "set", key="workers.transcribe", value=value)
    assert do(desk, "undo_to", revision=start + 1).state == "done"
    assert frame(desk).stages[2].capacity == 3


def test_a_secret_is_never_shown(desk: ScriptedDesk) -> None:
    do(desk, "set", key="fetch.proxy", value="http://user:hunter2@proxy:8080")
    assert next(r for r in desk.settings() if r.key == "fetch.proxy").value == "******"
    assert "hunter2" not in repr(desk.changes())
    assert "hunter2" not in repr(desk.events(0))


def test_pause_takes_nothing_new_and_resume_goes_on(desk: ScriptedDesk) -> None:
    assert do(desk, "pause").state == "done"
    queued = frame(desk).run.queued
    desk.advance(20)
    now = frame(desk)
    assert (now.run.state, now.run.by, now.verdict.health) == ("paused", "operator", "paused")
    assert now.run.queued >= queued  # a retry may come back, nothing is taken
    do(desk, "resume")
    desk.advance(30)
    assert frame(desk).run.queued < queued
    assert frame(desk).run.state == "running"


def test_a_paused_stage_serves_nobody(desk: ScriptedDesk) -> None:
    do(desk, "pause_stage", stage="transcribe")
    desk.advance(130)
    stage = frame(desk).stages[2]
    assert stage.paused
    assert stage.busy == 0
    assert stage.depth > 0
    do(desk, "resume_stage", stage="transcribe")
    assert frame(desk).stages[2].busy > 0


def test_a_drain_ends_stopped_with_the_queue_kept(desk: ScriptedDesk) -> None:
    do(desk, "drain")
    queued = frame(desk).run.queued
    desk.advance(250)
    now = frame(desk)
    assert (now.run.state, now.run.running) == ("stopped", 0)
    assert now.run.queued >= queued > 0
    assert now.verdict.health == "offline"


def test_stop_hands_what_is_in_flight_back(desk: ScriptedDesk) -> None:
    before = frame(desk).run
    ack = do(desk, "stop")
    now = frame(desk).run
    assert "went back to the queue" in ack.text
    assert now.running == 0
    assert now.queued + now.stored + now.failed + now.skipped == before.queued + before.running + before.stored + before.skipped
    assert do(desk, "resume").state == "done"
    desk.advance(30)
    assert frame(desk).run.running == 24


def test_a_shrunk_stage_retires_its_slots_as_they_come_free(desk: ScriptedDesk) -> None:
    do(desk, "set", key="workers.transcribe", value=1)
    stage = frame(desk).stages[2]
    assert stage.capacity == 1
    assert sorted(s.state for s in stage.slots)[0] == "busy"
    desk.advance(140)
    assert [s.state for s in frame(desk).stages[2].slots] == ["busy"]


def test_cancel_skip_and_priority_act_on_recordings(desk: ScriptedDesk) -> None:
    queued = [r.id for r in desk.recordings(Query(status=("queued",))).rows]
    flying = frame(desk).flights[0].id
    assert do(desk, "cancel", ids=(queued[50], flying)).state == "done"
    assert do(desk, "skip", ids=(queued[51],)).state == "done"
    assert desk.recording(flying).row.status == "cancelled"
    assert desk.recording(queued[51]).row.status == "skipped"
    assert frame(desk).run.cancelled == 2
    assert do(desk, "priority", ids=(queued[-1],), to_front=True).state == "done"
    desk.advance(30)
    assert desk.recording(queued[-1]).row.status in ("running", "stored", "skipped", "failed")
    assert do(desk, "cancel", ids=(queued[50],)).state == "refused"


def test_failures_are_grouped_by_cause_and_can_be_retried() -> None:
    desk = ScriptedDesk(start_at=450.0)  # the storm is over
    groups = desk.failures()
    failed = frame(desk).run.failed
    assert sum(g.count for g in groups) == failed > 2
    assert all(g.hint and len(g.ids) == g.count for g in groups)
    mendable = next(g for g in groups if g.retryable)
    assert do(desk, "retry", cause=mendable.cause).state == "done"
    assert frame(desk).run.failed == failed - mendable.count
    desk.advance(80)
    assert all(desk.recording(i).row.status == "stored" for i in mendable.ids)


def test_a_finished_run_goes_on_when_something_is_added() -> None:
    desk = ScriptedDesk.special("empty")
    assert do(desk, "add", sources=("/audio/talk.wav",)).state == "done"
    desk.advance(60)
    assert frame(desk).run.state == "done"
    assert do(desk, "add", sources=("/audio/other.wav",)).state == "done"
    assert frame(desk).run.state == "running"
    desk.advance(1500)  # long after
    assert frame(desk).run.stored == 2
    history = desk.history(7200)
    assert len(history) < 1000
    assert [f.wall for f in history] == sorted({f.wall for f in history})


def test_add_takes_what_the_preview_promised(desk: ScriptedDesk) -> None:
    sources = ("https://www.youtube.com/@somebody", "/audio/talk.wav")
    preview = desk.preview(sources, {})
    taken = [r for r in preview.rows if r.take]
    assert {r.reason for r in preview.rows} == {"new", "members only"}
    assert preview.audio_s == pytest.approx(sum(r.duration_s or 0 for r in taken))
    assert not any(r.take for r in desk.preview(sources, {"max_duration": 1.0}).rows)
    assert sum(r.take for r in desk.preview(sources, {"limit": 2}).rows) == 2
    total = desk.recordings(Query()).total
    assert do(desk, "add", sources=sources).state == "done"
    assert desk.recordings(Query()).total == total + len(preview.rows)
    assert do(desk, "add", sources=sources).state == "refused"


def test_a_changed_limit_is_seen_in_the_decisions_after_it(desk: ScriptedDesk) -> None:
    do(desk, "set", key="identify.range_limit", value=0.05)
    revision = frame(desk).revision
    do(desk, "set", key="workers.transcribe", value=6)
    desk.advance(60)
    after = [d for d in desk.decisions() if d.revision >= revision]
    assert len(after) > 5
    assert sum(d.split for d in after) / len(after) > 0.6
    assert all(d.split == (d.range > 0.05 or d.variance > 0.05) for d in after if d.range is not None and d.variance is not None)


def test_a_reloaded_model_holds_its_stage_up_for_a_while(desk: ScriptedDesk) -> None:
    do(desk, "set", key="asr.model", value="large-v3-turbo")
    desk.advance(4)
    model = frame(desk).models[0]
    assert (model.name, model.state) == ("large-v3-turbo", "loading")
    desk.advance(10)
    assert frame(desk).models[0].state == "ready"


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

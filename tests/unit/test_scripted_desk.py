"""The scripted desk answers every question and command of the protocol."""

from __future__ import annotations

from typing import Any

import pytest

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.views.commands import Ack, Command
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.rows import Query
from gainstage.engine.views.snapshot import Snapshot


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

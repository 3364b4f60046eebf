"""Answers that were untrue once, each on the parts that give them: silence, ends, waits inside a service, expected times."""

from __future__ import annotations

import argparse
import json
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.stage import Stage
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.commands.control import status
from gainstage.tui.console.frame_builder import FrameBuilder
from gainstage.tui.console.poller import News
from gainstage.tui.console.ring import Ring
from gainstage.tui.console.timeline import Timeline
from gainstage.tui.state.frame import Contact
from gainstage.tui.widgets.bars import health_word
from tests.engine.engine_kit import make_engine, running
from tests.queue_kit import register, until


def busy() -> Snapshot:
    frame = ScriptedDesk(start_at=STORY["bottleneck"]).snapshot()
    assert frame is not None
    return replace(frame, engine="one", wall=time.time())


def test_an_engine_that_is_silent_for_75_seconds_is_not_called_healthy(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = register(database, "one", tmp_path)
    registry.publish(busy())
    desk = PostgresDesk(database)
    frame = desk.snapshot()
    assert frame is not None
    assert frame.verdict.health == "healthy"
    with database.connection() as connection:
        connection.execute("update engine set heartbeat = now() - interval '75 seconds', lease_s = 600, host = 'elsewhere'")
    status(desk, argparse.Namespace(json=True, scope="run", host=None))
    shown = json.loads(capsys.readouterr().out)["snapshot"]
    assert shown["verdict"]["health"] == "offline"
    assert "75 s" in shown["verdict"]["reason"]
    assert shown["verdict"]["advice"] is None
    assert shown["verdict"]["forecast"]["left_s"] is None
    assert shown["run"]["rtfx"] is None


def test_a_run_that_ended_well_is_not_lost(database: Database, tmp_path: Path) -> None:
    registry = register(database, "one", tmp_path)
    frame = busy()
    registry.publish(replace(frame, run=replace(frame.run, state="done")))
    registry.unregister("done")
    desk = PostgresDesk(database)
    builder = FrameBuilder(desk, Timeline(Ring()), read_only=False)
    builder.note(News(snapshot=desk.snapshot(), engines=0, has_answered=True, frames=1))
    seen = builder.frame(time.time() + 3600)
    assert seen.contact is Contact.STOPPED
    assert not seen.lost
    assert "LOST" not in health_word(seen)[0]
    assert seen.snapshot is not None
    assert seen.snapshot.verdict.health == "done"


def test_a_paused_stage_shows_the_time_of_its_pause_and_nobody_s_name() -> None:
    frame = busy()
    run = replace(frame.run, state="running", state_since_wall=frame.wall - 7200, by="ops")
    verdict = replace(frame.verdict, health="paused", since_wall=frame.wall - 65)
    builder = FrameBuilder(ScriptedDesk(), Timeline(Ring()), read_only=False)
    builder.note(News(snapshot=replace(frame, run=run, verdict=verdict), engines=1, has_answered=True, frames=1))
    assert health_word(builder.frame(frame.wall))[0] == "‖ PAUSED 65s"


def test_a_recording_that_passes_a_stage_twice_counts_once() -> None:
    now = [0.0]
    stage = Stage("identify", 1, clock=lambda: now[0])
    with stage.enter("a", token=CancelToken(), audio_s=60.0) as slot:
        now[0] += 2.0
        slot.partial = True
    with stage.enter("a", token=CancelToken(), audio_s=60.0):
        now[0] += 4.0
    view = stage.view()
    assert (view.done, view.rtfx) == (1, pytest.approx(10.0))
    assert view.service_p50_s == pytest.approx(4.0, rel=0.05)
    assert stage.totals().served_s == pytest.approx(6.0)


def test_the_wait_for_a_batch_is_neither_service_nor_load() -> None:
    """Reproduced: embed at 33 % load with a median of 2 ms."""
    stage = Stage("embed", 1)
    with (
        Batcher("texts", lambda items: [len(i) for i in items], cost=lambda _: 1.0, budget=8.0, linger_s=0.4) as batcher,
        stage.enter("a", token=CancelToken()) as slot,
    ):
        waiting = partial(slot.waiting, company=True)
        assert batcher.submit(["one", "seven"], token=CancelToken(), waiting=waiting) == [3, 5]
    totals, figures = stage.totals(), stage.figures(60.0)
    assert totals.served_s < 0.2
    assert totals.waited_s > 0.35
    assert figures.busy_s == pytest.approx(totals.served_s, abs=0.01)


def test_a_wait_for_others_in_a_slot_is_no_load_unless_it_keeps_somebody_out() -> None:
    now = [0.0]
    stage = Stage("fetch", 1, clock=lambda: now[0])
    outside, inside = threading.Event(), threading.Event()

    def wait_at_the_gate() -> None:
        with stage.enter("b", token=CancelToken()):
            inside.set()

    with stage.enter("a", token=CancelToken()) as slot:
        now[0] += 10.0
        with slot.waiting():  # a host wants to be left alone
            now[0] += 30.0
        with slot.waiting(company=True):  # a batch fills
            now[0] += 5.0
            second = threading.Thread(target=wait_at_the_gate, daemon=True)
            second.start()
            while not stage.depth:
                outside.wait(0.001)
            now[0] += 5.0  # and keeps the other out
    assert inside.wait(60.0)
    second.join(60.0)
    assert stage.figures(60.0).busy_s == pytest.approx(15.0)
    assert stage.totals().served_s == pytest.approx(10.0)
    assert stage.totals().waited_s == pytest.approx(45.0)


def test_an_operators_hold_is_a_pause_also_for_what_is_inside() -> None:
    now, ended = [0.0], threading.Event()
    stage = Stage("diarize", 1, clock=lambda: now[0])
    with stage.enter("a", token=CancelToken()) as slot:
        now[0] += 10.0
        stage.pause()

        def hold() -> None:
            stage.wait_while_held(CancelToken(), slot)
            ended.set()

        held = threading.Thread(target=hold, daemon=True)
        held.start()
        while slot.waits_since is None:
            ended.wait(0.001)
        now[0] += 20.0
        stage.resume()
        assert ended.wait(60.0)
        held.join(60.0)
        now[0] += 5.0
    figures = stage.figures(60.0)
    assert (figures.busy_s, figures.paused_s) == (pytest.approx(15.0), pytest.approx(20.0))
    assert stage.view().service_p50_s == pytest.approx(15.0, rel=0.05)


def test_what_is_expected_of_a_recording_belongs_to_its_length() -> None:
    now = [0.0]
    stage = Stage("transcribe", 1, clock=lambda: now[0])
    for n in range(20):
        with stage.enter(str(n), token=CancelToken(), audio_s=20.0):
            now[0] += 2.0
    assert stage.expected_s(20.0) == pytest.approx(2.0, rel=0.05)
    assert stage.expected_s(565.0) == pytest.approx(56.5, rel=0.05)
    assert stage.expected_s(None) == pytest.approx(2.0, rel=0.05)


def test_shares_stand_still_when_the_work_is_done_and_move_again_with_it() -> None:
    now = [0.0]
    stage = Stage("transcribe", 1, clock=lambda: now[0])
    stage.begin_measuring()
    for n in range(10):
        with stage.enter(str(n), token=CancelToken()):
            now[0] += 3.0
    stage.hold_shares(True)
    then = stage.view()
    now[0] += 50.0
    later = stage.view()
    assert then.busy_share == pytest.approx(1.0, abs=0.05)
    assert later.busy_share == then.busy_share
    assert later.trend == (*then.trend, *[0.0] * 10), "idle is drawn as idle"
    stage.hold_shares(False)
    assert (stage.view().busy_share or 0.0) < 0.5


def test_work_that_an_operator_holds_back_is_no_time_with_work(database: Database, tmp_path: Path) -> None:
    """Reproduced: 56x real time fell to 2x in five minutes in which a stage was paused by hand."""
    Backlog(database).add(simulated_recordings(40, times={"diarize": 0.2}))
    engine = make_engine(database, tmp_path)
    with running(engine):
        until(lambda: engine.context.totals.finished())
        stage = engine.context.stages["diarize"]
        stage.pause()
        until(lambda: stage.depth == len(engine.in_flight) == 8)
        until(lambda: not engine.threads.publisher._working)
        before = engine.context.totals.work_s
        frames = engine.threads.publisher.frames
        until(lambda: engine.threads.publisher.frames > frames + 2)
        assert engine.context.totals.work_s == before
        assert engine.threads.publisher.history[-1].verdict.bottleneck.text.startswith("diarize is paused: 8 waiting")
        stage.resume()
        until(lambda: engine.context.totals.work_s > before)

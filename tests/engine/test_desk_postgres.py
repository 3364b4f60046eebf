from __future__ import annotations

import inspect
import os
import signal
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gainstage.config.origins import Loaded
from gainstage.config.settings import SPECS, Settings
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.errors import Permanent
from gainstage.engine.queue import changes
from gainstage.engine.queue.commands import Reply
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Balance, ModelId, Provenance, Segment, Word
from gainstage.engine.views.commands import Command, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.events import Event
from gainstage.engine.views.passes import StageSpan
from gainstage.engine.views.rows import Query
from tests.queue_kit import column, following, frame, job_queue, recording, recordings, register, until

MODEL = ModelId("tiny-text", "abc", 4)


@pytest.fixture
def desk(database: Database) -> PostgresDesk:
    return PostgresDesk(database, loaded=Loaded(Settings()))


def segment(start: float, speaker: str, text: str, vector: list[float]) -> Segment:
    words = tuple(Word(w, start, start + 1, 0.9) for w in text.split())
    unit = np.asarray(vector, np.float32) / np.linalg.norm(vector)
    return Segment(start, start + 2.5, speaker, None, 0.8, Provenance.CLUSTER, text, words, vector=unit)


def stored(db: Database, id: str = "r0000") -> None:
    """Takes the next recording and stores a short talk."""
    queue = job_queue(db, "one")
    claim = queue.take()
    assert claim
    assert claim.recording.id == id
    RecordingStore(db).store(
        claim.recording,
        [
            segment(0, "Ada", "fibre feeds the bacteria", [1, 0, 0, 0]),
            segment(3, "Bob", "and trains run on time", [0, 1, 0, 0]),
            segment(6, "Ada", "so eat your oats", [0.9, 0.1, 0, 0]),
        ],
        (),
        models={"embed": MODEL},
        revision=3,
        facts={"language": "en", "recogniser": "tiny"},
        spans=[StageSpan("fetch", id, 0, 0.25, 0.0, 1.5, "ok", None, 1000.0)],
        fingerprint="f",
        balance=Balance(7.5, 7.5, 0.0),
        fence=lambda cursor: queue.finish_in(cursor, claim),
    )


def test_it_has_every_call_of_the_protocol(desk: PostgresDesk) -> None:
    for name, call in inspect.getmembers(Desk, inspect.isfunction):
        if not name.startswith("_"):
            assert list(inspect.signature(getattr(PostgresDesk, name)).parameters) == list(inspect.signature(call).parameters), name
    typed: Desk = desk
    assert (typed.live, typed.read_only, bool(typed.label)) == (True, False, True)


def test_an_empty_database_is_shown_as_empty(desk: PostgresDesk) -> None:
    assert desk.snapshot() is None
    assert desk.engines() == desk.changes() == desk.failures() == desk.decisions() == desk.profiles() == desk.history(60) == ()
    assert desk.events(0).items == ()
    assert desk.recordings(Query()).total == 0
    assert desk.index_health().segments == 0
    assert desk.search("anything").hits == ()


def test_frames_carry_the_counts_of_the_database(desk: PostgresDesk, tmp_path: Path) -> None:
    queue = job_queue(desk.database)
    queue.add(recordings(3))
    queue.take()
    queue.cancel(["r0002"])
    registry = register(desk.database, "one", tmp_path)
    registry.publish(frame("one"))
    shown = desk.snapshot()
    assert shown
    assert (shown.run.queued, shown.run.running, shown.run.cancelled, shown.run.stored) == (1, 1, 1, 0)
    assert shown.stages == frame("one").stages
    assert registry.publish(frame("one"))  # it is watched now
    assert [f.engine for f in desk.history(60)] == ["one"]
    assert [row.id for row in desk.engines()] == ["one"]


def test_the_frame_of_an_engine_of_another_make_is_told_and_is_no_outage(desk: PostgresDesk, tmp_path: Path) -> None:
    register(desk.database, "one", tmp_path).publish(frame("one"))
    with desk.database.connection() as connection:
        connection.execute("update engine_frame set frame = '{\"schema\": 99}'")
        connection.execute("update snapshot_history set frame = '[]'")
    for asked in (desk.snapshot, lambda: desk.history(60)):
        with pytest.raises(DeskError, match="same version of gainstage"):
            asked()
    assert [row.id for row in desk.engines()] == ["one"]


def test_engines_are_looked_at_together_as_soon_as_there_are_two(desk: PostgresDesk, tmp_path: Path) -> None:
    registries = {name: register(desk.database, name, tmp_path / name) for name in ("a", "b")}
    shown = []
    for name in ("a", "b", "a", "b"):
        registries[name].publish(frame(name))
        shown.append(desk.snapshot())
    assert [s.engine for s in shown if s] == ["a", "2 engines", "2 engines", "2 engines"]
    registries["a"].unregister()
    assert (last := desk.snapshot())
    assert last.engine == "b"


def test_when_the_database_goes_the_last_frame_stays_and_says_so(
    own_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    server = own_postgres().start()
    with Database.open(server.url, tmp_path) as database:
        desk = PostgresDesk(database)
        register(database, "one", tmp_path).publish(frame("one"))
        before = desk.snapshot()
        assert before
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        after = until(lambda: (s := desk.snapshot()) and not s.database.up and s)
        assert after.database.down_since_wall is not None
        assert replace(after, database=before.database) == before
        with pytest.raises(DeskError, match="does not answer"):
            desk.recordings(Query())


def test_settings_show_value_origin_and_revision(database: Database, tmp_path: Path) -> None:
    own = Loaded(Settings.model_validate({"in_flight": 3, "fetch": {"proxy": "http://me:secret@proxy"}}), {"in_flight": "file x"})
    desk = PostgresDesk(database, loaded=own)
    rows = {row.key: row for row in desk.settings()}
    assert list(rows) == list(SPECS)
    assert (rows["in_flight"].value, rows["in_flight"].origin, rows["in_flight"].revision) == (3, "file x", None)
    assert (rows["fetch.proxy"].value, rows["fetch.proxy"].secret) == ("***", True)
    register(database, "one", tmp_path, Settings.model_validate({"in_flight": 8}))
    changes.set_value(database, "asr.beam", 2, "me")
    rows = {row.key: row for row in desk.settings()}
    assert rows["in_flight"].value == 8
    assert (rows["asr.beam"].value, rows["asr.beam"].origin, rows["asr.beam"].revision) == (2, "live", 1)
    assert (rows["workers.fetch"].low, rows["workers.fetch"].high, rows["workers.fetch"].effect) == (1, 64, "now")


def test_a_setting_is_set_acknowledged_and_taken_back(database: Database, tmp_path: Path) -> None:
    desk = PostgresDesk(database)
    register(database, "one", tmp_path, Settings.model_validate({"in_flight": 8}))
    with following(database, "one"):
        ack = desk.send(Command("set", {"key": "in_flight", "value": "12"}, by="me"))
        assert (ack.state, ack.old, ack.new, ack.effect) == ("pending", 8, 12, "now")
        done = until(lambda: (a := desk.ack(ack.id)).state == "done" and a)
        assert done.applied_after_s is not None
        undone = desk.send(Command("undo", {}, by="me"))
        assert (undone.old, undone.new, undone.revision) == (12, 8, 2)
        until(lambda: desk.ack(undone.id).state == "done")
    assert [(row.revision, row.state, row.undone_by) for row in desk.changes()] == [(2, "applied", None), (1, "applied", 2)]
    refused = desk.send(Command("set", {"key": "in_flight", "value": 0}))
    assert (refused.state, desk.ack(refused.id).state) == ("refused", "refused")
    nothing = desk.send(Command("undo", {}))
    assert (nothing.state, desk.ack(nothing.id).text) == ("refused", "nothing to undo")
    assert desk.send(Command("undo_to", {"revision": 1})).new == 12


def test_recordings_are_retried_cancelled_skipped_and_moved(desk: PostgresDesk) -> None:
    queue = job_queue(desk.database)
    queue.add(recordings(5))
    claim = queue.take()
    assert claim
    queue.fail(claim, Permanent("mute", cause="no audio", hint="Give it sound."), "", Settings().retry)
    assert [(g.cause, g.count, g.hint, g.ids) for g in desk.failures()] == [("no audio", 1, "Give it sound.", ("r0000",))]

    def told(name: Any, **args: Any) -> tuple[str, str]:
        ack = desk.send(Command(name, args))
        assert desk.ack(ack.id).state == ack.state
        return ack.state, ack.text

    assert told("retry", cause="no audio") == ("done", "1 queued again")
    assert told("retry", all=True)[0] == "refused"
    assert told("cancel", ids=["r0001"]) == ("done", "1 cancelled")
    assert told("skip", ids=["r0002"]) == ("done", "1 skipped")
    assert told("skip", ids=["r0002"])[0] == "refused"
    assert told("retry", ids=["r0001", "r0002"]) == ("done", "2 queued again")
    assert told("priority", ids=["r0004"], to_front=True) == ("done", "1 put to the front")
    assert told("priority", ids=["r0003"], delta=-2) == ("done", "1 moved by -2")
    assert told("cancel", ids=["r0001", "nobody"]) == ("refused", "unknown recording nobody")
    assert told("cancel", ids=[]) == ("refused", "no recording named")
    assert next(c.recording.id for c in iter(queue.take, None)) == "r0004"


def test_a_running_recording_is_cancelled_through_its_engine(desk: PostgresDesk, tmp_path: Path) -> None:
    register(desk.database, "one", tmp_path)
    queue = job_queue(desk.database, "one")
    queue.add(recordings(1))
    queue.take()
    with following(desk.database, "one", on_command=lambda c: f"{len(c.args['ids'])} cancelled"):
        ack = desk.send(Command("cancel", {"ids": ["r0000"]}))
        assert (ack.state, ack.text) == ("pending", "1 running, their engines were asked")
        assert until(lambda: (a := desk.ack(ack.id)).state == "done" and a).text == "1 cancelled"
    assert column(desk.database, "r0000", "wish") == "cancelled"


def test_work_for_one_engine_goes_to_one(desk: PostgresDesk, tmp_path: Path) -> None:
    heard: list[str] = []
    for name in ("a", "b"):
        register(desk.database, name, tmp_path / name)
    with (
        following(desk.database, "a", on_command=lambda c: heard.append("a") or "taken"),
        following(desk.database, "b", on_command=lambda c: heard.append("b") or "taken"),
    ):
        for name, count in (("add", 1), ("pause", 3)):
            ack = desk.send(Command(name, {"sources": ["x"]}))  # type: ignore[arg-type]
            until(lambda id=ack.id: desk.ack(id).state == "done")
            assert len(heard) == count


def test_a_read_only_desk_sends_nothing(database: Database) -> None:
    desk = PostgresDesk(database, read_only=True)
    with pytest.raises(DeskError, match="read-only"):
        desk.send(Command("pause"))
    with pytest.raises(DeskError, match="no command 7"):
        desk.ack(7)


def test_pages_filter_sort_and_count(desk: PostgresDesk, tmp_path: Path) -> None:
    queue = job_queue(desk.database, "one")
    queue.add([recording(n, duration=float(n), title=f"Part {n} 100%_x") for n in range(30)])
    claim = queue.take()
    assert claim
    page = desk.recordings(Query(sort="duration", descending=True, limit=5, offset=5))
    assert ([row.duration_s for row in page.rows], page.total, page.matched) == ([24, 23, 22, 21, 20], 30, 30)
    assert {row.attempts for row in page.rows} == {5}
    page = desk.recordings(Query(text="part 2", min_duration_s=21, sort="id", descending=False))
    assert ([row.id for row in page.rows][:2], page.matched) == (["r0021", "r0022"], 9)
    assert desk.recordings(Query(text="part 2", min_duration_s=21, invert=True)).matched == 21
    assert desk.recordings(Query(text="0%_x")).matched == 30
    assert desk.recordings(Query(text="0%%x")).matched == 0
    shown = frame()
    flight = replace(shown.flights[0], id=claim.recording.id, stage="decode")
    register(desk.database, "one", tmp_path).publish(replace(shown, flights=(flight,)))
    assert [row.id for row in desk.recordings(Query(stage="decode")).rows] == [claim.recording.id]
    assert [row.id for row in desk.recordings(Query(status=("running",))).rows] == [claim.recording.id]
    with pytest.raises(DeskError, match="sorted by"):
        desk.recordings(Query(sort="colour"))


def test_one_recording_is_shown_with_all_that_is_known(desk: PostgresDesk, tmp_path: Path) -> None:
    desk.queue.add(recordings(2))
    stored(desk.database)
    registry = register(desk.database, "one", tmp_path)
    registry.add_events(
        [Event(0, 1.0, "info", "stored", "stored 3 segments", recording="r0000"), Event(0, 2.0, "info", "log", "x")]
    )
    detail = desk.recording("r0000")
    assert (detail.row.status, detail.row.segments, detail.row.speakers) == ("stored", 3, 2)
    assert detail.speakers == (("Ada", 5.0), ("Bob", 2.5))
    assert [(s.stage, s.wait_s, s.service_s) for s in detail.spans] == [("fetch", 0.25, 1.5)]
    assert ("recogniser", "tiny") in detail.facts
    assert [e.text for e in detail.events] == ["stored 3 segments"]
    with pytest.raises(DeskError, match="unknown recording r9"):
        desk.recording("r9")


def test_search_by_words_needs_nobody(desk: PostgresDesk) -> None:
    desk.queue.add(recordings(1))
    stored(desk.database)
    result = desk.search("trains", mode="both")
    assert ([hit.speaker for hit in result.hits], result.mode, result.embed_s) == (["Bob"], "words", None)
    with pytest.raises(DeskError, match="needs an engine"):
        desk.search("trains", mode="meaning")
    with pytest.raises(DeskError, match="no search mode"):
        desk.search("trains", mode="smell")
    lines = desk.context(result.hits[0].segment, around=1)
    assert [(line.speaker, line.here) for line in lines] == [("Ada", False), ("Bob", True), ("Ada", False)]
    with pytest.raises(DeskError, match="no segment"):
        desk.context(4711)
    assert (desk.index_health().segments, desk.index_health().orphans) == (3, 0)


def test_search_by_meaning_asks_an_engine_for_the_vector(desk: PostgresDesk, tmp_path: Path) -> None:
    desk.queue.add(recordings(1))
    stored(desk.database)
    register(desk.database, "one", tmp_path)

    def embed(command: Command) -> Reply:
        assert command.args == {"text": "railways"}
        return Reply(data={"vector": [0.0, 1.0, 0.0, 0.0], "model": {"name": "tiny-text", "revision": "abc", "dimension": 4}})

    with following(desk.database, "one", on_command=embed):
        result = desk.search("railways", mode="meaning", limit=1)
    assert [hit.text for hit in result.hits] == ["and trains run on time"]
    assert result.embed_s is not None


def test_search_by_meaning_works_with_means_of_our_own(database: Database) -> None:
    desk = PostgresDesk(database, embed=lambda text: (np.asarray([1, 0, 0, 0], np.float32), MODEL))
    desk.queue.add(recordings(1))
    stored(database)
    assert desk.search("fibre", mode="both", speaker="ada", limit=1).hits[0].text == "fibre feeds the bacteria"


def test_what_if_is_asked_of_the_stored_decisions(desk: PostgresDesk) -> None:
    nothing = desk.what_if({"identify.range_limit": 0.3})
    assert (nothing.changes, nothing.clusters, nothing.flips) == ({"identify.range_limit": 0.3}, 0, ())
    with pytest.raises(DeskError, match="cannot be tried"):
        desk.what_if({"in_flight": 3})


def test_a_preview_says_what_would_be_taken_and_why_not(desk: PostgresDesk, tmp_path: Path) -> None:
    for n in range(3):
        with wave.open(str(tmp_path / f"talk{n}.wav"), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
            file.writeframes(bytes([n]) * 16_000)
    seen = desk.preview((str(tmp_path),), {})
    assert [(row.take, row.reason) for row in seen.rows] == [(True, "new")] * 3
    assert (seen.audio_s, seen.plan and seen.plan.downloads) == (3.0, 0)
    from gainstage.engine.flow.cancel import CancelToken
    from gainstage.engine.sources.listing import list_source

    desk.queue.add(list(list_source(str(tmp_path), Settings(), token=CancelToken()))[:1])
    seen = desk.preview((str(tmp_path),), {"limit": 1})
    assert [row.reason for row in seen.rows] == ["queued already"], "the limit counts what is not stored"
    seen = desk.preview((str(tmp_path),), {"limit": 2})
    assert sorted(row.reason for row in seen.rows) == ["new", "queued already"]
    with pytest.raises(DeskError, match="no such file"):
        desk.preview(("nowhere/at/all",), {})

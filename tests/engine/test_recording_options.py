"""Options of a recording from the command line to the models: stored, kept through retries, used, shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from speech_kit import DEMO, dialogue, write_media

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.options import RecordingOptions
from gainstage.engine.pipeline import ingest
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.simulated import simulated
from gainstage.engine.sources.choose import choose
from gainstage.engine.sources.enqueue import enqueue
from gainstage.engine.sources.local import file_recording
from gainstage.engine.sources.preview import preview
from gainstage.engine.sources.subscriptions import Subscriptions
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording
from tests.cli_kit import gainstage, said, told
from tests.engine.engine_kit import SETTINGS, ended, make_engine, running, statuses
from tests.queue_kit import column, job_queue, recording, store, until

OWN = RecordingOptions(language="de", speakers=(2, 4), hotwords="Kea")


def test_options_are_claimed_as_they_were_queued_and_survive_a_retry(database: Database) -> None:
    queue = job_queue(database)
    queue.add([recording(1, options=OWN)])
    for _ in range(2):
        claim = queue.take()
        assert claim
        assert claim.recording.options == OWN
        queue.fail(claim, Transient("away"), "", Settings().retry.model_copy(update={"backoff": 0}))
    queue.cancel(["r0001"])
    queue.retry(["r0001"])
    claim = queue.take()
    assert claim
    assert claim.recording.options == OWN
    store(database, queue, claim)
    queue.add([recording(1)], force=True)
    again = queue.take()
    assert again
    assert again.recording.options == OWN, "taken again without new options"


@pytest.mark.parametrize("force", [False, True])
def test_new_options_replace_those_of_what_waits(database: Database, force: bool) -> None:
    queue = job_queue(database)
    queue.add([recording(n, options=OWN) for n in range(4)])
    running, stored = queue.take(), queue.take()
    assert running
    assert stored
    store(database, queue, stored)
    queue.cancel(["r0002"])
    queue.add([recording(n, options=RecordingOptions(speakers=(3, 3))) for n in range(4)], force=force)
    merged = {"language": "de", "speakers": [3, 3], "hotwords": "Kea"}
    options = [column(database, f"r{n:04d}", "options") for n in range(4)]
    assert options == [
        OWN.record() | {"speakers": [2, 4]},
        merged if force else OWN.record() | {"speakers": [2, 4]},
        merged,
        merged,
    ]


def test_a_line_of_a_list_has_options_of_its_own(database: Database, tmp_path: Path) -> None:
    lines = [
        {"url": "https://e.org/1.mp3", "language": "fr", "speakers": "2..4"},
        {"url": "https://e.org/2.mp3"},
        {"url": "https://e.org/3.mp3", "speakers": "four"},
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    choice = choose([str(tmp_path / "talks.jsonl")], Settings(), database, token=CancelToken())
    queue = job_queue(database)
    enqueue(queue, choice, options=RecordingOptions(language="de"))
    claims = [queue.take(), queue.take()]
    assert [c.recording.options for c in claims if c] == [
        RecordingOptions(language="fr", speakers=(2, 4)),
        RecordingOptions(language="de"),
    ]
    assert [left.reason for left in choice.left] == ["malformed line"]
    assert "line 3: speakers: 'four' cannot be" in choice.left[0].title


def test_a_dry_run_and_a_subscription_refuse_what_cannot_be(database: Database, tmp_path: Path) -> None:
    for wrong in ({"language": "klingon"}, {"speakers": "0"}):
        with pytest.raises(Permanent, match="cannot be"):
            preview([str(tmp_path)], wrong, Settings(), database, token=CancelToken())
        with pytest.raises(Permanent, match="cannot be"):
            Subscriptions(database).follow(str(tmp_path), 3600, wrong)
    row = Subscriptions(database).follow(str(tmp_path), 3600, OWN.record())
    assert RecordingOptions.of(row.options) == OWN


def test_a_flight_works_with_the_options_over_the_settings(database: Database, tmp_path: Path) -> None:
    seen: dict[str, Settings] = {}

    def flow(flight: Flight, context: EngineContext) -> None:
        seen[flight.recording.id] = flight.settings
        if flight.claim.attempt == 1:
            raise Transient("once more")
        simulated(flight, context)

    Backlog(database).add([recording(1, options=OWN), recording(2)])
    with running(make_engine(database, tmp_path, flow=flow, asr__hotwords="Tui", diarization__max_speakers=7)):
        until(lambda: ended(database, 2))
    one, two = seen["r0001"], seen["r0002"]
    assert (one.asr.language, one.asr.hotwords) == ("de", "Kea")
    assert (one.diarization.min_speakers, one.diarization.max_speakers) == (2, 4)
    assert (two.asr.language, two.asr.hotwords, two.diarization.max_speakers) == ("auto", "Tui", 7)


def test_the_models_follow_the_options(database: Database, tmp_path: Path) -> None:
    def media(name: str, gain: float, **options: object) -> Recording:
        listed = file_recording(write_media(tmp_path / f"{name}.wav", dialogue() * gain))
        Backlog(database).add(
            [listed := Recording(**{f: getattr(listed, f) for f in FIELDS}, options=RecordingOptions.of(options))]
        )
        return listed

    alone, two, german = media("alone", 1.0, speakers=1), media("two", 0.9, speakers="2.."), media("german", 0.8, language="de")
    loaded = load(environ={}, overrides=SETTINGS | DEMO)
    with running(Engine(loaded, Paths.of(tmp_path / "home"), database, flow=ingest)):
        until(lambda: ended(database, 3), 120)
    assert statuses(database) == {alone.id: "stored", two.id: "stored", german.id: "failed"}
    desk = PostgresDesk(database, loaded=loaded)
    assert [len(desk.recording(r.id).speakers) for r in (alone, two)] == [1, 2]
    assert dict(desk.recording(two.id).facts)["options"] == "speakers 2.."
    assert column(database, german.id, "cause") == "language not supported"
    assert "--language" in column(database, german.id, "hint")


FIELDS = ("id", "key", "source", "title", "duration", "priority", "published", "channel", "extra")


def test_the_command_line_refuses_before_queueing_and_shows_what_is_kept(home: Path, tmp_path: Path) -> None:
    talk = write_media(tmp_path / "talk.wav", dialogue())
    refused = gainstage("add", talk, "--speakers", "4..2", "--home", home, status=None)
    assert refused.returncode != 0
    assert "The first number is the fewest" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "nothing has run" in gainstage("recordings", "--home", home, status=1).stderr
    said("add", talk, "--language", "DE", "--speakers", "2..4", "--hotwords", "Kea,  Takahe", "--home", home)
    (row,) = told("recordings", "--home", home)["rows"]
    shown = said("show", row["id"], "--home", home)
    assert "options  language de · speakers 2..4 · hotwords Kea, Takahe" in shown

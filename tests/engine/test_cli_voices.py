"""`voices`, `decisions` and the queue's commands through the real command line, on a database with two identified recordings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gainstage.config.settings import Retry
from gainstage.engine.errors import Permanent
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import ModelId, Recording, Segment, Turn, Word
from gainstage.engine.text.segments import balance
from gainstage.engine.voices.cache import VoiceCache
from gainstage.engine.voices.evidence import build_evidence, wanted
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import ProfileIndex
from gainstage.engine.voices.profiles import ProfileStore, Version
from gainstage.engine.voices.spans import clusters
from gainstage.engine.voices.vectors import checked
from tests.cli_kit import said, told
from tests.queue_kit import job_queue

MODEL = ModelId("tests/voice", "abcd", 16)
ANN, BOB, STRANGER = 1, 2, 9

Cli = Callable[..., Any]


def around(seed: int, count: int, noise: float = 0.2) -> NDArray[np.float32]:
    """Voices of one invented person."""
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal(MODEL.dimension)
    spread = noise * rng.standard_normal((count, MODEL.dimension)) / np.sqrt(MODEL.dimension)
    return checked(middle / np.linalg.norm(middle) + spread)


def version(seed: int) -> Version:
    return Version(MODEL, around(seed, 8), None, {"text": f"file {seed}", "fingerprints": [f"audio {seed}"]}, {"seconds": 40.0})


@pytest.fixture
def url(database: Database, database_url: str) -> str:
    """Ann is the primary, Bob is enrolled too; both and a stranger speak in turn, 10 s each, in two recordings."""
    profiles = ProfileStore(database)
    profiles.save("Ann", version(ANN))
    profiles.save("Bob", version(BOB))
    profiles.set_primary("Ann")
    for id in ("talk-one", "talk-two"):
        turns = [Turn(i * 12.0, i * 12.0 + 10, "ABC"[i % 3]) for i in range(15)]
        spans = clusters(turns)
        voices = {"A": iter(around(ANN, 9)), "B": iter(around(BOB, 9)), "C": iter(around(STRANGER, 9))}
        found = [next(voices[c.cluster]) for c in spans for _ in c.pieces]
        assert len(found) == len(wanted(spans))
        evidence, kept = build_evidence(spans, found, ProfileIndex(profiles.load(MODEL), MODEL))
        cast = decide(evidence, Limits(), 0, voices=kept)
        RecordingStore(database).store(
            Recording(id, f"test:{id}", f"/{id}.wav", id, 180.0),
            [
                Segment(
                    *(t.start, t.end, t.speaker, t.profile, t.confidence, t.provenance, "said"),
                    (Word("said", t.start, t.end, 1.0, t.speaker),),
                    voice=t.voice,
                )
                for t in cast.turns
            ],
            cast.decisions,
            models={"voice": MODEL},
            revision=0,
            facts={"turns": [[t.start, t.end, t.cluster, t.speaker] for t in cast.turns]},
            spans=(),
            fingerprint=f"audio of {id}",
            balance=balance(cast),
        )
    return database_url


@pytest.fixture
def cli(url: str, home: Path) -> Cli:
    """A command on that database: what it prints."""
    return lambda *args, **more: said(*args, "--database", url, "--home", home, **more)


@pytest.fixture
def data(url: str, home: Path) -> Cli:
    """A command on that database with ``--json``."""
    return lambda *args, **more: told(*args, "--database", url, "--home", home, **more)


def speakers(data: Cli, id: str = "talk-one") -> list[str]:
    return [s["speaker"] for s in data("show", id)["segments"]]


def everything(database: Database) -> str:
    """Every word and every record of the database that could name somebody."""
    with database.connection() as connection:
        row = connection.execute(
            "select concat((select string_agg(speaker || words::text, ' ') from segment),"
            " (select string_agg(record::text || speaker, ' ') from decision), (select string_agg(facts::text, ' ') from recording),"
            " (select string_agg(labels::text || decisions::text, ' ') from label_history),"
            " (select string_agg(p.name || v.provenance::text || v.report::text, ' ') from profile p left join profile_version v"
            "   on v.profile = p.id))"
        ).fetchone()
    return str(row[0] if row else "")


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_new_name_is_everywhere_and_survives_what_is_applied_and_taken_back(database: Database, cli: Cli, data: Cli) -> None:
    assert cli("voices", "rename", "Bob", "Bobby") == "Bob is called Bobby now; 10 segments renamed\n"
    revision = _applied(cli)
    assert "0 segments" in cli("voices", "rename", "Bobby", "Bo B."), "unknown under the limits applied"
    cli("decisions", "--undo-apply", revision)
    assert speakers(data)[:3] == ["Ann", "Bo B.", "Speaker 1"]
    assert "Bo B. at" in cli("show", "talk-one")
    assert "Bo B." in cli("decisions", "talk-one")
    assert not re.search(r"\bBob(by)?\b", everything(database))
    assert {f["before"] for f in data("decisions", *STRICT)["flips"]} == {"Ann", "Bo B.", "Speaker 1"}
    assert set(data("decisions", *STRICT, "--apply")) == {"revision", "difference", "recordings", "segments", "mixed"}
    assert "somebody is called Ann already" in cli("voices", "rename", "Bo B.", "Ann", status=1)
    assert "Speaker 3 is what unknown people are called" in cli("voices", "rename", "Ann", "Speaker 3", status=1)


STRICT = ["--what-if", "identify.range_limit=0", "--what-if", "identify.other_threshold=1"]
"""Every turn by itself, and none of Bob's is like enough."""


def _applied(cli: Cli) -> str:
    """Apply limits under which Bob is unknown; the revision."""
    text = cli("decisions", *STRICT, "--apply")
    found = re.match(r"revision (\d+): decisions of 2 recordings rewritten, another label on 20 segments\n", text)
    assert found, text
    return found[1]


def test_two_profiles_become_one_in_everything_stored(database: Database, cli: Cli, data: Cli) -> None:
    revision = _applied(cli)
    ProfileStore(database).save("Anna", version(5))
    assert "Ann is part of Anna now" in cli("voices", "merge", "Anna", "Ann")
    (anna, bob) = data("voices", "list")
    assert (anna["name"], anna["primary"], anna["version"], anna["exemplars"], bob["name"]) == ("Anna", True, 2, 16, "Bob")
    assert "Anna" in speakers(data)
    cli("decisions", "--undo-apply", revision)
    assert speakers(data)[:3] == ["Anna", "Bob", "Speaker 1"]
    assert not re.search(r"\bAnn\b", everything(database))
    assert data("decisions", "--what-if", "identify.range_limit=0.5")["flips"] == []
    with database.connection() as connection:
        numbers = connection.execute("select distinct profile from segment where speaker = 'Anna'").fetchall()
    assert numbers == [(anna["id"],)]
    assert "cannot be merged with itself" in cli("voices", "merge", "Anna", "Anna", status=1)


def test_where_both_of_one_person_were_compared_the_higher_score_stays(database: Database, cli: Cli, data: Cli) -> None:
    cli("voices", "merge", "Ann", "Bob")
    for stored in data("decisions", "talk-two"):
        decision = stored["decision"]
        assert [s["name"] for s in decision["scores"]] == ["Ann"]
        assert decision["margin"] is None
    assert speakers(data)[:3] == ["Ann", "Ann", "Speaker 1"]


def test_a_deleted_person_is_gone_with_everything_derived(database: Database, cli: Cli, data: Cli) -> None:
    VoiceCache(database).put("audio of talk-one", {(0, 1000): around(BOB, 1)[0]}, MODEL, "p")
    _applied(cli)
    assert "needs --yes" in cli("voices", "delete", "Bob", status=1)
    cli("decisions", "--undo-apply", 2)
    removed = data("voices", "delete", "Bob", "--yes")
    assert removed == {"name": "Bob", "recordings": 2, "segments": 10, "voices": 10, "cached": 1}
    assert not re.search(r"\bBob\b", everything(database))
    assert [p["name"] for p in data("voices", "list")] == ["Ann"]
    assert speakers(data)[:3] == ["Ann", "Speaker 2", "Speaker 1"]
    assert "Bob" not in cli("show", "talk-one")
    assert "nobody is enrolled as Bob" in cli("voices", "delete", "Bob", "--yes", status=1)


def test_somebody_heard_without_a_word_is_told(database: Database, cli: Cli) -> None:
    assert "\nspeakers  Ann 0:50, Bob 0:50, Speaker 1 0:50\n\n" in cli("show", "talk-one")
    with database.connection() as connection:
        connection.execute("delete from segment where speaker = 'Bob'")
        connection.execute("update segment set end_s = start_s + 0.08 where speaker = 'Speaker 1'")
    assert "\nspeakers  Ann 0:50, Speaker 1 0.4 s\nno words  Bob 0:50\n" in cli("show", "talk-one")


# -- enrolment --------------------------------------------------------------------------------------------------------


def test_a_speaker_of_a_stored_recording_is_enrolled_and_versions_are_taken_back(cli: Cli, data: Cli) -> None:
    made = data("voices", "enrol", "Cem", "--from", "talk-o:Speaker 1")
    assert (made["version"], made["seconds"], made["windows"]) == (1, 50.0, 5)
    assert made["nearest"] in ("Ann", "Bob")
    more = cli("voices", "enrol", "Cem", "--from", "talk-two:Speaker 1", "--add", "--primary", "--set", "identify.primary=Ann")
    assert more.startswith("Cem: version 2, 50 s of speech")
    assert more.endswith("primary   Cem; but the setting identify.primary = Ann goes first\n")
    newest, first = data("voices", "show", "Cem")
    assert (newest["version"], newest["in_use"], newest["provenance"]) == (2, True, "talk-one:Speaker 1 + talk-two:Speaker 1")
    assert (first["seconds"], newest["seconds"]) == (50.0, 100.0)
    assert (first["version"], first["in_use"]) == (1, False)
    assert newest["exemplars"] == 2 * first["exemplars"]
    assert "2 in use" in cli("voices", "show", "Cem")
    assert "Cem is at version 1 again" in cli("voices", "undo", "Cem")
    assert [v["in_use"] for v in data("voices", "show", "Cem")] == [False, True]
    assert "no version before" in cli("voices", "undo", "Cem", status=1)
    assert {p["name"] for p in data("voices", "check")[0]["profiles"]} == {"Ann", "Bob", "Cem"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--from", "talk-one:Zoe"], "nobody called Zoe speaks in talk-one"),
        (["--from", "talk-one"], "write ID:SPEAKER"),
        (["--from", "talk:Ann"], "several recordings start with"),
        (["--from", "talk-one:Ann", "--range", "0-40"], "--range goes with files"),
        ([], "give files or addresses"),
        (["x.wav", "--range", "nan-5"], "write START-END"),
        (["x.wav", "--range", "2:10-1:50"], "write START-END"),
    ],
)
def test_what_cannot_be_enrolled_is_told(cli: Cli, args: list[str], words: str) -> None:
    assert words in cli("voices", "enrol", "Zed", *args, status=1)


def test_thresholds_and_the_primary_are_set_and_cleared(cli: Cli, data: Cli) -> None:
    assert "threshold of Bob: 0.7\n" in cli("voices", "threshold", "Bob", "0.7")
    assert data("voices", "list")[1]["threshold"] == 0.7
    assert "write a number from 0 to 1" in cli("voices", "threshold", "Bob", "high", status=1)
    assert "between 0 and 1" in cli("voices", "threshold", "Bob", "7", status=1)
    assert data("voices", "threshold", "Bob", "none")["threshold"] is None
    assert data("voices", "list")[1]["threshold"] is None
    cli("voices", "primary", "Bob")
    assert [p["primary"] for p in data("voices", "list")] == [False, True]
    assert "identify.primary = Ann goes first" in cli("voices", "primary", "none", "--set", "identify.primary=Ann")
    assert not any(p["primary"] for p in data("voices", "list"))


# -- decisions --------------------------------------------------------------------------------------------------------


def test_applied_limits_change_labels_and_what_is_shown_until_they_are_taken_back(cli: Cli, data: Cli) -> None:
    before = data("show", "talk-one")
    tried = data("decisions", *STRICT)
    assert (tried["recordings"], tried["seconds_moved"]) == (2, 100.0)
    assert speakers(data) == [s["speaker"] for s in before["segments"]], "trying changes nothing"
    revision = int(_applied(cli))
    shown = cli("show", "talk-one")
    assert f"settings revision  {revision}\n" in shown
    assert "Bob 0:" not in shown
    assert speakers(data)[:3] == ["Ann", "Speaker 1", "Speaker 2"]
    decisions = [d["decision"] for d in data("decisions", "talk-one")]
    assert {d["revision"] for d in decisions} == {revision}
    assert {d["limits"]["identify.other_threshold"] for d in decisions} == {1.0}
    settings = {s["key"]: s["value"] for s in data("settings")}
    assert settings["identify.other_threshold"] == 1.0
    back = cli("decisions", "--undo-apply", revision)
    assert "labels of 2 recordings are back" in back
    assert data("show", "talk-one")["segments"] == before["segments"]
    assert "settings revision  0\n" in cli("show", "talk-one")
    assert "no labels to take back" in cli("decisions", "--undo-apply", revision, status=1)
    assert data("undo")["new"] == 0.82
    assert data("undo")["new"] == 0.5


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--what-if", "identify.range_limit=9"], "lies between 0 and 2, not at 9"),
        (["--what-if", "identify.range_limit=nan", "--apply"], "lies between 0 and 2"),
        (["--what-if", "workers.fetch=3"], "cannot be tried over stored decisions"),
        (["talk-one", "--what-if", "identify.range_limit=0.4"], "leave the ID away"),
        (["--apply"], "--apply goes with --what-if"),
        (["talk-three"], "no recording 'talk-three'"),
    ],
)
def test_what_cannot_be_tried_is_told(cli: Cli, data: Cli, args: list[str], words: str) -> None:
    assert words in cli("decisions", *args, status=1)
    assert data("settings", "--history") == []


@pytest.mark.parametrize("last", ["0", "-3", "all"])
def test_a_number_of_decisions_is_at_least_one(cli: Cli, last: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli("decisions", "--last", last)
    assert ended.value.code == 2


# -- the queue --------------------------------------------------------------------------------------------------------


def test_queued_recordings_are_cancelled_and_taken_up_again(database: Database, cli: Cli, data: Cli) -> None:
    Backlog(database).add(_fresh(4))
    assert data("cancel", "new-0", "new-1")["state"] == "done"
    assert _ids(data, "cancelled") == {"new-0", "new-1"}
    assert _ids(data, "queued") == {"new-2", "new-3"}
    assert "nothing to do" in cli("cancel", "talk-one", status=1)
    assert "no recording 'zzz'" in cli("cancel", "zzz", status=1)
    assert "nothing to retry" in cli("retry", "--all", status=1), "what was cancelled did not fail"
    assert cli("retry", "new-0").startswith("done: ")
    assert _ids(data, "queued") == {"new-0", "new-2", "new-3"}


def test_everything_that_failed_is_retried_at_once_or_by_its_cause(database: Database, cli: Cli, data: Cli) -> None:
    Backlog(database).add(_fresh(4))
    jobs = job_queue(database)
    for cause in ("HTTP 404", "HTTP 404", "private", "no audio"):
        claim = jobs.take()
        assert claim is not None
        jobs.fail(claim, Permanent("gone", cause=cause), "", Retry())
    failed = _ids(data, "failed")
    assert len(failed) == 4
    assert data("retry", "--cause", "HTTP 404")["state"] == "done"
    assert len(_ids(data, "queued")) == 2
    assert cli("retry", "--all") == "done: 2 queued again\n"
    assert _ids(data, "queued") == failed
    assert _ids(data, "failed") == set()


def _fresh(count: int) -> list[Recording]:
    return [Recording(f"new-{n}", f"test:new-{n}", f"/new-{n}.wav", f"New {n}", 60.0) for n in range(count)]


def _ids(data: Cli, status: str) -> set[str]:
    return {r["id"] for r in data("recordings", "--status", status)["rows"]}


def test_a_turn_is_corrected_shown_listed_and_taken_back(cli: Cli, data: Cli) -> None:
    seen = data("correct", "talk-one", "--at", "0:25", "--speaker", "ann", "--dry-run")
    assert (seen["id"], seen["was"], seen["speaker"], seen["passages"]) == (None, "Speaker 1", "Ann", 1)
    done = data("correct", "talk-one", "--at", "0:25", "--speaker", "Ann", "--apply", "--by", "tester")
    assert done["applied"]
    assert {m["recording"] for m in done["moves"]} == {"talk-one", "talk-two"}
    assert not data("correct", "talk-one", "--at", "25", "--speaker", "Ann", "--apply")["moves"], "nothing is left to rename"
    (row,) = data("correct", "--list")
    assert (row["by"], row["was"], row["speaker"], row["undone"]) == ("tester", "Speaker 1", "Ann", False)
    assert data("correct", "--undo")["recordings"] == ["talk-one", "talk-two"]
    assert data("correct", "--list")[0]["undone"]
    words = cli("correct", "talk-one", "--at", "0:25", "--speaker", "Ann")
    assert "--apply renames it" in words
    assert "takes it back" in words
    assert "--new adds a person" in cli("correct", "talk-one", "--at", "1", "--speaker", "Zoe", status=1)

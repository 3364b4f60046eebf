"""Publishers' captions by a whole engine: in place of recognition, beside it, and what becomes of those that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from speech_kit import DEMO as DEMO_MODELS

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.evaluation.quality import Truth, load_truth
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.pipeline import ingest
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.store.database import Database
from gainstage.engine.store.export import document, export_recording
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.rows import StoredRecording
from gainstage.engine.store.search import search
from gainstage.engine.terms import Recording
from tests.http_server import Media, Server
from tests.http_server import running as serving

INTERVIEW = DEMO / "recordings" / "sea-interview.m4a"
"""``MARK`` is no word of the recogniser's: where it is found, the publisher's words were taken."""
MARK = "Zanzibar"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def stamp(seconds: float) -> str:
    return f"{int(seconds) // 3600:02d}:{int(seconds) // 60 % 60:02d}:{seconds % 60:06.3f}"


def captions_of(truth: Truth, share: float = 1.0) -> str:
    cues = []
    for turn in truth.turns:
        said = " ".join(w.text for w in truth.words if turn.start - 0.1 <= w.start < turn.end)
        cues.append(f"{stamp(turn.start)} --> {stamp(turn.end)}\n{MARK} {said}\n")
    return "WEBVTT\n\n" + "\n".join(cues[: max(1, round(share * len(cues)))])


VTT = captions_of(load_truth(INTERVIEW.with_suffix(".json")))


def run(database: Database, home: Path, recording: Recording, mode: str, **more: Any) -> StoredRecording:
    given = {**DEMO_MODELS, "fetch.captions": mode, "fetch.allow_private": True, "fetch.disk_floor": 0, "fetch.sleep": 0}
    given |= {"watch.record": False, "fetch.rate": 100_000, "retry.attempts": 1}
    loaded = load(environ={}, overrides={**given, **more})
    Backlog(database).add([recording])
    Engine(loaded, Paths.of(home), database, flow=ingest, until_empty=True).run()
    stored = RecordingStore(database).get(recording.id)
    assert stored is not None
    assert stored.row.status == "stored", stored.row.error
    assert not list((home / "partial").iterdir()), "nothing is kept of what is stored"
    return stored


def episode(server: Server, body: str | None, kind: str = "text/vtt", language: str = "en") -> Recording:
    source = server.serve("/a.m4a", Media(INTERVIEW.read_bytes(), content_type="audio/mp4"))
    extra: dict[str, Any] = {"fetch": "http"}
    url = server.url + "/transcript"
    if body is not None:
        url = server.serve("/transcript", lambda r: r.answer(200, body.encode(), Content_Type=kind))
    return Recording(
        "sea", "feed:1", source, "Sea", extra={**extra, "transcript": {"url": url, "type": kind, "language": language}}
    )


def text_of(database: Database) -> str:
    return " ".join(segment.text for segment in RecordingStore(database).segments("sea"))


def test_a_transcript_is_taken_instead_of_recognition_and_marked(database: Database, server: Server, tmp_path: Path) -> None:
    stored = run(database, tmp_path, episode(server, VTT), "prefer")
    assert stored.warnings == ()
    assert text_of(database).count(MARK) == VTT.count(MARK)
    facts = stored.facts
    assert facts["captions"]["taken"] == "instead of recognition"
    assert facts["captions"]["word_times"] == "interpolated within a line"
    assert facts["average_log_probability"] is None
    assert stored.row.speakers == 2, "diarization runs as ever"
    store = RecordingStore(database)
    assert document(store, "sea")["captions"] == facts["captions"]
    assert "publisher's podcast:transcript en" in export_recording(store, "sea", "txt", tmp_path).read_text()
    assert "NOTE publisher's podcast:transcript en" in export_recording(store, "sea", "vtt", tmp_path).read_text()
    hits = search(database, MARK, None, None, "words")
    assert hits
    assert all(hit.captioned for hit in hits)
    shown = dict(PostgresDesk(database).recording("sea").facts)
    assert "taken instead of recognition" in shown["captions"]
    assert "recogniser" not in shown


def test_a_transcript_beside_changes_no_word(database: Database, server: Server, tmp_path: Path) -> None:
    stored = run(database, tmp_path, episode(server, VTT), "beside")
    assert MARK not in text_of(database)
    exported = json.loads(export_recording(RecordingStore(database), "sea", "json", tmp_path).read_text())
    assert len(exported["captions"]["text"]) == VTT.count(MARK)
    assert exported["captions"]["text"][0][2].startswith(MARK)
    assert stored.facts["recogniser"].startswith("demo:asr")


def test_none_is_asked_for_by_default(database: Database, server: Server, tmp_path: Path) -> None:
    stored = run(database, tmp_path, episode(server, VTT), "never")
    assert server.hits["/transcript"] == 0
    assert "captions" not in stored.facts


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "no words"),
        (None, "HTTP 404"),
        ("<html><body><p>Please log in</p></body></html>", "announced as text/vtt"),
        ("WEBVTT\n\n00:01.000 --> 00:03.000\nwelcome\n", "of the speech"),
        (VTT + "\n01:00:00.000 --> 01:00:02.000\nfrom another recording\n", "they last 3602 s"),
        ('{"segments": [', "no JSON"),
    ],
)
def test_what_cannot_be_used_falls_back_to_recognition(
    database: Database, server: Server, tmp_path: Path, body: str | None, why: str
) -> None:
    stored = run(database, tmp_path, episode(server, body), "prefer")
    (warning,) = stored.warnings
    assert (warning.cause, why in warning.message) == ("captions", True), warning
    assert len(text_of(database).split()) > 50
    assert MARK not in text_of(database)
    assert not (stored.facts.get("captions") or {}).get("word_times")


def test_a_transcript_of_another_language_is_left(database: Database, server: Server, tmp_path: Path) -> None:
    stored = run(database, tmp_path, episode(server, VTT, language="de"), "prefer", **{"asr.language": "en"})
    assert [w.cause for w in stored.warnings] == ["captions"]
    assert server.hits["/transcript"] == 0


def test_a_transcript_above_the_limit_is_left(database: Database, server: Server, tmp_path: Path) -> None:
    body = "WEBVTT\n\n" + "00:01.000 --> 00:02.000\nword\n\n" * 60_000
    recording = episode(server, body)
    stored = run(database, tmp_path, recording, "prefer", **{"fetch.max_bytes": 1_000_000})
    assert "larger than 1,000,000 bytes" in stored.warnings[0].message


def test_subtitles_of_a_page_are_taken_through_yt_dlp(database: Database, server: Server, tmp_path: Path) -> None:
    server.serve("/v.mp4", Media(INTERVIEW.read_bytes(), content_type="video/mp4"))
    server.serve("/en.vtt", lambda r: r.answer(200, VTT.encode(), Content_Type="text/vtt"))
    html = (
        b"<html><head><title>A talk</title></head><body><video src='/v.mp4'>"
        b"<track kind='subtitles' srclang='en' src='/en.vtt'></video></body></html>"
    )
    page = server.serve("/watch", lambda r: r.answer(200, html, Content_Type="text/html"))
    stored = run(database, tmp_path, Recording("sea", "url:1", page, "Sea", extra={"fetch": "ytdlp"}), "prefer")
    assert stored.facts["captions"]["origin"] == "subtitles"
    assert text_of(database).count(MARK) == VTT.count(MARK)


def test_subtitles_that_are_refused_cost_the_recording_nothing(database: Database, server: Server, tmp_path: Path) -> None:
    server.serve("/v.mp4", Media(INTERVIEW.read_bytes(), content_type="video/mp4"))
    html = (
        b"<html><head><title>A talk</title></head><body><video src='/v.mp4'>"
        b"<track kind='subtitles' srclang='en' src='/gone.vtt'></video></body></html>"
    )
    server.serve("/gone.vtt", lambda r: r.answer(429))
    page = server.serve("/watch", lambda r: r.answer(200, html, Content_Type="text/html"))
    stored = run(database, tmp_path, Recording("sea", "url:1", page, "Sea", extra={"fetch": "ytdlp"}), "prefer")
    assert [w.cause for w in stored.warnings] == ["captions"]
    assert len(text_of(database).split()) > 50

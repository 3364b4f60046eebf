"""Recordings taken in, looked up, listed and deleted."""

from __future__ import annotations

import pytest

from gainstage.engine.errors import Permanent
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Status
from gainstage.engine.views.rows import Query
from tests.engine.store_kit import recording, set_status

HOSTILE = [
    "[red]markup[/]",
    "[@click=app.quit]press[/]",
    "\x1b]0;title\x07\x1b[31mred",
    "nul \x00 inside",
    "'; drop table recording; --",
    "%s %(x)s {} \\ \u202e",
    "\ud800 lone surrogate",
    "line\nbreak\ttab",
    "",
]


@pytest.fixture
def recordings(database: Database) -> RecordingStore:
    return RecordingStore(database)


def test_new_recordings_are_added_and_known_ones_left_alone(recordings: RecordingStore) -> None:
    assert recordings.add([recording(1), recording(2)]) == (("rec00001", "rec00002"), ())
    set_status(recordings, "rec00001", Status.FAILED, cause="no audio", retryable=False)
    again = [recording(1, title="other"), recording(3), recording(3), recording(4, id="new-id", key="youtube:2")]
    assert recordings.add(again) == (("rec00003",), ("rec00001", "rec00002"))
    kept = recordings.get("rec00001")
    assert kept is not None
    assert (kept.row.status, kept.row.title, kept.retryable) == ("failed", "Recording 1", False)
    assert recordings.add([]) == ((), ())


def test_an_id_of_another_recording_is_refused(recordings: RecordingStore) -> None:
    recordings.add([recording(1)])
    with pytest.raises(Permanent, match="belongs to another recording"):
        recordings.add([recording(1, key="youtube:other")])


def test_hostile_texts_come_back_as_they_are_but_for_what_postgres_cannot_hold(recordings: RecordingStore) -> None:
    given = [recording(n, title=text, source=f"/tmp/{text}", extra={"note": text, text: [text]}) for n, text in enumerate(HOSTILE)]
    recordings.add(given)
    for wanted in given:
        found = recordings.get(wanted.id)
        assert found is not None
        assert found.recording.title == wanted.title.replace("\x00", "").replace("\ud800", "?")
        assert found.recording.extra["note"] == found.recording.title


def test_a_recording_comes_back_as_it_went_in(recordings: RecordingStore) -> None:
    wanted = recording(1, published="2026-11-22", channel="A channel", priority=3, extra={"a": [1, {"b": None}]})
    recordings.add([wanted])
    found = recordings.get(wanted.id)
    assert found is not None
    assert found.recording == wanted
    assert found.row.status == "queued"
    assert (found.spans, found.facts, found.balance, found.stored_wall) == ((), {}, None, None)
    assert recordings.get("none") is None


def test_find_takes_an_id_its_start_or_a_key(recordings: RecordingStore) -> None:
    recordings.add([recording(n) for n in range(1, 12)])
    recordings.add([recording(99, id="rec0001", key="file:x")])
    assert recordings.find("rec00011") == "rec00011"
    assert recordings.find("rec00002") == "rec00002"
    assert recordings.find("rec0001") == "rec0001"  # an exact id wins over those it starts
    assert recordings.find("youtube:5") == "rec00005"
    for text, says in (("rec", "several recordings"), ("nothing", "no recording"), ("", "no recording"), ("%", "no recording")):
        with pytest.raises(Permanent, match=says):
            recordings.find(text)


@pytest.fixture
def shelf(recordings: RecordingStore) -> RecordingStore:
    recordings.add([recording(n, title=f"Talk {n} 100%_sure\\", duration=None if n == 4 else 60.0 * n) for n in range(6)])
    set_status(
        recordings, "rec00001", Status.FAILED, stage="decode", cause="no audio stream", hint="check the file", retryable=False
    )
    set_status(recordings, "rec00002", Status.FAILED, stage="fetch", cause="throttled", retryable=True)
    set_status(recordings, "rec00003", Status.FAILED, stage="decode", cause="no audio stream", hint="check it", retryable=False)
    set_status(recordings, "rec00005", Status.STORED)
    return recordings


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (Query(), "012345"),
        (Query(text="TALK 3"), "3"),
        (Query(text="rec00002"), "2"),
        (Query(text="100%_SURE\\"), "012345"),
        (Query(text="100_%"), ""),
        (Query(status=("failed", "stored")), "1235"),
        (Query(status=("failed",), stage="decode"), "13"),
        (Query(cause="throttled"), "2"),
        (Query(cause="throttled", invert=True), "01345"),
        (Query(min_duration_s=120), "235"),
        (Query(max_duration_s=120), "012"),
        (Query(max_duration_s=120, invert=True), "345"),  # an unknown duration is not at most 120
        (Query(status=("failed",), text="talk 1", invert=True), "02345"),
        (Query(text="\x00"), "012345"),
    ],
)
def test_the_table_is_filtered(shelf: RecordingStore, query: Query, numbers: str) -> None:
    page = shelf.rows(query)
    assert "".join(sorted(row.id[-1] for row in page.rows)) == numbers
    assert (page.total, page.matched) == (6, len(numbers))


def test_the_table_is_sorted_and_paged(shelf: RecordingStore) -> None:
    def ids(**how: object) -> str:
        return "".join(row.id[-1] for row in shelf.rows(Query(**how)).rows)  # type: ignore[arg-type]

    assert ids(sort="changed")[:4] == "5321"
    assert ids(sort="title", descending=False) == "012345"
    assert ids(sort="duration") == "532104"  # unknown comes last either way
    assert ids(sort="duration", descending=False) == "012354"
    assert ids(sort="title", offset=2, limit=2) == "32"
    assert ids(limit=0) == ""
    with pytest.raises(ValueError, match="not sorted by"):
        ids(sort="id; drop table recording")


def test_failures_are_grouped_by_cause(shelf: RecordingStore) -> None:
    first, second = shelf.failures()
    assert (first.cause, first.count, first.hint, first.retryable) == ("no audio stream", 2, "check it", False)
    assert first.ids == ("rec00003", "rec00001")
    assert (second.cause, second.count, second.hint, second.retryable) == ("throttled", 1, "", True)

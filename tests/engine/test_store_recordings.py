"""Recordings stored in one transaction each, with what belongs to them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from psycopg import Connection

from gainstage.engine.errors import LostClaim, Permanent, Transient
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.writing import SegmentLabel
from gainstage.engine.terms import Audio, Balance, ModelId, Provenance, RecordingWarning
from gainstage.engine.views.passes import StageSpan
from tests.engine.store_kit import MODELS, SPANS, TEXT, VOICE, decision, recording, segment, segments, store, vector


@pytest.fixture
def recordings(database: Database) -> RecordingStore:
    return RecordingStore(database)


def scalar(db: Database, query: str, *values: object) -> object:
    with db.connection() as connection:
        row = connection.execute(query, values).fetchone()  # type: ignore[arg-type]
    return row and row[0]


# -- deleting -------------------------------------------------------------------------------------------------------


def test_a_deleted_recording_takes_everything_with_it(recordings: RecordingStore) -> None:
    store(recordings, recording(1), segments(3), [decision()])
    table = scalar(recordings.db, "select 'text_vector_' || id from model where role = 'embed'")
    assert recordings.delete("rec00001")
    assert not recordings.delete("rec00001")
    for name in ("recording", "segment", "decision", table):
        assert scalar(recordings.db, f"select count(*) from {name}") == 0


# -- storing ----------------------------------------------------------------------------------------------------------


def same(a: object, b: object) -> bool:
    return a is b is None or np.allclose(a, b, atol=1e-3)  # type: ignore[arg-type]


def test_what_is_stored_comes_back(recordings: RecordingStore) -> None:
    recordings.add([recording(1)])
    said = (*segments(5), segment(5, voice=None, vector=None, confidence=None, text="nul\x00 ja naïve 🎙", words=()))
    concluded = [decision(), decision("SPEAKER_01", mean=None, variance=None, low=None, high=None, spread=None, speaker=None)]
    numbers = store(recordings, recording(1, title="Better title"), said, concluded, balance=Balance(50.0, 40.0, 10.0))
    found = recordings.get("rec00001")
    assert found is not None
    assert (found.row.status, found.row.title, found.row.segments, found.row.speakers) == ("stored", "Better title", 6, 2)
    assert (found.balance, found.revision, found.fingerprint) == (Balance(50.0, 40.0, 10.0), 7, "sha-rec00001")
    assert found.spans == SPANS
    assert found.stored_wall is not None
    back = recordings.segments("rec00001", vectors=True)
    assert [replace(s, voice=None, vector=None) for s in back] == [
        replace(s, voice=None, vector=None, text=s.text.replace("\x00", "")) for s in said
    ]
    assert all(same(a.voice, b.voice) and same(a.vector, b.vector) for a, b in zip(back, said, strict=True))
    assert recordings.segments("rec00001")[0].vector is None
    kept = recordings.decisions(recording="rec00001")
    assert [d.decision for d in kept] == concluded
    assert tuple(d.id for d in kept) == numbers.decisions
    assert kept[0].row().speakers == (("Helen", 33.5),)
    assert kept[0].row().threshold == 0.62
    assert recordings.stored_ids() == ("rec00001",)
    assert [d.id for d in recordings.decisions(limit=1)] == [numbers.decisions[1]]


def test_a_recording_never_queued_and_one_without_speech_can_be_stored(recordings: RecordingStore) -> None:
    store(recordings, recording(1), ())
    found = recordings.get("rec00001")
    assert found is not None
    assert (found.row.status, found.row.segments, found.row.speakers) == ("stored", 0, 0)


@pytest.mark.parametrize(("language", "kept"), [("de", "de"), (None, ""), ("x-invented-language", "x-invent")])
def test_the_language_of_the_words_is_stored_with_them(recordings: RecordingStore, language: str | None, kept: str) -> None:
    """Search chooses its rules by it, and knows which languages there are."""
    store(recordings, recording(1), segments(2), facts={"language": language})
    assert scalar(recordings.db, "select string_agg(distinct language, ',') from segment") == kept
    assert scalar(recordings.db, "select count(*) from language where code = %s", kept) == 1


def test_vectors_need_their_model_wherever_they_stand(recordings: RecordingStore) -> None:
    only_the_second = (replace(segments(2)[0], voice=None, vector=None), replace(segments(2)[1], voice=None))
    with pytest.raises(Permanent, match="without its model"):
        store(recordings, recording(1), only_the_second, models={"voice": VOICE})
    store(recordings, recording(1), [replace(s, vector=None) for s in segments(2)], models={"voice": VOICE})
    assert len(recordings.segments("rec00001", vectors=True)) == 2


def test_storing_again_replaces_every_row(recordings: RecordingStore) -> None:
    store(recordings, recording(1), segments(200), [decision()] * 3)
    store(recordings, recording(1), segments(2), [decision("other")])
    assert len(recordings.segments("rec00001")) == 2
    assert [d.decision.cluster for d in recordings.decisions()] == ["other"]
    for name in ("text_vector", "voice_vector"):
        table = scalar(
            recordings.db, "select %s || '_' || id from model where role = %s", name, name.split("_")[0].replace("text", "embed")
        )
        assert scalar(recordings.db, f"select count(*) from {table}") == 2


def test_passes_of_a_stage_are_kept_for_the_time_line(recordings: RecordingStore) -> None:
    recordings.add([recording(1)])
    with recordings.db.connection() as connection:
        connection.execute("update recording set attempt = 3")
    span = StageSpan("decode", "rec00001", 0, 1.5, 2.0, 0.25, "failed", "no audio stream", 1000.0, 60.0)
    store(recordings, recording(1), (), spans=[span])
    found = recordings.get("rec00001")
    assert found is not None
    (kept,) = found.spans
    assert (kept.stage, kept.start_wall, kept.wait_s, kept.service_s) == ("decode", 1000.0, 3.5, 0.25)
    assert (kept.outcome, kept.attempt, kept.note) == ("failed", 3, "no audio stream")


@pytest.mark.parametrize("queued", [True, False])
def test_a_recording_that_was_never_claimed_is_stored_by_its_first_attempt(recordings: RecordingStore, queued: bool) -> None:
    if queued:
        recordings.add([recording(1)])
        assert scalar(recordings.db, "select attempt from recording") == 0
    store(recordings, recording(1), (), spans=[StageSpan("decode", "rec00001", 0, 0.0, 0.0, 1.0, "ok", None, 1000.0, 60.0)])
    found = recordings.get("rec00001")
    assert found is not None
    assert [span.attempt for span in found.spans] == [1]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"vector": np.full(TEXT.dimension, np.nan, np.float32)}, "not a number in a vector"),
        ({"voice": np.full(VOICE.dimension, np.inf, np.float32)}, "not a number in a vector"),
        ({"voice": np.full(VOICE.dimension, 1e30, np.float32)}, "not a number in a vector"),
        ({"vector": np.zeros(TEXT.dimension, np.float32)}, "zero vector"),
        ({"vector": vector(1, TEXT.dimension + 1)}, "vector of another dimension"),
        ({"vector": np.ones((1, TEXT.dimension), np.float32)}, "vector of another dimension"),
        ({"confidence": float("nan")}, "not a number in a result"),
        ({"start": float("nan")}, "segment times"),
        ({"end": 1.0}, "segment times"),
    ],
)
def test_what_must_never_be_stored_is_refused_and_the_old_rows_stay(
    recordings: RecordingStore, change: dict[str, object], cause: str
) -> None:
    store(recordings, recording(1), segments(3))
    with pytest.raises(Permanent) as caught:
        store(recordings, recording(1), [*segments(2), segment(2, **change)])
    assert caught.value.cause == cause
    assert len(recordings.segments("rec00001")) == 3


def test_a_decision_with_nan_or_a_vector_without_its_model_is_refused(recordings: RecordingStore) -> None:
    with pytest.raises(Permanent, match="nan"):
        store(recordings, recording(1), (), [decision(mean=float("nan"))])
    with pytest.raises(Permanent, match="without its model"):
        store(recordings, recording(1), segments(1), models={"voice": VOICE})


def test_numbers_of_numpy_are_numbers(recordings: RecordingStore) -> None:
    store(
        recordings,
        recording(1),
        [segment(0, confidence=np.float32(0.5), start=np.float64(0.0))],
        [decision(mean=np.float32(0.5), similarities=(np.float32(0.25),))],
        facts={"x": np.int64(3), "y": np.arange(2)},
    )
    assert recordings.decisions()[0].decision.similarities == (0.25,)


def test_models_of_two_dimensions_live_side_by_side(recordings: RecordingStore) -> None:
    wide = ModelId("tests/wide", "1", 384)
    store(recordings, recording(1), segments(2))
    store(recordings, recording(2), [segment(0, vector=vector(1, 384))], models={"embed": wide, "voice": VOICE})
    (first,) = recordings.segments("rec00002", vectors=True)
    assert first.vector is not None
    assert first.vector.shape == (384,)
    assert scalar(recordings.db, "select count(*) from model where role = 'embed'") == 2
    # the same recording again with the other model: nothing of the first stays
    store(recordings, recording(2), segments(3))
    assert all(s.vector is not None and s.vector.shape == (16,) for s in recordings.segments("rec00002", vectors=True))


def test_a_lost_claim_keeps_the_old_rows_and_the_fence_sees_the_transaction(recordings: RecordingStore) -> None:
    store(recordings, recording(1), segments(3))

    def fence(cursor: object) -> None:
        raise LostClaim("somebody else has it")

    with pytest.raises(LostClaim):
        store(recordings, recording(1), segments(1), fence=fence)
    assert len(recordings.segments("rec00001")) == 3


def test_a_reader_never_sees_a_part(recordings: RecordingStore) -> None:
    """Sizes and texts of a generation belong together; a reader that looks all the time finds only whole ones."""
    db = recordings.db
    store(recordings, recording(1), segments(1, text="generation 1"))
    done = threading.Event()
    seen: set[tuple[int, str, int]] = set()

    def read() -> None:
        while not done.is_set():
            with db.connection() as connection:
                rows = connection.execute(
                    "select r.segments, s.text, count(*) from recording r join segment s on s.recording = r.id"
                    " join text_vector_1 v on v.segment = s.id group by 1, 2"
                ).fetchall()
            assert len(rows) == 1
            seen.add(rows[0])

    table = scalar(db, "select 'text_vector_' || id from model where role = 'embed'")
    assert table == "text_vector_1"
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for generation in range(2, 40):
        store(recordings, recording(1), segments(generation, text=f"generation {generation}"))
    done.set()
    for reader in readers:
        reader.join()
    assert seen
    assert all(count == int(text.split()[1]) == n for count, text, n in seen)


def test_writers_of_one_recording_take_turns(recordings: RecordingStore) -> None:
    failed: list[Exception] = []

    def write(n: int) -> None:
        try:
            store(recordings, recording(1), segments(n, text=f"generation {n}"), [decision(str(n))])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    said = recordings.segments("rec00001")
    assert {s.text for s in said} == {f"generation {len(said)}"}
    assert [d.decision.cluster for d in recordings.decisions()] == [str(len(said))]


class Unheard(RecordingStore):
    """A store whose server is lost at the commit: before it takes effect, or after."""

    def __init__(self, db: Database, after: bool) -> None:
        super().__init__(Lossy(db, after))  # type: ignore[arg-type]


class Lossy:
    def __init__(self, db: Database, after: bool) -> None:
        self.db, self.after, self.lossy = db, after, True

    def __getattr__(self, name: str) -> object:
        return getattr(self.db, name)

    @contextmanager
    def transaction(self):  # type: ignore[no-untyped-def]
        with self.db.transaction() as connection:
            yield connection
            lose = (
                self.lossy
                and isinstance(connection, Connection)
                and connection.execute("select count(*) from segment").fetchone() != (0,)
            )
            if lose and not self.after:
                self.lossy = False
                raise Transient("lost", cause=Database.AWAY)
        if lose:
            self.lossy = False
            raise Transient("lost", cause=Database.AWAY)


@pytest.mark.parametrize("after", [True, False])
def test_a_store_whose_commit_was_not_answered_is_repeated_safely(database: Database, after: bool) -> None:
    """The fence ends the claim in the same transaction: asked again after a commit that came through, it would refuse."""
    recordings = Unheard(database, after)
    said, concluded = segments(4), [decision()]

    def fence(cursor: object) -> None:
        found = cursor.execute("select count(*) from language where code = 'claimed'").fetchone()  # type: ignore[attr-defined]
        if found != (0,):
            raise LostClaim("ended")
        cursor.execute("insert into language values ('claimed')")  # type: ignore[attr-defined]

    with pytest.raises(Transient):
        store(recordings, recording(1), said, concluded, fence=fence)
    numbers = store(recordings, recording(1), said, concluded, fence=fence)
    assert [d.id for d in recordings.decisions()] == list(numbers.decisions)
    assert len(recordings.segments("rec00001")) == 4
    # another result is not taken for the one that came through
    with pytest.raises(LostClaim):
        store(recordings, recording(1), segments(4), concluded, fence=fence)


# -- the same audio ---------------------------------------------------------------------------------------------------


def test_the_same_audio_is_found_and_linked(recordings: RecordingStore, tmp_path: Path) -> None:
    store(recordings, recording(1), segments(1), fingerprint="same")
    recordings.add([recording(2)])
    assert recordings.twin("same", "rec00001") is None
    assert recordings.twin("same", "rec00002") == "rec00001"
    assert recordings.twin("other", "rec00002") is None
    recordings.link("rec00002", "rec00001", Audio(tmp_path / "pcm", 16_000, "same"))
    found = recordings.get("rec00002")
    assert found is not None
    assert (found.row.status, found.duplicate_of, found.row.duration_s) == ("skipped", "rec00001", 1.0)
    assert recordings.twin("same", "rec00001") is None  # a link is no twin to link to
    recordings.delete("rec00001")
    found = recordings.get("rec00002")
    assert found is not None
    assert found.duplicate_of is None


# -- names given anew -------------------------------------------------------------------------------------------------


def test_labels_are_rewritten_in_words_too_and_taken_back(recordings: RecordingStore) -> None:
    before = segments(4)
    store(recordings, recording(1), before, [decision()], balance=Balance(37.0, 0.0, 37.0))
    labels = [SegmentLabel(n, "Helen", None, 0.75, Provenance.MANUAL) for n in (0, 2)]
    changed = recordings.relabel(
        "rec00001", labels, 9, decisions=[decision(speaker="Helen", revision=9)], balance=Balance(37.0, 18.5, 18.5)
    )
    assert changed == 2
    said = recordings.segments("rec00001", vectors=True)
    assert [s.speaker for s in said] == ["Helen", "Speaker 2", "Helen", "Speaker 2"]
    assert {w.speaker for w in said[0].words} == {"Helen"}
    assert said[0].provenance == Provenance.MANUAL
    assert said[0].vector is not None
    found = recordings.get("rec00001")
    assert found is not None
    assert (found.balance, found.revision, found.row.speakers) == (Balance(37.0, 18.5, 18.5), 9, 2)
    assert recordings.undo_relabel("rec00001")
    assert [replace(s, voice=None, vector=None) for s in before] == list(recordings.segments("rec00001"))
    found = recordings.get("rec00001")
    assert found is not None
    assert (found.balance, found.revision) == (Balance(37.0, 0.0, 37.0), 7)
    assert [d.decision for d in recordings.decisions()] == [decision()]
    assert not recordings.undo_relabel("rec00001")


def test_names_given_before_a_re_ingest_cannot_be_taken_back_into_it(recordings: RecordingStore) -> None:
    """The segments a relabelling was of are gone: an undo must not write their old names over the new ones."""
    store(recordings, recording(1), segments(4), [decision()])
    recordings.relabel("rec00001", [SegmentLabel(0, "Helen", None, 0.75, Provenance.MANUAL)], 9, decisions=None, balance=None)
    store(recordings, recording(2), segments(4), [decision()])
    recordings.relabel("rec00002", [SegmentLabel(0, "Helen", None, 0.75, Provenance.MANUAL)], 9, decisions=None, balance=None)
    again = [replace(s, speaker="Clara") for s in segments(4)]
    store(recordings, recording(1), again, [decision()])
    assert not recordings.undo_relabel("rec00001")
    assert [s.speaker for s in recordings.segments("rec00001")] == ["Clara"] * 4
    assert recordings.undo_relabel("rec00002"), "that of another recording stays"


def test_labels_of_nothing_are_refused(recordings: RecordingStore) -> None:
    recordings.add([recording(1)])
    for id in ("rec00001", "none"):
        with pytest.raises(Permanent, match="nothing is stored"):
            recordings.relabel(id, [], 2)


def test_models_are_written_once_by_many(recordings: RecordingStore) -> None:
    threads = [threading.Thread(target=store, args=(RecordingStore(recordings.db), recording(n), segments(2))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recordings.stored_ids()) == 4
    assert scalar(recordings.db, "select count(*) from model") == len(MODELS) - 1


def test_a_warning_stays_with_what_is_stored_until_it_is_stored_again(recordings: RecordingStore) -> None:
    header = RecordingWarning("header", "the header promises 5 s, 12 s are there")
    quiet = RecordingWarning("no speech", "nobody speaks in it", "Listen to it.")
    store(recordings, recording(1), segments(1), warnings=[header, quiet])
    found = recordings.get("rec00001")
    assert found is not None
    assert found.warnings == (header, quiet)
    assert found.row.warning == "header"
    assert found.row.status == "stored"
    store(recordings, recording(1), segments(1))
    again = recordings.get("rec00001")
    assert again is not None
    assert again.warnings == ()
    assert again.row.warning is None

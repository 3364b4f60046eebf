"""One corrected turn: right at once and for ever, and everything alike decided again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gainstage.engine.errors import Permanent
from gainstage.engine.store.database import Database
from gainstage.engine.store.export import WRITERS
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Balance, ModelId, Provenance, Recording, Segment, Vector, Word
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff
from gainstage.engine.voices.correct import correct, history, preview, undo
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_store import ProfileStore, Version
from gainstage.engine.voices.removal import delete
from gainstage.engine.voices.vectors import checked

VOICE = ModelId("tests/voice", "1", 32)
TEXT = ModelId("tests/text", "1", 4)
LIMITS = Limits(other_threshold=0.6, primary_threshold=0.6)
RNG = np.random.default_rng(7)
ADA, BOB, CAT = (checked(RNG.standard_normal(32)) for _ in range(3))


def near(voice: Vector, noise: float = 0.06) -> Vector:
    heard: Vector = checked(voice + noise * RNG.standard_normal(32))
    return heard


@pytest.fixture
def store(database: Database) -> RecordingStore:
    profiles = ProfileStore(database)
    for name, voice in (("Ada", ADA), ("Bob", BOB)):
        profiles.save(name, Version(VOICE, np.stack([near(voice) for _ in range(6)])))
    return RecordingStore(database)


def ids(store: RecordingStore) -> dict[str, int]:
    return {row.name: row.id for row in ProfileStore(store.db).rows()}


def passage(n: int, speaker: str, profile: int | None, voice: Vector | None, text: str = "the rings are made of ice") -> Segment:
    start = 10.0 * n
    words = tuple(Word(f" {w}", start + k, start + k + 0.8, 0.9, speaker) for k, w in enumerate(text.split()))
    vector = checked(np.ones(4))
    return Segment(start, start + 6.0, speaker, profile, 0.8, Provenance.CLUSTER, text, words, False, voice, vector)


def stored(store: RecordingStore, number: int, said: Sequence[Segment], **facts: Any) -> str:
    id = f"rec{number:03d}"
    turns = [[s.start, s.end, f"S{s.speaker}", s.speaker, "cluster", 0.8] for s in said]
    store.store(
        Recording(id, f"test:{number}", f"/{number}.wav", f"Talk {number}"),
        said,
        (),
        models={"voice": VOICE, "embed": TEXT},
        revision=1,
        facts={"language": "en", "turns": turns, **facts},
        spans=(),
        fingerprint=f"audio {number}",
        balance=Balance(60.0, 60.0, 0.0),
    )
    return id


def talk(store: RecordingStore, number: int, names: str, voices: str) -> str:
    """One passage per letter: A, B, C are enrolled Ada and Bob, and a stranger; the voice may be another's."""
    people = {"A": ("Ada", ADA), "B": ("Bob", BOB), "C": ("Speaker 1", CAT)}
    known = ids(store)
    said = [
        passage(n, people[name][0], known.get(people[name][0]), near(people[voice][1]))
        for n, (name, voice) in enumerate(zip(names, voices, strict=True))
    ]
    return stored(store, number, said)


def names(store: RecordingStore, id: str) -> str:
    return "".join({"Ada": "A", "Bob": "B"}.get(s.speaker, "-") for s in store.segments(id))


def turns(store: RecordingStore, id: str) -> str:
    found = store.get(id)
    assert found is not None
    return "".join({"Ada": "A", "Bob": "B"}.get(t[3], "-") for t in found.facts["turns"])


def say(store: RecordingStore, id: str, at: float, who: str | None = "Ada", likes: bool = True, **ask: Any) -> CorrectionDiff:
    asked = CorrectionAsk(id, at, speaker=who, **ask)
    return correct(store, asked, LIMITS, revision=3, by="tester", likes=likes)


def test_a_turn_is_right_at_once_and_its_likes_only_when_wanted(store: RecordingStore) -> None:
    id = talk(store, 1, "BBBB", "BBAA")
    seen = preview(store, CorrectionAsk(id, 22.0, speaker="Ada"), LIMITS)
    assert (seen.was, seen.speaker, seen.passages, seen.id) == ("Bob", "Ada", 1, None)
    assert names(store, id) == "BBBB", "a preview writes nothing"
    done = say(store, id, 22.0, likes=False)
    assert names(store, id) == turns(store, id) == "BBAB"
    assert [(m.before, m.after, m.passages) for m in done.moves] == [("Bob", "Ada", 1)], "the other half of a mixed speaker"
    again = say(store, id, 22.0)
    assert again.id == done.id, "the same correction, completed"
    assert names(store, id) == turns(store, id) == "BBAA"
    how = [s.provenance for s in store.segments(id)]
    assert how[2:] == [Provenance.MANUAL, Provenance.CORRECTED]
    assert store.segments(id)[2].profile == ids(store)["Ada"]


def test_the_whole_speaker_moves_where_it_is_one_voice(store: RecordingStore) -> None:
    id = talk(store, 1, "BBBB", "AAAA")
    say(store, id, 12.0)
    assert names(store, id) == "AAAA"


def test_only_the_turn_moves_where_it_is_alone(store: RecordingStore) -> None:
    id = talk(store, 1, "BBBBBB", "BBBABB")
    say(store, id, 32.0)
    assert names(store, id) == "BBBABB"


def test_other_recordings_are_decided_again(store: RecordingStore) -> None:
    """A telephone makes Ada sound like neither; somebody took her for Bob in every call."""
    phone = checked(0.5 * ADA + 0.9 * BOB + 0.9 * checked(RNG.standard_normal(32)))
    known = ids(store)
    for number in (1, 2, 3):
        stored(store, number, [passage(n, "Bob", known["Bob"], near(phone)) for n in range(4)])
    talk(store, 4, "BBAA", "BBAA")
    assert names(store, "rec002") == "BBBB"
    done = say(store, "rec001", 12.0)
    assert [names(store, f"rec00{n}") for n in (1, 2, 3, 4)] == ["AAAA", "AAAA", "AAAA", "BBAA"]
    assert turns(store, "rec003") == "AAAA"
    assert done.recordings == 3
    assert done.seconds_moved == pytest.approx(18 + 24 + 24)
    found = store.get("rec002")
    assert found is not None
    assert found.balance == Balance(24.0, 24.0, 0.0)
    profiles = {p.name: p for p in ProfileStore(store.db).load(VOICE)}
    assert profiles["Ada"].confirmed is not None
    assert profiles["Bob"].denied is not None
    undone = undo(store, None, "tester")
    assert undone.id == done.id
    assert [names(store, f"rec00{n}") for n in (1, 2, 3, 4)] == ["BBBB", "BBBB", "BBBB", "BBAA"]
    assert turns(store, "rec002") == "BBBB"
    assert {p.confirmed is None and p.denied is None for p in ProfileStore(store.db).load(VOICE)} == {True}
    with pytest.raises(Permanent, match="no correction stands"):
        undo(store, None, "tester")


def test_it_is_kept_through_a_re_ingest_by_words(store: RecordingStore) -> None:
    known = ids(store)
    said = [passage(0, "Bob", known["Bob"], near(BOB)), passage(1, "Bob", known["Bob"], near(ADA), "and this is what she said")]
    id = stored(store, 1, said)
    say(store, id, 12.0, likes=False)
    moved = passage(1, "Bob", known["Bob"], near(ADA), "well and this is what she said today")
    words = tuple(Word(w.text, w.start + 0.7, w.end + 0.7, w.probability, w.speaker) for w in moved.words)
    again = Segment(10.0, 19.0, "Bob", known["Bob"], 0.8, Provenance.CLUSTER, moved.text, words, False, moved.voice, moved.vector)
    stored(store, 1, [passage(0, "Bob", known["Bob"], near(BOB)), again])
    result = store.segments(id, vectors=True)
    assert [(s.speaker, s.text) for s in result] == [
        ("Bob", "the rings are made of ice"),
        ("Bob", "well"),
        ("Ada", "and this is what she said"),
        ("Bob", "today"),
    ]
    assert all(s.vector is not None for s in result)
    assert result[2].provenance is Provenance.MANUAL
    assert turns(store, id).count("A") == 1
    undo(store, None, "tester")
    assert {s.speaker for s in store.segments(id)} == {"Bob"}


def test_a_new_person_begins_with_this_voice(store: RecordingStore) -> None:
    id = talk(store, 1, "BBCC", "BBCC")
    talk(store, 2, "CCBB", "CCBB")
    with pytest.raises(Permanent, match="nobody is called Cath") as refused:
        say(store, id, 22.0, "Cath")
    assert "--new" in (refused.value.hint or "")
    say(store, id, 22.0, "Cath", new=True)
    assert [s.speaker for s in store.segments(id)] == ["Bob", "Bob", "Cath", "Cath"]
    assert [s.speaker for s in store.segments("rec002")] == ["Cath", "Cath", "Bob", "Bob"]
    assert {s.profile for s in store.segments("rec002")[:2]} == {ids(store)["Cath"]}
    undo(store, None, "tester")
    assert "Cath" not in ids(store)
    assert [s.speaker for s in store.segments("rec002")] == ["Speaker 1", "Speaker 1", "Bob", "Bob"]
    with pytest.raises(Permanent, match="enrolled already"):
        say(store, id, 22.0, "Bob", new=True)


def test_nobody_takes_a_name_away_from_everything_alike(store: RecordingStore) -> None:
    known = ids(store)
    stranger = checked(0.8 * BOB + 0.5 * CAT)
    for number in (1, 2):
        stored(store, number, [passage(n, "Bob", known["Bob"], near(stranger, 0.03)) for n in range(3)])
    talk(store, 3, "BB", "BB")
    say(store, "rec001", 2.0, None, nobody=True)
    assert [s.speaker for s in store.segments("rec001")] == ["Speaker 1"] * 3
    assert {s.profile for s in store.segments("rec002")} == {None}
    assert names(store, "rec003") == "BB"


def test_two_speakers_of_a_recording_are_one(store: RecordingStore) -> None:
    known = ids(store)
    said = [
        passage(0, "Speaker 1", None, near(CAT)),
        passage(1, "Bob", known["Bob"], near(BOB)),
        passage(2, "Speaker 2", None, None),
    ]
    id = stored(store, 1, said)
    asked = CorrectionAsk(id, of="Speaker 2", speaker="Speaker 1")
    correct(store, asked, LIMITS, revision=1, by="tester", likes=True)
    assert [s.speaker for s in store.segments(id)] == ["Speaker 1", "Bob", "Speaker 1"]
    stored(store, 1, said)
    assert [s.speaker for s in store.segments(id)] == ["Speaker 1", "Bob", "Speaker 1"], "kept through a re-ingest"
    say(store, id, 12.0, "Speaker 1")
    assert {s.speaker for s in store.segments(id)} == {"Speaker 1"}, "another place, though the first correction reaches around it"


def test_a_turn_is_split_between_two_words(store: RecordingStore) -> None:
    id = talk(store, 1, "BB", "BB")
    before = store.segments(id, vectors=True)
    say(store, id, 13.0, "Ada", split=True)
    assert [(s.speaker, s.text) for s in store.segments(id)] == [
        ("Bob", "the rings are made of ice"),
        ("Bob", "the rings are"),
        ("Ada", "made of ice"),
    ]
    assert turns(store, id) == "BBA"
    undo(store, None, "tester")
    after = store.segments(id, vectors=True)
    assert [(s.start, s.end, s.speaker, s.text, s.words) for s in after] == [
        (s.start, s.end, s.speaker, s.text, s.words) for s in before
    ]
    with pytest.raises(Permanent, match="cannot be cut"):
        say(store, id, 10.0, "Ada", split=True)


def test_later_changes_must_be_taken_back_first(store: RecordingStore) -> None:
    id = talk(store, 1, "BBBB", "BBBB")
    first = say(store, id, 2.0, likes=False)
    second = say(store, id, 12.0, likes=False)
    with pytest.raises(Permanent, match="changed rec001 since") as refused:
        undo(store, first.id, "tester")
    assert f"--undo {second.id}" in (refused.value.hint or "")
    undo(store, None, "tester")
    undo(store, None, "tester")
    assert names(store, id) == "BBBB"
    assert [(c.by, c.revision, c.undone) for c in history(store)] == [("tester", 3, True)] * 2


def test_exported_turns_follow(store: RecordingStore) -> None:
    id = talk(store, 1, "BBB", "BBA")
    say(store, id, 22.0)
    found = store.get(id)
    assert found is not None
    lines = WRITERS["rttm"](found, store.segments(id), None).splitlines()
    assert [line.split()[7] for line in lines] == ["Bob", "Bob", "Ada"]


def test_a_renamed_and_a_deleted_person_leave_corrections_true(store: RecordingStore) -> None:
    id = talk(store, 1, "BBB", "BBA")
    say(store, id, 22.0)
    ProfileStore(store.db).rename("Ada", "Ada Byron")
    assert [c.speaker for c in history(store)] == ["Ada Byron"]
    found = store.get(id)
    assert found is not None
    assert [t[3] for t in found.facts["turns"]] == ["Bob", "Bob", "Ada Byron"]
    delete(ProfileStore(store.db), "Ada Byron")
    assert history(store) == ()
    found = store.get(id)
    assert found is not None
    assert "Ada Byron" not in str(found.facts)


@pytest.mark.parametrize(
    ("ask", "cause"),
    [
        (CorrectionAsk("rec001", 500.0, speaker="Ada"), "no passage there"),
        (CorrectionAsk("rec001", of="Zoe", speaker="Ada"), "no such speaker"),
        (CorrectionAsk("none", 1.0, speaker="Ada"), "not stored"),
        (CorrectionAsk("rec001", 1.0), "bad correction"),
        (CorrectionAsk("rec001", speaker="Ada"), "bad correction"),
        (CorrectionAsk("rec001", 1.0, speaker="Ada", nobody=True), "bad correction"),
        (CorrectionAsk("rec001", 1.0, speaker="Speaker 9", new=True), "bad profile name"),
    ],
)
def test_what_cannot_be_corrected_is_refused_in_words(store: RecordingStore, ask: CorrectionAsk, cause: str) -> None:
    talk(store, 1, "BB", "BB")
    with pytest.raises(Permanent) as refused:
        preview(store, ask, LIMITS)
    assert refused.value.cause == cause
    assert refused.value.hint


CORRECTOR = """
import sys
from pathlib import Path
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.corrections import CorrectionAsk
from gainstage.engine.voices.correct import correct
from gainstage.engine.voices.limits import Limits
with Database.open(sys.argv[1], Path(sys.argv[2])) as database:
    store = RecordingStore(database)
    print("ready", flush=True)
    for turn in range(100000):
        at, who = 2.0 + 10 * (turn % 6), ("Ada", "Bob")[turn // 6 % 2]
        ask = CorrectionAsk("rec001", at, speaker=who)
        done = correct(store, ask, Limits(other_threshold=0.6), revision=1, by="loop", likes=True)
        print(done.id, flush=True)
"""


def test_no_correction_is_lost_when_its_process_is_killed(store: RecordingStore, database_url: str, tmp_path: Path) -> None:
    """Whatever was reported is there, whole: a correction and everything decided like it are one commit."""
    random = np.random.default_rng(3)
    for number in (1, 2):
        talk(store, number, "BBBBBB", "AAAAAA")
    reported: set[int] = set()
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", CORRECTOR, database_url, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(int(random.integers(1, 5))):
            reported.add(int(process.stdout.readline()))
        os.kill(process.pid, signal.SIGKILL)
        reported |= {int(line) for line in process.stdout.read().splitlines() if line.isdigit()}
        process.wait()
        process.stdout.close()
        with store.db.connection() as connection:
            kept = {int(id) for (id,) in connection.execute("select id from correction where undone is null")}
            bare = connection.execute(
                "select count(*) from correction c where not exists (select 1 from label_history h where h.correction = c.id)"
            ).fetchone()
        assert reported <= kept
        assert bare == (0,), "no correction without the labels it wrote"
        assert names(store, "rec001") == turns(store, "rec001")
    said = store.segments("rec001")
    stored(store, 1, [passage(n, "Bob", ids(store)["Bob"], near(ADA)) for n in range(6)])
    again = store.segments("rec001")
    by_hand = [n for n, s in enumerate(said) if s.provenance is Provenance.MANUAL]
    assert by_hand
    assert [again[n].speaker for n in by_hand] == [said[n].speaker for n in by_hand], "kept through a re-ingest"

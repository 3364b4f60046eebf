"""Profiles: enrolment, versions, names, merging, import, deletion with everything derived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Balance, ModelId, Provenance, Recording, Segment, Turn
from gainstage.engine.voices.cache import VoiceCache
from gainstage.engine.voices.check import check
from gainstage.engine.voices.evidence import build_evidence, wanted
from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
from gainstage.engine.voices.imports import import_profile, read_profile
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import MOST_EXEMPLARS, ProfileIndex
from gainstage.engine.voices.profiles import ProfileStore, Version, enrol, enrol_speaker
from gainstage.engine.voices.removal import delete
from gainstage.engine.voices.spans import clusters
from gainstage.engine.voices.vectors import BadVoice, ForeignVoice, checked
from tests.engine.voices_kit import audio_of, encoder, silence, speech

MODEL = ModelId("tests/voice", "abcd", 16)


def around(seed: int, count: int, noise: float = 0.4) -> NDArray[np.float32]:
    """Voices of one invented person."""
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal(MODEL.dimension)
    spread = noise * rng.standard_normal((count, MODEL.dimension)) / np.sqrt(MODEL.dimension)
    return checked(middle / np.linalg.norm(middle) + spread)


def version(seed: int, count: int = 8, **changes: Any) -> Version:
    made = Version(MODEL, around(seed, count), None, {"text": f"file {seed}", "fingerprints": [f"audio {seed}"]}, {"seconds": 40.0})
    return replace(made, **changes)


@pytest.fixture
def store(database: Database) -> ProfileStore:
    return ProfileStore(database)


@pytest.fixture
def extractor() -> Iterator[VoiceExtractor]:
    found = VoiceExtractor(encoder, voice_batcher(encoder, lambda: 60.0))
    yield found
    found.close()


def test_enrolment_reports_what_it_used(store: ProfileStore, extractor: VoiceExtractor, tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [speech("one", 30), silence(8), speech("other", 3), speech("one", 20, 5)])
    report = enrol(store, "Ann", [audio], extractor, token=CancelToken(), provenance="talk.wav")
    assert 40 < report.seconds < 56
    assert report.silent >= 3
    assert report.outliers >= 1
    assert report.cohesion is not None
    assert report.cohesion > 0.5
    assert (report.version, report.nearest) == (1, None)
    assert "too little to go by" in report.reason
    (profile,) = store.load(extractor.model)
    assert profile.id == report.profile
    assert 0 < len(profile.exemplars) == report.exemplars <= MOST_EXEMPLARS
    (row,) = store.rows()
    assert (row.name, row.provenance, row.dimension) == ("Ann", "talk.wav", extractor.model.dimension)
    assert row.seconds == report.seconds


def test_the_nearest_other_profile_is_reported(store: ProfileStore, extractor: VoiceExtractor, tmp_path: Path) -> None:
    token = CancelToken()
    enrol(store, "Ann", [audio_of(tmp_path, [speech("one", 40)], "a")], extractor, token=token, provenance="a")
    report = enrol(store, "Bob", [audio_of(tmp_path, [speech("other", 40)], "b")], extractor, token=token, provenance="b")
    assert report.nearest == "Ann"
    assert report.nearest_cosine is not None
    assert report.nearest_cosine < 0.5
    assert report.suggested is not None
    assert report.nearest_cosine < report.suggested < 1


def test_too_little_speech_is_refused(store: ProfileStore, extractor: VoiceExtractor, tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [speech("one", 20), silence(30)])
    with pytest.raises(Permanent, match="30 s are needed"):
        enrol(store, "Ann", [audio], extractor, token=CancelToken(), provenance="a")
    assert store.rows() == ()


def test_only_the_ranges_asked_for_are_used(store: ProfileStore, extractor: VoiceExtractor, tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [speech("one", 40), speech("other", 40)])
    report = enrol(store, "Ann", [audio], extractor, token=CancelToken(), provenance="a", ranges=[[(0.0, 38.0)]])
    assert report.outliers == 0
    assert report.seconds < 39


def test_enrolment_leaves_nothing_in_the_cache(database: Database, store: ProfileStore, tmp_path: Path) -> None:
    cache = VoiceCache(database)
    extractor = VoiceExtractor(encoder, voice_batcher(encoder, lambda: 60.0), cache)
    audio = audio_of(tmp_path, [speech("one", 36)])
    enrol(store, "Ann", [audio], extractor, token=CancelToken(), provenance="a")
    extractor.close()
    with store.database.connection() as connection:
        assert connection.execute("select count(*) from voice_cache").fetchone() == (0,)


def test_versions_can_be_taken_back(store: ProfileStore) -> None:
    first = store.save("Ann", version(1))
    assert store.save("Ann", version(2)) == first
    (profile,) = store.load(MODEL)
    assert (profile.version, np.allclose(profile.exemplars, around(2, 8))) == (2, True)
    assert store.undo("Ann") == 1
    (profile,) = store.load(MODEL)
    assert (profile.version, np.allclose(profile.exemplars, around(1, 8))) == (1, True)
    with pytest.raises(Permanent, match="no version before"):
        store.undo("Ann")
    store.save("Ann", version(3))
    assert store.load(MODEL)[0].version == 3


def test_profiles_of_another_model_are_not_loaded(store: ProfileStore) -> None:
    store.save("Ann", version(1))
    assert store.load(ModelId("tests/voice", "newer", 16)) == ()
    assert [p.name for p in store.load(MODEL)] == ["Ann"]


def test_a_threshold_comes_back_as_it_was_given(store: ProfileStore) -> None:
    store.save("Ann", version(1), threshold=0.62)
    assert store.load(MODEL)[0].threshold == 0.62
    store.save("Ann", version(2))
    assert store.load(MODEL)[0].threshold == 0.62
    store.set_threshold("Ann", None)
    assert store.load(MODEL)[0].threshold is None
    with pytest.raises(Permanent, match="between 0 and 1"):
        store.set_threshold("Ann", 1.5)


def test_at_most_one_profile_is_primary_and_the_setting_goes_first(store: ProfileStore) -> None:
    store.save("Ann", version(1))
    store.save("Bob", version(2))
    store.set_primary("Ann")
    store.set_primary("Bob")
    assert [(p.name, p.primary) for p in store.load(MODEL)] == [("Bob", True), ("Ann", False)]
    assert [(p.name, p.primary) for p in store.load(MODEL, primary="Ann")] == [("Ann", True), ("Bob", False)]
    store.set_primary(None)
    assert not any(p.primary for p in store.load(MODEL))


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "Speaker 3", "speaker 12", "\x1b[31m"])
def test_names_that_cannot_be_enrolled(store: ProfileStore, name: str) -> None:
    with pytest.raises(Permanent):
        store.save(name, version(1))


def test_hostile_names_are_made_harmless(store: ProfileStore) -> None:
    store.save("A\x1b[31mnn\u202e", version(1))
    assert store.load(MODEL)[0].name == "Ann"


def test_vectors_that_are_none_are_refused(store: ProfileStore) -> None:
    bad = around(1, 3).copy()
    bad[1, 2] = np.nan
    with pytest.raises(BadVoice):
        store.save("Ann", version(1, exemplars=bad))
    with pytest.raises(ForeignVoice):
        store.save("Ann", version(1, exemplars=np.ones((3, 8), np.float32)))


# -- what is stored of a recording ----------------------------------------------------------------------------------


def store_talk(database: Database, profiles: ProfileStore, id: str = "rec1") -> RecordingStore:
    """A recording in which Ann (8 turns) and a stranger (4 turns) speak, identified and stored."""
    turns = [Turn(i * 10.0, i * 10.0 + 6, "A" if i % 3 else "B") for i in range(12)]
    spans = clusters(turns)
    voices = {"A": iter(around(1, 20, 0.2)), "B": iter(around(9, 20, 0.2))}
    found = [next(voices[c.cluster]) for c in spans for _ in c.pieces]
    assert len(found) == len(wanted(spans))
    evidence, kept = build_evidence(spans, found, ProfileIndex(profiles.load(MODEL), MODEL))
    cast = decide(evidence, Limits(), 1, voices=kept)
    segments = [
        Segment(t.start, t.end, t.speaker, t.profile, t.confidence, t.provenance, f"said {i}", (), voice=t.voice)
        for i, t in enumerate(cast.turns)
    ]
    labelled = sum(t.seconds for t in cast.turns if t.profile is not None)
    store = RecordingStore(database)
    store.store(
        Recording(id, f"test:{id}", f"/{id}.wav", id, 120.0),
        segments,
        cast.decisions,
        models={"voice": MODEL},
        revision=1,
        facts={"turns": [[t.start, t.end, t.cluster, t.speaker] for t in cast.turns]},
        spans=(),
        fingerprint=f"audio of {id}",
        balance=Balance(72.0, labelled, 72.0 - labelled),
    )
    return store


def test_renaming_names_stored_segments_as_well(database: Database, store: ProfileStore) -> None:
    store.save("Ann", version(1))
    store.set_primary("Ann")
    recordings = store_talk(database, store)
    assert store.rename("Ann", "Anna") == 8
    assert {s.speaker for s in recordings.segments("rec1")} == {"Anna", "Speaker 1"}
    store.save("Bob", version(2))
    with pytest.raises(Permanent, match="already"):
        store.rename("Anna", "Bob")


def test_merging_keeps_the_voices_of_both(database: Database, store: ProfileStore) -> None:
    store.save("Ann", version(1))
    store.set_primary("Ann")
    recordings = store_talk(database, store)
    store.save("Annie", version(5))
    assert store.merge("Annie", "Ann") == 8
    (profile,) = store.load(MODEL)
    assert (profile.name, len(profile.exemplars), profile.version) == ("Annie", 16, 2)
    assert {(s.speaker, s.profile) for s in recordings.segments("rec1")} == {("Annie", profile.id), ("Speaker 1", None)}
    assert store.undo("Annie") == 1
    with pytest.raises(Permanent, match="with itself"):
        store.merge("Annie", "Annie")


def test_a_speaker_of_a_stored_recording_can_be_enrolled(database: Database, store: ProfileStore) -> None:
    store.save("Ann", version(1))
    recordings = store_talk(database, store)
    with pytest.raises(Permanent, match="24 s of speech"):
        enrol_speaker(store, "Bea", recordings, "rec1", "Speaker 1", MODEL)
    report = enrol_speaker(store, "Ann two", recordings, "rec1", "Ann", MODEL)
    assert (report.windows, report.seconds, report.nearest) == (8, 48.0, "Ann")
    with pytest.raises(Permanent, match="nobody called Zoe"):
        enrol_speaker(store, "Zoe", recordings, "rec1", "Zoe", MODEL)
    with pytest.raises(ForeignVoice):
        enrol_speaker(store, "Bea", recordings, "rec1", "Ann", ModelId("tests/voice", "newer", 16))


def test_one_voice_shared_by_all_segments_is_one_exemplar(database: Database, store: ProfileStore) -> None:
    voice = around(1, 1)[0]
    recordings = RecordingStore(database)
    recordings.store(
        Recording("rec9", "test:9", "/9.wav", "Alone"),
        [Segment(i * 5.0, i * 5.0 + 4.0, "Ann", 1, 0.9, Provenance.FAST_PATH, "said", (), voice=voice) for i in range(9)],
        (),
        models={"voice": MODEL},
        revision=1,
        facts={},
        spans=(),
        fingerprint="audio 9",
        balance=Balance(36.0, 36.0, 0.0),
    )
    report = enrol_speaker(store, "Ann", recordings, "rec9", "Ann", MODEL)
    assert (report.seconds, report.windows, report.exemplars, report.cohesion) == (36.0, 1, 1, None)


def test_deleting_a_profile_deletes_everything_derived_from_the_voice(database: Database, store: ProfileStore) -> None:
    store.save("Ann", version(1))
    store.save("Bob", version(2))
    recordings = store_talk(database, store)
    cache = VoiceCache(database)
    for fingerprint in ("audio 1", "audio of rec1", "audio of another"):
        cache.put(fingerprint, {(0, 1000): around(1, 1)[0]}, MODEL, "p")
    before = recordings.get("rec1")
    removed = delete(store, "Ann")
    assert (removed.recordings, removed.segments, removed.voices, removed.cached) == (1, 8, 8, 2)
    segments = recordings.segments("rec1", vectors=True)
    assert {(s.speaker, s.profile, s.confidence) for s in segments if s.speaker == "Speaker 2"} == {("Speaker 2", None, None)}
    assert {s.speaker for s in segments} == {"Speaker 1", "Speaker 2"}
    assert {s.speaker for s in segments if s.voice is not None} == {"Speaker 1"}
    after = recordings.get("rec1")
    assert before is not None
    assert after is not None
    assert before.balance == Balance(72.0, 48.0, 24.0)
    assert after.balance == Balance(72.0, 0.0, 72.0)
    with database.connection() as connection:
        left = connection.execute(
            "select coalesce(string_agg(record::text, ''), '') || (select facts::text from recording) from decision"
        ).fetchone()
        counts = connection.execute("select (select count(*) from profile), (select count(*) from exemplar)").fetchone()
    assert left is not None
    assert "Ann" not in left[0]
    assert "Bob" in left[0]
    assert counts == (1, 8)
    for stored in recordings.decisions(recording="rec1"):
        assert stored.decision.why
    with pytest.raises(Permanent, match="nobody is enrolled as Ann"):
        delete(store, "Ann")


# -- import ---------------------------------------------------------------------------------------------------------


def written(folder: Path, tree: Any, name: str = "ann.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(tree))
    return path


NESTED = around(1, 5).tolist()


@pytest.mark.parametrize(
    "tree",
    [
        {"name": "Ann", "embeddings": NESTED},
        {"name": "Ann", "embeddings": [x for row in NESTED for x in row]},
        {"name": "Ann", "embeddings": [[row] for row in NESTED]},
        {"speaker": "Ann", "exemplars": NESTED, "centroid": NESTED[0], "threshold": 0.7, "model": "owner/voice", "extra": [1]},
    ],
    ids=["nested", "flat", "deeper", "everything"],
)
def test_profiles_of_older_tools_are_imported(store: ProfileStore, tmp_path: Path, tree: dict[str, Any]) -> None:
    imported = import_profile(store, written(tmp_path, tree), MODEL)
    (profile,) = store.load(MODEL)
    assert (imported.name, imported.voices, profile.threshold) == ("Ann", 5, tree.get("threshold"))
    assert np.allclose(profile.exemplars, around(1, 5), atol=1e-6)
    assert bool(imported.warnings) == ("model" not in tree)


def test_a_centroid_alone_is_a_profile(store: ProfileStore, tmp_path: Path) -> None:
    import_profile(store, written(tmp_path, {"name": "Ann", "centroid": (3 * around(1, 1)[0]).tolist()}), MODEL)
    (profile,) = store.load(MODEL)
    assert len(profile.exemplars) == 0
    assert np.linalg.norm(profile.centroid) == pytest.approx(1)


@pytest.mark.parametrize(
    ("tree", "error"),
    [
        ({"name": "Ann", "embeddings": np.ones((3, 8)).tolist()}, ForeignVoice),
        ({"name": "Ann", "centroid": [1.0] * 20}, ForeignVoice),
        ({"name": "Ann", "centroid": [1.0] * 32}, ForeignVoice),
        ({"name": "Ann", "embeddings": NESTED, "dimension": 192}, ForeignVoice),
        ({"name": "Ann", "embeddings": NESTED, "model": "resemblyzer"}, ForeignVoice),
        ({"name": "Ann", "embeddings": NESTED, "model": "voice", "revision": "old"}, ForeignVoice),
        ({"name": "Ann", "embeddings": [[float("nan")] * 16]}, BadVoice),
        ({"name": "Ann", "embeddings": [[0.0] * 16]}, BadVoice),
        ({"name": "Ann", "embeddings": [[1.0] * 16, [1.0] * 15]}, BadVoice),
        ({"name": "Ann", "embeddings": [{"a": 1}]}, BadVoice),
        ({"name": "Ann", "embeddings": np.random.default_rng(0).standard_normal(16 * 9).tolist()}, BadVoice),
        ({"name": "Ann"}, Permanent),
        ({"embeddings": NESTED}, Permanent),
        ({"name": "Ann", "embeddings": NESTED, "threshold": 7}, Permanent),
        ({"name": "Speaker 1", "embeddings": NESTED}, Permanent),
        ([1, 2], Permanent),
    ],
)
def test_files_that_are_no_profile_of_this_model_are_typed_errors(tmp_path: Path, tree: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_profile(written(tmp_path, tree), MODEL)


def test_a_file_that_is_no_json_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff{")
    for path in (tmp_path / "x.json", tmp_path / "missing.json", tmp_path):
        with pytest.raises(Permanent):
            read_profile(path, MODEL)


# -- check ----------------------------------------------------------------------------------------------------------


def test_check_finds_profiles_that_are_too_alike(store: ProfileStore) -> None:
    store.save("Ann", version(1, 30))
    store.save("Anna", Version(MODEL, around(1, 30, 0.5)))
    store.save("Bob", version(2, 30))
    found = check(store, MODEL, Limits(), primary="Ann")
    first = found.pairs[0]
    assert {first.name, first.other} == {"Ann", "Anna"}
    assert first.accepted > 0
    by_name = {p.name: p for p in found.profiles}
    assert any("voices of others" in w for w in by_name["Ann"].warnings)
    assert not any("voices of others" in w for w in by_name["Bob"].warnings)
    assert by_name["Bob"].suggestion.threshold is not None
    assert (by_name["Ann"].threshold, by_name["Bob"].threshold) == (0.62, 0.82)


def test_check_of_an_empty_library_is_empty(store: ProfileStore) -> None:
    found = check(store, MODEL, Limits())
    assert (found.profiles, found.pairs, found.library.threshold) == ((), (), None)

"""A model is its content: the same weights in another folder keep voices, vectors and prompts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from speech_kit import demo_settings

from gainstage.engine.models import content as contents
from gainstage.engine.models.content import content_of, family_of, weight_files
from gainstage.engine.models.resolve import DEMO, ResolvedModel, find
from gainstage.engine.runtime.model_identity import recognise
from gainstage.engine.runtime.models import Models
from gainstage.engine.store.database import Database
from gainstage.engine.store.search import _table
from gainstage.engine.store.vectors import ensure_table, model_row
from gainstage.engine.terms import ModelId
from gainstage.engine.voices.profiles import ProfileStore, Version


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Copies of the bundled models in other folders, one with a note that a copy may bring along."""
    places = {}
    for role, name in (("voice", "voice"), ("embed", "text")):
        folder = tmp_path / f"my-{name}"
        shutil.copytree(DEMO / name, folder)
        (folder / "README.md").write_text("copied")
        (folder / "training_args.json").write_text("{}")
        places[role] = str(folder)
    return places


def models(cache: Path, **names: str) -> Models:
    return Models(lambda: demo_settings(**{f"{role}__model": name for role, name in names.items()}), cache)


def test_voices_and_vectors_stay_with_their_weights(database: Database, tmp_path: Path, elsewhere: dict[str, str]) -> None:
    before = models(tmp_path / "cache")
    assert recognise(database, before) == ()
    store, voice = ProfileStore(database), before.voice_encoder()
    exemplars = np.eye(2, voice.id.dimension, dtype=np.float32)
    store.save("Ada", Version(voice.id, exemplars))
    table = ensure_table(database, "embed", before.text_encoder().id)
    moved = models(tmp_path / "cache", **elsewhere)
    sentences = recognise(database, moved)
    assert sentences == (
        f"voice model {elsewhere['voice']} has the weights of demo:voice: its enrolled and stored voices are kept",
        f"embed model {elsewhere['embed']} has the weights of demo:text: its text vectors are kept",
    )
    assert [p.name for p in store.load(moved.voice_encoder().id)] == ["Ada"]
    assert ensure_table(database, "embed", moved.text_encoder().id).name == table.name
    with database.connection() as connection:
        found = _table(connection, moved.text_encoder().id)
    assert found is not None
    assert found.name == table.name
    assert recognise(database, before) == (), "back under the first name there is nothing to say"


def test_rows_of_an_earlier_version_are_identified(database: Database, tmp_path: Path, elsewhere: dict[str, str]) -> None:
    before = models(tmp_path / "cache")
    old = before.voice_encoder().id
    unhashed = ModelId(old.name, old.revision, old.dimension)
    ProfileStore(database).save("Ada", Version(unhashed, np.eye(1, old.dimension, dtype=np.float32)))
    moved = models(tmp_path / "cache", **elsewhere)
    assert len(recognise(database, moved, ["voice"])) == 1
    assert [p.name for p in ProfileStore(database).load(moved.voice_encoder().id)] == ["Ada"]


def test_other_weights_are_another_model(database: Database) -> None:
    one, two = ModelId("m", "1", 8, "sha256:a"), ModelId("n", "1", 8, "sha256:b")
    with database.transaction() as connection:
        rows = {model_row(connection, "voice", each) for each in (one, two, ModelId("n", "2", 8, "sha256:a"))}
        assert model_row(connection, "embed", one) not in rows
        assert model_row(connection, "voice", ModelId("o", "1", 4, "sha256:a")) not in rows, "another dimension"
    assert len(rows) == 2
    assert one.is_same(ModelId("x", "9", 8, "sha256:a"))
    assert not ModelId("m", "1", 8).is_same(ModelId("n", "1", 8))


def test_a_file_is_hashed_once(tmp_path: Path, elsewhere: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = find("voice", elsewhere["voice"], None, tmp_path)
    first = content_of("voice", resolved, tmp_path / "cache")
    assert first == content_of("voice", find("voice", "demo:voice", None, tmp_path), tmp_path / "cache")

    def refuse(*_: object) -> None:
        raise AssertionError("hashed again")

    with monkeypatch.context() as patched:
        patched.setattr(contents.hashlib, "file_digest", refuse)
        assert content_of("voice", resolved, tmp_path / "cache") == first
    path = weight_files("voice", resolved.folder)[0]
    with path.open("ab") as file:
        file.write(b"x")
    assert content_of("voice", resolved, tmp_path / "cache") != first


def test_a_broken_or_unwritable_cache_costs_nothing_but_time(tmp_path: Path) -> None:
    resolved = find("embed", "demo:text", None, tmp_path)
    (tmp_path / contents.CACHE).write_text('{"files": 3')
    first = content_of("embed", resolved, tmp_path)
    assert content_of("embed", resolved, Path(os.devnull)) == first
    assert json.loads((tmp_path / contents.CACHE).read_text())["files"]


def test_a_copy_keeps_its_prompt(tmp_path: Path) -> None:
    hub, folder = tmp_path / "hub", tmp_path / "models" / "mine"
    for place in (hub, folder):
        shutil.copytree(DEMO / "text", place)
    content = content_of("embed", ResolvedModel("BAAI/bge-small-en-v1.5", hub, "abc", "hub"), tmp_path)
    copied = ResolvedModel(str(folder), folder, None, "folder")
    assert content_of("embed", copied, tmp_path) == content
    assert family_of(copied, content, tmp_path) == "BAAI/bge-small-en-v1.5"
    assert family_of(copied, "sha256:other", tmp_path) == str(folder)
    named = tmp_path / "BAAI_bge-base-en-v1.5"
    named.mkdir()
    assert family_of(ResolvedModel(str(named), named, None, "folder"), "", tmp_path) == "BAAI/bge-base-en-v1.5"

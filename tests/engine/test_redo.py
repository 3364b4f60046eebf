"""One stage done again from what is stored, by a real engine with the demo's models."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.demo import demo_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.kept_audio import kept_file, opus_bytes
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.restored import restored
from gainstage.engine.store.search import searchable
from tests.chaos.kit import EngineProcess, cared_for

STAGES = ("embed", "segment", "identify", "diarize", "transcribe")
AFTER = {
    "transcribe": {"fetch", "decode", "transcribe", "segment", "embed", "store"},
    "diarize": {"fetch", "decode", "diarize", "identify", "segment", "embed", "store"},
    "identify": {"identify", "segment", "embed", "store"},
    "segment": {"segment", "embed", "store"},
    "embed": {"embed", "store"},
}


def served(home: Path, url: str, **settings: str) -> None:
    """An engine with the demo's models, until the queue is empty."""
    engine = EngineProcess(home, url, until_empty=True, simulated=False, identify__fast_path="false", **settings)
    with cared_for(engine):
        assert engine.wait(400) == 0, engine.tail()


@pytest.mark.timeout(900)
def test_each_stage_is_done_again_from_what_is_stored(database: Database, database_url: str, tmp_path: Path) -> None:
    recordings = []
    for n, recording in enumerate(demo_recordings()[: len(STAGES)]):
        source = Path(shutil.copy(recording.source, tmp_path / f"{n}{Path(recording.source).suffix}"))
        recordings.append(replace(recording, source=str(source)))
    queue, store, home = Backlog(database), RecordingStore(database), tmp_path / "home"
    queue.add(recordings)
    served(home, database_url, store__keep_audio="opus")
    before = {r.id: (store.get(r.id), store.segments(r.id), store.decisions(recording=r.id)) for r in recordings}
    for stored, _, _ in before.values():
        assert stored is not None
        kept = kept_file(home / "audio", stored.fingerprint or "")
        assert kept is not None
        assert kept.stat().st_size < 1.3 * opus_bytes(stored.recording.duration or 0.0), "as the price says"
    for recording in recordings:
        Path(recording.source).unlink()  # whatever is heard again is heard from what was kept
    models = searchable(database)
    for recording, stage in zip(recordings, STAGES, strict=True):
        assert queue.redo([recording.id], stage) == 1
        assert queue.redo([recording.id], stage) == 0, "it is queued already"
        assert store.segments(recording.id), "the old result is served meanwhile"
    served(home, database_url)
    for recording, stage in zip(recordings, STAGES, strict=True):
        stored, said, decisions = before[recording.id]
        now, again = store.get(recording.id), store.segments(recording.id, vectors=True)
        assert now is not None
        assert stored is not None
        assert (now.row.status, now.recording.extra.get("redo")) == ("stored", None), stage
        assert {s.stage for s in now.spans} == AFTER[stage]
        assert now.fingerprint == stored.fingerprint
        assert all(s.vector is not None for s in again)
        words = [(w.text, w.start, w.end) for s in said for w in s.words]
        if stage != "transcribe":
            assert sorted((w.text, w.start, w.end) for s in again for w in s.words) == sorted(words)
        if stage in ("embed", "segment", "identify"):
            assert [(s.speaker, s.text) for s in again] == [(s.speaker, s.text) for s in said], stage
            assert [d.decision.speaker for d in store.decisions(recording=recording.id)] == [d.decision.speaker for d in decisions]
        else:
            names = {s.speaker for s in said if s.profile is not None}
            assert {s.speaker for s in again if s.profile is not None} == names, stage
    assert searchable(database)[0].model == models[0].model


def another_text_model(folder: Path) -> Path:
    """The demo's text model with other weights: its vectors have nothing to do with the bundled one's."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(DEMO / "text", folder)
    weights = load_file(folder / "model.safetensors")
    rng = np.random.default_rng(0)
    save_file({name: rng.permutation(values, axis=-1) for name, values in weights.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.timeout(900)
def test_another_text_model_takes_over_while_search_goes_on(database: Database, database_url: str, tmp_path: Path) -> None:
    recordings = demo_recordings()[:3]
    queue, store, home = Backlog(database), RecordingStore(database), tmp_path / "home"
    queue.add(recordings)
    served(home, database_url)
    (before,) = searchable(database)
    word = next(w.text.strip(" .,?!") for w in store.segments(recordings[0].id)[0].words if len(w.text) > 5)
    hits = {(hit.recording, hit.start) for hit in PostgresDesk(database).search(word, "words").hits}
    assert hits
    assert queue.redo([r.id for r in recordings], "embed") == 3
    found = []
    engine = EngineProcess(
        home, database_url, simulated=False, embed__model=str(another_text_model(tmp_path / "other")), in_flight="1"
    )
    with cared_for(engine):
        desk = PostgresDesk(database)
        while len(models := searchable(database)) > 1 or models[0].model.is_same(before.model):
            assert engine.process.poll() is None, engine.tail()
            found.append({(hit.recording, hit.start) for hit in desk.search(word, "both").hits})
        last = desk.search(word, "both")
    assert found
    assert all(hits <= one for one in found), "nothing was lost from the results at any time"
    assert (last.mode, last.note) == ("both", None), "by meaning too, in all of it"
    (after,) = models
    assert after.vectors == before.vectors == sum(len(store.segments(r.id)) for r in recordings)


def test_too_little_stored_is_done_again_whole(database: Database) -> None:
    assert restored(RecordingStore(database), "nothing") is None
    assert Backlog(database).redo(["nothing"], "embed") == 0

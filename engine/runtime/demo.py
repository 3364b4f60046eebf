"""The demo: bundled recordings, the voices to enrol for them, and how right the result is against the bundled truth."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from gainstage.engine.evaluation.quality import Hypothesis, Quality, Spoken, load_truth, score
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.sources.local import MEDIA, file_recording
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Recording

ENROLLING = 0x67616E64
"""Number of the advisory lock under which demo voices are enrolled."""


def demo_recordings() -> list[Recording]:
    """The bundled recordings, in name order, with the titles of their truth."""
    recordings = []
    for path in sorted(p for p in (DEMO / "recordings").iterdir() if p.suffix in MEDIA):
        listed, truth = file_recording(path), load_truth(path.with_suffix(".json"))
        recordings.append(Recording(id=listed.id, key=listed.key, source=listed.source, title=truth.title, duration=truth.duration))
    return recordings


def enrol_demo_voices(context: EngineContext) -> None:
    """Enrol the voices of the demo that are not enrolled yet; the host becomes the primary profile. Of several engines one does it,
    the others wait.
    """
    with ExitStack() as stack:
        if context.database.can_listen:  # a lock of the session, on a connection of its own: enrolling needs those of the pool
            connection = stack.enter_context(context.database.own_connection())
            connection.execute("select pg_advisory_lock(%s)", [ENROLLING])
        _enrol_missing(context)


def _enrol_missing(context: EngineContext) -> None:
    from gainstage.engine.speech.decode import decode
    from gainstage.engine.voices.profiles import enrol

    known = {p.name for p in context.profiles()}
    for path in sorted(p for p in (DEMO / "voices").iterdir() if p.suffix in MEDIA):
        if path.stem in known:
            continue
        with context.work.open(f"enrol-{path.stem}") as folder:
            audio = decode(path, folder, token=context.token)
            report = enrol(context.profile_store, path.stem, [audio], context.voices, token=context.token, provenance=path.name)
        context.journal.log("info", f"enrolled {path.stem}: {report.seconds:.0f} s, {report.windows} windows", kind="voices")


def score_demo(database: Database, ids: list[str]) -> dict[str, float | None]:
    """WER, DER and speaker accuracy over those of the demo's recordings that are stored."""
    store = RecordingStore(database)
    total: Quality | None = None
    for recording in demo_recordings():
        stored = store.get(recording.id) if recording.id in ids else None
        if stored is None or stored.row.status != "stored":
            continue
        truth = load_truth(Path(recording.source).with_suffix(".json"))
        words = [word for segment in store.segments(recording.id) for word in segment.words]
        facts = stored.facts
        named = [Spoken(start, end, speaker) for start, end, _, speaker, *_ in facts["turns"]]
        diarized = [Spoken(start, end, cluster) for start, end, cluster in facts["diarized"]]
        quality = score(truth, Hypothesis(words, named, diarized))
        total = quality if total is None else total + quality
    if total is None:
        return {"wer": None, "der": None, "speaker_accuracy": None}
    return {"wer": round(total.wer, 4), "der": round(total.der, 4), "speaker_accuracy": round(total.speaker_accuracy, 4)}

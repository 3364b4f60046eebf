"""Transcripts and corrections of a real system, as the desk answers them."""

from __future__ import annotations

from gainstage.config.settings import Settings
from gainstage.engine.errors import Permanent
from gainstage.engine.queue.live import read_live
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff, CorrectionUndone, StoredTranscript, TranscriptLine

DOUBTFUL = 0.6
"""A passage whose words have a lower mean probability than this is marked as doubtful, and so is a repetition loop."""


def transcript(database: Database, id: str) -> StoredTranscript:
    """The passages of a recording. Raises :class:`Permanent` when nothing is stored under ``id``."""
    with database.connection() as connection:
        stored = connection.execute("select title, source, duration from recording where id = %s", [id]).fetchone()
        rows = connection.execute(
            "select s.ordinal, s.start_s, s.end_s, s.speaker, s.confidence, s.provenance, s.text, coalesce(w.overlap, false),"
            " s.looped or coalesce(w.sure < %s, false) from segment s left join lateral (select bool_or((e ->> 5)::bool) as overlap,"
            " avg((e ->> 3)::float8) as sure from jsonb_array_elements(s.words) e) w on true where s.recording = %s order by s.ordinal",
            [DOUBTFUL, id],
        ).fetchall()
    if stored is None or not rows:
        raise Permanent(
            f"no passages are stored of {id!r}", cause="no passages", hint="`gainstage recordings` shows where it stands."
        )
    lines = tuple(TranscriptLine(*row) for row in rows)
    title, source, duration = stored
    return StoredTranscript(id, title, source, source if source.startswith(("http://", "https://")) else None, duration, lines)


def preview(store: RecordingStore, ask: CorrectionAsk, settings: Settings) -> CorrectionDiff:
    """What a correction would change; nothing is written."""
    from gainstage.engine.voices.correct import preview as seen
    from gainstage.engine.voices.limits import Limits

    return seen(store, ask, Limits.from_settings(settings.identify), settings.identify.primary)


def correct(store: RecordingStore, ask: CorrectionAsk, settings: Settings, *, likes: bool, by: str) -> CorrectionDiff:
    """Write a correction, under the revision of the settings in force."""
    from gainstage.engine.voices.correct import correct as write
    from gainstage.engine.voices.limits import Limits

    with store.db.connection() as connection:
        _, revision = read_live(connection)
    limits = Limits.from_settings(settings.identify)
    return write(store, ask, limits, revision=revision, by=by, likes=likes, primary=settings.identify.primary)


def undo(store: RecordingStore, number: int | None, by: str) -> CorrectionUndone:
    """Take a correction back, the newest by default."""
    from gainstage.engine.voices.correct import undo as take_back

    return take_back(store, number, by)

"""What ``add`` would take: a dry run over sources, against what is known already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from config.settings import Settings
from engine.desk import Preview, PreviewRow
from engine.flow.cancel import CancelToken
from engine.sources.listing import list_source
from engine.store.database import Database
from engine.terms import Recording


def preview(db: Database, sources: Sequence[str], options: dict[str, Any], settings: Settings, *, rtfx: float | None) -> Preview:
    """Rows in the order a run would take them. ``options``: ``limit`` (of those taken), ``max_duration`` (seconds), ``force``.

    ``rtfx`` (audio seconds per second, None when unknown) makes the expected time. Lists sources, so it may need the network
    and take a while. Raises :class:`engine.errors.EngineError` for a source that cannot be listed.
    """
    found: dict[str, Recording] = {}
    for source in sources:
        for recording in list_source(source, settings, token=CancelToken()):
            found.setdefault(recording.key, recording)
    with db.connection() as connection:
        known = dict(connection.execute("select key, status from recording where key = any(%s)", [list(found)]).fetchall())
    limit = options.get("limit")
    longest = float(options.get("max_duration") or settings.fetch.max_duration)
    rows: list[PreviewRow] = []
    taken: list[Recording] = []
    for recording in found.values():
        reason = _refusal(recording, known.get(recording.key), longest, bool(options.get("force")))
        if reason is None and limit is not None and len(taken) >= int(limit):
            reason = f"over the limit of {limit}"
        if reason is None:
            taken.append(recording)
        rows.append(PreviewRow(recording.id, recording.title, recording.duration, reason is None, reason or "new"))
    lengths = [r.duration for r in taken if r.duration is not None]
    audio_s = sum(lengths) if lengths or not taken else None
    notes = [f"{len(taken) - len(lengths)} of unknown length are not in the sum"] if len(lengths) < len(taken) else []
    return Preview(tuple(rows), audio_s, audio_s / rtfx if audio_s is not None and rtfx else None, tuple(notes))


def _refusal(recording: Recording, status: str | None, longest_s: float, force: bool) -> str | None:
    if status is not None and not (force and status not in ("queued", "running")):
        return f"known already: {status}"
    if recording.duration is not None and recording.duration > longest_s:
        return f"longer than {longest_s:.0f} s"
    return None

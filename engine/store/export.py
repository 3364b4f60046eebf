"""Transcripts for other programs, written whole or not at all: see :mod:`gainstage.engine.store.formats`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gainstage.config.whole_files import write_whole
from gainstage.engine.errors import Permanent
from gainstage.engine.store.formats import as_document, ctm_of, json_of, rttm_of, seglst_of, srt_of, stm_of, txt_of, vtt_of
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.rows import StoredRecording
from gainstage.engine.terms import Segment
from gainstage.engine.text.cues import CueStyle
from gainstage.engine.views.exports import EXPORT_FORMATS


def document(store: RecordingStore, id: str) -> dict[str, Any]:
    """A recording and its segments as the json export has them. Raises :class:`Permanent` when there is no such recording."""
    stored = store.get(id)
    if stored is None:
        raise Permanent(f"no recording {id!r}", cause="no such recording", hint="`gainstage recordings` lists them.")
    return as_document(stored, store.segments(id))


Writer = Callable[[StoredRecording, Sequence[Segment], CueStyle | None], str]
WRITERS: dict[str, Writer] = dict(
    zip(EXPORT_FORMATS, (srt_of, vtt_of, txt_of, json_of, rttm_of, stm_of, ctm_of, seglst_of), strict=True)
)


def export_recording(store: RecordingStore, id: str, format: str, folder: Path, style: CueStyle | None = None) -> Path:
    """Write one recording to ``folder/<id>.<format>``, whole or not at all; the file written.

    ``style`` cuts srt and vtt into cues; without one they hold the passages.

    Raises :class:`Permanent` when there is no such recording or format, or the folder cannot be written.
    """
    if format not in WRITERS:
        raise Permanent(f"unknown format {format!r}", cause="unknown format", hint=f"Formats are {', '.join(WRITERS)}.")
    stored = store.get(id)
    if stored is None:
        raise Permanent(f"no recording {id!r}", cause="no such recording", hint="`gainstage recordings` lists them.")
    text = WRITERS[format](stored, store.segments(id), style)
    target = folder / f"{file_name(stored.recording.id)}.{format}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(target, text, errors="replace")
    except OSError as error:
        raise Permanent(
            f"{target} cannot be written: {error.strerror}", cause="export: cannot write", hint="Choose another folder."
        ) from error
    return target


def file_name(id: str) -> str:
    """An id as a file name; ours are safe already, anything else loses what could leave the folder or hide the file."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", id).lstrip(".")[:150] or "recording"

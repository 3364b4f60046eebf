"""What ``add`` would take, before anything is queued: choice and plan of a dry run, for a console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gainstage.config.settings import Settings
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.options import NAMES as OPTION_NAMES
from gainstage.engine.options import RecordingOptions
from gainstage.engine.sources.choose import choose
from gainstage.engine.sources.plan import plan_run, with_lengths
from gainstage.engine.sources.selection import Selection
from gainstage.engine.store.database import Database
from gainstage.engine.views.rows import Preview, PreviewRow
from gainstage.engine.views.snapshot import Snapshot


def preview(
    sources: Sequence[str],
    options: Mapping[str, Any],
    settings: Settings,
    database: Database,
    snapshot: Snapshot | None = None,
    *,
    token: CancelToken,
) -> Preview:
    """List ``sources`` and return the choice and plan. This may send requests and take a while. ``options`` are those of
    :class:`Selection` and of :class:`RecordingOptions`, and ``priority``.

    Raises :class:`gainstage.engine.errors.EngineError` for a source that cannot be listed, an unknown option or an invalid value.
    """
    Selection.check_names(options, "priority", *OPTION_NAMES)
    RecordingOptions.of(options)
    choice = choose(sources, settings, database, Selection.of(options), token=token)
    new = with_lengths(choice.new)
    plan = plan_run(new, settings, database, snapshot)
    rows = [PreviewRow(r.id, r.title, r.duration, True, "new") for r in new]
    for left in choice.passed:
        known = left.recording
        rows.append(PreviewRow(known.id if known else "", left.title, known.duration if known else None, False, left.reason))
    notes = []
    if plan.unknown:
        notes.append(f"{plan.unknown} of unknown length, counted as long as recordings usually are")
    if choice.unchecked:
        notes.append(f"{choice.unchecked} could not be checked before their download")
    return Preview(tuple(rows), plan.audio_s if new else 0.0, plan.left.left_s, tuple(notes), plan)

"""Correct who speaks: the place at once and for ever, and what is alike where that is wanted; and take it back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from psycopg import Cursor
from psycopg.rows import TupleRow

from gainstage.engine.errors import Permanent
from gainstage.engine.store.codec import document, plain
from gainstage.engine.store.corrections import Correction, last_corrections, located
from gainstage.engine.store.labels import restore, rewrite
from gainstage.engine.store.passages import Cut, cut_at
from gainstage.engine.store.recordings import RecordingStore, segments_of
from gainstage.engine.store.vectors import model_row
from gainstage.engine.store.writing import SegmentLabel, begin
from gainstage.engine.terms import Provenance
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff, CorrectionRow, CorrectionUndone
from gainstage.engine.voices.correction import NEW, Plan
from gainstage.engine.voices.correction_plan import plan
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_store import Version, insert_profile


def preview(store: RecordingStore, ask: CorrectionAsk, limits: Limits, primary: str | None = None) -> CorrectionDiff:
    """What a correction would change; nothing is written. Raises :class:`Permanent` for a place or person there is not."""
    began = time.perf_counter()
    return _diff(plan(store, ask, limits, primary), None, began, applied=False)


def correct(
    store: RecordingStore,
    ask: CorrectionAsk,
    limits: Limits,
    *,
    revision: int,
    by: str,
    likes: bool,
    primary: str | None = None,
) -> CorrectionDiff:
    """Write a correction in one transaction: the place, and with ``likes`` everything that is decided like it.

    A correction that was made before without its likes is completed by the same one with ``likes``. ``revision`` is that of the
    settings in force. Raises :class:`Permanent` for a place or person there is not.
    """
    began = time.perf_counter()
    made = plan(store, ask, limits, primary)
    wanted = made.likes if likes else {}
    with store.db.transaction() as connection, connection.cursor() as cursor:
        for id in sorted({made.recording, *wanted}):
            begin(connection, id)
        number, profile = _record(cursor, made, revision, by, wanted)
        cuts = [cut_at(cursor, made.recording, *made.cut)] if made.cut is not None else []
        labels = dict(wanted)
        if made.standing is None or cuts:
            labels[made.recording] = [*made.labels, *wanted.get(made.recording, [])]
        for id, new in labels.items():
            _write(cursor, id, [_enrolled(label, profile) for label in new], revision, number, cuts if id == made.recording else [])
    return _diff(made, number, began, applied=likes)


def _enrolled(label: SegmentLabel, profile: int | None) -> SegmentLabel:
    return replace(label, profile=profile) if label.profile == NEW else label


def _write(
    cursor: Cursor[TupleRow], id: str, labels: Sequence[SegmentLabel], revision: int, number: int, cuts: Sequence[Cut]
) -> None:
    """Labels of one recording; a passage that somebody has corrected meanwhile keeps its name unless it is the corrected one."""
    fixed = {
        n
        for (n,) in cursor.execute(
            "select ordinal from segment where recording = %s and provenance = %s", [id, str(Provenance.MANUAL)]
        )
    }
    new = [label for label in labels if label.provenance is Provenance.MANUAL or label.ordinal not in fixed]
    rewrite(cursor, id, new, revision, correction=number, cuts=cuts)


def _record(
    cursor: Cursor[TupleRow], made: Plan, revision: int, by: str, wanted: dict[str, list[SegmentLabel]]
) -> tuple[int, int | None]:
    """Write the correction, and the profile of a new person; its number and the profile."""
    effect = {
        "recordings": len(wanted),
        "passages": sum(len(labels) for labels in wanted.values()),
        "seconds": round(sum(m.seconds for m in made.moves), 2) if wanted else 0.0,
    }
    if made.standing is not None and made.cut is None:
        cursor.execute("update correction set effect = %s where id = %s", [document(effect), made.standing.id])
        return made.standing.id, made.standing.profile
    profile, new = made.person.profile, made.person.new
    if new:
        profile = None
        if made.voice is not None and made.model is not None:
            text = f"corrected: {made.recording} at {made.places[0].start:.0f} s"
            report = {"seconds": round(made.seconds, 2), "warnings": ["made from one corrected place"]}
            profile = insert_profile(cursor, made.person.name, Version(made.model, made.voice[None], None, {"text": text}, report))
    model = None if made.voice is None or made.model is None else model_row(cursor, "voice", made.model)
    row = cursor.execute(
        "insert into correction (revision, by, kind, recording, places, speaker, profile, was, was_profile, model, voice,"
        " made_profile, effect) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning id",
        [
            revision,
            plain(by),
            made.kind,
            made.recording,
            document([list(place) for place in made.places]),
            plain(made.person.name),
            profile,
            plain(made.was.name),
            made.was.profile,
            model,
            None if model is None or made.voice is None else made.voice.astype("<f4").tobytes(),
            new and profile is not None,
            document(effect),
        ],
    ).fetchone()
    assert row is not None
    return int(row[0]), profile


def _diff(made: Plan, number: int | None, began: float, *, applied: bool) -> CorrectionDiff:
    moves = tuple(sorted(made.moves, key=lambda m: (m.recording != made.recording, -m.seconds, m.recording, m.before)))
    return CorrectionDiff(
        id=number,
        recording=made.recording,
        title=made.title,
        start=made.places[0].start,
        end=made.places[-1].end,
        text=made.text,
        was=made.was.name,
        speaker=made.person.name,
        seconds=round(made.seconds, 3),
        passages=len(made.labels),
        moves=moves,
        seconds_moved=round(sum(m.seconds for m in moves), 3),
        recordings=len({m.recording for m in moves}),
        note=made.note,
        took_s=time.perf_counter() - began,
        applied=applied,
    )


def history(store: RecordingStore, limit: int = 50, recording: str | None = None) -> tuple[CorrectionRow, ...]:
    """The newest corrections first, undone ones too."""
    with store.db.connection() as connection:
        corrections = last_corrections(connection, limit, recording)
    return tuple(
        CorrectionRow(
            id=c.id,
            revision=c.revision,
            wall=c.wall,
            by=c.by,
            kind=c.kind,
            recording=c.recording,
            start=c.places[0].start,
            end=c.places[-1].end,
            was=c.was,
            speaker=c.speaker,
            effect=c.effect,
            undone=c.undone_wall is not None,
        )
        for c in corrections
    )


# -- taking it back -------------------------------------------------------------------------------------------------


def undo(store: RecordingStore, number: int | None, by: str) -> CorrectionUndone:
    """Take a correction back with all that was decided like it; None is the newest that stands. One transaction.

    Raises :class:`Permanent` when there is none, or when labels were rewritten since on top of it.
    """
    with store.db.connection() as connection:
        last = next((c for c in last_corrections(connection, 1000) if c.undone_wall is None and number in (None, c.id)), None)
        if last is None:
            what = "no correction stands" if number is None else f"no correction {number} stands"
            raise Permanent(what, cause="nothing to undo", hint="`gainstage correct --list` shows all.")
        query = "select distinct recording from label_history where correction = %s"
        touched = {str(id) for (id,) in connection.execute(query, [last.id])}
    with store.db.transaction() as connection, connection.cursor() as cursor:
        for id in sorted({last.recording, *touched}):
            begin(connection, id)
        row = cursor.execute(
            "update correction set undone = now(), undone_by = %s where id = %s and undone is null returning id",
            [plain(by), last.id],
        ).fetchone()
        if row is None:
            raise Permanent(
                f"correction {last.id} was undone meanwhile", cause="nothing to undo", hint="`gainstage correct --list` shows all."
            )
        for id in sorted(touched):
            _restored(cursor, id, last)
        if last.recording not in touched:
            _named_back(cursor, last)
        if last.made_profile:
            used = "select 1 from segment where profile = %(id)s union all select 1 from correction where profile = %(id)s and undone is null"
            if cursor.execute(used, {"id": last.profile}).fetchone() is None:
                cursor.execute("delete from profile where id = %s", [last.profile])
    return CorrectionUndone(last.id, last.was, last.speaker, tuple(sorted(touched | {last.recording})))


def _restored(cursor: Cursor[TupleRow], id: str, found: Correction) -> None:
    while True:
        rows = cursor.execute(
            "select correction, revision from label_history where recording = %s order by id desc", [id]
        ).fetchall()
        if not any(correction == found.id for correction, _ in rows):
            return
        if rows[0][0] != found.id:
            later = f"correction {rows[0][0]}" if rows[0][0] is not None else f"the limits of revision {rows[0][1]}"
            command = (
                f"`gainstage correct --undo {rows[0][0]}`" if rows[0][0] is not None else f"`decisions --undo-apply {rows[0][1]}`"
            )
            raise Permanent(f"{later} changed {id} since", cause="changed since", hint=f"Take that back first: {command}.")
        restore(cursor, id)


def _named_back(cursor: Cursor[TupleRow], found: Correction) -> None:
    """The recording was taken apart again since: its corrected passages take the name before."""
    segments = segments_of(cursor.connection, found.recording)
    labels = []
    for place in found.places:
        start, end = located(segments, place)
        labels += [
            SegmentLabel(n, found.was, found.was_profile, None, Provenance.CLUSTER)
            for n, s in enumerate(segments)
            if start <= (s.start + s.end) / 2 < end and s.provenance is Provenance.MANUAL and s.speaker == found.speaker
        ]
    if labels:
        rewrite(cursor, found.recording, labels, found.revision)

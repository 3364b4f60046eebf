"""What follows from a corrected voice: everything alike, in the recording and in the whole store, is decided again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection
from psycopg.rows import TupleRow

from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.vectors import tables
from gainstage.engine.store.writing import SegmentLabel
from gainstage.engine.terms import Provenance, Vector
from gainstage.engine.voices.alike import (
    SURE_S,
    NewName,
    StoredPassage,
    StoredSpeaker,
    decided,
    passages_near,
    same_voice,
    speakers_near,
    touched,
)
from gainstage.engine.voices.correction import NEW, CorrectedPlace, Plan
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Profile, ProfileIndex, on_cosines, profile
from gainstage.engine.voices.profile_store import ProfileStore
from gainstage.engine.voices.removal import free_name
from gainstage.engine.voices.vectors import mean_voice

Voiced = tuple[Vector, float]
"""A voice and the seconds it was heard for."""


def decide_likes(store: RecordingStore, made: Plan, here: CorrectedPlace, limits: Limits, primary: str | None) -> None:
    """Fill in the voice of a correction, and what is decided again with it; ``note`` says why, where that is nothing."""
    profiles = ProfileStore(store.db)
    made.model = profiles.maker(made.recording)
    said = _voices(here, [n for n in here.chosen if here.cut is None or n != here.cut[0] + 1])
    if made.model is None or not said:
        made.note = "no voice of its own is stored with it: nothing else is decided by it"
        return
    fast = all(here.segments[n].provenance is Provenance.FAST_PATH for n in here.chosen)
    if fast and len(here.chosen) < len(here.segments):
        made.note = "the recording was not diarized (fast path), its voice is that of the whole: nothing else is decided by it"
        return
    voices = said + _own(made, here, _mean(said))
    if sum(seconds for _, seconds in voices) < SURE_S:
        made.note = f"a voice shorter than {SURE_S:g} s is too uncertain: nothing else is decided by it"
        return
    made.voice = _mean(voices)
    before = on_cosines([_without(p, made, store) for p in profiles.load(made.model, primary)])
    _elsewhere(store, made, ProfileIndex(before, made.model), ProfileIndex(_with(before, made), made.model), limits)


def _voices(here: CorrectedPlace, ordinals: Sequence[int]) -> list[Voiced]:
    passages = [here.segments[n] for n in ordinals]
    return [(s.voice, s.end - s.start) for s in passages if s.voice is not None]


def _mean(voices: Sequence[Voiced]) -> Vector:
    return mean_voice(np.stack([v for v, _ in voices]), np.array([max(s, 1e-3) for _, s in voices]))


def _own(made: Plan, here: CorrectedPlace, voice: Vector) -> list[Voiced]:
    """Decide the other passages of the same speaker in the recording; the voices of those that move too."""
    others = [
        n
        for n, s in enumerate(here.segments)
        if s.speaker == made.was.name
        and n not in here.chosen
        and s.provenance is not Provenance.MANUAL
        and (here.cut is None or n != here.cut[0])
    ]
    voiced = [n for n in others if here.segments[n].voice is not None]
    pairs = _voices(here, voiced)
    if not pairs:
        return []
    same = same_voice(voice, np.stack([v for v, _ in pairs]), [s for _, s in pairs])
    moved = others if same.all() else [n for n, yes in zip(voiced, same.tolist(), strict=True) if yes]
    labels = [SegmentLabel(n, made.person.name, made.person.profile, None, Provenance.CORRECTED) for n in moved]
    made.move(made.recording, made.title, made.was.name, labels, sum(here.segments[n].end - here.segments[n].start for n in moved))
    return _voices(here, moved)


def _without(p: Profile, made: Plan, store: RecordingStore) -> Profile:
    """A profile as it is without the correction itself, where that was made before."""
    if made.standing is None or p.id not in (made.standing.profile, made.standing.was_profile):
        return p
    with store.db.connection() as connection:
        row = connection.execute("select voice from correction where id = %s", [made.standing.id]).fetchone()
    own = None if row is None or row[0] is None else np.frombuffer(row[0], "<f4")

    def left(rows: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        return rows if rows is None or own is None else rows[~(rows == own).all(axis=1)]

    return replace(p, confirmed=left(p.confirmed), denied=left(p.denied))


def _with(profiles: Sequence[Profile], made: Plan) -> list[Profile]:
    """The profiles with the corrected voice for the one and against the other."""
    assert made.voice is not None
    assert made.model is not None
    row = made.voice[None]

    def joined(rows: NDArray[np.float32] | None) -> NDArray[np.float32]:
        return row if rows is None else np.concatenate([rows, row])

    changed = []
    for p in profiles:
        if p.id == made.person.profile:
            changed.append(replace(p, confirmed=joined(p.confirmed)))
        elif p.id == made.was.profile:
            changed.append(replace(p, denied=joined(p.denied)))
        else:
            changed.append(p)
    return [*changed, profile(NEW, made.person.name, made.model, row)] if made.person.new else changed


def _elsewhere(store: RecordingStore, made: Plan, before: ProfileIndex, after: ProfileIndex, limits: Limits) -> None:
    """Decide the speakers, and then the single passages, of the whole store that are alike."""
    assert made.voice is not None
    if not after.profiles:
        return
    with store.db.transaction() as connection:
        table = next((t for t in tables(connection, "voice") if t.model == made.model), None)
        if table is None:
            return
        least = min(limits.threshold(p.primary, p.threshold) for p in after.profiles)
        speakers = speakers_near(connection, table, made.voice, least, (made.recording, made.was.name))
        concerned = touched(speakers, before, after, limits)
        _move_speakers(connection, made, [s for s in speakers if s.recording in concerned], before, after, limits)
        own = next((p for p in after.profiles if p.id == made.person.profile), None)
        if own is not None:
            least = limits.threshold(own.primary, own.threshold)
            near = passages_near(connection, table, made.voice, least, own.id, after.profiles)
            _move_passages(made, [p for p in near if p.recording != made.recording], after, limits)


def _move_speakers(
    connection: Connection[TupleRow],
    made: Plan,
    speakers: Sequence[StoredSpeaker],
    before: ProfileIndex,
    after: ProfileIndex,
    limits: Limits,
) -> None:
    """Speakers for whom the rules give another person than without the correction."""
    old, new = decided(speakers, before, limits), decided(speakers, after, limits)
    names: dict[str, list[str]] = {}
    for s in speakers:
        names.setdefault(s.recording, []).append(s.name)
    moved: list[tuple[StoredSpeaker, NewName]] = []
    for s in speakers:
        was, now = old[s.recording, s.name], new[s.recording, s.name]
        if now.profile in (was.profile, s.profile) or (now.profile is None and s.profile != was.profile):
            continue
        if now.profile is None:
            now = NewName(None, free_name(names[s.recording]), None)
            names[s.recording].append(now.name)
        moved.append((s, now))
    rows = connection.execute(
        "select recording, speaker, array_agg(ordinal order by ordinal) from segment where recording = any(%s)"
        " and provenance <> 'manual' group by 1, 2",
        [sorted({s.recording for s, _ in moved})],
    ).fetchall()
    ordinals = {(recording, speaker): ordinal for recording, speaker, ordinal in rows}
    for s, now in moved:
        where = [made.after_cut(s.recording, n) for n in ordinals.get((s.recording, s.name), [])]
        labels = [SegmentLabel(n, now.name, now.profile, now.score, Provenance.CORRECTED) for n in where]
        made.move(s.recording, s.title, s.name, labels, s.seconds)


def _move_passages(made: Plan, near: Sequence[StoredPassage], after: ProfileIndex, limits: Limits) -> None:
    """Single passages, of speakers who stay, that are the person by their own voice: the rule for turns of a split cluster."""
    if not near:
        return
    scores = after.scores(after.similarities(np.stack([p.voice for p in near])))
    column = next(k for k, c in enumerate(after.candidates) if c.id == made.person.profile)
    lead = scores[:, column] - np.delete(scores, column, axis=1).max(axis=1, initial=-1.0)
    grouped: dict[tuple[str, str, str], list[tuple[int, float, float]]] = {}
    for p, margin, score in zip(near, lead.tolist(), scores[:, column].tolist(), strict=True):
        if margin >= limits.margin:
            grouped.setdefault((p.recording, p.title, p.name), []).append((p.ordinal, p.seconds, score))
    for (recording, title, name), passages in grouped.items():
        labels = [SegmentLabel(n, made.person.name, made.person.profile, s, Provenance.CORRECTED) for n, _, s in passages]
        made.move(recording, title, name, labels, sum(seconds for _, seconds, _ in passages))

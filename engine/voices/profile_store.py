"""Enrolled profiles in the database: versions that can be undone, names, the primary. A run only reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.store.database import Database
from gainstage.engine.store.vectors import model_row
from gainstage.engine.terms import UNKNOWN_PREFIX, ModelId, Vector
from gainstage.engine.views.rows import ProfileRow
from gainstage.engine.voices.exemplars import cohesion, spread_exemplars
from gainstage.engine.voices.profile_index import MOST_EXEMPLARS, Profile, profile
from gainstage.engine.voices.renaming import ProfileName, follow
from gainstage.engine.voices.vectors import checked, same_model

LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a profile, to be saved. ``exemplars`` (k, d); ``centroid`` (d,) when there are none or one was given."""

    model: ModelId
    exemplars: NDArray[np.float32]
    centroid: Vector | None = None
    provenance: dict[str, Any] = field(default_factory=dict)  # "text", "fingerprints" of the audio it was made from
    report: dict[str, Any] = field(default_factory=dict)  # "seconds", "cohesion", "suggested" ...


def checked_name(name: str) -> str:
    """``name``, checked for enrolment. Raises :class:`Permanent` for an empty name and for one reserved for unknown speakers."""
    clean = clean_text(name, LONGEST_NAME)
    if not clean or len(name) > LONGEST_NAME:
        raise Permanent(
            f"a profile needs a name of 1 to {LONGEST_NAME} characters", cause="bad profile name", hint="Choose another."
        )
    if re.fullmatch(rf"{UNKNOWN_PREFIX.strip()}\s*\d+", clean, re.IGNORECASE):
        raise Permanent(f"{clean} is what unknown people are called", cause="bad profile name", hint="Choose another name.")
    return clean


class ProfileStore:
    """Access to the stored profiles. Thread-safe. Every method may raise :class:`Transient` while the database is away."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # -- reading ----------------------------------------------------------------------------------------------------

    def load(self, model: ModelId, primary: str | None = None) -> tuple[Profile, ...]:
        """All profiles of this model, the primary first, then by id.

        ``primary`` (the setting ``identify.primary``) names the primary profile; without it, the one marked in the database is
        used.
        """
        with self.database.connection() as connection:
            rows = connection.execute(
                "select p.id, p.name, p.is_primary, p.threshold, (v.report ->> 'suggested')::float8, p.version, v.centroid,"
                f" array(select e.voice from exemplar e where e.profile_version = v.id order by e.ordinal) {_IN_USE}"
                " where p.deleted is null and v.model = %s order by p.id",
                [number := model_row(connection, "voice", model)],
            ).fetchall()
            said = voices_said(connection, number, model.dimension)
        result = [
            profile(
                id,
                name,
                model,
                _matrix(voices, model.dimension),
                None if centroid is None else np.frombuffer(centroid, "<f4"),
                threshold=_threshold(threshold),
                primary=name == primary if primary else marked,
                version=version,
                suggested=suggested,
            )
            for id, name, marked, threshold, suggested, version, centroid, voices in rows
        ]
        result = [replace(p, confirmed=said.get((p.id, True)), denied=said.get((p.id, False))) for p in result]
        return tuple(sorted(result, key=lambda p: (not p.primary, p.id)))

    def rows(self, primary: str | None = None) -> tuple[ProfileRow, ...]:
        """Every profile of every model, in the form that the console lists, by name."""
        with self.database.connection() as connection:
            rows = connection.execute(
                "select p.id, p.name, p.version, p.is_primary, p.threshold, extract(epoch from v.created)::float8, v.provenance,"
                f" v.report, m.name, m.revision, m.dimension {_IN_USE} join model m on m.id = v.model where p.deleted is null"
                " order by lower(p.name), p.id"
            ).fetchall()
        models = {ModelId(*row[8:11]) for row in rows}
        nearest = {p.id: near for model in models for p, near in _nearest(self.load(model))}
        counts = {p.id: len(p.exemplars) for model in models for p in self.load(model)}
        return tuple(
            ProfileRow(
                id=id,
                name=name,
                version=version,
                primary=name == primary if primary else marked,
                exemplars=counts.get(id, 0),
                seconds=float(report.get("seconds") or 0.0),
                cohesion=report.get("cohesion"),
                nearest=nearest.get(id),
                threshold=_threshold(threshold),
                suggested=report.get("suggested"),
                model=model,
                dimension=dimension,
                created_wall=created,
                provenance=str(provenance.get("text", "")),
            )
            for id, name, version, marked, threshold, created, provenance, report, model, _, dimension in rows
        )

    def models(self) -> tuple[ModelId, ...]:
        """The models that the profiles in use were made with, by name."""
        with self.database.connection() as connection:
            rows = connection.execute(
                f"select distinct m.name, m.revision, m.dimension {_IN_USE} join model m on m.id = v.model"
                " where p.deleted is null order by 1, 2"
            ).fetchall()
        return tuple(ModelId(*row) for row in rows)

    def reports(self) -> dict[int, dict[str, Any]]:
        """Enrolment reports by profile id."""
        with self.database.connection() as connection:
            rows = connection.execute(f"select p.id, v.report {_IN_USE} where p.deleted is null").fetchall()
        return {int(id): report for id, report in rows}

    def find(self, name: str) -> int:
        """The id of a profile. Raises :class:`Permanent` when there is no profile of that name."""
        with self.database.connection() as connection:
            return _find(connection, name)

    def maker(self, recording: str) -> ModelId | None:
        """The model that made the voices of a stored recording; None when no voices are stored."""
        with self.database.connection() as connection:
            row = connection.execute(
                "select m.name, m.revision, m.dimension, m.content from recording r join model m on m.id = r.voice_model where r.id = %s",
                [recording],
            ).fetchone()
        return None if row is None else ModelId(*row)

    # -- changing ---------------------------------------------------------------------------------------------------

    def save(self, name: str, version: Version, *, threshold: float | None = None) -> int:
        """Save a new profile, or the next version of the profile of that name, and return its id. ``threshold`` None changes
        nothing.

        Raises ``BadVoice`` or ``ForeignVoice`` for vectors that are not voices of this model, :class:`Permanent` for a bad name.
        """
        name = checked_name(name)
        profile(0, name, version.model, version.exemplars, version.centroid)  # raises for vectors that could not be loaded again
        with self.database.transaction() as connection, connection.cursor() as cursor:
            id = insert_profile(cursor, name, version)
            if threshold is not None:
                connection.execute("update profile set threshold = %s where id = %s", [_checked_threshold(threshold), id])
        return id

    def undo(self, name: str) -> int:
        """Return to the version before and return its number. Raises :class:`Permanent` when there is none."""
        with self.database.transaction() as connection:
            id = _find(connection, name)
            row = connection.execute(
                "update profile p set version = (select max(v.version) from profile_version v"
                " where v.profile = p.id and v.version < p.version) where p.id = %(id)s and exists"
                " (select 1 from profile_version v where v.profile = p.id and v.version < p.version) returning p.version",
                {"id": id},
            ).fetchone()
        if row is None:
            raise Permanent(
                f"{name} has no version before this one",
                cause="nothing to undo",
                hint="`gainstage voices delete` removes the profile.",
            )
        return int(row[0])

    def rename(self, name: str, new: str) -> int:
        """Rename a person in everything that is stored; returns how many segments were renamed."""
        new = checked_name(new)
        with self.database.transaction() as connection:
            id = _find(connection, name)
            taken = connection.execute(
                "select 1 from profile where name = %s and deleted is null and id <> %s", [new, id]
            ).fetchone()
            if taken is not None:
                raise Permanent(
                    f"somebody is called {new} already", cause="name taken", hint="`gainstage voices merge` joins two profiles."
                )
            connection.execute("update profile set name = %s where id = %s", [new, id])
            return follow(connection, ProfileName(id, clean_text(name)), ProfileName(id, new))

    def merge(self, name: str, other: str) -> int:
        """Merge two profiles of one person. The voices of both make the next version of ``name``, everything stored under ``other``
        is renamed, and ``other`` is deleted; ``name`` is the primary if either was. Returns how many segments were renamed.

        Raises ``ForeignVoice`` when the profiles come from different models.
        """
        with self.database.transaction() as connection:
            id, gone = _find(connection, name), _find(connection, other)
            if id == gone:
                raise Permanent("a profile cannot be merged with itself", cause="same profile", hint="Name two different profiles.")
            (keep, kept), (lose, lost) = _version(connection, id), _version(connection, gone)
            same_model(lose, keep, what=f"profile {other}")
            voices = np.concatenate([kept.exemplars, lost.exemplars])
            middles = [v.centroid for v in (kept, lost) if v.centroid is not None and not len(v.exemplars)]
            voices = np.concatenate([voices, *[m[None] for m in middles]]) if middles else voices
            provenance = {
                "text": f"{kept.provenance.get('text', name)} + {lost.provenance.get('text', other)}",
                "fingerprints": [*kept.provenance.get("fingerprints", []), *lost.provenance.get("fingerprints", [])],
            }
            seconds = float(kept.report.get("seconds") or 0) + float(lost.report.get("seconds") or 0)
            report = {"seconds": seconds, "cohesion": cohesion(voices)}
            _add(connection, id, Version(keep, spread_exemplars(voices), None, provenance, report))
            renamed = follow(connection, ProfileName(gone, clean_text(other)), ProfileName(id, clean_text(name)))
            connection.execute(
                "update profile p set is_primary = p.is_primary or g.is_primary, threshold = coalesce(p.threshold, g.threshold)"
                " from profile g where p.id = %s and g.id = %s",
                [id, gone],
            )
            connection.execute("delete from profile where id = %s", [gone])
        return renamed

    def set_primary(self, name: str | None) -> None:
        """Mark one profile as the primary, or none."""
        with self.database.transaction() as connection:
            id = None if name is None else _find(connection, name)
            connection.execute("update profile set is_primary = (id is not distinct from %s) where deleted is null", [id])

    def set_threshold(self, name: str, threshold: float | None) -> None:
        """Set a profile's own threshold; None returns it to the setting."""
        value = None if threshold is None else _checked_threshold(threshold)
        with self.database.transaction() as connection:
            connection.execute("update profile set threshold = %s where id = %s", [value, _find(connection, name)])


def insert_profile(cursor: Cursor[TupleRow], name: str, version: Version) -> int:
    """Write a new profile, or the next version of the profile of that name; its id."""
    row = cursor.execute(
        "insert into profile (name) values (%s) on conflict (name) where deleted is null"
        " do update set name = excluded.name returning id",
        [name],
    ).fetchone()
    id = int(row[0]) if row else 0
    _add(cursor, id, version)
    return id


def voices_said(connection: Connection[TupleRow], model: int, dimension: int) -> dict[tuple[int, bool], NDArray[np.float32]]:
    """Voices (k, d) of the corrections that stand, by profile and whether they are of that person (True) or not (False)."""
    rows = connection.execute(
        "select profile, was_profile, voice from correction where undone is null and voice is not null and model = %s order by id",
        [model],
    ).fetchall()
    vectors: dict[tuple[int, bool], list[bytes]] = {}
    for said, was, voice in rows:
        if said is not None:
            vectors.setdefault((said, True), []).append(voice)
        if was is not None and was != said:
            vectors.setdefault((was, False), []).append(voice)
    return {key: _matrix(voices[-MOST_EXEMPLARS:], dimension) for key, voices in vectors.items()}


_IN_USE = "from profile p join profile_version v on v.profile = p.id and v.version = p.version"


def _find(connection: Connection[TupleRow], name: str) -> int:
    row = connection.execute("select id from profile where name = %s and deleted is null for update", [clean_text(name)]).fetchone()
    if row is None:
        raise Permanent(
            f"nobody is enrolled as {clean_text(name, 80)}", cause="no such profile", hint="`gainstage voices list` shows all."
        )
    return int(row[0])


def _add(connection: Connection[TupleRow] | Cursor[TupleRow], id: int, version: Version) -> None:
    """Add the next version of a profile and put it in use."""
    row = connection.execute(
        "insert into profile_version (profile, version, model, provenance, report, centroid)"
        " select %(id)s, coalesce(max(version), 0) + 1, %(model)s, %(provenance)s, %(report)s, %(centroid)s"
        " from profile_version where profile = %(id)s returning id, version",
        {
            "id": id,
            "model": model_row(connection, "voice", version.model),
            "provenance": Jsonb(version.provenance),
            "report": Jsonb(version.report),
            "centroid": None if version.centroid is None else checked(version.centroid).astype("<f4").tobytes(),
        },
    ).fetchone()
    number, count = row or (0, 1)
    voices = [v.astype("<f4").tobytes() for v in version.exemplars]
    connection.execute(
        "insert into exemplar (profile_version, ordinal, voice)"
        " select %s, ordinal - 1, voice from unnest(%s::bytea[]) with ordinality as new (voice, ordinal)",
        [number, voices],
    )
    connection.execute("update profile set version = %s where id = %s", [count, id])


def _version(connection: Connection[TupleRow], id: int) -> tuple[ModelId, Version]:
    """The version of a profile that is in use, with its model."""
    row = connection.execute(
        "select m.name, m.revision, m.dimension, v.centroid, v.provenance, v.report,"
        f" array(select e.voice from exemplar e where e.profile_version = v.id order by e.ordinal) {_IN_USE}"
        " join model m on m.id = v.model where p.id = %s",
        [id],
    ).fetchone()
    if row is None:
        raise Permanent("the profile has no voices", cause="no such profile", hint="Enrol this person again.")
    model = ModelId(*row[:3])
    centroid = None if row[3] is None else np.frombuffer(row[3], "<f4")
    return model, Version(model, _matrix(row[6], model.dimension), centroid, row[4], row[5])


def _matrix(voices: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    if not voices:
        return np.zeros((0, dimension), np.float32)
    return np.stack([np.frombuffer(v, "<f4") for v in voices]).astype(np.float32)


def _nearest(profiles: Sequence[Profile]) -> list[tuple[Profile, tuple[str, float] | None]]:
    """Each profile with the other profile of the nearest centroid, and their cosine."""
    result: list[tuple[Profile, tuple[str, float] | None]] = []
    for p in profiles:
        others = [(float(p.centroid @ o.centroid), o.name) for o in profiles if o.id != p.id]
        cosine, name = max(others, default=(0.0, ""))
        result.append((p, (name, round(cosine, 4)) if others else None))
    return result


def _threshold(stored: float | None) -> float | None:
    """The column has single precision; rounding gives 0.62 back as 0.62."""
    return None if stored is None else round(float(stored), 6)


def _checked_threshold(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise Permanent(
            f"a threshold lies between 0 and 1, not {value}",
            cause="bad threshold",
            hint="0.62 is usual for a host, 0.82 for others.",
        )
    return value

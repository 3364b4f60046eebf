"""The versions of a profile: the recordings each was made from and its quality figures."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.engine.voices.profile_store import ProfileStore


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version, as enrolment or import stored it. Cosines lie in -1..1; None where not measured."""

    version: int
    in_use: bool
    created_wall: float
    model: str
    exemplars: int
    seconds: float  # seconds of speech it was made from
    cohesion: float | None
    held_out: float | None  # mean score of windows held out of the exemplars
    nearest: str | None
    nearest_cosine: float | None
    suggested: float | None  # suggested threshold, never applied
    reason: str
    warnings: tuple[str, ...]
    provenance: str


def versions(store: ProfileStore, name: str) -> tuple[VersionRow, ...]:
    """Every version of a profile, newest first. Raises :class:`Permanent` when there is no profile of that name."""
    id = store.find(name)
    with store.database.connection() as connection:
        rows = connection.execute(
            "select v.version, v.version = p.version, extract(epoch from v.created)::float8, m.name,"
            " (select count(*) from exemplar e where e.profile_version = v.id)::int, v.report, v.provenance"
            " from profile p join profile_version v on v.profile = p.id join model m on m.id = v.model"
            " where p.id = %s order by v.version desc",
            [id],
        ).fetchall()
    return tuple(
        VersionRow(
            version=version,
            in_use=in_use,
            created_wall=created,
            model=model,
            exemplars=exemplars,
            seconds=float(report.get("seconds") or 0.0),
            cohesion=report.get("cohesion"),
            held_out=report.get("held_out"),
            nearest=report.get("nearest"),
            nearest_cosine=report.get("nearest_cosine"),
            suggested=report.get("suggested"),
            reason=str(report.get("reason") or ""),
            warnings=tuple(map(str, report.get("warnings") or ())),
            provenance=str(provenance.get("text") or ""),
        )
        for version, in_use, created, model, exemplars, report, provenance in rows
    )

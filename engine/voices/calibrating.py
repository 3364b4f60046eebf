"""Calibrations in the database: fitted once for each voice model and set of profiles, and used by every decision."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.database import Database
from gainstage.engine.store.vectors import model_row, tables
from gainstage.engine.terms import ModelId, Provenance
from gainstage.engine.voices import cohort
from gainstage.engine.voices.calibration import OTHER_SESSION, Calibration, fit, joined
from gainstage.engine.voices.extract import VoiceExtractor
from gainstage.engine.voices.profile_index import Profile
from gainstage.engine.voices.trials import CohortPerson, Corrected, cohort_trials, corrected_trials, library_trials

_SHORTEST_CORRECTED_S = 0.5
_MOST_CORRECTED = 5000
_listening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration and the trials behind it, of one person and of different people by source."""

    calibration: Calibration
    cohort: tuple[int, int]
    library: tuple[int, int]
    corrected: tuple[int, int]


def calibrate(
    profiles: Sequence[Profile],
    people: Sequence[CohortPerson],
    model: ModelId,
    corrected: Sequence[Corrected] = (),
    *,
    other_session: float = OTHER_SESSION,
) -> Fitted | None:
    """Fit a calibration to the cohort, the enrolled voices' own windows and the corrected turns; None with too few trials. Pure.

    ``other_session`` is how far the scores of one recording are lowered to stand for other ones.
    """
    sources = (
        cohort_trials(people, model),
        library_trials(profiles, people, model),
        corrected_trials(profiles, corrected, model),
    )
    every = [trials for source in sources for trials in source]
    fitted = fit(joined(every), len(profiles), other_session) if every else None
    counts = [(sum(int(t.same.sum()) for t in s), sum(int((~t.same).sum()) for t in s)) for s in sources]
    return None if fitted is None else Fitted(fitted, *counts)


class Calibrations:
    """The calibrations of a database. Thread-safe. Every method may raise :class:`Transient` while the database is away."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def current(
        self, profiles: Sequence[Profile], model: ModelId, extractor: Callable[[], VoiceExtractor], token: CancelToken
    ) -> Calibration | None:
        """The newest calibration of these profiles; fitted and stored where there is none. ``extractor`` is asked for only when the
        cohort was never heard with this model."""
        fitted = self.stored(profiles, model)
        if fitted is None:
            with _listening:
                fitted = self.stored(profiles, model) or self.renew(profiles, model, extractor, token)
        return None if fitted is None else fitted.calibration

    def stored(self, profiles: Sequence[Profile], model: ModelId) -> Fitted | None:
        """The newest calibration stored for these profiles."""
        with self.database.connection() as connection:
            row = connection.execute(
                "select record from voice_calibration where model = %s and profiles = %s order by id desc limit 1",
                [model_row(connection, "voice", model), key_of(profiles)],
            ).fetchone()
        return None if row is None else _fitted(row[0])

    def renew(
        self, profiles: Sequence[Profile], model: ModelId, extractor: Callable[[], VoiceExtractor], token: CancelToken
    ) -> Fitted | None:
        """Fit a calibration to what is known now and store it; None with too few trials."""
        people = self._cohort(model)
        if people is None:
            people = cohort.listen(extractor(), token)
            self._keep(model, people)
        with self.database.connection() as connection:
            corrected = _corrected(connection, model)
        fitted = calibrate(profiles, people, model, corrected)
        if fitted is not None:
            with self.database.transaction() as connection:
                connection.execute(
                    "insert into voice_calibration (model, profiles, record) values (%s, %s, %s)",
                    [model_row(connection, "voice", model), key_of(profiles), Jsonb(asdict(fitted))],
                )
        return fitted

    def _cohort(self, model: ModelId) -> tuple[CohortPerson, ...] | None:
        with self.database.connection() as connection:
            row = connection.execute(
                "select record from voice_cohort where model = %s and made_from = %s",
                [model_row(connection, "voice", model), cohort.MADE_FROM],
            ).fetchone()
        if row is None:
            return None
        return tuple(
            CohortPerson(p["name"], _rows(p["exemplars"], model), _rows(p["voices"], model), np.array(p["seconds"], np.float64))
            for p in row[0]
        )

    def _keep(self, model: ModelId, people: Sequence[CohortPerson]) -> None:
        record = [
            {"name": p.name, "exemplars": _text(p.exemplars), "voices": _text(p.voices), "seconds": p.seconds.tolist()}
            for p in people
        ]
        with self.database.transaction() as connection:
            connection.execute(
                "insert into voice_cohort (model, made_from, record) values (%s, %s, %s)"
                " on conflict (model) do update set made_from = excluded.made_from, record = excluded.record, created = now()",
                [model_row(connection, "voice", model), cohort.MADE_FROM, Jsonb(record)],
            )


def key_of(profiles: Sequence[Profile]) -> str:
    """What a calibration belongs to: these profiles in these versions, with the same primary."""
    text = ";".join(f"{p.id} {p.version} {p.primary}" for p in sorted(profiles, key=lambda p: p.id))
    return hashlib.sha256(f"{cohort.MADE_FROM};{text}".encode()).hexdigest()


def _corrected(connection: Connection[TupleRow], model: ModelId) -> list[Corrected]:
    """The newest turns that an operator labelled by hand and whose voice is stored."""
    number = model_row(connection, "voice", model)
    table = next((t for t in tables(connection, "voice") if t.id == number), None)
    if table is None:
        return []
    query = SQL(
        "select v.vector::text, s.end_s - s.start_s, s.profile from segment s join {} v on v.segment = s.id"
        " where s.provenance = %s and s.end_s - s.start_s >= %s order by s.id desc limit %s"
    ).format(Identifier(table.name))
    rows = connection.execute(query, [str(Provenance.MANUAL), _SHORTEST_CORRECTED_S, _MOST_CORRECTED]).fetchall()
    return [Corrected(_unit(vector), float(seconds), profile) for vector, seconds, profile in rows]


def _unit(text: str) -> NDArray[np.float32]:
    vector = np.array(text.strip("[]").split(","), np.float32)
    unit: NDArray[np.float32] = vector / max(1e-9, float(np.linalg.norm(vector)))
    return unit


def _fitted(record: dict[str, Any]) -> Fitted:
    counts = {kind: (int(record[kind][0]), int(record[kind][1])) for kind in ("cohort", "library", "corrected")}
    return Fitted(Calibration(**record["calibration"]), **counts)


def _text(vectors: NDArray[np.float32]) -> str:
    return base64.b64encode(vectors.astype("<f4").tobytes()).decode("ascii")


def _rows(text: str, model: ModelId) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, model.dimension).astype(np.float32)

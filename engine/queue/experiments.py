"""Experiments as they are kept in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.queue.rows import document
from gainstage.engine.store.database import Database


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """An experiment. ``conclusion`` is a list with an object for each side that was compared."""

    id: int
    wall: float
    spec: dict[str, Any]
    runs: list[dict[str, Any]]
    conclusion: list[dict[str, Any]] | None
    verdict: str
    state: str

    @property
    def what(self) -> str:
        """What was tried, in a few words."""
        against = "" if self.spec["against"] == "current" else f" against {self.spec['against']}"
        sets = ", ".join(self.spec["sets"]) or "current"
        return clean_text(f"{sets}{against}, {len(self.spec['recordings'])} recordings x {self.spec['repeat']}", 80)


_COLUMNS = "id, extract(epoch from made)::float8, spec, runs, conclusion, verdict, state"


def begin(db: Database, spec: Mapping[str, Any]) -> int:
    """A new experiment; its number."""
    with db.transaction() as connection:
        row = connection.execute("insert into experiment (spec) values (%s) returning id", [document(dict(spec))]).fetchone()
    assert row is not None
    return int(row[0])


def keep(
    db: Database, id: int, runs: Sequence[Mapping[str, Any]], conclusion: Sequence[Mapping[str, Any]], verdict: str, state: str
) -> None:
    """What is known of it so far."""
    with db.transaction() as connection:
        connection.execute(
            "update experiment set runs = %s, conclusion = %s, verdict = %s, state = %s where id = %s",
            [json.dumps(list(runs)), json.dumps(list(conclusion)), verdict, state, id],
        )


def end_early(db: Database, id: int) -> None:
    """Its process was killed: it does not run any more, and what it measured is kept."""
    with db.transaction() as connection:
        connection.execute("update experiment set state = 'ended early' where id = %s and state = 'running'", [id])


def list_experiments(db: Database, limit: int = 50) -> tuple[ExperimentRow, ...]:
    """The newest, newest first."""
    with db.transaction() as connection:
        rows = connection.execute(f"select {_COLUMNS} from experiment order by id desc limit %s", [limit]).fetchall()
    return tuple(ExperimentRow(*row) for row in rows)


def find(db: Database, id: int) -> ExperimentRow:
    """One by its number. Raises :class:`Permanent` when there is none."""
    with db.transaction() as connection:
        row = connection.execute(f"select {_COLUMNS} from experiment where id = %s", [id]).fetchone()
    if row is None:
        raise Permanent(f"no experiment {id}", cause="no such experiment", hint="`gainstage experiments` lists them.")
    return ExperimentRow(*row)

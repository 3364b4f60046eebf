"""What the autopilot learned of a machine with its models, kept in the database for the next run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gainstage.engine.queue.rows import document, plain
from gainstage.engine.store.database import Database


@dataclass(frozen=True, slots=True)
class Learned:
    """``best`` is the best configuration known; ``tried`` are value tuples in the order of the settings' names."""

    best: dict[str, int]
    tried: tuple[tuple[int, ...], ...] = ()
    too_much: tuple[dict[str, int], ...] = ()


def recall(db: Database, machine: str, models: str) -> Learned | None:
    """What was learned; None for a machine or models never tuned, and where a row cannot be what :func:`remember` wrote."""
    with db.connection() as connection:
        row = connection.execute(
            "select best, tried, too_much from autopilot_memory where machine = %s and models = %s", [plain(machine), plain(models)]
        ).fetchone()
    if row is None:
        return None
    best, tried, too_much = row
    try:
        return Learned(
            _numbers(best), tuple(tuple(map(int, values)) for values in tried), tuple(_numbers(values) for values in too_much)
        )
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None


def _numbers(values: dict[str, Any]) -> dict[str, int]:
    return {key: int(value) for key, value in values.items()}


def remember(db: Database, machine: str, models: str, learned: Learned) -> None:
    """Store what was learned about a machine with a set of models; it replaces what was known."""
    with db.transaction() as connection:
        connection.execute(
            "insert into autopilot_memory (machine, models, best, tried, too_much) values (%s, %s, %s, %s, %s)"
            " on conflict (machine, models) do update set best = excluded.best, tried = excluded.tried,"
            " too_much = excluded.too_much, at = now()",
            [
                plain(machine),
                plain(models),
                document(learned.best),
                document([list(values) for values in learned.tried]),
                document(list(learned.too_much)),
            ],
        )

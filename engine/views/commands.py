"""What an operator asks of the engines, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


class DeskError(Exception):
    """A query or command that could not be carried out, in words for the operator."""


CommandName = Literal[
    "pause",
    "resume",
    "pause_stage",
    "resume_stage",
    "drain",
    "stop",
    "set",
    "undo",
    "undo_to",
    "retry",
    "cancel",
    "skip",
    "priority",
    "add",
    "reload",
    "enrol",
    "relabel",
    "embed_query",
]


@dataclass(frozen=True, slots=True)
class Command:
    """What an operator asks for. ``engine`` (an id, or the name of one in its home) None means every engine of the database, or of
    ``host`` where that is given.

    Arguments by name: pause_stage/resume_stage ``stage``; set ``key``, ``value``; undo_to ``revision``; retry ``ids`` or
    ``cause`` or ``all``; cancel/skip ``ids``; priority ``ids``, ``delta`` or ``to_front``; add ``sources``, ``options``;
    relabel ``settings``, ``last``; embed_query ``text`` (a desk asks an engine for the vector of a query).
    """

    name: CommandName
    args: dict[str, Any] = field(default_factory=dict)
    engine: str | None = None
    by: str = "operator"
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """What became of a command. ``state`` pending until every engine in scope has answered, or it expired."""

    id: int
    state: Literal["pending", "done", "refused", "expired"]
    text: str = ""
    revision: int | None = None
    old: Any = None
    new: Any = None
    effect: str | None = None
    applied_after_s: float | None = None

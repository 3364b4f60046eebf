"""What one setting is made of: default, range, step, unit, effect and help."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Effect(StrEnum):
    """When a changed value acts on a running engine."""

    NOW = "now"  # at the next slot or batch
    ITEM = "item"  # with the next recording
    RELOAD = "reload"  # the model is swapped when its stage has drained
    RUN = "run"  # at the next start of an engine


class Section(BaseModel):
    """A group of settings; immutable, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def knob(
    default: Any,
    help: str,
    *,
    effect: Effect = Effect.NOW,
    ge: float | None = None,
    le: float | None = None,
    step: float | None = None,
    unit: str = "",
    risk: str = "",
) -> Any:
    """A setting. ``ge``/``le`` bound it, ``step`` is one press of an arrow key, ``risk`` is shown beside a staged change."""
    return Field(
        default,
        ge=ge,
        le=le,
        description=help,
        json_schema_extra={"effect": effect.value, "step": step, "unit": unit, "risk": risk},
    )

"""What a change of settings should do, for every setting that a model exists for: by the simulation of the pipeline, or by stored
decisions judged again. Pure: what the decisions say is handed in.

Advice, the Tune screen before a change is sent, and the record kept beside its outcome all rest on this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gainstage.engine.advisor.forecast import expect
from gainstage.engine.stages import STAGES
from gainstage.engine.views.rows import PredictedEffect, WhatIf
from gainstage.engine.views.snapshot import Snapshot

NO_MODEL = "no model for this setting"
NOT_MEASURED = "cannot be predicted yet: nothing is measured"

SLOTS = frozenset({"in_flight", *(f"workers.{name}" for name in STAGES)})
"""Settings that the simulation knows."""


def predicted(
    frame: Snapshot | None,
    in_flight: int,
    changes: Mapping[str, Any],
    decided: Callable[[dict[str, Any]], str | None],
    *,
    engines: int = 1,
) -> dict[str, PredictedEffect]:
    """What ``changes``, made together, should do, by setting. Settings of one model are one change and have one answer.

    ``frame`` is the newest of an engine at work, None without one; of several ``engines`` it is their sum, while ``in_flight`` and
    the new values are those of each. ``decided`` says what limits of identify would do to stored decisions, None where it has no answer.
    """
    effects = {key: PredictedEffect(NO_MODEL) for key in changes}
    slots = {key: float(value) for key, value in changes.items() if key in SLOTS and isinstance(value, int | float)}
    if slots:
        then = None
        if frame is not None:
            then = expect(frame, in_flight * engines, {key: value * engines for key, value in slots.items()})
        effect = PredictedEffect(NOT_MEASURED) if then is None else PredictedEffect(then.text, round(then.gain, 4))
        effects |= dict.fromkeys(slots, effect)
    limits = {key: value for key, value in changes.items() if key.startswith("identify.")}
    if limits and (text := decided(limits)) is not None:
        effects |= dict.fromkeys(limits, PredictedEffect(text))
    return effects


def decisions_text(what_if: WhatIf) -> str:
    """What other limits would have made of stored decisions, in the words of the measured effect."""
    if not what_if.clusters:
        return "cannot be predicted yet: no decision is stored"
    before, after = what_if.split_before / what_if.clusters, what_if.split_after / what_if.clusters
    moved = f"{what_if.seconds_moved:.0f} s of speech get another name" if what_if.seconds_moved >= 0.5 else "no name changes"
    return f"split {before:.0%} → {after:.0%} of {what_if.clusters} stored clusters, {moved}"

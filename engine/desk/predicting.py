"""What changes of settings should do, as the desk of a real system answers it."""

from __future__ import annotations

from functools import partial
from typing import Any

from gainstage.engine.store.database import Database
from gainstage.engine.views.rows import PredictedEffect
from gainstage.engine.views.snapshot import Snapshot

AT_WORK = ("running", "paused", "draining")
"""States of an engine that has measured what it is predicted by."""


def predict(
    database: Database, frame: Snapshot | None, in_flight: int, changes: dict[str, Any], engines: int
) -> dict[str, PredictedEffect]:
    """See :func:`gainstage.engine.advisor.predicted.predicted`; a frame of an engine that has ended predicts nothing."""
    from gainstage.engine.advisor.predicted import predicted
    from gainstage.engine.voices.replay import decided

    works = frame is not None and frame.run.state in AT_WORK and frame.verdict.health not in ("offline", "done")
    return predicted(frame if works else None, in_flight, changes, partial(decided, database), engines=max(1, engines))

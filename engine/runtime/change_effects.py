"""What changes of settings should do and did, written beside each change."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gainstage.engine.advisor import measured_effects
from gainstage.engine.advisor.forecast import expect
from gainstage.engine.queue import changes
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.views.rows import ChangeRow
from gainstage.engine.views.snapshot import Snapshot

LATEST_CHANGES = 50
"""Latest changes of settings that are looked at."""

ABANDONED_S = 600.0
"""A change that is not measured this long after its window is over (its engine has ended) gets no effect."""


class ChangeEffects:
    """``history`` holds this engine's frames, one a second, oldest first. ``window_s``, ``settle_s`` and ``least_s`` are those
    of :mod:`gainstage.engine.advisor.measured_effects`.
    """

    def __init__(
        self,
        context: EngineContext,
        history: Sequence[Snapshot],
        *,
        window_s: float = measured_effects.WINDOW_S,
        settle_s: float = measured_effects.SETTLE_S,
        least_s: float = measured_effects.LEAST_S,
    ) -> None:
        self.context = context
        self.history = history
        self.window_s = window_s
        self.settle_s = settle_s
        self.least_s = least_s
        self._predicted = context.live.revision

    def predict(self) -> None:
        """Write beside each new change what it should do, from the last frame before it."""
        revision = self.context.live.revision
        if revision <= self._predicted:
            return
        frames = list(self.history)
        for row in changes.history(self.context.database, LATEST_CHANGES):
            frame = next((f for f in reversed(frames) if f.wall <= row.wall), None)
            if row.revision > self._predicted and row.predicted is None and row.state != "refused" and frame is not None:
                expected = expect(frame, _in_flight(row, self.context.settings.in_flight), {row.key: row.new})
                if expected is not None:
                    changes.predict(self.context.database, row.revision, expected.text)
        self._predicted = revision

    def measure(self) -> None:
        """Write beside each change what it did, once the window after it is over; figures are this engine's own."""
        if not self.context.live.revision:
            return
        now = time.time()
        rows = [c for c in changes.history(self.context.database, LATEST_CHANGES) if c.state == "applied"]
        frames = list(self.history)
        for n, row in enumerate(rows):
            if row.effect_text is not None or not self._complete(row, now):
                continue
            if row.wall > self.context.started_wall:
                later = rows[n - 1].wall if n else float("inf")
                earlier = rows[n + 1].wall if n + 1 < len(rows) else float("-inf")
                effect = measured_effects.effect(
                    frames,
                    row.wall,
                    row.key,
                    window_s=self.window_s,
                    settle_s=self.settle_s,
                    since_wall=earlier,
                    until_wall=later,
                    least_s=self.least_s,
                )
                changes.record_effect(self.context.database, row.revision, effect.before, effect.after, effect.text)
            elif self._complete(row, now - ABANDONED_S):
                changes.record_effect(self.context.database, row.revision, None, None, measured_effects.NOT_ENOUGH)

    def _complete(self, row: ChangeRow, now: float) -> bool:
        return measured_effects.complete(row.wall, now, window_s=self.window_s, settle_s=self.settle_s)


def _in_flight(row: ChangeRow, now: int) -> int:
    """The limit in force before the change."""
    return int(row.old) if row.key == "in_flight" and row.old is not None else now

"""What changes of settings should do and did, written beside each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gainstage.engine.advisor import measured_effects
from gainstage.engine.advisor.predicted import predicted
from gainstage.engine.queue import changes
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.views.rows import ChangeRow
from gainstage.engine.views.snapshot import Snapshot

LATEST_CHANGES = 50
"""Latest changes of settings that are looked at."""

TOGETHER_S = 10.0
"""Seconds between two changes up to which they are one."""

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
        """Write beside each new change what it and the others of its group should do, from the last frame before them."""
        revision = self.context.live.revision
        if revision <= self._predicted:
            return
        frames = list(self.history)
        for group in groups([row for row in changes.history(self.context.database, LATEST_CHANGES) if row.state != "refused"]):
            frame = next((f for f in reversed(frames) if f.wall <= group[0].wall), None)
            if group[-1].revision <= self._predicted or frame is None:
                continue
            together = {row.key: row.new for row in group}
            effects = predicted(frame, _in_flight(group[0], self.context.settings.in_flight), together, self._decided)
            for row in group:
                changes.predict(self.context.database, row.revision, effects[row.key].text, effects[row.key].gain)
        self._predicted = revision

    def _decided(self, limits: dict[str, Any]) -> str | None:
        from gainstage.engine.voices.replay import decided

        return decided(self.context.database, limits)

    def measure(self) -> None:
        """Write beside each change what its group did: an interim effect after a minute of work, the final one when the window after
        it is over. Figures are this engine's own."""
        if not self.context.live.revision:
            return
        now = self.context.wall()
        together = groups([c for c in changes.history(self.context.database, LATEST_CHANGES) if c.state == "applied"])
        frames, finished = list(self.history), self.context.totals.finished()
        for n, group in enumerate(together):
            first, last = group[0], group[-1]
            if all(row.effect_text is not None and not row.interim for row in group):
                continue
            over = self._complete(last, now)
            if first.wall <= self.context.started_wall:
                if self._complete(last, now - ABANDONED_S):
                    for row in group:
                        changes.record_effect(self.context.database, row.revision, None, None, measured_effects.NOT_ENOUGH)
                continue
            effect = measured_effects.effect(
                frames,
                last.wall,
                last.key,
                window_s=self.window_s,
                settle_s=self.settle_s,
                since_wall=together[n - 1][-1].wall if n else float("-inf"),
                before_wall=first.wall,
                until_wall=together[n + 1][0].wall if n + 1 < len(together) else float("inf"),
                least_s=self.least_s,
                finished=finished,
            )
            if over or effect.after is not None:
                self._record(group, effect, interim=not over)

    def _record(self, group: Sequence[ChangeRow], effect: measured_effects.MeasuredEffect, *, interim: bool) -> None:
        gain = None if effect.gain is None else (effect.gain.gain, effect.gain.low, effect.gain.high)
        for row in group:
            others = ", ".join(other.key for other in group if other is not row)
            text = effect.text + (f", together with {others}" if others else "") + (" so far" if interim else "")
            if text != row.effect_text:
                changes.record_effect(
                    self.context.database, row.revision, effect.before, effect.after, text, gain=gain, interim=interim
                )

    def _complete(self, row: ChangeRow, now: float) -> bool:
        return measured_effects.complete(row.wall, now, window_s=self.window_s, settle_s=self.settle_s)


def groups(newest_first: Sequence[ChangeRow]) -> list[list[ChangeRow]]:
    """Changes made within :data:`TOGETHER_S` of one another are one: their effects cannot be told apart. Oldest first."""
    together: list[list[ChangeRow]] = []
    for row in reversed(newest_first):
        if together and row.wall - together[-1][-1].wall <= TOGETHER_S:
            together[-1].append(row)
        else:
            together.append([row])
    return together


def _in_flight(row: ChangeRow, now: int) -> int:
    """The limit in force before the change."""
    return int(row.old) if row.key == "in_flight" and row.old is not None else now

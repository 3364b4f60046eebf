"""Keeps what a verdict may reuse for a few seconds: the forecast and what a piece of advice should bring.

Both simulate the pipeline, which is too much for every frame. The verdict itself stays the pure
:func:`gainstage.engine.advisor.verdict.verdict`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gainstage.config.settings import SPECS
from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.advice import Case, expected
from gainstage.engine.advisor.verdict import explained, health_findings, verdict
from gainstage.engine.views.scopes import scoped
from gainstage.engine.views.snapshot import CLOCK_BACK_S, Advice, Forecast, ScopeView, Snapshot

PARTS = 5.0
"""A forecast is made anew at least so often until its end."""


class VerdictCache:
    """Puts a verdict on each frame. Not thread-safe: it belongs to the publisher's thread.

    ``forecast_s`` and ``expect_s`` are how old a forecast and an expectation may be, in seconds of wall time; both are made
    anew at once when the capacities, the state or the advice change.
    """

    def __init__(self, *, keep_s: float = 900.0, forecast_s: float = 5.0, expect_s: float = 15.0) -> None:
        self.keep_s = keep_s
        self.forecast_s = forecast_s
        self.expect_s = expect_s
        self._history: deque[Snapshot] = deque()
        self._left: tuple[float, object, Forecast] | None = None
        self._left_run: tuple[float, object, Forecast] | None = None
        self._expected: tuple[float, object, Advice | None] | None = None

    def judge(self, frame: Snapshot, settings: Mapping[str, Any], *, keep: bool = True) -> Snapshot:
        """The frame with its verdict. One frame a second is kept as history; ``keep`` False leaves no trace of this one."""
        history = self._history
        if history and frame.wall < history[-1].wall - CLOCK_BACK_S:
            history.clear()
            self._left = self._left_run = self._expected = None
        while history and history[0].wall < frame.wall - self.keep_s:
            history.popleft()
        history.append(frame)
        before = self._left, self._expected
        left = self._forecast(frame, int(settings.get("in_flight", SPECS["in_flight"].default)))
        judgement = verdict(history, settings, left=left, advise=self._advise)
        judged = replace(frame, verdict=judgement)
        if not keep:
            history.pop()
            self._left, self._expected = before
            return judged
        history[-1] = judged
        if len(history) > 2 and history[-2].wall - history[-3].wall < 0.95:
            del history[-2]
        return judged

    def judge_scopes(self, frame: Snapshot, in_flight: int, ahead: tuple[int, int, float | None]) -> Snapshot:
        """The judged frame with a judgement of each of its scopes. ``ahead``: recordings queued and running, and seconds of audio,
        that are to be done until the end of the run at hand."""
        past = list(self._history)[:-1]
        scopes = []
        for scope in frame.scopes:
            left = frame.verdict.forecast
            if scope.name == "run":
                left = self._left_of_run(frame, in_flight, scope, ahead)
            seen = scoped(frame, scope.name)
            findings = health_findings([*past, seen])
            first = next(f for f in findings if f.holds)
            scopes.append(replace(scope, health=first.health, reason=first.reason, why=explained(findings), left=left))
        return replace(frame, scopes=tuple(scopes))

    def _left_of_run(self, frame: Snapshot, in_flight: int, scope: ScopeView, ahead: tuple[int, int, float | None]) -> Forecast:
        queued, running, audio_s = ahead
        if (queued, running) == (frame.run.queued, frame.run.running):
            return frame.verdict.forecast
        kept = self._left_run
        key = (scope.run, queued, running, frame.run.state)
        if kept is not None and kept[1] == key and frame.wall - kept[0] < self._good_for_s(kept[2]):
            return _aged(kept[2], frame.wall - kept[0])
        fresh = forecast.eta(
            replace(frame, run=replace(frame.run, queued=queued, running=running, audio_left_s=audio_s)), in_flight
        )
        self._left_run = (frame.wall, key, fresh)
        return fresh

    def _forecast(self, frame: Snapshot, in_flight: int) -> Forecast:
        shape = (frame.run.state, in_flight, tuple((s.capacity, s.paused) for s in frame.stages))
        kept = self._left
        if kept is not None and kept[1] == shape and frame.wall - kept[0] < self._good_for_s(kept[2]):
            return _aged(kept[2], frame.wall - kept[0])
        fresh = forecast.eta(frame, in_flight)
        self._left = (frame.wall, shape, fresh)
        return fresh

    def _good_for_s(self, kept: Forecast) -> float:
        """How old a forecast may be: a part of the time that is left, and no more than a second where there is none yet."""
        return min(self.forecast_s, 1.0 if kept.left_s is None else kept.left_s / PARTS)

    def _advise(self, advice: Advice, case: Case) -> Advice | None:
        kept = self._expected
        key = (advice.id, advice.old, advice.new)
        if kept is not None and kept[1] == key and case.now.wall - kept[0] < self.expect_s:
            return kept[2] if kept[2] is None or kept[2].also else replace(advice, expected=kept[2].expected)
        fresh = expected(advice, case)
        self._expected = (case.now.wall, key, fresh)
        return fresh


def _aged(estimate: Forecast, by_s: float) -> Forecast:
    """The same forecast some seconds later."""
    if estimate.left_s is None or estimate.low_s is None or estimate.high_s is None or estimate.left_s == 0:
        return estimate
    return replace(
        estimate,
        left_s=max(0.0, estimate.left_s - by_s),
        low_s=max(0.0, estimate.low_s - by_s),
        high_s=max(0.0, estimate.high_s - by_s),
    )

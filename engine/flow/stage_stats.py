"""What a stage has done: counts, sums, quantiles, and what its slots did over time. Its stage calls it under one lock."""

from __future__ import annotations

from gainstage.engine.flow.gate import Gate
from gainstage.engine.flow.slot import Slot
from gainstage.engine.flow.utilisation import AUDIO, BLOCKED, BUSY, FINISHED, LIVE, PAUSED, SERVED, SPAN_S, STARVED, Utilisation
from gainstage.engine.telemetry.meters import Recent
from gainstage.engine.views.passes import PARTIAL, StageFigures, StageSpan, StageTotals
from gainstage.engine.views.snapshot import SlotView, StageView

Shares = tuple[float | None, float | None, float | None]

SHARE_S = 60.0
"""Seconds that the shares of a view look back over, since the first work at most."""

LEAST_EXPECTED_S = 5.0
"""What a short recording may take in any case where others take as long: a pass has a part that does not grow with length."""

LEAST_S = 4.0
"""Shares and passes per minute over less work than this are not known yet."""

NOTICED_S = 1.0
"""Time in which work is noticed to have begun: what ended in it counts."""


class StageStats:
    """The figures of one gate."""

    def __init__(self, gate: Gate, now: float) -> None:
        self._gate = gate
        self._utilisation = Utilisation(now)
        self._utilisation.set_rates(gate.rates())
        self._waits = Recent(now)  # of passes that were served
        self._services = Recent(now)  # of passes that ended well
        self._paces = Recent(now)  # their service seconds per second of audio
        self._counts = {"ok": 0, "failed": 0, "cancelled": 0}
        self._waited_s = self._served_s = self._audio_s = 0.0
        self._retries = 0
        self._last_error: str | None = None
        self._anew_at: float | None = None
        self._held: tuple[Shares, float | None] | None = None

    def advance(self, now: float) -> None:
        """Before the gate changes: account for the time up to now."""
        self._utilisation.advance(now)

    def settle(self) -> None:
        """After the gate changed: what its slots do from now on."""
        self._utilisation.set_rates(self._gate.rates())

    def count(self, span: StageSpan, *, retry: bool) -> None:
        """A pass has ended now; ``retry``: by an error that may be tried again."""
        partial = span.outcome == "ok" and span.cause == PARTIAL
        self._counts[span.outcome] += not partial
        self._waited_s += span.waited_s
        if span.service_s is not None:
            self._waits.record(span.waited_s)
            self._served_s += span.service_s
        if partial:
            self._utilisation.finished_part(span.service_s or 0.0)
        elif span.outcome == "ok" and span.service_s is not None:
            if span.audio_s:
                self._paces.record(span.service_s / span.audio_s)
            self._services.record(span.service_s)
            self._audio_s += span.audio_s or 0.0
            self._utilisation.finished(span.audio_s, span.service_s)
        elif span.outcome == "failed":
            self._last_error = span.cause
            self._retries += retry

    def expected_s(self, audio_s: float | None, now: float) -> float | None:
        """Longest service to expect of a recording of this length: that of 95 in 100, by their length; None without any."""
        service_p50_s, service_p95_s = self._services.median_and_p95(now)
        _, pace_p95 = self._paces.median_and_p95(now)
        if audio_s is None or pace_p95 is None:
            return service_p95_s
        return max(pace_p95 * audio_s, min(service_p50_s or 0.0, LEAST_EXPECTED_S))

    def begin_anew(self, now: float) -> None:
        """Measure shares from the next work on, and passes per minute from now."""
        self._utilisation.begin_anew()
        self._anew_at = now

    def figures(self, now: float, window_s: float) -> StageFigures:
        length, sums = self._utilisation.window(window_s)
        return StageFigures(
            window_s=length,
            capacity_s=sums[LIVE],
            busy_s=sums[BUSY],
            starved_s=sums[STARVED],
            blocked_s=sums[BLOCKED],
            paused_s=sums[PAUSED],
            finished=round(sums[FINISHED]),
            depth=len(self._gate.waiters),
            oldest_wait_s=self._gate.oldest_wait_s(now),
        )

    def totals(self) -> StageTotals:
        waits, services = self._waits.life, self._services.life
        return StageTotals(
            done=self._counts["ok"],
            failed=self._counts["failed"],
            cancelled=self._counts["cancelled"],
            waited_s=self._waited_s,
            served_s=self._served_s,
            audio_s=self._audio_s,
            wait_p50_s=waits.quantile(0.5),
            wait_p95_s=waits.quantile(0.95),
            service_p50_s=services.quantile(0.5),
            service_p95_s=services.quantile(0.95),
        )

    def hold(self, now: float, held: bool) -> None:
        """Keep shares and passes per minute as they are now, or let them move again."""
        if held and self._held is None:
            self._held = self._shares(now), self._per_minute(now)
        elif not held:
            self._held = None

    def _shares(self, now: float) -> Shares:
        """Busy, starved and blocked share since the first work, of the last minute at most; None until that is known."""
        worked_s = self._utilisation.worked_s()
        if worked_s is None or worked_s < LEAST_S:
            return None, None, None
        figures = self.figures(now, min(SHARE_S, worked_s))
        return figures.busy_share, figures.starved_share, figures.blocked_share

    def _per_minute(self, now: float) -> float | None:
        """Passes per minute since the engine's work began, of the last minute at most; None until that is known."""
        worked_s = SHARE_S if self._anew_at is None else now - self._anew_at
        if worked_s < LEAST_S or not (self._counts["ok"] or self._anew_at is not None):
            return None
        return self.figures(now, min(SHARE_S, worked_s + NOTICED_S)).per_minute

    def view(self, name: str, note: str | None, now: float) -> StageView:
        gate = self._gate
        figures = self.figures(now, SHARE_S)
        (busy, starved, blocked), per_minute = self._held or (self._shares(now), self._per_minute(now))
        _, sums = self._utilisation.window(SPAN_S)
        wait_p50_s, wait_p95_s = self._waits.median_and_p95(now)
        service_p50_s, service_p95_s = self._services.median_and_p95(now)
        return StageView(
            name=name,
            capacity=gate.capacity,
            busy=gate.busy,
            depth=figures.depth,
            oldest_wait_s=figures.oldest_wait_s,
            paused=bool(gate.pausers),
            done=self._counts["ok"],
            failed=self._counts["failed"],
            per_minute=per_minute,
            wait_p50_s=wait_p50_s,
            wait_p95_s=wait_p95_s,
            service_p50_s=service_p50_s,
            service_p95_s=service_p95_s,
            rtfx=sums[AUDIO] / sums[SERVED] if sums[SERVED] > 0 else None,
            busy_share=busy,
            starved_share=starved,
            blocked_share=blocked,
            slots=tuple(_slot_view(slot, gate.capacity, now) for _, slot in sorted(gate.slots.items())),
            trend=self._utilisation.trend(),  # on a time axis: it moves on where the shares are held
            last_error=self._last_error,
            retries=self._retries,
            note=note,
        )


def _slot_view(slot: Slot, capacity: int, now: float) -> SlotView:
    state = "idle" if slot.recording is None else "busy" if slot.index < capacity else "retiring"
    return SlotView(slot.index, slot.recording, state, max(0.0, now - slot.since))

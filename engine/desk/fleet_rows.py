"""A row for each engine of a database: pure functions over what the engines show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gainstage.engine.views.rows import EngineRow, FleetRow
from gainstage.engine.views.snapshot import Snapshot


def fleet_rows(engines: Sequence[EngineRow], frames: Mapping[str, Snapshot]) -> tuple[FleetRow, ...]:
    """A row for each engine, with what its newest frame says of it."""
    return tuple(_row(engine, frames.get(engine.id)) for engine in engines)


def _row(engine: EngineRow, frame: Snapshot | None) -> FleetRow:
    bare = FleetRow(engine.id, engine.host, engine.state, engine.heartbeat_age_s, engine.version, engine.alive)
    if frame is None or not engine.alive:
        return bare
    card = max(frame.devices, key=lambda d: d.memory_ours or 0, default=None)
    waiting = frame.run.reason or next(iter(frame.run.loading), None)
    return replace(
        bare,
        card=card.name if card else "cpu",
        rtfx=frame.run.rtfx,
        bottleneck=frame.verdict.bottleneck.stage or frame.verdict.bottleneck.kind,
        in_flight=len(frame.flights),
        memory_used=card.memory_used if card else None,
        memory_total=card.memory_total if card else None,
        temperature=card.temperature if card else None,
        waiting_for=waiting or ("" if frame.flights else "work"),
    )

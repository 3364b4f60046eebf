"""What a fleet of any size asks of one Postgres, from what fleets of a few sizes were seen to ask. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RATE = 210.0
"""Claims a second of a thousand engines: 150 times real time, recordings of twelve minutes."""

SIZES = (8, 32, 64, 250, 1000)
"""Engines of the rows of the table."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a server did for so many engines: their ``claims`` a second, ``cores`` of the server's processor time a second, ``wal`` in
    bytes a second. Every engine writes a frame a second and a heartbeat each ``queue.heartbeat``.
    """

    engines: int
    claims: float
    cores: float
    wal: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds and bytes of WAL of the server: for a recording claimed and stored, and for an engine each second."""

    cores_idle: float
    cores_per_claim: float
    cores_per_engine: float
    wal_per_claim: float
    wal_per_engine: float


def fit(claims: Load, fleets: Sequence[Load], idle: float) -> Costs:
    """Costs from a load of claims alone and from at least one fleet: what its claims do not explain is its engines'.

    ``idle`` are the cores of a server without clients. Least squares through the origin over the fleets.
    """
    per_claim, wal_per_claim = max(0.0, claims.cores - idle) / claims.claims, claims.wal / claims.claims
    squares = sum(f.engines**2 for f in fleets)
    per_engine = sum(f.engines * (f.cores - idle - f.claims * per_claim) for f in fleets) / squares
    wal_per_engine = sum(f.engines * (f.wal - f.claims * wal_per_claim) for f in fleets) / squares
    return Costs(idle, per_claim, max(0.0, per_engine), wal_per_claim, max(0.0, wal_per_engine))


def predicted(costs: Costs, engines: int, claims: float | None = None) -> Load:
    """What ``engines`` ask of the server, with ``claims`` a second, else those of cards that are always busy."""
    claims = RATE * engines / 1000 if claims is None else claims
    return Load(
        engines,
        claims,
        costs.cores_idle + claims * costs.cores_per_claim + engines * costs.cores_per_engine,
        claims * costs.wal_per_claim + engines * costs.wal_per_engine,
    )


def errors(costs: Costs, fleets: Sequence[Load]) -> Mapping[int, float]:
    """By engines: the predicted cores over those measured, minus one."""
    return {f.engines: predicted(costs, f.engines, f.claims).cores / f.cores - 1 for f in fleets}

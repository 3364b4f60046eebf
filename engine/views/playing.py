"""What can be heard of a recording, and where it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Playable:
    """A stretch of a recording from ``start`` to ``end`` seconds. ``path`` is a media file of this machine, ``url`` an address that
    some players open; None where there is none."""

    recording: str
    title: str
    start: float
    end: float
    speaker: str
    path: str | None
    url: str | None

"""The newest frames of the engines of a database, read where they changed, as one frame of all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from gainstage.engine.queue.engines import FEW, frames_of_all, look_at_all
from gainstage.engine.store.database import Database
from gainstage.engine.views.frame_json import BadFrame, loads
from gainstage.engine.views.snapshot import Snapshot

if TYPE_CHECKING:
    from gainstage.engine.desk.fleet_view import FleetView

MANY_EVERY_S = 0.9
"""Between two looks at the frames of more than :data:`FEW` engines, each of which writes one a second."""
READ_AT_ONCE = 16
"""Most frames that are read again at a look: of a fleet of 64 each is four seconds old at most."""
HISTORY_FRAMES = 1000
"""Most kept frames that a history is made of: the more engines, the farther apart its moments."""


class FleetReader:
    """The newest frame of each living engine, read again only where it has changed; many of them once a second at most, and
    :data:`READ_AT_ONCE` at a time, so that a console of any fleet costs the same. Thread-safe.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.frames: dict[str, Snapshot] = {}
        """By engine, in the order they signed on."""
        self._at: dict[str, datetime] = {}
        self._view: FleetView | None = None
        self._whole: tuple[float, Snapshot] | None = None
        self._lock = threading.Lock()

    def read(self, in_flight: Callable[[], int], *, watching: bool = False) -> Snapshot | None:
        """The fleet as one frame; None while no living engine has shown one. An engine whose frames cannot be read is left out.

        Raises :class:`gainstage.engine.views.frame_json.BadFrame` when that is true of all.
        """
        with self._lock:
            if self._whole is not None and time.monotonic() - self._whole[0] < MANY_EVERY_S and not watching:
                return self._whole[1]
            published = look_at_all(self.database, self._at, watching=watching, most=READ_AT_ONCE)
            frames, bad = {}, None
            for one in published:
                try:
                    frames[one.engine] = self.frames[one.engine] if one.text is None else loads(one.text)
                except BadFrame as error:
                    bad = error
            self.frames, self._at = frames, {one.engine: one.at for one in published if one.engine in frames}
            if bad is not None and not frames:
                raise bad
            self._whole = None
            if len(frames) < 2:
                return next(iter(frames.values()), None)
            if self._view is None:
                from gainstage.engine.desk.fleet_view import FleetView  # with all that makes a verdict: most have one engine

                self._view = FleetView()
            whole = self._view.frame(tuple(frames.values()), in_flight())
            if len(frames) > FEW:
                self._whole = time.monotonic(), whole
            return whole

    def history(self, seconds: float, in_flight: int) -> tuple[Snapshot, ...]:
        """The last ``seconds`` of the fleet, oldest first: each moment is one frame of every engine that lived then."""
        from gainstage.engine.desk.fleet_view import FleetView

        view, moments = FleetView(), frames_of_all(self.database, seconds, HISTORY_FRAMES)
        return tuple(view.frame(moment, in_flight) for moment in moments)

"""A recorded run as a desk: the same screens, moved through time, with every command refused."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from gainstage.config.regular_files import check_regular
from gainstage.engine.desk.fleet_rows import fleet_rows
from gainstage.engine.telemetry import delta
from gainstage.engine.telemetry.recorder import (
    LARGEST_IN_ALL,
    MOST_FRAMES,
    BadRecording,
    Record,
    inflated,
    parsed,
    payload,
    records,
    unpack,
)
from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff, CorrectionUndone, StoredTranscript
from gainstage.engine.views.events import Event, Events
from gainstage.engine.views.experiments import NoExperiments
from gainstage.engine.views.frame_json import MALFORMED, build, loads
from gainstage.engine.views.judged import Judged
from gainstage.engine.views.playing import Playable
from gainstage.engine.views.rows import (
    ChangeRow,
    EngineRow,
    FailureGroup,
    FleetRow,
    PredictedEffect,
    Preview,
    ProfileRow,
    Query,
    RecordingDetail,
    RecordingPage,
    RecordingRow,
    SettingRow,
    WhatIf,
    WhatIfDiff,
)
from gainstage.engine.views.search_rows import ContextLine, IndexHealth, SearchResult
from gainstage.engine.views.snapshot import DecisionRow, FlightView, Snapshot

HELD = 128
"""Decoded frames kept."""
MARKED = ("change", "failure")
"""Kinds of events that a replay jumps to."""

MOST_HISTORY = 360
"""Frames a history is thinned to; decoding takes a few milliseconds each."""


class ReplayDesk(NoExperiments):
    """A run from a ``.gsr`` file. Plays from its start at ``speed`` recorded seconds per second of ``clock``.

    Raises :class:`gainstage.engine.telemetry.recorder.BadRecording` for a file that is none or holds no frame, ``OSError`` as files do.
    Safe to call from several threads.
    """

    live = False
    read_only = True
    engine: str | None = None

    def __init__(self, path: Path, *, speed: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.RLock()
        check_regular(path)
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._clock = clock
        self._frames: list[Record] = []
        self._events: list[Event] = []
        self._event_walls: list[float] = []
        self._changes: list[ChangeRow] = []
        self._decisions: list[DecisionRow] = []
        self._settings: tuple[SettingRow, ...] = ()
        self._decoded: OrderedDict[int, dict[str, Any]] = OrderedDict()
        try:
            self._read_all()
        except BadRecording:
            self._file.close()
            raise
        except MALFORMED as error:  # a checksum keeps nobody from writing one
            self._file.close()
            raise BadRecording(f"not a recorded run: a record is of another make: {error}") from error
        except BaseException:
            self._file.close()
            raise
        self._walls = [f.wall for f in self._frames]
        self.start_wall, self.end_wall = self._walls[0], self._walls[-1]
        self.label = time.strftime("REPLAY %Y-%m-%d %H:%M", time.localtime(self.start_wall))
        self._speed = speed
        self._playing = True
        self._base = (self._clock(), self.start_wall)

    def _read_all(self) -> None:
        """Everything but the frames, which stay in the file until they are asked for."""
        key_seen, room = False, LARGEST_IN_ALL
        for record in records(self._file):
            if record.kind in "KD":
                key_seen = key_seen or record.kind == "K"
                if key_seen:
                    self._frames.append(record)
                if len(self._frames) > MOST_FRAMES:
                    raise BadRecording(f"not a recorded run: it holds more than {MOST_FRAMES:,} frames")
                continue
            data = payload(self._file, record)
            if data is None:
                break
            text = inflated(data, room)
            room, value = room - len(text), parsed(text)
            if record.kind == "E":
                self._events += build(tuple[Event, ...], value)
            elif record.kind == "C":
                self._changes += build(tuple[ChangeRow, ...], value)
            elif record.kind == "V":
                self._decisions += build(tuple[DecisionRow, ...], value)
            else:
                self._settings = build(tuple[SettingRow, ...], value["settings"])
        if not self._frames:
            raise BadRecording("the recorded run holds no frame")
        self._events.sort(key=lambda e: e.seq)
        self._event_walls = list(accumulate((e.wall for e in self._events), max))  # a clock may have been put back

    @property
    def playback(self) -> ReplayDesk:
        return self

    @property
    def moments(self) -> tuple[float, ...]:
        """When something was changed or failed, in order."""
        return tuple(sorted({*(c.wall for c in self._changes), *(e.wall for e in self._events if e.kind in MARKED)}))

    # -- moving through time ----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The recorded wall time that is shown; stays at the end when that is reached."""
        at, wall = self._base
        moved = (self._clock() - at) * self._speed if self._playing else 0.0
        return min(self.end_wall, max(self.start_wall, wall + moved))

    def seek(self, wall: float) -> None:
        """Show this moment; clipped to the run."""
        with self._lock:
            self._base = (self._clock(), min(self.end_wall, max(self.start_wall, wall)))

    @property
    def speed(self) -> float:
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        self.seek(self.now())
        self._speed = value

    @property
    def playing(self) -> bool:
        return self._playing

    @playing.setter
    def playing(self, value: bool) -> None:
        self.seek(self.now())
        self._playing = value

    # -- frames -----------------------------------------------------------------------------------------------------------

    def _tree(self, index: int) -> dict[str, Any]:
        """The decoded frame; a broken one is the last good one before it."""
        decoded = self._decoded.get(index)
        if decoded is not None:
            self._decoded.move_to_end(index)
            return decoded
        first = index
        while first not in self._decoded and self._frames[first].kind != "K":
            first -= 1
        tree: dict[str, Any] = self._decoded.get(first) or {}
        for i in range(first if not tree else first + 1, index + 1):
            data = payload(self._file, self._frames[i])
            if data is None:  # not kept: what follows must not be applied to it
                return self._whole(tree)
            value = unpack(data)
            tree = value if self._frames[i].kind == "K" else delta.apply(tree, value)
        self._decoded[index] = tree
        while len(self._decoded) > HELD:
            self._decoded.popitem(last=False)
        return tree

    def _frame(self, index: int) -> Snapshot:
        try:
            return loads(self._tree(index))
        except MALFORMED as error:
            raise DeskError("this part of the recorded run is damaged") from error

    @staticmethod
    def _whole(tree: dict[str, Any]) -> dict[str, Any]:
        if not tree:
            raise DeskError("this part of the recorded run is damaged")
        return tree

    def snapshot(self) -> Snapshot | None:
        with self._lock:
            return self._frame(max(0, bisect_right(self._walls, self.now()) - 1))

    def history(self, seconds: float) -> tuple[Snapshot, ...]:
        """At most :data:`MOST_HISTORY` frames, evenly spread, the last one always among them."""
        with self._lock:
            last = max(0, bisect_right(self._walls, self.now()) - 1)
            first = min(last, bisect_left(self._walls, self.now() - seconds))
            step = max(1, -(-(last - first + 1) // MOST_HISTORY))
            return tuple(self._frame(i) for i in range(last - (last - first) // step * step, last + 1, step))

    def fleet(self) -> tuple[FleetRow, ...]:
        frame = self.snapshot()
        return fleet_rows(self.engines(), {frame.engine: frame} if frame else {})

    def narrow(self, engine: str | None) -> None:
        """There is one engine: nothing changes."""

    def engines(self) -> tuple[EngineRow, ...]:
        frame = self.snapshot()
        if frame is None:
            return ()
        doing = f"{len(frame.flights)} in flight"
        return (EngineRow(frame.engine, frame.host.name, frame.pid, frame.run.state, 0.0, doing, frame.version),)

    def events(self, after: int, limit: int = 500) -> Events:
        """Events up to the moment shown; a cursor from later (before a seek back) comes back to it."""
        with self._lock:
            past = self._events[: bisect_right(self._event_walls, self.now())]
            newest = past[-1].seq if past else 0
            fresh = (
                [e for e in past[-limit - 1 :] if e.seq > after] if newest - after <= limit else [e for e in past if e.seq > after]
            )
            taken = fresh[:limit]
            return Events(tuple(taken), taken[-1].seq if taken else min(after, newest), 0)

    # -- what was recorded ------------------------------------------------------------------------------------------------

    def recordings(self, query: Query) -> RecordingPage:
        """The recordings in flight at this moment: a recorded run holds no others."""
        frame = self.snapshot()
        rows = [_row(f, frame) for f in frame.flights] if frame else []
        text = query.text.lower()
        matching = [r for r in rows if _matches(r, query, text) != query.invert]
        name = _SORTS.get(query.sort, "id")
        matching.sort(key=lambda r: ((v := getattr(r, name)) is not None, 0 if v is None else v), reverse=query.descending)
        return RecordingPage(tuple(matching[query.offset : query.offset + query.limit]), len(rows), len(matching))

    def recording(self, id: str) -> RecordingDetail:
        frame = self.snapshot()
        flight = next((f for f in frame.flights if f.id == id), None) if frame else None
        if frame is None or flight is None:
            raise DeskError(f"{id} is not in flight at this moment of the replay")
        events = tuple(e for e in self._events if e.recording == id and e.wall <= self.now())
        return RecordingDetail(_row(flight, frame), (), self.decisions(recording=id), events, (), ())

    def failures(self) -> tuple[FailureGroup, ...]:
        return ()

    def decisions(self, limit: int = 500, recording: str | None = None) -> tuple[DecisionRow, ...]:
        now = self.now()
        past = [d for d in self._decisions if d.wall <= now and (recording is None or d.recording == recording)]
        return tuple(sorted(past, key=lambda d: -d.id)[:limit])

    def what_if(self, changes: dict[str, Any], last: int = 500) -> WhatIf:
        """Which recorded clusters other limits would split. Labels inside a split are not tried: that needs the evidence."""
        began = time.perf_counter()
        known = [f"identify.{name}" for name in ("variance_limit", "range_limit", "variance_spreads", "range_spreads")]
        if unknown := set(changes) - set(known):
            raise DeskError(f"a replay can only try {', '.join(known)}, not {min(unknown)}")
        frame = self.snapshot()
        rows = self.decisions(last)
        if frame is None:
            raise DeskError("no frame here")
        tried: dict[str, Any] = {key.removeprefix("identify."): float(value) for key, value in changes.items()}
        limits = replace(frame.decisions, **tried)
        after = [Judged.of(row, limits).over for row in rows]
        flips = tuple(
            WhatIfDiff(r.recording, r.title, r.cluster, "SPLIT" if r.split else "keep", "SPLIT" if split else "keep", r.seconds)
            for r, split in zip(rows, after, strict=True)
            if split != r.split
        )
        touched = len({f.recording for f in flips})
        moved = sum(f.seconds for f in flips)
        took = time.perf_counter() - began
        return WhatIf(dict(changes), len(rows), sum(r.split for r in rows), sum(after), flips, moved, touched, took)

    def settings(self) -> tuple[SettingRow, ...]:
        """As they were at this moment: those the recording began with, and the changes since."""
        now = self.now()
        values = {c.key: c for c in self._changes if c.state == "applied" and c.wall <= now}
        return tuple(
            replace(row, value=c.new, origin="live", revision=c.revision) if (c := values.get(row.key)) else row
            for row in self._settings
        )

    def changes(self, limit: int = 200) -> tuple[ChangeRow, ...]:
        """Changes so far, newest first; the last word on each (its measured effect) counts."""
        now = self.now()
        rows = {(c.revision, c.key, c.wall): c for c in self._changes if c.wall <= now}
        return tuple(sorted(rows.values(), key=lambda c: (-c.wall, -c.revision))[:limit])

    def predict(self, changes: dict[str, Any]) -> dict[str, PredictedEffect]:
        return {key: PredictedEffect("this is a replay: nothing can be changed") for key in changes}

    def profiles(self) -> tuple[ProfileRow, ...]:
        return ()

    def index_health(self) -> IndexHealth:
        frame = self.snapshot()
        segments = frame.database.segments if frame and frame.database.segments is not None else 0
        return IndexHealth(segments, segments, 0, None, "replay", frame.run.last_commit_wall if frame else None)

    # -- what a replay cannot do ------------------------------------------------------------------------------------------

    def send(self, command: Command) -> Ack:
        raise DeskError(f"this is a replay: {command.name} was not sent")

    def ack(self, command_id: int) -> Ack:
        raise DeskError("this is a replay: no command was sent")

    def search(self, text: str, mode: str = "both", speaker: str | None = None, limit: int = 20) -> SearchResult:
        self._not_recorded("transcripts")

    def context(self, segment: int, around: int = 3) -> tuple[ContextLine, ...]:
        self._not_recorded("transcripts")

    def transcript(self, id: str) -> StoredTranscript:
        self._not_recorded("transcripts")

    def preview_correction(self, ask: CorrectionAsk) -> CorrectionDiff:
        self._not_recorded("transcripts")

    def correct(self, ask: CorrectionAsk, *, likes: bool, by: str) -> CorrectionDiff:
        self._not_recorded("transcripts")

    def undo_correction(self, number: int | None, *, by: str) -> CorrectionUndone:
        self._not_recorded("transcripts")

    def playable(self, id: str, at: float, cluster: str | None = None) -> Playable:
        self._not_recorded("audio")

    def write_clip(self, what: Playable, folder: Path) -> Path:
        self._not_recorded("audio")

    def preview(self, sources: tuple[str, ...], options: dict[str, Any]) -> Preview:
        self._not_recorded("sources")

    def _not_recorded(self, what: str) -> NoReturn:
        raise DeskError(f"a recorded run holds no {what}")

    def close(self) -> None:
        with self._lock:
            self._file.close()


_SORTS = {"id": "id", "title": "title", "duration": "duration_s", "stage": "stage", "attempt": "attempt", "priority": "priority"}


def _row(flight: FlightView, frame: Snapshot) -> RecordingRow:
    began = frame.wall - flight.in_engine_s
    return RecordingRow(
        id=flight.id,
        title=flight.title,
        source=flight.source,
        status="running",
        duration_s=flight.duration_s,
        stage=flight.stage,
        attempt=flight.attempt,
        attempts=flight.attempts,
        priority=flight.priority,
        added_wall=began,
        changed_wall=frame.wall - flight.in_stage_s,
        segments=flight.segments,
        speakers=flight.speakers,
        cause=None,
        error=None,
        hint=None,
        engine=frame.engine,
    )


def _matches(row: RecordingRow, query: Query, text: str) -> bool:
    return (
        (not text or text in row.id.lower() or text in row.title.lower())
        and (not query.status or row.status in query.status)
        and (query.stage is None or row.stage == query.stage)
        and query.cause is None
        and (query.min_duration_s is None or (row.duration_s or 0.0) >= query.min_duration_s)
        and (query.max_duration_s is None or (row.duration_s or 0.0) <= query.max_duration_s)
    )

"""A desk without an engine: a seeded story of 12 minutes of a GPU run, on a clock that can be fake.

It is the data of the screenshots, of the console's tests and of demonstrations without a run. It is a simulation, not a
recording: a command changes what happens next. See :mod:`gainstage.engine.desk.scripted.story` for its events.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gainstage.config.settings import SPECS, Settings, changed, value_of
from gainstage.engine.advisor.measured_effects import complete, effect
from gainstage.engine.advisor.predicted import predicted
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.desk.fleet_rows import fleet_rows
from gainstage.engine.desk.scripted import queries as queries
from gainstage.engine.desk.scripted.cast import parts, plenty
from gainstage.engine.desk.scripted.commands import Hand, ScriptedRefusal
from gainstage.engine.desk.scripted.corrections import ScriptedCorrections
from gainstage.engine.desk.scripted.frames import Frames, row
from gainstage.engine.desk.scripted.items import Item
from gainstage.engine.desk.scripted.story import AUDIO_S, FILE, SPECIAL, STORY, schedule
from gainstage.engine.desk.scripted.world import World
from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff, CorrectionUndone, StoredTranscript
from gainstage.engine.views.events import Events
from gainstage.engine.views.experiments import NoExperiments
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
    SettingRow,
    WhatIf,
)
from gainstage.engine.views.search_rows import ContextLine, IndexHealth, SearchResult
from gainstage.engine.views.snapshot import SCHEMA, DecisionRow, Snapshot

START_WALL = 1_795_347_280.0
"""2026-11-22 11:34:40 UTC: wall time at which the story starts."""

FRAME_S = 0.2
RECENT_S = 900
HISTORY_S = 7200
THINNED_S = 10
"""One frame per second is kept for the last quarter of an hour, one per ten seconds for two hours."""

EFFECT_S = 64.0
SETTLE_S = 15.0
"""Seconds over which the story measures effects, less than an engine uses: the story lasts twelve minutes."""

__all__ = ["FRAME_S", "SPECIAL", "START_WALL", "STORY", "FakeClock", "ScriptedDesk"]


class FakeClock:
    """A clock in seconds that only :meth:`advance` moves."""

    def __init__(self, start: float = 0.0) -> None:
        self.seconds = start

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class ScriptedDesk(NoExperiments):
    """The story as a :class:`gainstage.engine.views.desk.Desk`.

    ``clock`` returns seconds; the story is at ``start_at`` when the desk is made and runs ``speed`` story seconds per clock
    second. With a :class:`FakeClock` (the default) only :meth:`advance` moves it; ``time.monotonic`` plays it live. The same seed,
    commands and story times give the same frames, whatever the steps in between. Thread-safe.
    """

    live = True
    playback = None
    engine: str | None = None

    def __init__(
        self,
        seed: int = 0,
        clock: Callable[[], float] | None = None,
        speed: float = 1.0,
        start_at: float = 0.0,
        *,
        read_only: bool = False,
        label: str = "story",
        source: str = "https://www.youtube.com/@kitchentable",
        settings: Mapping[str, Any] | None = None,
        gpus: int = 1,
        profiles: bool = True,
        engine: bool = True,
        empty: bool = False,
        more: int = 0,
        frame_age_s: float = 0.0,
        schema: int = SCHEMA,
        events: int = 20_000,
    ) -> None:
        self.seed = seed
        self.clock = clock if clock is not None else FakeClock()
        self.speed = speed
        self.read_only = read_only
        self.label = label
        self._lock = threading.RLock()
        self._zero = self.clock()
        self._start_at = start_at
        chosen = Settings()
        for key, value in {**FILE, **(settings or {})}.items():
            chosen = changed(chosen, key, value)
        values = {key: value_of(chosen, key) for key in SPECS}
        cast = [] if empty else parts(seed, AUDIO_S) + plenty(seed, more)
        self.world = World(seed, cast, values, self._wall, f"engine-{seed:04d}", profiles=profiles, events=events)
        self.hand = Hand(self.world, chosen)
        note = None if gpus else "libnvidia-ml.so.1 not found"
        self.frames = Frames(self.world, "nothing yet" if empty else source, devices=gpus, gpu_note=note)
        self._engine = engine
        self._frame_age_s, self._schema = frame_age_s, schema
        self._pages = queries.Pages()
        self._corrections = ScriptedCorrections(seed)
        self.judge = VerdictCache(forecast_s=15.0, expect_s=60.0)
        self._acks: dict[int, Ack] = {}
        self._next_command = 1
        self._history: deque[Snapshot] = deque()
        self._older: deque[Snapshot] = deque(maxlen=HISTORY_S // THINNED_S)
        self._current: Snapshot | None = None
        self._second = 0
        self.hand.predict = self.predict
        schedule(self.world, self._story_change)
        with self._lock:
            self._sync()

    @classmethod
    def special(cls, state: str, seed: int = 0, clock: Callable[[], float] | None = None, **options: Any) -> ScriptedDesk:
        """One of the console's special states, named in ``SPECIAL``; ``options`` override those of the constructor."""
        return cls(seed, clock, **{**SPECIAL[state], **options})

    # -- time -------------------------------------------------------------------------------------------------------------

    @property
    def at(self) -> float:
        """The present time of the story in seconds."""
        return self._start_at + (self.clock() - self._zero) * self.speed

    def advance(self, seconds: float) -> None:
        """Advance the story by ``seconds``; only with a :class:`FakeClock`."""
        if not isinstance(self.clock, FakeClock):
            raise TypeError("only a story on a fake clock can be advanced by hand")
        self.clock.advance(seconds / self.speed)
        with self._lock:
            self._sync()

    def to(self, mark: str) -> None:
        """Advance to a named moment of the story (see ``STORY``)."""
        self.advance(max(0.0, STORY[mark] - self.at))

    def now(self) -> float:
        return self._wall(self.at)

    def _wall(self, at: float) -> float:
        return START_WALL + at

    def _sync(self) -> None:
        """Simulate up to the frame that is due, and keep one frame per second."""
        frame = int(max(0.0, self.at - self._frame_age_s) / FRAME_S + 1e-6)
        if self._current is not None and frame <= self._current.seq - 1:
            return
        per_second = round(1 / FRAME_S)
        while self._second * per_second <= frame:
            self.world.run_to(float(self._second))
            self._current = self._frame(self._second * per_second + 1, keep=True)
            self._history.append(self._current)
            if len(self._history) > RECENT_S:
                oldest = self._history.popleft()
                if (oldest.seq - 1) % (THINNED_S * per_second) == 0:
                    self._older.append(oldest)
            self._second += 1
        if self._current is None or self._current.seq != frame + 1:
            self.world.run_to(frame * FRAME_S)
            self._current = self._frame(frame + 1, keep=False)

    def _frame(self, seq: int, *, keep: bool) -> Snapshot:
        frame = self.judge.judge(self.frames.frame(seq, "0.1.0"), self.world.settings, keep=keep)
        return frame if self._schema == frame.schema else replace(frame, schema=self._schema)

    def _story_change(self, key: str, value: Any, by: str) -> None:
        if key not in self.hand.touched and self.world.state in ("running", "paused"):
            self.hand.change(key, value, by, 0.4)

    def predict(self, changes: dict[str, Any]) -> dict[str, PredictedEffect]:
        with self._lock:
            frame, in_flight = self._current if self.world.state == "running" else None, int(self.world.settings["in_flight"])
            return predicted(frame, in_flight, changes, partial(queries.decided, self.world))

    def _measure(self) -> None:
        """Fill in the effects of changes whose time afterwards is over; an engine's ten minutes are too long for the story."""
        applied = [r for r in self.hand.rows if r.state == "applied"]
        for i, change in enumerate(applied):
            if change.effect_text is not None or not complete(change.wall, self.now(), window_s=EFFECT_S, settle_s=SETTLE_S):
                continue
            since = applied[i - 1].wall if i else START_WALL
            until = applied[i + 1].wall if i + 1 < len(applied) else float("inf")
            measured = effect(
                self._history,
                change.wall,
                change.key,
                since_wall=since,
                until_wall=until,
                window_s=EFFECT_S,
                settle_s=SETTLE_S,
            )
            updated = replace(change, before=measured.before, after=measured.after, effect_text=measured.text)
            self.hand.rows[self.hand.rows.index(change)] = updated

    # -- what is seen -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        with self._lock:
            self._sync()
            return self._current if self._engine else None

    def history(self, seconds: float) -> tuple[Snapshot, ...]:
        with self._lock:
            self._sync()
            first = self._wall(self.world.now - seconds)
            return tuple(s for s in (*self._older, *self._history) if s.wall >= first) if self._engine else ()

    def fleet(self) -> tuple[FleetRow, ...]:
        frame = self.snapshot()
        return fleet_rows(self.engines(), {frame.engine: frame} if frame else {})

    def narrow(self, engine: str | None) -> None:
        """There is one engine: nothing changes."""

    def engines(self) -> tuple[EngineRow, ...]:
        with self._lock:
            self._sync()
            w = self.world
            if not self._engine:
                return ()
            doing = f"{len(w.active)} in flight" if w.active else "nothing in flight"
            return (EngineRow(w.engine, "gpu-01", 41_207, w.state, 0.2 + self._frame_age_s, doing, "0.1.0"),)

    def events(self, after: int, limit: int = 500) -> Events:
        with self._lock:
            self._sync()
            kept = self.world.events
            first = kept[0].seq if kept else self.world.event_seq + 1
            fresh = [e for e in kept if e.seq > after]
            lost = max(0, first - 1 - after)
            taken = fresh[:limit]
            return Events(tuple(taken), taken[-1].seq if taken else max(after, 0), lost)

    # -- commands ---------------------------------------------------------------------------------------------------------

    def send(self, command: Command) -> Ack:
        """Returns a pending acknowledgement; the engine answers 0.15 to 0.4 story seconds later."""
        if self.read_only:
            raise DeskError(f"read-only: {command.name} was not sent")
        with self._lock:
            self._sync()
            number = self._next_command
            self._next_command += 1
            pending = Ack(number, "pending", f"{command.name} sent")
            self._acks[number] = pending
            delay = 0.15 + 0.25 * ((number * 7 + self.seed) % 10) / 10
            sent = self.world.now
            self.world.at(sent + delay, lambda: self._answer(number, command, sent))
            return pending

    def _answer(self, number: int, command: Command, sent: float) -> None:
        try:
            self._acks[number] = self.hand.carry_out(number, command, sent)
        except ScriptedRefusal as no:
            self._acks[number] = Ack(number, "refused", str(no), applied_after_s=round(self.world.now - sent, 3))

    def ack(self, command_id: int) -> Ack:
        with self._lock:
            self._sync()
            try:
                return self._acks[command_id]
            except KeyError:
                raise DeskError(f"no command {command_id}") from None

    # -- queries ----------------------------------------------------------------------------------------------------------

    def recordings(self, query: Query) -> RecordingPage:
        with self._lock:
            self._sync()
            return self._pages.page(self.world, query)

    def recording(self, id: str) -> RecordingDetail:
        with self._lock:
            self._sync()
            return queries.recording(self.world, id)

    def failures(self) -> tuple[FailureGroup, ...]:
        with self._lock:
            self._sync()
            return queries.failures(self.world)

    def decisions(self, limit: int = 500, recording: str | None = None) -> tuple[DecisionRow, ...]:
        with self._lock:
            self._sync()
            matching = [d for d in self.world.decisions if recording is None or d.item.id == recording]
            return tuple(row(self.world, d) for d in reversed(matching[-limit:]))

    def what_if(self, changes: dict[str, Any], last: int = 500) -> WhatIf:
        with self._lock:
            self._sync()
            return queries.what_if(self.world, changes, last)

    def settings(self) -> tuple[SettingRow, ...]:
        with self._lock:
            self._sync()
            return self.hand.setting_rows()

    def changes(self, limit: int = 200) -> tuple[ChangeRow, ...]:
        with self._lock:
            self._sync()
            self._measure()
            return tuple(reversed(self.hand.rows[-limit:]))

    def profiles(self) -> tuple[ProfileRow, ...]:
        with self._lock:
            self._sync()
            return queries.profiles(self.world)

    def search(self, text: str, mode: str = "both", speaker: str | None = None, limit: int = 20) -> SearchResult:
        with self._lock:
            self._sync()
            return queries.search(self.world, text, mode, speaker, limit)

    def context(self, segment: int, around: int = 3) -> tuple[ContextLine, ...]:
        with self._lock:
            self._sync()
            return queries.context(self.world, segment, around)

    def transcript(self, id: str) -> StoredTranscript:
        with self._lock:
            self._sync()
            return self._corrections.transcript(self._stored(id))

    def preview_correction(self, ask: CorrectionAsk) -> CorrectionDiff:
        with self._lock:
            self._sync()
            return self._corrections.preview(self._stored(ask.recording), ask)

    def correct(self, ask: CorrectionAsk, *, likes: bool, by: str) -> CorrectionDiff:
        with self._lock:
            self._sync()
            return self._corrections.correct(self._stored(ask.recording), ask, likes=likes)

    def undo_correction(self, number: int | None, *, by: str) -> CorrectionUndone:
        with self._lock:
            self._sync()
            return self._corrections.undo(number)

    def playable(self, id: str, at: float, cluster: str | None = None) -> Playable:
        with self._lock:
            self._sync()
            item = self._stored(id)
            return Playable(id, item.part.title, at, at + 8.0, "", None, item.part.url)

    def write_clip(self, what: Playable, folder: Path) -> Path:
        raise DeskError(f"the audio of {what.recording} is not on this machine: this is a story")

    def _stored(self, id: str) -> Item:
        item = self.world.items.get(id)
        if item is None or item.status != "stored":
            raise DeskError(f"no passages are stored of {id}")
        return item

    def index_health(self) -> IndexHealth:
        with self._lock:
            self._sync()
            return queries.index_health(self.world)

    def preview(self, sources: tuple[str, ...], options: dict[str, Any]) -> Preview:
        with self._lock:
            self._sync()
            return queries.preview(self.world, sources, options)

    def close(self) -> None:
        """There is nothing to release."""

"""The desk of a real system: everything a console sees and does goes through the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gainstage.config.origins import Loaded, shown_with_origins
from gainstage.config.setting_keys import scope_of, with_scope
from gainstage.config.settings import SPECS, Settings
from gainstage.engine.desk import correcting, experiment_lines, playing, predicting, searching
from gainstage.engine.desk.fleet_reader import FleetReader
from gainstage.engine.desk.fleet_rows import fleet_rows
from gainstage.engine.desk.recording_facts import facts_shown, speakers
from gainstage.engine.errors import EngineError
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue import changes, commands, engines, events
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.dispatch import OF_ENGINES, CommandDispatcher
from gainstage.engine.queue.engines import Seen
from gainstage.engine.queue.live import LiveSettings, read_live
from gainstage.engine.queue.scopes import read_scopes
from gainstage.engine.queue.setting_rows import setting_rows
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import ModelId, Vector
from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff, CorrectionUndone, StoredTranscript
from gainstage.engine.views.events import Events
from gainstage.engine.views.frame_json import BadFrame
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
from gainstage.engine.views.scopes import with_counts, without_engine
from gainstage.engine.views.search_rows import ContextLine, IndexHealth, SearchResult
from gainstage.engine.views.snapshot import DecisionRow, Snapshot

WATCH_EVERY_S = 3.0
"""A desk whose frames are asked for reports to the engine this often that a console watches."""

SILENT_S = 10.0
"""An engine that wrote no frame for this long is judged no more: it writes one a second."""

EMBED_WAIT_S = 5.0
"""Longest wait for an engine to embed a query; it answers in milliseconds unless it is drowned in work."""

Embed = Callable[[str], tuple[Vector, ModelId]]
"""Makes the text vector of a query, and names the model."""


class PostgresDesk(experiment_lines.ExperimentLines):
    """See :class:`gainstage.engine.views.desk.Desk`. Thread-safe. Frames are those of ``engine``, or of all that live as one; one engine
    is asked where one is enough. Counts are the database's. ``loaded``: this process's own settings, for a database without an engine;
    ``embed`` makes the vector of a query where no engine lives; ``audio``: the folder of kept audio."""

    live = True
    playback = None

    def __init__(
        self,
        database: Database,
        *,
        engine: str | None = None,
        read_only: bool = False,
        label: str | None = None,
        loaded: Loaded | None = None,
        embed: Embed | None = None,
        audio: Path | None = None,
    ) -> None:
        self.database = database
        self.audio = audio
        self.engine = engine
        self.run: int | None = None  # the one to look at; else the one at hand
        self.read_only = read_only
        self.label = label or ("embedded" if database.embedded else f"pg:{database.where}")
        self.queue = Backlog(database)
        self.store = RecordingStore(database)
        self._dispatcher = CommandDispatcher(database, self.queue)
        self._loaded = loaded or Loaded(Settings())
        self._embed = embed
        self._fleet = FleetReader(database)
        self._lock = threading.Lock()
        self._chosen: str | None = None
        self._last: Snapshot | None = None
        self._lost_wall: float | None = None
        self._watch_at = float("-inf")

    def now(self) -> float:
        return self.database.clock.now()

    def close(self) -> None:
        """Nothing is held."""

    # -- engines ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        """The newest frame (while the database is away the last seen, saying so), None before. Raises DeskError for another make's."""
        try:
            with self._lock:
                watching = time.monotonic() - self._watch_at >= WATCH_EVERY_S
                if watching:
                    self._watch_at = time.monotonic()
            seen = self._look_at_all(watching=watching) or self._look(watching=watching)
            with self.database.transaction() as connection:
                if watching:
                    self.database.clock.measure(connection)
                scopes = read_scopes(connection, run=self.run, now=self.database.clock.local())
        except EngineError:
            return self._away()
        except BadFrame as error:
            raise DeskError(str(error)) from error
        if seen is None or seen.frame is None:
            return None
        frame = with_counts(seen.frame, scopes.total, scopes.views)
        if seen.ended in ("done", "stopped"):  # its last frame may have been lost in an outage
            frame = replace(frame, run=replace(frame.run, state=seen.ended))
        if seen.ended is not None or seen.silent_s > SILENT_S:
            frame = without_engine(frame, seen.ended, seen.silent_s)
        with self._lock:
            self._last, self._lost_wall = frame, None
        return frame

    def _look(self, *, watching: bool = False, frame: bool = True) -> Seen | None:
        """The engine named, else the one chosen before while it lives, else the one with the newest heartbeat."""
        seen = None
        if self.engine is None and self._chosen is not None:
            seen = engines.look(self.database, self._chosen, watching=watching, frame=frame)
        if seen is None or not seen.alive:
            seen = engines.look(self.database, self.engine, watching=watching, frame=frame)
            self._chosen = seen.id if seen else None
        return seen

    def _away(self) -> Snapshot | None:
        with self._lock:
            self._lost_wall = self._lost_wall or self.now()
            if self._last is None:
                return None
            return replace(self._last, database=replace(self._last.database, up=False, down_since_wall=self._lost_wall))

    def _look_at_all(self, *, watching: bool) -> Seen | None:
        """All living engines as one, or the only one; None where one is named or none has shown a frame."""
        frame = None if self.engine else self._fleet.read(lambda: int(self._value("in_flight")), watching=watching)
        if frame is None or len(self._fleet.frames) > 1:
            return Seen(frame.engine, True, frame, {}) if frame else None
        seen = self._look(watching=watching, frame=False)
        return replace(seen, frame=frame) if seen and seen.id == frame.engine else None

    def fleet(self) -> tuple[FleetRow, ...]:
        return fleet_rows(self.engines(), self._fleet.frames)

    def narrow(self, engine: str | None) -> None:
        self.engine = engine

    def history(self, seconds: float) -> tuple[Snapshot, ...]:
        with _desk_errors():
            if self.engine is None and len(self._fleet.frames) > 1:
                return self._fleet.history(seconds, int(self._value("in_flight")))
            seen = self._look(frame=False)
            return engines.frames(self.database, seen.id, seconds) if seen else ()

    def engines(self) -> tuple[EngineRow, ...]:
        """The engines of this database; one of this host that was killed is seen as such at once."""
        with _desk_errors():
            engines.end_dead(self.database)
            return engines.list_engines(self.database)

    def events(self, after: int, limit: int = 500) -> Events:
        with _desk_errors():
            return events.read_events(self.database, after, limit)

    # -- commands ---------------------------------------------------------------------------------------------------

    def send(self, command: Command) -> Ack:
        self._writable(command.name)
        if self.engine and command.engine is None and command.host is None and command.name in OF_ENGINES:
            command = replace(command, engine=self.engine)
        if self.engine and command.name == "set":
            command = self._for_one(command)
        with _desk_errors():
            seen = self._look(frame=False)
            below = {key: value for key, (value, _) in self._below(seen).items()}
            return self._dispatcher.send(command, engine=seen.id if seen and seen.alive else None, below=below)

    def _for_one(self, command: Command) -> Command:
        """A change for the engine looked at alone; one that has a scope keeps it. Raises DeskError where others would take it too."""
        key, alive = str(command.args.get("key", "")), [e for e in self.engines() if e.alive]
        one = next((e for e in alive if e.id == self.engine), None)
        if one is None:
            raise DeskError(f"engine {self.engine} is not running")
        if "@" in key or not (scope := scope_of(key, one.places)):
            return command
        others = sum(e.host == one.host for e in alive) - 1
        if others and not one.name:
            raise DeskError(
                f"{one.id} has no name of its own, and a value for its host reaches {others} more; --host {one.host} sets it"
            )
        return replace(command, args={**command.args, "key": with_scope(key, scope)})

    def ack(self, command_id: int) -> Ack:
        with _desk_errors():
            try:
                return self._dispatcher.ack(command_id)
            except KeyError:
                raise DeskError(f"no command {command_id}") from None

    # -- recordings -------------------------------------------------------------------------------------------------

    def recordings(self, query: Query) -> RecordingPage:
        with _desk_errors():
            try:
                return self._store().rows(query)
            except ValueError as error:
                raise DeskError(str(error)) from None

    def recording(self, id: str) -> RecordingDetail:
        with _desk_errors():
            stored = self._store().get(id)
            if stored is None:
                raise DeskError(f"unknown recording {id}")
            return RecordingDetail(
                row=stored.row,
                spans=stored.spans,
                decisions=self.decisions(recording=id),
                events=events.of_recording(self.database, id),
                speakers=speakers(self.database, id),
                facts=facts_shown(stored.facts, stored.revision, stored.recording.options),
                traceback=stored.traceback,
                warnings=stored.warnings,
            )

    def failures(self) -> tuple[FailureGroup, ...]:
        with _desk_errors():
            return self.store.failures()

    def _store(self) -> RecordingStore:
        """The store, showing the attempts allowed now."""
        return RecordingStore(self.database, attempts=int(self._value("retry.attempts")))

    # -- voices -----------------------------------------------------------------------------------------------------

    def decisions(self, limit: int = 500, recording: str | None = None) -> tuple[DecisionRow, ...]:
        with _desk_errors():
            return tuple(stored.row() for stored in self.store.decisions(recording=recording, limit=limit))

    def what_if(self, changes: dict[str, Any], last: int = 500) -> WhatIf:
        from gainstage.engine.voices.replay import what_if

        with _desk_errors():
            return what_if(self.database, changes, last)

    def transcript(self, id: str) -> StoredTranscript:
        with _desk_errors():
            return correcting.transcript(self.database, id)

    def preview_correction(self, ask: CorrectionAsk) -> CorrectionDiff:
        with _desk_errors():
            return correcting.preview(self.store, ask, self.in_force())

    def correct(self, ask: CorrectionAsk, *, likes: bool, by: str) -> CorrectionDiff:
        self._writable("a correction")
        with _desk_errors():
            return correcting.correct(self.store, ask, self.in_force(), likes=likes, by=by)

    def undo_correction(self, number: int | None, *, by: str) -> CorrectionUndone:
        self._writable("an undo")
        with _desk_errors():
            return correcting.undo(self.store, number, by)

    def playable(self, id: str, at: float, cluster: str | None = None) -> Playable:
        with _desk_errors():
            return playing.playable(self.store, id, at, self.audio, cluster)

    def write_clip(self, what: Playable, folder: Path) -> Path:
        with _desk_errors():
            return playing.write_clip(what, folder)

    def _writable(self, what: str) -> None:
        if self.read_only:
            raise DeskError(f"read-only: {what} was not sent")

    def profiles(self) -> tuple[ProfileRow, ...]:
        from gainstage.engine.voices.profile_store import ProfileStore

        primary = self._value("identify.primary")
        with _desk_errors():
            return ProfileStore(self.database).rows(primary=primary)

    # -- settings ---------------------------------------------------------------------------------------------------

    def settings(self) -> tuple[SettingRow, ...]:
        with _desk_errors():
            below = self._below(self._look(frame=False))
            with self.database.transaction() as connection:
                live = changes.live_values(connection)
            one = next((e for e in self.engines() if e.id == self.engine), None) if self.engine else None
        return setting_rows(below, live, one.places if one else ())

    def changes(self, limit: int = 200) -> tuple[ChangeRow, ...]:
        with _desk_errors():
            return changes.history(self.database, limit)

    def predict(self, changes: dict[str, Any]) -> dict[str, PredictedEffect]:
        frame = self.snapshot()
        with _desk_errors():
            engines = len(self._fleet.frames) if self.engine is None else 1
            return predicting.predict(self.database, frame, int(self._value("in_flight")), changes, engines)

    def _value(self, key: str) -> Any:
        """The value in force."""
        return next(row.value for row in self.settings() if row.key == key)

    def in_force(self) -> Settings:
        """The settings as an engine has them that lives, else this process's own, and what was set live. Secrets of an engine's
        own are not known here: this process's are used.
        """
        seen = self._look(frame=False)
        settings = seen.settings if seen is not None and seen.alive else {}
        with self.database.connection() as connection:
            values, _ = read_live(connection)
        in_force = LiveSettings(self._loaded.settings)
        in_force.load({key: value for key, (value, _) in settings.items() if key in SPECS and not SPECS[key].secret} | values, 0)
        return in_force.current

    def _below(self, seen: Seen | None) -> dict[str, tuple[Any, str]]:
        """(value, origin) of every key under the live layer: as the engine said, else as this process has them."""
        own = shown_with_origins(self._loaded)
        return own | ({key: pair for key, pair in seen.settings.items() if key in SPECS} if seen else {})

    # -- search -----------------------------------------------------------------------------------------------------

    def search(self, text: str, mode: str = "both", speaker: str | None = None, limit: int = 20) -> SearchResult:
        with _desk_errors():
            return searching.search(self.database, text, mode, speaker, limit, self._vector_of)

    def _vector_of(self, text: str) -> tuple[Vector, ModelId] | tuple[None, None]:
        """The query's vector by an engine that lives, else by our own means, else none."""
        seen = self._look(frame=False)
        if seen and seen.alive:
            question = commands.send(self.database, Command("embed_query", {"text": text}, seen.id, "desk"), expires_s=EMBED_WAIT_S)
            answer = commands.wait(self.database, question.id, seen.id, EMBED_WAIT_S)
            if answer is not None and answer.state == "done" and answer.data:
                import numpy as np

                return np.asarray(answer.data["vector"], np.float32), ModelId(**answer.data["model"])
        return self._embed(text) if self._embed else (None, None)

    def context(self, segment: int, around: int = 3) -> tuple[ContextLine, ...]:
        from gainstage.engine.store import search

        with _desk_errors():
            lines = search.context(self.database, segment, around)
        if not lines:
            raise DeskError(f"no segment {segment}")
        return lines

    def index_health(self) -> IndexHealth:
        from gainstage.engine.store import search

        with _desk_errors():
            return search.index_health(self.database)

    def preview(self, sources: tuple[str, ...], options: dict[str, Any]) -> Preview:
        """``options``: those of :class:`gainstage.engine.sources.selection.Selection`, and ``priority``."""
        from gainstage.engine.sources.preview import preview

        with _desk_errors():
            return preview(sources, options, self.in_force(), self.database, self.snapshot(), token=CancelToken())


@contextmanager
def _desk_errors() -> Iterator[None]:
    """The engine's typed errors as words for the operator."""
    try:
        yield
    except (EngineError, BadFrame) as error:
        raise DeskError(str(error)) from error

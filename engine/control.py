"""What state the engine is in, and everything that changes it while it runs: commands, settings, outages."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from config.settings import SPECS, Effect, Settings, value_of
from engine.desk import Command
from engine.errors import Cancelled, EngineError, Misconfigured, Transient
from engine.queue import changes
from engine.queue.commands import Reply
from engine.queue.inbox import Later
from engine.queue.jobs import Recovered
from engine.queue.live import Follower
from engine.sampler import Sampler
from engine.watch.effects import complete, effect
from engine.watch.snapshot import RunState

if TYPE_CHECKING:
    from engine.engine import Engine

ROLE_OF = {"asr": "asr", "diarization": "diarization", "voice": "voice", "embed": "embed"}
"""Settings section to model role."""
STAGES_OF = {"asr": ("transcribe",), "diarization": ("diarize",), "voice": ("identify", "diarize"), "embed": ("embed",)}
"""Model role to the stages that must have drained before it is swapped."""
INDEX_EVERY_S = 300.0


class Control:
    """The one place where the run's state changes. Commands come from the database, settings likewise."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.RLock()
        self._state: RunState = "starting"
        self.since_wall = time.time()
        self.by: str | None = None
        self.reason: str | None = None
        self.away_since: float | None = None
        self._reloads: dict[str, threading.Thread] = {}
        self._indexer: threading.Thread | None = None
        self.follower = Follower(
            engine.database, engine.id, live=engine.live, on_settings=self.apply, on_command=self.obey, on_jobs=engine.nudge
        )
        self.sampler = Sampler(engine, self)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def run_state(self) -> RunState:
        return self._state

    def state(self, state: RunState, *, by: str | None = None, reason: str | None = None) -> None:
        with self._lock:
            if (state, by, reason) == (self._state, self.by, self.reason):
                return
            self._state, self.by, self.reason, self.since_wall = state, by, reason, time.time()
        text = f"{state}{f' by {by}' if by else ''}{f': {reason}' if reason else ''}"
        self.engine.journal.log("info", text, kind="state", state=state)
        self.engine.nudge()

    @property
    def leaving(self) -> bool:
        """Draining or stopping: nothing new is taken."""
        return self._state in ("draining", "stopping")

    def pause(self, by: str, reason: str | None = None) -> None:
        self.state("paused", by=by, reason=reason)

    def resume(self, by: str) -> None:
        self.state("running", by=None)

    def drain(self, by: str) -> None:
        """Finish what is in flight, take nothing new, end."""
        self.state("draining", by=by)

    def stop(self, by: str) -> None:
        """Put what is in flight back into the queue and end."""
        self.state("stopping", by=by)
        for flight in self.engine.flights():
            flight.stop_reason = "release"
        self.engine.token.cancel(f"stopped by {by}")
        self.engine.nudge()

    def may_take(self, flying: int) -> bool:
        if self._state not in ("running", "done") or flying >= self.engine.settings.in_flight:
            return False
        return self._disk_ok()

    def _disk_ok(self) -> bool:
        try:
            self.engine.work.check_floor(self.engine.settings.fetch.disk_floor)
        except Transient as error:
            self.pause(by="engine", reason=error.message)
            return False
        return True

    def nothing_left(self) -> bool:
        """Whether no recording is queued, running elsewhere or waiting for a retry."""
        counts = self.engine.queue.counts()
        return counts.queued == 0 and counts.running == 0

    def idle(self) -> None:
        """The queue gave nothing: wait for a note or a moment. The state says whether work is waiting for its retry time."""
        self.engine.queue_idle.wait(0.5)
        self.engine.queue_idle.clear()

    def ready(self) -> None:
        with self._lock:
            if self._state == "starting":
                self.state("running")

    def database_away(self, error: EngineError, sleep: bool = True) -> None:
        if self.away_since is None:
            self.away_since = time.time()
            self.engine.journal.log("warning", f"database away: {error.message}", kind="state")
        if sleep:
            self.engine.token.wait(0.5)

    def database_back(self) -> None:
        if self.away_since is not None:
            away = time.time() - self.away_since
            self.away_since = None
            self.engine.journal.log("info", f"database back after {away:.1f} s", kind="state")

    # -- threads ----------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Register this engine and run its threads for the block."""
        engine = self.engine
        engine.through_outage(
            lambda: engine.registry.register(engine.paths, engine.started_wall, engine.loaded), engine.token, patience_s=60
        )
        self._recovered(engine.through_outage(engine.queue.register, engine.token, patience_s=60))
        self.follower.start()
        self._keeper.start()
        self.sampler.start()
        try:
            yield
        finally:
            if self._state != "done":
                self.state("stopped", reason=self.reason)
            engine.token.cancel("engine ends")
            self.sampler.stop()
            self.follower.stop()
            self._keeper.join(10)
            try:
                engine.queue.unregister()
                engine.registry.unregister(self._state)
            except Transient as error:  # the heartbeat runs out by itself
                engine.journal.log("warning", f"could not sign off: {error.message}", kind="state")

    def _keep(self) -> None:
        """Heartbeat, and bring back what dead engines held."""
        engine = self.engine
        period = engine.settings.queue.heartbeat
        index_at = 0.0
        while not engine.token.wait(period):
            if time.monotonic() - index_at > INDEX_EVERY_S:
                index_at = time.monotonic()
                self._index()
            try:
                engine.queue.beat()
                self._recovered(engine.queue.recover())
                self._measure()
                self.database_back()
            except Transient as error:
                self.database_away(error, sleep=False)

    def _index(self) -> None:
        """Build the vector index of a table that has grown large enough, on a thread of its own: that takes minutes."""
        if self._indexer is not None and self._indexer.is_alive():
            return

        def build() -> None:
            from engine.store.vectors import build_indexes

            try:
                for table in build_indexes(self.engine.database, self.engine.settings.store.index_rows):
                    self.engine.journal.log("info", f"vector index of {table} built", kind="state")
            except EngineError as error:  # search is exact meanwhile; the next look tries again
                self.engine.journal.log("warning", f"no vector index: {error.message}", kind="state")

        self._indexer = threading.Thread(target=build, name="indexer", daemon=True)
        self._indexer.start()

    def _measure(self) -> None:
        """Write beside each change what it did, once the window after it is over; figures are this engine's own."""
        now, rows = time.time(), [c for c in changes.history(self.engine.database, 20) if c.state == "applied"]
        frames = list(self.sampler.history)
        for n, row in enumerate(rows):
            if row.effect_text is None and row.wall > self.engine.started_wall and complete(row.wall, now):
                later = rows[n - 1].wall if n else float("inf")
                earlier = rows[n + 1].wall if n + 1 < len(rows) else float("-inf")
                found = effect(frames, row.wall, row.key, since_wall=earlier, until_wall=later)
                changes.record_effect(self.engine.database, row.revision, found.before, found.after, found.text)

    def _recovered(self, recovered: Recovered) -> None:
        for id in recovered.requeued:
            self.engine.journal.log("warning", "its engine died: queued again", recording=id, kind="state")
        for id in recovered.ended:
            self.engine.journal.log("error", "its engine died while holding it: ended", recording=id, kind="failure")
        if recovered.requeued:
            self.engine.nudge()

    # -- settings ---------------------------------------------------------------------------------------------------

    def apply(self, keys: set[str], old: Settings, new: Settings, revision: int) -> None:
        """Make changed settings act: *now* ones here, *reload* ones when their stage has drained; *item* ones by being read."""
        engine = self.engine
        for name in keys & {k for k in SPECS if k.startswith("workers.")}:
            engine.stages[name.removeprefix("workers.")].resize(value_of(new, name))
        if "in_flight" in keys:
            engine.stages["segment"].resize(new.in_flight)
        if "voice.batch_seconds" in keys:
            engine.voices.batcher.resize(budget=new.voice.batch_seconds)
        if keys & {"embed.batch", "embed.linger"}:
            engine.texts.resize(budget=float(new.embed.batch), linger_s=new.embed.linger)
        for role in {k.split(".")[0] for k in keys if SPECS[k].effect is Effect.RELOAD}:
            self._reload(ROLE_OF[role])
        for key in sorted(keys):
            engine.journal.log(
                "info", f"{key} {value_of(old, key)} → {value_of(new, key)} (revision {revision})", kind="change", key=key
            )
        engine.nudge()

    def _reload(self, role: str) -> None:
        """Swap a model on a thread of its own: pause its stages, wait until they are empty, reload, resume."""

        def swap() -> None:
            stages = [self.engine.stages[s] for s in STAGES_OF[role]]
            for stage in stages:
                stage.pause(by="reload")
            try:
                for stage in stages:
                    stage.wait_idle(self.engine.token)
                    stage.renew()
                self.engine.models.reload(role)
                self.engine.journal.log("info", f"{role} model reloaded", kind="model")
            except Cancelled:
                return
            except Misconfigured as error:
                self.pause(by="engine", reason=str(error))
            finally:
                for stage in stages:
                    stage.resume(by="reload")

        before = self._reloads.get(role)

        def in_turn() -> None:
            if before is not None:
                before.join()
            swap()

        thread = threading.Thread(target=in_turn, name=f"reload-{role}", daemon=True)
        self._reloads[role] = thread
        thread.start()

    # -- commands ---------------------------------------------------------------------------------------------------

    def obey(self, command: Command) -> str | Reply | Later:
        """Carry a command out; the answer in words, or the work that makes it. Raises :class:`EngineError` to refuse it."""
        handler: Callable[[Command], str | Reply | Later] | None = getattr(self, f"_do_{command.name}", None)
        if handler is None:
            raise EngineError(f"engine does not know the command {command.name}", cause="unknown command")
        answer = handler(command)
        if command.name != "embed_query":  # a search is nobody's business
            self.engine.journal.log("info", f"{command.by}: {command.name} {command.args or ''}".rstrip(), kind="command")
        return answer

    def _do_pause(self, command: Command) -> str:
        if self.leaving:
            raise EngineError(f"engine is {self._state}", cause="leaving")
        self.pause(command.by)
        return "intake paused"

    def _do_resume(self, command: Command) -> str:
        if self._state == "stopping":
            raise EngineError("engine is stopping", cause="leaving")
        self.resume(command.by)
        return "running"

    def _stage(self, command: Command) -> Any:
        name = str(command.args.get("stage"))
        if name not in self.engine.stages:
            raise EngineError(f"no stage {name!r}; stages are {', '.join(self.engine.stages)}", cause="unknown stage")
        return self.engine.stages[name]

    def _do_pause_stage(self, command: Command) -> str:
        stage = self._stage(command)
        stage.pause()
        return f"{stage.name} paused"

    def _do_resume_stage(self, command: Command) -> str:
        stage = self._stage(command)
        stage.resume()
        return f"{stage.name} running"

    def _do_drain(self, command: Command) -> str:
        self.drain(command.by)
        return f"draining {len(self.engine.flights())} in flight"

    def _do_stop(self, command: Command) -> str:
        self.stop(command.by)
        return "stopping"

    def _do_cancel(self, command: Command) -> str:
        wanted = set(command.args.get("ids", ()))
        mine = [f for f in self.engine.flights() if f.recording.id in wanted]
        for flight in mine:
            flight.stop_reason = "cancel"
            flight.token.cancel(f"cancelled by {command.by}")
        return f"{len(mine)} cancelled"

    def _do_priority(self, command: Command) -> str:
        for id, priority in dict(command.args.get("priorities", {})).items():
            for stage in self.engine.stages.values():
                stage.set_priority(id, int(priority))
        return "order changed"

    def _do_reload(self, command: Command) -> str:
        role = str(command.args.get("role"))
        if role not in STAGES_OF:
            raise EngineError(f"no model {role!r}; models are {', '.join(STAGES_OF)}", cause="unknown model")
        self._reload(role)
        return f"{role} reloads when its stage has drained"

    def _do_add(self, command: Command) -> Later:
        def work() -> str:
            from engine.sources.listing import list_sources

            engine, options = self.engine, dict(command.args.get("options") or {})
            force = bool(options.get("force"))
            recordings = list_sources(
                [str(s) for s in command.args.get("sources", ())],
                engine.settings,
                engine.database,
                limit=options.get("limit"),
                force=force,
                token=engine.token,
            )
            added = engine.queue.add(recordings, force=force, priority=int(options.get("priority") or 0))
            return f"{added.added} added, {added.requeued} queued again, {added.known} known already"

        return work

    def _do_enrol(self, command: Command) -> Later:
        def work() -> str:
            from engine.voices.profiles import enrol_speaker

            engine, args = self.engine, command.args
            report = enrol_speaker(
                engine.profile_store,
                str(args["name"]),
                engine.store,
                str(args["recording"]),
                str(args["speaker"]),
                engine.models.voice_encoder().id,
            )
            return f"{report.name}: version {report.version} from {report.seconds:.0f} s of speech"

        return work

    def _do_embed_query(self, command: Command) -> Reply:
        encoder = self.engine.models.text_encoder()
        vector = encoder.encode([str(command.args.get("text", ""))], query=True)[0]
        return Reply(data={"vector": vector.tolist(), "model": asdict(encoder.id)})

    def on_signal(self, number: int) -> None:
        """The first SIGTERM or SIGINT drains, the second stops now."""
        name = signal.Signals(number).name
        if self._state == "draining":
            self.stop(name)
        else:
            self.drain(name)

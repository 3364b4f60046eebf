"""What state the engine is in, the threads it owns, and how changed settings and outages act on it."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING

from gainstage.config.origins import MASK
from gainstage.config.settings import SPECS, Effect, Settings, value_of
from gainstage.engine.errors import EngineError, Transient
from gainstage.engine.queue.live import Follower
from gainstage.engine.runtime.command_handlers import CommandHandlers
from gainstage.engine.runtime.housekeeping import Housekeeping
from gainstage.engine.runtime.model_reload import ModelReload
from gainstage.engine.runtime.snapshot_publisher import SnapshotPublisher
from gainstage.engine.sources.following import Following
from gainstage.engine.views.snapshot import RunState

if TYPE_CHECKING:
    from gainstage.engine.runtime.engine import Engine

STARTUP_PATIENCE_S = 60.0
"""Longest wait for a database that is away when the engine wants to sign on."""

TOLD_AGAIN_S = 60.0
"""The same fault of the same thread is told again after this long."""

ROOM = 1.05
"""Work held at the disk floor goes on when this many times the floor is free, so that it does not flicker."""

_RANK: dict[RunState, int] = {
    "starting": 0, "running": 1, "paused": 1, "draining": 2, "stopping": 3, "done": 4, "stopped": 4,
}  # fmt: skip


class RunControl:
    """The one place where the run's state changes.

    The engine pauses itself by :meth:`hold` (a full disk, a model that does not load) and goes on by itself when the reason
    is gone; a pause of an operator lasts until an operator resumes.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.RLock()
        self._state: RunState = "starting"
        self.since_wall = time.time()
        self.by: str | None = None
        self.reason: str | None = None
        self.away_since: float | None = None
        self._held: dict[str, str] = {}
        self._faults: dict[tuple[str, str], float] = {}
        self.orders = CommandHandlers(engine, self)
        self.reloads = ModelReload(engine, self)
        self.follower = Follower(
            engine.database, engine.id, live=engine.live, on_settings=self.apply, on_command=self.orders.obey, on_jobs=engine.nudge
        )
        self.sampler = SnapshotPublisher(engine, self)
        self.keeper = Housekeeping(engine, self)
        self.following = Following(engine.id, engine.database, lambda: engine.settings, engine.journal, self.steadily)
        self._signals: SimpleQueue[int] = SimpleQueue()

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def run_state(self) -> RunState:
        return self._state

    def state(self, state: RunState, *, by: str | None = None, reason: str | None = None) -> bool:
        """Go to a state; False for an engine on its way out, which never turns back."""
        with self._lock:
            if _RANK[self._state] >= _RANK["draining"] and _RANK[state] < _RANK[self._state]:
                return False
            if (state, by, reason) == (self._state, self.by, self.reason):
                return True
            quiet = state == self._state == "running"  # only whether there is work
            self._state, self.by, self.reason, self.since_wall = state, by, reason, time.time()
        text = f"{state}{f' by {by}' if by else ''}{f': {reason}' if reason else ''}"
        self.engine.journal.log("debug" if quiet else "info", text, kind="state", state=state)
        self.engine.nudge()
        return True

    @property
    def leaving(self) -> bool:
        """Draining or stopping: nothing new is taken."""
        return _RANK[self._state] >= _RANK["draining"]

    def pause(self, by: str, reason: str | None = None) -> bool:
        """Take nothing new until an operator resumes; False when the engine is leaving."""
        with self._lock:
            self._held.clear()
            return self.state("paused", by=by, reason=reason)

    def resume(self, by: str) -> bool:
        """Take recordings again; False when the engine is leaving."""
        with self._lock:
            self._held.clear()  # what still holds is found again
            return self.state("running")

    def hold(self, what: str, reason: str) -> None:
        """Take nothing new until :meth:`lift` says that ``what`` is over."""
        with self._lock:
            if what in self._held:
                return
            self._held[what] = reason
            if self._state in ("starting", "running"):
                self.state("paused", by="engine", reason=reason)

    def lift(self, what: str) -> None:
        """``what`` is over: go on, unless something else or an operator holds the engine."""
        with self._lock:
            if self._held.pop(what, None) is None or self._state != "paused" or self.by != "engine":
                return
            if self._held:
                self.state("paused", by="engine", reason=next(iter(self._held.values())))
            else:
                self.state("running")

    def drain(self, by: str) -> None:
        """Finish what is in flight, take nothing new, end. A paused stage would never let its recordings out, so all run."""
        if self.state("draining", by=by):
            for stage in self.engine.stages.values():
                stage.resume()

    def stop(self, by: str) -> None:
        """Put what is in flight back into the queue and end."""
        if self.state("stopping", by=by):
            for flight in self.engine.flights():
                flight.end("release", f"stopped by {by}")
            self.engine.token.cancel(f"stopped by {by}")
            self.engine.nudge()

    def may_take(self, flying: int) -> bool:
        """Whether one recording more may be claimed now."""
        if self._state == "paused" and "disk" in self._held:
            self._room_on_disk()
        if self._state != "running" or flying >= self.engine.settings.in_flight:
            return False
        return self._room_on_disk()

    def _room_on_disk(self) -> bool:
        floor = self.engine.settings.fetch.disk_floor
        try:
            self.engine.work.check_floor(int(floor * ROOM) if "disk" in self._held else floor)
        except Transient as error:
            self.hold("disk", error.message)
            return False
        except OSError as error:
            self.hold("disk", f"the work folder cannot be used: {error.strerror or error}")
            return False
        self.lift("disk")
        return True

    def idle(self, flying: int) -> bool:
        """The queue gave nothing: wait for a note or a moment. True when an engine that runs until the queue is empty is done."""
        if not flying:
            counts = self.engine.queue.counts()
            if counts.queued + counts.running == 0:
                if self.engine.until_empty:
                    return self.state("done", reason="the queue is empty")
                self._waiting("the queue is empty")
            elif counts.retrying:
                self._waiting(f"{counts.retrying} wait for their next try")
        self.engine.queue_idle.wait(0.5)
        self.engine.queue_idle.clear()
        return False

    def _waiting(self, reason: str) -> None:
        with self._lock:
            if self._state == "running":
                self.state("running", reason=reason)

    def busy(self) -> None:
        """A recording has been taken: what was said of an empty queue is over."""
        with self._lock:
            if self._state == "running" and self.reason is not None:
                self.state("running")

    def ready(self) -> None:
        with self._lock:
            if self._state == "starting":
                self.state("running")

    # -- trouble ----------------------------------------------------------------------------------------------------

    def database_away(self, error: EngineError) -> None:
        if self.away_since is None:
            self.away_since = time.time()
            self.engine.journal.log("warning", f"database: {error.message}", kind="state")

    def database_back(self) -> None:
        if self.away_since is not None:
            away = time.time() - self.away_since
            self.away_since = None
            self.engine.journal.log("info", f"database back after {away:.1f} s", kind="state")

    def steadily(self, name: str, step: Callable[[], object]) -> bool:
        """Do one step of an owned thread; False when it failed. An outage is noted and a fault told: the thread lives on."""
        try:
            step()
        except Transient as error:
            self.database_away(error)
            return False
        except Exception as error:  # an engine without heartbeat or figures would be worse than a fault that is told
            self.fault(name, error)
            return False
        return True

    def fault(self, name: str, error: Exception) -> None:
        """Tell of a fault in an owned thread, the same one once a minute."""
        text = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        with self._lock:
            if now - self._faults.get((name, text), float("-inf")) < TOLD_AGAIN_S:
                return
            self._faults = {k: t for k, t in self._faults.items() if now - t < TOLD_AGAIN_S} | {(name, text): now}
        self.engine.journal.log("error", f"{name}: {text}", kind="failure", error=error)

    # -- threads ----------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Register this engine and run its threads for the block."""
        engine = self.engine
        engine.through_outage(
            lambda: engine.registry.register(
                engine.paths, engine.started_wall, engine.loaded, lease_s=engine.settings.queue.stalled
            ),
            engine.token,
            patience_s=STARTUP_PATIENCE_S,
        )
        self.keeper.told(engine.through_outage(engine.queue.register, engine.token, patience_s=STARTUP_PATIENCE_S))
        self.follower.start()
        self.keeper.start()
        self.sampler.start()
        if engine.with_models and not engine.until_empty:  # what is followed would never let the queue run empty
            self.following.start()
        reason = None
        try:
            yield
        except EngineError as error:
            reason = str(error)
            raise
        except Exception as error:
            reason = traceback.format_exception_only(error)[-1].strip()
            raise
        finally:
            if self._state != "done":
                self.state("stopped", by=self.by, reason=reason or self.reason)
            engine.token.cancel("engine ends")
            self.following.stop()
            self.sampler.stop()
            self.follower.stop()
            self.keeper.stop()
            self.steadily("signing off", self._sign_off)  # else its heartbeat runs out by itself

    def _sign_off(self) -> None:
        self.engine.queue.unregister()
        self.engine.registry.unregister(self._state)

    # -- settings ---------------------------------------------------------------------------------------------------

    def apply(self, keys: set[str], old: Settings, new: Settings, revision: int) -> None:
        """Make changed settings act: *now* ones here, *reload* ones when their stage has drained; *item* ones by being read."""
        engine = self.engine
        for name in keys & {k for k in SPECS if k.startswith("workers.")}:
            engine.stages[name.removeprefix("workers.")].resize(value_of(new, name))
        if "in_flight" in keys:
            engine.stages["segment"].resize(new.in_flight)
        if keys & {"fetch.rate", "fetch.sleep"}:
            engine.fetcher.hosts.hurry()
        if "voice.batch_seconds" in keys:
            engine.voices.batcher.resize(budget=new.voice.batch_seconds)
        if keys & {"embed.batch", "embed.linger"}:
            engine.texts.resize(budget=float(new.embed.batch), linger_s=new.embed.linger)
        roles = {k.split(".")[0] for k in keys if SPECS[k].effect is Effect.RELOAD}
        for role in sorted(roles):
            self.reloads.start(role)
        for key in sorted(keys):
            before, after = (MASK, MASK) if SPECS[key].secret else (value_of(old, key), value_of(new, key))
            engine.journal.log("info", f"{key} {before} → {after} (revision {revision})", kind="change", key=key)
        if not roles:
            self.lift("setup")  # it may be mended; if not, the next recording says so
        engine.nudge()

    # -- signals ----------------------------------------------------------------------------------------------------

    def listen_to_signals(self) -> None:
        """The first SIGTERM or SIGINT drains, the second stops now. To be called on the main thread.

        A handler interrupts the main thread anywhere, also while it holds a lock: it only passes the number on.
        """
        threading.Thread(target=self._obey_signals, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _frame: self._signals.put(n))

    def _obey_signals(self) -> None:
        while True:
            name = signal.Signals(self._signals.get()).name
            if self.leaving:
                self.stop(name)
            else:
                self.drain(name)

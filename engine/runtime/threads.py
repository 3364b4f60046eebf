"""The threads one engine owns: built, started when it signs on, ended in order when it leaves."""

from __future__ import annotations

import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from gainstage.engine.errors import EngineError
from gainstage.engine.queue.live import Follower
from gainstage.engine.runtime.apply_settings import ApplySettings
from gainstage.engine.runtime.autopilot import AutopilotLoop
from gainstage.engine.runtime.change_effects import ChangeEffects
from gainstage.engine.runtime.command_handlers import CommandHandlers
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.heartbeat import Heartbeat
from gainstage.engine.runtime.housekeeping import Housekeeping
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.runtime.model_reload import ModelReload
from gainstage.engine.runtime.run_state import RunStateMachine
from gainstage.engine.runtime.snapshot_publisher import SnapshotPublisher
from gainstage.engine.sources.following import Following
from gainstage.engine.store.outage import STARTUP_PATIENCE_S
from gainstage.engine.views.snapshot import Snapshot

HISTORY_FRAMES = 1500
"""Frames kept, one a second: enough for the windows on both sides of a change of settings."""


class EngineThreads:
    """Follower (settings, commands, news of the queue), heartbeat, housekeeping, publisher of snapshots, subscriptions."""

    def __init__(self, context: EngineContext, in_flight: InFlight, run_state: RunStateMachine) -> None:
        self.context = context
        self.run_state = run_state
        history: deque[Snapshot] = deque(maxlen=HISTORY_FRAMES)
        self.reloads = ModelReload(context, run_state)
        self.change_effects = ChangeEffects(context, history)
        self.autopilot = AutopilotLoop(context, history)
        self.publisher = SnapshotPublisher(
            context,
            in_flight,
            run_state,
            history,
            each_second={"predicted effects": self.change_effects.predict, "autopilot": self.autopilot.step},
            autopilot=lambda: self.autopilot.doing,
        )
        self.heartbeat = Heartbeat(context)
        self.housekeeping = Housekeeping(context, in_flight, self.change_effects)
        self.housekeeping.writing = self.publisher.recording
        self.housekeeping.drain = run_state.drain
        self.follower = Follower(
            context.database,
            context.id,
            live=context.live,
            report=context.faults.report,
            on_settings=ApplySettings(context, in_flight, run_state, self.reloads).apply,
            on_command=CommandHandlers(context, in_flight, run_state, self.reloads).handle,
            on_jobs=in_flight.wake,
        )
        self.following = Following(
            context.id, context.database, lambda: context.settings, context.journal, context.faults.guarded_step
        )
        self._signals: SimpleQueue[int] = SimpleQueue()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sign this engine on and run its threads for the block. Raises :class:`gainstage.engine.errors.Transient` when the
        database stays away.
        """
        context = self.context
        self._sign_on()
        self.follower.start()
        self.heartbeat.start()
        self.housekeeping.start()
        self.publisher.start()
        if context.with_models and not context.until_empty:  # what is followed would never let the queue run empty
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
            if self.run_state.current == "done":
                self.housekeeping.index_now()
            else:
                self.run_state.enter("stopped", by=self.run_state.by, reason=reason or self.run_state.reason)
            context.token.cancel("engine ends")
            self.following.stop()
            self.publisher.stop()
            self.follower.stop()
            self.heartbeat.stop()
            self.housekeeping.stop()
            context.faults.guarded_step("signing off", self._sign_off)  # else its heartbeat runs out by itself

    def _sign_on(self) -> None:
        context = self.context
        context.through_outage(
            lambda: context.registry.register(
                context.paths, context.started_wall, context.loaded, lease_s=context.settings.queue.stalled
            ),
            context.token,
            patience_s=STARTUP_PATIENCE_S,
        )
        recovered = context.through_outage(context.queue.register, context.token, patience_s=STARTUP_PATIENCE_S)
        self.housekeeping.report(recovered)

    def _sign_off(self) -> None:
        self.context.queue.unregister()
        self.context.registry.unregister(self.run_state.current)

    # -- signals ----------------------------------------------------------------------------------------------------

    def listen_to_signals(self) -> None:
        """The first SIGTERM or SIGINT drains, the second stops now. To be called on the main thread.

        A handler interrupts the main thread anywhere, also while it holds a lock: it only passes the number on.
        """
        threading.Thread(target=self._handle_signals, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _frame: self._signals.put(n))

    def _handle_signals(self) -> None:
        while True:
            name = signal.Signals(self._signals.get()).name
            if self.run_state.leaving:
                self.run_state.stop(name)
            else:
                self.run_state.drain(name)

"""Models swapped while the engine runs: the stages that use one are held until they are empty, then it is loaded anew."""

from __future__ import annotations

import threading

from gainstage.engine.errors import Cancelled, EngineError
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.run_state import RunStateMachine
from gainstage.engine.stages import STAGES_OF_ROLE


class ModelReload:
    """One swap of a role at a time, each on a thread of its own, in the order asked."""

    def __init__(self, context: EngineContext, run_state: RunStateMachine) -> None:
        self.context = context
        self.run_state = run_state
        self._last: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, role: str) -> None:
        """Swap the model of ``role`` when its stages are empty; returns at once."""
        with self._lock:
            before = self._last.get(role)
            thread = threading.Thread(target=self._in_turn, args=(role, before), name=f"reload-{role}", daemon=True)
            self._last[role] = thread
            thread.start()

    def _in_turn(self, role: str, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            self._swap(role)
        except Cancelled:
            return
        except EngineError as error:
            self.run_state.hold("setup", str(error))
        except Exception as error:  # a fault of a library: nobody waits for this thread, so it is reported here
            self.context.faults.report(f"reload of {role}", error)
            self.run_state.hold("setup", f"the {role} model did not load: {type(error).__name__}")
        else:
            self.run_state.lift("setup")

    def _swap(self, role: str) -> None:
        stages = [self.context.stages[name] for name in STAGES_OF_ROLE[role]]
        by = f"reload of {role}"  # two roles may hold one stage, and each only lets go of its own hold
        for stage in stages:
            stage.pause(by=by)
        try:
            for stage in stages:
                stage.wait_idle(self.context.token)
                stage.renew()
            self.context.models.reload(role)
            self.context.journal.log("info", f"{role} model reloaded", kind="model")
        finally:
            for stage in stages:
                stage.resume(by=by)
        self.context.recognise_models([role])

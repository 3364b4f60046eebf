"""Changed settings act on a running engine: the last step between a new revision and its acknowledgement."""

from __future__ import annotations

from gainstage.config.origins import MASK
from gainstage.config.settings import SPECS, Effect, Settings, value_of
from gainstage.engine.clean import value_text
from gainstage.engine.models.cpu_threads import divide
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.runtime.model_reload import ModelReload
from gainstage.engine.runtime.run_state import RunStateMachine


class ApplySettings:
    """Called by the follower's thread, one revision after the other."""

    def __init__(self, context: EngineContext, in_flight: InFlight, run_state: RunStateMachine, reloads: ModelReload) -> None:
        self.context = context
        self.in_flight = in_flight
        self.run_state = run_state
        self.reloads = reloads

    def apply(self, keys: set[str], old: Settings, new: Settings, revision: int) -> None:
        """Make changed settings act: *now* ones here, *reload* ones when their stage has drained; *item* ones by being read."""
        context = self.context
        for name in keys & {k for k in SPECS if k.startswith("workers.")}:
            context.stages[name.removeprefix("workers.")].resize(value_of(new, name))
        if "workers.diarize" in keys:
            divide(new)
        if "in_flight" in keys:
            context.stages["segment"].resize(new.in_flight)
        if keys & {"fetch.rate", "fetch.sleep"}:
            context.fetcher.hosts.hurry()
        if "voice.batch_seconds" in keys:
            context.voices.batcher.resize(budget=new.voice.batch_seconds)
        if keys & {"embed.batch", "embed.linger"}:
            context.texts.resize(budget=float(new.embed.batch), linger_s=new.embed.linger)
        if "asr.batch" in keys:
            context.fit_windows()
        roles = {k.split(".")[0] for k in keys if SPECS[k].effect is Effect.RELOAD}
        for role in sorted(roles):
            self.reloads.start(role)
        for key in sorted(keys):
            before, after = (MASK, MASK) if SPECS[key].secret else (value_of(old, key), value_of(new, key))
            change = f"{key} {value_text(before)} → {value_text(after)}"
            context.journal.log("info", f"{change} (revision {revision})", kind="change", key=key)
        if not roles:
            self.run_state.lift("setup")  # it may be corrected now; if not, the next recording reports it
        self.in_flight.wake()

"""What operators ask of a running engine, carried out: the other side of :class:`gainstage.engine.views.commands.Command`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from gainstage.engine.errors import EngineError
from gainstage.engine.flow.stage import Stage
from gainstage.engine.options import RecordingOptions
from gainstage.engine.queue.commands import Reply
from gainstage.engine.queue.inbox import Later
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.runtime.model_reload import ModelReload
from gainstage.engine.runtime.run_state import RunStateMachine
from gainstage.engine.stages import STAGES_OF_ROLE
from gainstage.engine.views.commands import Command


class CommandHandlers:
    """Called by the inbox's thread, one command after the other; what takes its time is returned as :data:`Later`."""

    def __init__(self, context: EngineContext, in_flight: InFlight, run_state: RunStateMachine, reloads: ModelReload) -> None:
        self.context = context
        self.in_flight = in_flight
        self.run_state = run_state
        self.reloads = reloads

    def handle(self, command: Command) -> str | Reply | Later:
        """Carry a command out; the answer in words, or the work that makes it. Raises :class:`EngineError` to refuse it."""
        handler: Callable[[Command], str | Reply | Later] | None = getattr(self, f"_do_{command.name}", None)
        if handler is None:
            raise EngineError(
                f"engine does not know the command {command.name}",
                cause="unknown command",
                hint="Run the same version of gainstage on both sides.",
            )
        answer = handler(command)
        if command.name != "embed_query":  # what people search for is not logged
            self.context.journal.log("info", f"{command.by}: {command.name} {command.args or ''}".rstrip(), kind="command")
        return answer

    # -- the run ----------------------------------------------------------------------------------------------------

    def _do_pause(self, command: Command) -> str:
        if not self.run_state.pause(command.by):
            raise EngineError(f"engine is {self.run_state.current}", cause="leaving")
        return "intake paused"

    def _do_resume(self, command: Command) -> str:
        if not self.run_state.resume(command.by):
            raise EngineError(f"engine is {self.run_state.current}", cause="leaving")
        return "running"

    def _do_drain(self, command: Command) -> str:
        self.run_state.drain(command.by)
        return f"draining {len(self.in_flight)} in flight"

    def _do_stop(self, command: Command) -> str:
        self.run_state.stop(command.by)
        return "stopping"

    def _do_pause_stage(self, command: Command) -> str:
        stage = self._stage(command)
        stage.pause()
        return f"{stage.name} paused"

    def _do_resume_stage(self, command: Command) -> str:
        stage = self._stage(command)
        stage.resume()
        return f"{stage.name} running"

    def _stage(self, command: Command) -> Stage:
        name = str(command.args.get("stage"))
        if name not in self.context.stages:
            raise EngineError(f"no stage {name!r}; stages are {', '.join(self.context.stages)}", cause="unknown stage")
        return self.context.stages[name]

    def _do_reload(self, command: Command) -> str:
        role = str(command.args.get("role"))
        if role not in STAGES_OF_ROLE:
            raise EngineError(f"no model {role!r}; models are {', '.join(STAGES_OF_ROLE)}", cause="unknown model")
        self.reloads.start(role)
        return f"{role} reloads when its stage has drained"

    # -- recordings -------------------------------------------------------------------------------------------------

    def _do_cancel(self, command: Command) -> str:
        wanted = set(command.args.get("ids", ()))
        mine = [f for f in self.in_flight.flights() if f.recording.id in wanted]
        for flight in mine:
            flight.end("cancel", f"cancelled by {command.by}")
        return f"{len(mine)} cancelled"

    def _do_priority(self, command: Command) -> str:
        priorities = {str(id): int(priority) for id, priority in dict(command.args.get("priorities", {})).items()}
        for flight in self.in_flight.flights():
            if flight.recording.id in priorities:
                flight.priority = priorities[flight.recording.id]  # for the gates to come
        for id, priority in priorities.items():
            for stage in self.context.stages.values():
                stage.set_priority(id, priority)
        return "order changed"

    def _do_add(self, command: Command) -> Later:
        def work() -> str:
            from gainstage.engine.sources.choose import choose
            from gainstage.engine.sources.enqueue import Origin, enqueue
            from gainstage.engine.sources.selection import Selection

            context, options = self.context, dict(command.args.get("options") or {})
            priority, force = int(options.pop("priority", 0) or 0), bool(options.get("force"))
            own = RecordingOptions.of(options)
            name = str(options.pop("name", None) or "") or None
            sources = [str(s) for s in command.args.get("sources", ())]
            choice = choose(sources, context.settings, context.database, Selection.of(options), token=context.token)
            origin = Origin("console", tuple(sources), name)
            added = enqueue(context.queue, choice, origin, force=force, priority=priority, options=own)
            return f"{added.added} added, {added.requeued} queued again, {added.known} known already"

        return work

    # -- voices -----------------------------------------------------------------------------------------------------

    def _do_enrol(self, command: Command) -> Later:
        def work() -> str:
            from gainstage.engine.voices.profiles import enrol_speaker

            context, args = self.context, command.args
            report = enrol_speaker(
                context.profile_store,
                str(args["name"]),
                context.store,
                str(args["recording"]),
                str(args["speaker"]),
                context.models.voice_encoder().id,
            )
            return f"{report.name}: version {report.version} from {report.seconds:.0f} s of speech"

        return work

    def _do_relabel(self, command: Command) -> Later:
        def work() -> str:
            from gainstage.engine.voices import relabel

            changes: dict[str, Any] = dict(command.args.get("settings") or {})
            last = int(command.args.get("last") or 500)
            done = relabel.apply(self.context.store, changes, self.context.live.revision, last)
            mixed = f", {done.mixed} of them now hold two people" if done.mixed else ""
            return f"{done.segments} segments of {len(done.recordings)} recordings renamed{mixed}"

        return work

    def _do_embed_query(self, command: Command) -> Reply:
        encoder = self.context.models.text_encoder()
        vector = encoder.encode([str(command.args.get("text", ""))], query=True)[0]
        return Reply(data={"vector": vector.tolist(), "model": asdict(encoder.id)})

"""What operators ask of a running engine, carried out: the other side of :class:`gainstage.engine.views.commands.Command`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gainstage.engine.errors import EngineError
from gainstage.engine.flow.stage import Stage
from gainstage.engine.queue.commands import Reply
from gainstage.engine.queue.inbox import Later
from gainstage.engine.stages import STAGES_OF_ROLE
from gainstage.engine.views.commands import Command

if TYPE_CHECKING:
    from gainstage.engine.runtime.engine import Engine
    from gainstage.engine.runtime.run_state import RunControl


class CommandHandlers:
    """Called by the inbox's thread, one command after the other; what takes its time is returned as :data:`Later`."""

    def __init__(self, engine: Engine, control: RunControl) -> None:
        self.engine = engine
        self.control = control

    def obey(self, command: Command) -> str | Reply | Later:
        """Carry a command out; the answer in words, or the work that makes it. Raises :class:`EngineError` to refuse it."""
        handler: Callable[[Command], str | Reply | Later] | None = getattr(self, f"_do_{command.name}", None)
        if handler is None:
            raise EngineError(
                f"engine does not know the command {command.name}",
                cause="unknown command",
                hint="run the same version of gainstage on both sides",
            )
        answer = handler(command)
        if command.name != "embed_query":  # a search is nobody's business
            self.engine.journal.log("info", f"{command.by}: {command.name} {command.args or ''}".rstrip(), kind="command")
        return answer

    # -- the run ----------------------------------------------------------------------------------------------------

    def _do_pause(self, command: Command) -> str:
        if not self.control.pause(command.by):
            raise EngineError(f"engine is {self.control.run_state}", cause="leaving")
        return "intake paused"

    def _do_resume(self, command: Command) -> str:
        if not self.control.resume(command.by):
            raise EngineError(f"engine is {self.control.run_state}", cause="leaving")
        return "running"

    def _do_drain(self, command: Command) -> str:
        self.control.drain(command.by)
        return f"draining {len(self.engine.flights())} in flight"

    def _do_stop(self, command: Command) -> str:
        self.control.stop(command.by)
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
        if name not in self.engine.stages:
            raise EngineError(f"no stage {name!r}; stages are {', '.join(self.engine.stages)}", cause="unknown stage")
        return self.engine.stages[name]

    def _do_reload(self, command: Command) -> str:
        role = str(command.args.get("role"))
        if role not in STAGES_OF_ROLE:
            raise EngineError(f"no model {role!r}; models are {', '.join(STAGES_OF_ROLE)}", cause="unknown model")
        self.control.reloads.start(role)
        return f"{role} reloads when its stage has drained"

    # -- recordings -------------------------------------------------------------------------------------------------

    def _do_cancel(self, command: Command) -> str:
        wanted = set(command.args.get("ids", ()))
        mine = [f for f in self.engine.flights() if f.recording.id in wanted]
        for flight in mine:
            flight.end("cancel", f"cancelled by {command.by}")
        return f"{len(mine)} cancelled"

    def _do_priority(self, command: Command) -> str:
        priorities = {str(id): int(priority) for id, priority in dict(command.args.get("priorities", {})).items()}
        for flight in self.engine.flights():
            if flight.recording.id in priorities:
                flight.priority = priorities[flight.recording.id]  # for the gates to come
        for id, priority in priorities.items():
            for stage in self.engine.stages.values():
                stage.set_priority(id, priority)
        return "order changed"

    def _do_add(self, command: Command) -> Later:
        def work() -> str:
            from gainstage.engine.sources.choose import choose
            from gainstage.engine.sources.enqueue import take
            from gainstage.engine.sources.selection import Selection

            engine, options = self.engine, dict(command.args.get("options") or {})
            priority, force = int(options.pop("priority", 0) or 0), bool(options.get("force"))
            sources = [str(s) for s in command.args.get("sources", ())]
            choice = choose(sources, engine.settings, engine.database, Selection.of(options), token=engine.token)
            added = take(engine.queue, choice, force=force, priority=priority)
            return f"{added.added} added, {added.requeued} queued again, {added.known} known already"

        return work

    # -- voices -----------------------------------------------------------------------------------------------------

    def _do_enrol(self, command: Command) -> Later:
        def work() -> str:
            from gainstage.engine.voices.profiles import enrol_speaker

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

    def _do_relabel(self, command: Command) -> Later:
        def work() -> str:
            from gainstage.engine.voices import relabel

            changes: dict[str, Any] = dict(command.args.get("settings") or {})
            last = int(command.args.get("last") or 500)
            done = relabel.apply(self.engine.store, changes, self.engine.live.revision, last)
            mixed = f", {done.mixed} of them now hold two people" if done.mixed else ""
            return f"{done.segments} segments of {len(done.recordings)} recordings renamed{mixed}"

        return work

    def _do_embed_query(self, command: Command) -> Reply:
        encoder = self.engine.models.text_encoder()
        vector = encoder.encode([str(command.args.get("text", ""))], query=True)[0]
        return Reply(data={"vector": vector.tolist(), "model": asdict(encoder.id)})

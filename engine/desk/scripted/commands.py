"""How the scripted engine carries out commands: settings with revisions, and every action on recordings."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from pydantic import ValidationError

from gainstage.config.settings import SPECS, Settings, changed, value_of
from gainstage.engine.clean import value_text
from gainstage.engine.desk.scripted.cast import FAILURES, Part, duration, title, video_id
from gainstage.engine.desk.scripted.items import Item
from gainstage.engine.desk.scripted.story import FILE
from gainstage.engine.desk.scripted.world import World
from gainstage.engine.stages import ROLES, STAGES
from gainstage.engine.views.commands import Ack, Command
from gainstage.engine.views.rows import ChangeRow, PredictedEffect, SettingRow


class ScriptedRefusal(Exception):
    """A command that cannot be carried out; the message is the reason."""


class Hand:
    """Applies commands to a world and keeps the history of settings."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self.settings = settings
        self.origins = {key: "file gainstage.toml" for key in FILE}
        self.revisions: dict[str, int] = {}
        self.rows: list[ChangeRow] = []
        self.touched: set[str] = set()
        self.predict: Callable[[dict[str, Any]], dict[str, PredictedEffect]] = lambda changes: {}
        self.doing: dict[str, Callable[[Command], str]] = {
            "pause": self._pause,
            "resume": self._resume,
            "pause_stage": self._pause_stage,
            "resume_stage": self._resume_stage,
            "drain": self._drain,
            "stop": self._stop,
            "retry": self._retry,
            "cancel": self._cancel,
            "skip": self._skip,
            "priority": self._priority,
            "add": self._add,
            "reload": self._reload,
            "enrol": self._enrol,
            "relabel": self._relabel,
        }

    def carry_out(self, number: int, command: Command, sent: float) -> Ack:
        """Carry out a command that has reached the engine and return its answer."""
        took = round(self.world.now - sent, 3)
        try:
            if command.name in ("set", "undo", "undo_to"):
                return self._settings(number, command, took)
            text = self.doing[command.name](command)
        except ScriptedRefusal as no:
            self.world.log_event("warning", "refused", f"{command.by}: {command.name} refused: {no}")
            return Ack(number, "refused", str(no), applied_after_s=took)
        self.world.fill()
        return Ack(number, "done", text, revision=self.world.revision, applied_after_s=took)

    # -- settings ---------------------------------------------------------------------------------------------------------

    def change(self, key: str, value: Any, by: str, took: float, text: str = "") -> ChangeRow:
        """Change a setting as the real engine does: validate, next revision, apply, write the row. Raises :class:`ScriptedRefusal`,
        which also writes a row."""
        old = self.world.settings.get(key)
        expected = self.predict({key: value}).get(key)
        try:
            self.settings = changed(self.settings, key, value)
        except KeyError:
            near = [k for k in SPECS if key.split(".")[-1] in k]
            raise ScriptedRefusal(f"unknown setting {key!r}" + (f"; did you mean {near[0]}?" if near else "")) from None
        except ValidationError as wrong:
            spec = SPECS[key]
            bounds = f" (allowed {spec.low:g}-{spec.high:g})" if spec.low is not None and spec.high is not None else ""
            reason = f"{key} {value!r}: {wrong.errors()[0]['msg'].lower()}{bounds}"
            self._row(ChangeRow(self.world.revision, self._wall(), by, key, old, value, "refused", reason, took))
            raise ScriptedRefusal(reason) from None
        new = value_of(self.settings, key)
        self.world.revision += 1
        self.world.settings[key] = new
        self.origins[key] = "live"
        self.revisions[key] = self.world.revision
        shown = "changed" if SPECS[key].secret else f"{value_text(old)} → {value_text(new)}"
        self.world.log_event("info", "change", f"{by}: {key} {shown}", key=key, revision=self.world.revision)
        done = ChangeRow(self.world.revision, self._wall(), by, key, old, new, "applied", text, took)
        if expected is not None:
            done = replace(done, predicted=expected.text, predicted_gain=expected.gain)
        self._row(done)
        self.world.changed(key)
        return done

    def _row(self, row: ChangeRow) -> None:
        self.rows.append(row)

    def _wall(self) -> float:
        return round(self.world.wall(self.world.now), 3)

    def _settings(self, number: int, command: Command, took: float) -> Ack:
        if command.name == "set":
            key = str(command.args.get("key", ""))
            self.touched.add(key)
            done = self.change(key, command.args.get("value"), command.by, took)
            effect = SPECS[key].effect.value
            text = f"{key} {value_text(done.old)} → {value_text(done.new)}"
            return Ack(number, "done", text, done.revision, done.old, done.new, effect, took)
        live = [r for r in self.rows if r.state == "applied" and r.undone_by is None]
        if command.name == "undo":
            back = [r for r in live if r.text != "undo"][-1:]
        else:
            back = [r for r in live if r.revision > int(command.args.get("revision", 0))][::-1]
        if not back:
            raise ScriptedRefusal("nothing to undo")
        for row in back:
            self.touched.add(row.key)
            done = self.change(row.key, row.old, command.by, took, "undo")
            self.rows[self.rows.index(row)] = _with(row, undone_by=done.revision)
        words = ", ".join(f"{r.key} back to {value_text(r.old)}" for r in back)
        return Ack(number, "done", words, self.world.revision, back[0].new, back[0].old, SPECS[back[0].key].effect.value, took)

    def setting_rows(self) -> tuple[SettingRow, ...]:
        rows = []
        for key, spec in SPECS.items():
            value = self.world.settings[key]
            if spec.secret:
                value = None if value is None else "******"
            rows.append(SettingRow.of(spec, value, self.origins.get(key, "default"), self.revisions.get(key)))
        return tuple(rows)

    # -- the run ----------------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        if self.world.state in ("stopped", "done"):
            raise ScriptedRefusal(f"the engine is {self.world.state}")

    def _pause(self, command: Command) -> str:
        self._alive()
        if self.world.state != "running":
            raise ScriptedRefusal(f"only a running engine can pause: it is {self.world.state}")
        self.world.become("paused", command.by, None)
        return "intake paused; what is in flight goes on"

    def _resume(self, command: Command) -> str:
        if self.world.state not in ("paused", "draining", "stopped"):
            raise ScriptedRefusal(f"nothing to resume: the engine is {self.world.state}")
        self.world.become("running", command.by, None)
        return "running"

    def _gate(self, command: Command) -> Any:
        name = command.args.get("stage")
        if name not in STAGES:
            raise ScriptedRefusal(f"no stage {name!r}")
        return self.world.gates[name]

    def _pause_stage(self, command: Command) -> str:
        gate = self._gate(command)
        gate.paused = True
        self.world.log_event("info", "stage", f"{command.by}: {gate.name} paused", stage=gate.name)
        return f"{gate.name} paused"

    def _resume_stage(self, command: Command) -> str:
        gate = self._gate(command)
        gate.paused = False
        self.world.log_event("info", "stage", f"{command.by}: {gate.name} resumed", stage=gate.name)
        return f"{gate.name} resumed"

    def _drain(self, command: Command) -> str:
        self._alive()
        self.world.become("draining", command.by, f"{len(self.world.active)} in flight")
        return f"draining: {len(self.world.active)} in flight will finish, nothing new starts"

    def _stop(self, command: Command) -> str:
        self._alive()
        active = list(self.world.active.values())
        for item in active:
            self.world.hand_back(item)
        self.world.become("stopped", command.by, f"{len(active)} recordings back in the queue")
        return f"stopped; {len(active)} recordings went back to the queue"

    def _reload(self, command: Command) -> str:
        role = str(command.args.get("role", "asr"))
        if role not in ROLES:
            raise ScriptedRefusal(f"no model role {role!r}")
        self.world.load(role)
        return f"reloading {role}"

    # -- recordings -------------------------------------------------------------------------------------------------------

    def _named(self, command: Command) -> list[Item]:
        ids = [str(i) for i in command.args.get("ids", ())]
        missing = [i for i in ids if i not in self.world.items]
        if missing:
            raise ScriptedRefusal(f"unknown recording {missing[0]}")
        if not ids:
            raise ScriptedRefusal("no recording named")
        return [self.world.items[i] for i in ids]

    def _retry(self, command: Command) -> str:
        if command.args.get("all"):
            chosen = [i for i in self.world.items.values() if i.status == "failed"]
        elif cause := command.args.get("cause"):
            chosen = [i for i in self.world.items.values() if i.status == "failed" and i.cause == cause]
        else:
            chosen = self._named(command)
        chosen = [i for i in chosen if i.status in ("failed", "cancelled", "skipped")]
        if not chosen:
            raise ScriptedRefusal("nothing to retry: none of these failed")
        for item in chosen:
            item.attempt = 0
            mendable = item.cause in FAILURES and FAILURES[item.cause][2]
            item.cause = None
            item.finished = None
            if mendable:
                item.part = _well(item.part)
            self.world.requeue(item)
        if self.world.state == "done":
            self.world.become("running", command.by, None)
        return f"{len(chosen)} queued again"

    def _cancel(self, command: Command) -> str:
        chosen = [i for i in self._named(command) if i.status in ("queued", "running")]
        if not chosen:
            raise ScriptedRefusal("nothing to cancel: already finished")
        for item in chosen:
            self.world.finish(item, "cancelled", f"cancelled by {command.by}")
            self.world.log_event("info", "cancelled", f"{item.id} cancelled by {command.by}", item)
        return f"{len(chosen)} cancelled"

    def _skip(self, command: Command) -> str:
        chosen = [i for i in self._named(command) if i.status in ("queued", "failed")]
        if not chosen:
            raise ScriptedRefusal("only queued or failed recordings can be skipped")
        for item in chosen:
            if item.status == "failed":
                self.world.audio_over_s -= item.part.duration_s
            self.world.finish(item, "skipped", f"skipped by {command.by}")
        return f"{len(chosen)} skipped"

    def _priority(self, command: Command) -> str:
        chosen = [i for i in self._named(command) if i.status in ("queued", "running")]
        if not chosen:
            raise ScriptedRefusal("nothing to move: already finished")
        top = max((i.priority for i in self.world.items.values()), default=0) + 1
        for item in chosen:
            self.world.version += 1
            item.priority = top if command.args.get("to_front") else item.priority + int(command.args.get("delta", 1))
            if item.status == "queued" and item.next_try is None:
                heapq.heappush(self.world.waiting, (-item.priority, item.order, item.id))
        return f"{len(chosen)} moved to priority {chosen[0].priority}"

    def _add(self, command: Command) -> str:
        sources = [str(s) for s in command.args.get("sources", ())]
        made = [p for s in sources for p in found_at(s, self.world.seed) if p.id not in self.world.items]
        if not made:
            raise ScriptedRefusal("nothing new found there")
        for part in made:
            self.world.add(part)
        if self.world.state == "done":
            self.world.become("running", command.by, None)
        self.world.log_event("info", "queued", f"{command.by}: {len(made)} recordings added")
        return f"{len(made)} recordings added"

    def _enrol(self, command: Command) -> str:
        name = str(command.args.get("name", "")).strip()
        if not name:
            raise ScriptedRefusal("an enrolled person needs a name")
        self.world.log_event("info", "profile", f"{command.by}: {name} enrolled")
        return f"{name} enrolled"

    def _relabel(self, command: Command) -> str:
        last = int(command.args.get("last", 500))
        decisions = self.world.decisions[-last:]
        if not decisions:
            raise ScriptedRefusal("no decision to relabel yet")
        people = len({d.item.id for d in decisions})
        self.world.log_event("info", "relabel", f"{command.by}: {len(decisions)} decisions of {people} recordings labelled again")
        return f"{len(decisions)} decisions of {people} recordings labelled again"


def found_at(source: str, seed: int) -> list[Part]:
    """The recordings that the story lists for an address: one for a file or video, eight for a channel or playlist."""
    random = Random(f"{seed} {source}")
    several = any(mark in source for mark in ("@", "playlist", "/c/", "feed"))
    parts = []
    for i in range(8 if several else 1):
        name = title(random, 5 + 16 * i if i == 2 else i) if several or "://" in source else source.rsplit("/", 1)[-1]
        key = video_id(random)
        url = f"https://www.youtube.com/watch?v={key}" if several else source
        parts.append(Part(key, name, url, duration(random, name), random.choice((1, 2, 2, 3)), False, "stored", "en"))
    return parts


def _well(part: Part) -> Part:
    return replace(part, fate="stored")


def _with(row: ChangeRow, **what: Any) -> ChangeRow:
    return replace(row, **what)

"""Commands on their way: staged, sent, acknowledged. Nothing on screen changes before the acknowledgement."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from gainstage.engine.views.commands import Ack, Command

STAGE_S = 1.5
"""A staged step is sent when no further key has come for this long."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A command of this console. ``ack`` None until the desk has taken it."""

    number: int
    command: Command
    label: str
    wall: float
    ack: Ack | None = None

    @property
    def state(self) -> str:
        return self.ack.state if self.ack else "pending"


@dataclass(frozen=True, slots=True)
class Staged:
    """A value not yet sent. ``due`` None waits for the operator to apply it."""

    key: str
    old: Any
    new: Any
    due: float | None = None


class CommandLog:
    """The staged values, the queue to the desk, and the history of what was sent, newest last."""

    def __init__(self) -> None:
        self.history: deque[Sent] = deque(maxlen=500)
        self.staged: dict[str, Staged] = {}
        self.waiting: deque[Sent] = deque()
        self._number = 0

    def enqueue(self, command: Command, label: str, wall: float) -> Sent:
        """A command to be sent next."""
        self._number += 1
        sent = Sent(self._number, command, label, wall)
        self.history.append(sent)
        self.waiting.append(sent)
        return sent

    def answered(self, sent: Sent, ack: Ack) -> Sent:
        """Note the desk's answer when it took the command."""
        fresh = replace(sent, ack=ack)
        for i, known in enumerate(self.history):
            if known.number == sent.number:
                self.history[i] = fresh
        return fresh

    def acknowledged(self, ack: Ack) -> Sent | None:
        """Note a final acknowledgement; the command it belongs to."""
        for i, known in enumerate(self.history):
            if known.ack is not None and known.ack.id == ack.id and known.ack.state == "pending":
                self.history[i] = replace(known, ack=ack)
                return self.history[i]
        return None

    def stage(self, key: str, old: Any, new: Any, due: float | None = None) -> None:
        """Keep a value without sending it; staging the old value drops it."""
        if new == old:
            self.staged.pop(key, None)
        else:
            self.staged[key] = Staged(key, old, new, due)

    def take_due(self, now: float) -> list[Staged]:
        """Staged values whose moment has come, or whose clock has been left behind."""
        due = [s for s in self.staged.values() if s.due is not None and (now >= s.due or now < s.due - 10 * STAGE_S)]
        for staged in due:
            del self.staged[staged.key]
        return due

    def take_staged(self) -> list[Staged]:
        """Everything staged, in the order it was."""
        taken = list(self.staged.values())
        self.staged.clear()
        return taken

    @property
    def pending(self) -> list[Sent]:
        """Commands without a final acknowledgement."""
        return [s for s in self.history if s.state == "pending"]


def describe(sent: Sent) -> tuple[str, str]:
    """A command and its acknowledgement in words, and their band."""
    ack = sent.ack
    if ack is None or ack.state == "pending":
        return f"{sent.label} …", "pending"
    if ack.state == "done":
        took = f" · applied in {ack.applied_after_s:.1f} s" if ack.applied_after_s is not None else ""
        revision = f" · revision {ack.revision}" if ack.revision is not None else ""
        text = f" · {ack.text}" if ack.text and ack.text not in sent.label and ack.old is None and ack.new is None else ""
        return f"{sent.label}{text}{took}{revision}", "ok"
    word = "refused" if ack.state == "refused" else "not answered"
    return f"{sent.label} {word}: {ack.text or 'no reason given'}", "warn"

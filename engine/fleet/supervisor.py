"""Several engines of one home under one process: starts each on its card, starts it again when it dies, ends when all have ended.

The supervisor touches no database: a recording of an engine that died is taken back by the others, as between machines. It knows
its engines by their exit status alone: 0 has done its work or was told to leave, 2 is misconfigured, anything else is a death.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from gainstage.config.paths import Paths
from gainstage.engine.backoff import Backoff
from gainstage.engine.clean import clean_text, terminal_json
from gainstage.engine.fleet.members import Member

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
"""Before an engine that died is started again; the longest such wait."""

STEADY_S = 60.0
"""An engine that ran for this long and died is started again as if it had died for the first time."""

LONGEST_LINE = 10_000
MOST_READ = 1 << 20
"""Bytes of an engine's log that are repeated at once."""

LOOK_S = 0.2
"""Between two looks at the engines and their logs."""

MISCONFIGURED = 2
"""Exit status of an engine that cannot work with its settings: starting it again would end the same way."""

Command = Callable[[Member, str], list[str]]
"""The command line of a member; the text says why it is started again, "" the first time."""


class _MemberProcess:
    """One member: its process while it has one, and what its log has grown by."""

    def __init__(self, member: Member, log: Path) -> None:
        self.member = member
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.status: int | None = None
        """Exit status of an engine that is not started again."""
        self.backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        self.started = 0.0
        self.due: float | None = None
        self.told = 0
        """Signals sent to it."""
        self.why = ""
        self._read = log.stat().st_size if log.exists() else 0

    def fresh_lines(self) -> list[bytes]:
        """Whole lines that the log has got since the last call."""
        try:
            with self.log.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._read:  # begun anew by its engine
                    self._read = 0
                file.seek(self._read)
                data = file.read(MOST_READ)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == MOST_READ else b"")  # a line without an end is cut
        self._read += len(whole)
        return whole.splitlines()


class Supervisor:
    """Runs ``members`` until all have ended. The first SIGTERM or SIGINT drains every engine, the second stops them now.

    Each engine writes into a log of its own; its lines are repeated on standard output with its name in front.
    """

    def __init__(
        self,
        paths: Paths,
        members: Sequence[Member],
        command: Command,
        *,
        json_lines: bool = False,
        resized: Callable[[], tuple[Sequence[Member], bool] | None] = lambda: None,
    ) -> None:
        """``resized`` gives the members wanted now (None: as before), and whether those that go stop at once."""
        self.paths = paths
        self.command = command
        self.resized = resized
        self.json_lines = json_lines
        self._children = [self._child(m) for m in members]
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._asked = 0

    def run(self) -> int:
        """Exit status: 0 when every engine ended as it should, else the status of one that did not. Call it on the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _frame: self._signals.put(n))
        self._say(f"{len(self._children)} engines: {', '.join(_place(c.member) for c in self._children)}")
        for child in self._children:
            self._start(child)
        try:
            while self._busy():
                self._forward()
                for child in self._children:
                    self._look(child)
        finally:
            self._relay()
        return max((child.status or 0 for child in self._children), default=0)

    def _busy(self) -> bool:
        """Whether an engine runs or is to run; looks first which are wanted, so that none is overlooked at the end."""
        self._resize()
        return any(child.status is None for child in self._children)

    def _child(self, member: Member) -> _MemberProcess:
        return _MemberProcess(member, self.paths.member(member.name).ensure().engine_log)

    def _resize(self) -> None:
        """Start members that are newly wanted, tell those that are not any more to end."""
        wanted = None if self._asked else self.resized()
        if wanted is None:
            return
        members, now = {member.name: member for member in wanted[0]}, wanted[1]
        for child in self._children:
            if child.status is None and child.member.name not in members:
                self._end(child, times=2 if now else 1)
        running = {child.member.name for child in self._children if child.status is None}
        self._children = [c for c in self._children if c.status is None or c.member.name not in members]
        for name in members.keys() - running:
            self._children.append(child := self._child(members[name]))
            self._say(f"{_place(child.member)} is started")
            self._start(child)

    def _end(self, child: _MemberProcess, times: int) -> None:
        """Tell an engine to drain, or by a second signal to stop now; it is not started again."""
        if child.process is None:
            child.status, child.due = 0, None
            return
        while child.told < times:
            child.told += 1
            child.process.send_signal(signal.SIGTERM)

    def _start(self, child: _MemberProcess) -> None:
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                self.command(child.member, child.why),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C of a terminal reaches it through the supervisor alone, once
                cwd="/",
                env={**os.environ, **child.member.environment(os.environ), "PYTHONUNBUFFERED": "1"},
            )
        child.started, child.due = time.monotonic(), None

    def _forward(self) -> None:
        """Pass a signal on, or wait a moment for one."""
        try:
            number = self._signals.get(timeout=LOOK_S)
        except Empty:
            return
        self._asked += 1
        self._say(f"{signal.Signals(number).name}: the engines {'drain' if self._asked == 1 else 'stop now'}")
        for child in self._children:
            if child.status is None:
                self._end(child, times=min(2, self._asked))

    def _look(self, child: _MemberProcess) -> None:
        self._relay(child)
        if child.process is not None and (status := child.process.poll()) is not None:
            child.process = None
            self._ended(child, status)
        if child.due is not None and time.monotonic() >= child.due:
            self._say(f"{child.member.name} is started again: {child.why}")
            self._start(child)

    def _ended(self, child: _MemberProcess, status: int) -> None:
        name, ran_s = child.member.name, time.monotonic() - child.started
        if status in (0, MISCONFIGURED) or child.told:
            child.status = max(0, status) if status != -signal.SIGTERM else 0
            self._say(f"{name} has ended" + (f" with status {status}; its log is {child.log}" if status else ""))
            return
        if ran_s >= STEADY_S:
            child.backoff.reset()
        wait_s = child.backoff.next()
        child.why = f"{_death(status)} after {ran_s:.0f} s"
        child.due = time.monotonic() + wait_s
        self._say(f"{name} {child.why}; started again in {wait_s:.1f} s, its log is {child.log}")

    def _relay(self, *children: _MemberProcess) -> None:
        """Repeat on standard output what the engines have written."""
        out = sys.stdout.buffer
        for child in children or self._children:
            name = child.member.name.encode()
            for line in child.fresh_lines():
                json_line = self.json_lines and line.startswith(b"{")
                if json_line:
                    text = terminal_json((b'{"member":"' + name + b'",' + line[1:]).decode("utf-8", "replace"))
                else:  # libraries write there too, with the titles of others
                    text = f"{child.member.name} | {clean_text(line.decode('utf-8', 'replace'), LONGEST_LINE)}"
                out.write(text.encode("utf-8", "replace") + b"\n")
        out.flush()

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} supervisor: {text}", file=sys.stderr, flush=True)


def _place(member: Member) -> str:
    return f"{member.name} ({member.gpu or f'{member.cpus} cores'})"


def _death(status: int) -> str:
    """How a process ended, in words."""
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"

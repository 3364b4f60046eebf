"""1 Deck: the whole run at a glance, and the keys that act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from gainstage.config.setting_keys import split_scope
from gainstage.engine.views.commands import Command, CommandName
from gainstage.engine.views.snapshot import ModelView
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.values import BadValue, bounded
from gainstage.tui.screens.recording_actions import RecordingActionsScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.feeds import Feed, FeedResult
from gainstage.tui.state.frame import Frame
from gainstage.tui.widgets.deck_lists import read_lists
from gainstage.tui.widgets.flights import FlightsPanel
from gainstage.tui.widgets.gauges import gauges_of
from gainstage.tui.widgets.machine import MachinePanel
from gainstage.tui.widgets.stages import Planned, StagesPanel
from gainstage.tui.widgets.throughput import ThroughputPanel, changes_of
from gainstage.tui.widgets.ticker import TickerPanel
from gainstage.tui.widgets.verdict import VerdictPanel, nothing_to_try
from gainstage.tui.widgets.voices_panel import VoicesPanel

if TYPE_CHECKING:
    from gainstage.engine.views.events import Event

IGNORE_S = 1800.0


class DeckScreen(RecordingActionsScreen):
    NAME = "deck"
    BINDINGS: ClassVar[list[Any]] = bindings("deck")

    def __init__(self) -> None:
        super().__init__()
        self.verdict, self.stages, self.machine = VerdictPanel(), StagesPanel(), MachinePanel()
        self.voices, self.throughput = VoicesPanel(), ThroughputPanel()
        self.flights, self.ticker = FlightsPanel(), TickerPanel()
        self.outcomes: dict[str, Event] = {}
        self._lists = Feed("deck-lists", read_lists, 2.0)
        self._asks_for_lists = False

    def body(self) -> ComposeResult:
        yield self.verdict
        with Container(id="panels"):
            yield self.stages
            yield self.machine
            yield self.voices
            yield self.throughput
        yield self.flights
        yield self.ticker

    def on_mount(self) -> None:
        self.set_focus(self.flights)

    # -- the lists below the flights, asked for only where there is room for them

    def feeds(self) -> tuple[Feed, ...]:
        return (self._lists,) if self._asks_for_lists else ()

    def receive(self, answer: FeedResult) -> None:
        if answer.feed is self._lists:
            self.flights.show_lists(answer.value)

    def _follow_room(self) -> None:
        wanted = self.flights.has_room and self.frame.mode != "scrub"  # the lists are of now, not of the time looked at
        if wanted != self._asks_for_lists:
            self._asks_for_lists = wanted
            if not self._asks_for_lists:
                self.flights.show_lists(None)
            self.watch_again()

    # -- drawing

    def take_events(self, events: list[Event]) -> None:
        self.ticker.take_events(events)
        for e in events:
            if e.recording and e.kind in ("stored", "failure", "skipped", "cancelled"):
                self.outcomes[e.recording] = e
        while len(self.outcomes) > 500:
            del self.outcomes[next(iter(self.outcomes))]

    def apply(self, frame: Frame) -> None:
        self._apply(frame)

    def _apply(self, frame: Frame, at_once: bool = False) -> None:
        console = self.console
        s = frame.snapshot
        advice = s.verdict.advice if s else None
        self.verdict.show(frame, advice is not None and console.ignored_advice.get(advice.id, 0.0) > frame.now)
        if s is None:
            self.flights.empty = WELCOME
            self.flights.redraw()
            return
        stage = s.verdict.bottleneck.stage if s.verdict.bottleneck.kind == "stage" else None
        changes = changes_of(console.events)
        self.stages.show(s.stages, stage, self._planned(), gauges_of(s), tuple(wall for wall, _ in changes), s.wall)
        gpu = f"gpu{s.devices[0].index}" if s.devices else ""
        names = (f"{gpu}.sm", f"{gpu}.memory", f"{gpu}.temperature", "disk")
        self.machine.show(
            s.devices, s.host, console.memory_limit, tuple(console.alerts.of(n) for n in names), s.run.rtfx, self.stages.wide
        )
        self.voices.show(s.batchers, s.decisions)
        self.throughput.show(s.run, s.wall, changes, frame.past_s or 0.0)
        self.flights.empty = why_empty(frame, max(40, self.flights.inner[0] - 6))
        waiting = s.run.queued
        self.flights.show(s.flights, s.wall, waiting, s.run.failed, self.outcomes, at_once)
        self._follow_room()

    def _planned(self) -> dict[str, Planned]:
        log = self.console.command_log
        planned: dict[str, Planned] = {}
        for sent in log.pending:
            key, scope = split_scope(str(sent.command.args.get("key", "")))
            if scope and (row := self.console.settings.get(key)) is not None and row.scope != scope:
                continue
            if sent.command.name == "set" and key.startswith("workers."):
                planned[key.removeprefix("workers.")] = Planned(int(sent.command.args["value"]), True)
        for key, staged in log.staged.items():
            if key.startswith("workers.") and staged.due is not None:
                planned[key.removeprefix("workers.")] = Planned(int(staged.new), False)
        return planned

    # -- stages

    def do_cursor_left(self, _: str) -> None:
        self.stages.move(-1)

    def do_cursor_right(self, _: str) -> None:
        self.stages.move(1)

    def do_cursor_up(self, words: str) -> None:
        if self.focused is self.stages:
            self.stages.move(-1)
        else:
            super().do_cursor_up(words)

    def do_cursor_down(self, words: str) -> None:
        if self.focused is self.stages:
            self.stages.move(1)
        else:
            super().do_cursor_down(words)

    def do_more(self, _: str) -> None:
        self._slots(1)

    def do_fewer(self, _: str) -> None:
        self._slots(-1)

    def _slots(self, step: int) -> None:
        console = self.console
        stage = self.stages.selected
        if stage is None:
            console.notice("no stage to change", "info")
            return
        key = f"workers.{stage.name}"
        row = console.settings.get(key)
        if row is None:
            console.notice(
                f"{stage.name} has no slots of its own to set" if console.settings else "settings are not read yet", "warn"
            )
            return
        staged = console.command_log.staged.get(key)
        value = staged.new if staged is not None else row.value
        try:
            new = bounded(row, value + step)
        except BadValue as problem:
            console.notice(f"{key}: {problem}", "warn")
            return
        console.stage_soon(key, row.value, new)

    def do_pause_stage(self, words: str) -> None:
        console = self.console
        name = words.strip() or self.stages.current
        stage = next((s for s in self.stages.stages if s.name == name), None)
        if stage is None:
            console.notice(f"no stage {name!r}", "warn")
            return
        command: CommandName = "resume_stage" if stage.paused else "pause_stage"
        console.send(Command(command, {"stage": stage.name}), f"{'resume' if stage.paused else 'pause'} {stage.name}")

    # -- advice

    def do_ignore_advice(self, _: str) -> None:
        console = self.console
        advice = self.frame.snapshot.verdict.advice if self.frame.snapshot else None
        if advice is None:
            console.notice("no advice to ignore", "info")
            return
        console.ignored_advice[advice.id] = console.desk.now() + IGNORE_S
        console.notice("ignored for 30 minutes", "info")
        self.apply(self.frame)

    def do_take_advice(self, _: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        console = self.console
        s = self.frame.snapshot
        advice = s.verdict.advice if s else None
        if advice is None or advice.key is None:
            console.notice(nothing_to_try(s.verdict if s else None), "info")
            return
        lines = [
            *(
                f"{key}  {fmt.value(old)} → {fmt.value(new)}"
                for key, old, new in ((advice.key, advice.old, advice.new), *advice.also)
            ),
            "",
            advice.text,
            advice.expected,
            advice.evidence,
        ]
        lines.append(f"confidence {advice.confidence}; what it did is measured and shown in Tune")
        changes = ((advice.key, advice.old, advice.new), *advice.also)

        def apply() -> None:
            for key, old, new in changes:
                console.send(Command("set", {"key": key, "value": new}), f"{key} {fmt.value(old)} → {fmt.value(new)}")

        question = ConfirmScreen("Try this?", [line for line in lines if line is not None], yes="Apply")
        self.app.push_screen(question, lambda yes: apply() if yes else None)

    def do_undo(self, _: str) -> None:
        self.console.send(Command("undo"), "undo the last change")

    # -- the table

    @property
    def main_table(self) -> FlightsPanel:
        return self.flights

    def refilter(self) -> None:
        self._apply(self.frame, at_once=True)
        self.flights.redraw()

    def selected_ids(self) -> list[str]:
        item = self.flights.selected
        return [item.view.id] if item is not None else []

    def status_of(self, id: str) -> str | None:
        item = next((item for item in self.flights.items if item is not None and item.view.id == id), None)
        return None if item is None else item.left or "running"

    def do_open(self, words: str) -> None:
        console = self.console
        if self.focused is self.stages or self.focused is self.verdict:
            s = self.frame.snapshot
            if self.focused is self.verdict and s is not None and s.verdict.advice is not None:
                console.perform("take-advice")
                return
        item = self.flights.selected
        if self.frame.snapshot is None or item is None or console.frame.startable:
            console.perform_global("open", words)
            return
        console.perform("goto", item.view.id)


WELCOME: list[list[tuple[str, str]]] = [
    [("gainstage takes recordings apart into who said what and when.", "bright")],
    [],
    [
        ("Enter", "accent"),
        ("  starts an engine here           ", "muted"),
        ("a", "accent"),
        ("  adds channels, playlists, feeds, files", "muted"),
    ],
    [
        ("?", "accent"),
        ("      the keys of every screen        ", "muted"),
        (":", "accent"),
        ("  every action as a command", "muted"),
    ],
    [],
    [("gainstage demo         ", "text"), ("a run on bundled recordings: no network, no GPU, no server", "muted")],
    [("gainstage add URL ...  ", "text"), ("queues recordings from any shell", "muted")],
    [("gainstage attach       ", "text"), ("watches an engine of another database or machine", "muted")],
]
"""What an operator reads before there is any engine."""


def why_empty(frame: Frame, cells: int = 76) -> list[list[tuple[str, str]]]:
    """What stands where nothing is in flight: lines of (text, token), ``cells`` wide."""
    s = frame.snapshot
    if s is None:
        return []
    if s.run.loading or s.verdict.health == "starting":
        return [[("models", "title+b")], [], *(model_line(m) for m in s.models)]
    if s.run.state == "stopped" and s.run.reason:
        why = [[("• " if i == 0 else "  ", "muted"), (text, "text")] for i, text in enumerate(safe.wrapped(s.run.reason, cells, 8))]
        again = [("Enter", "accent"), (" starts it again; ", "muted"), ("6", "accent"), (" shows its journal", "muted")]
        return [[("the engine has stopped", "bright")], [], *why, [], again]
    if s.run.state in ("done", "stopped") or s.verdict.health == "done":
        keys = (("7", "search what was said"), ("3", "who was recognised"), ("2", "every recording"), ("a", "add more"))
        line = [piece for key, text in keys for piece in ((key, "accent"), (f" {text}  ", "muted"))]
        return [[("everything is done", "bright")], [], line]
    if s.run.state == "paused":
        return [[("intake is paused: ", "muted"), ("P", "accent"), (" resumes", "muted")]]
    if s.run.queued:
        return [[("nothing in flight yet", "muted")]]
    return [[("Queue is empty.  ", "text"), ("a", "accent"), (" adds sources, or drop them in with  gainstage add FILE", "muted")]]


def model_line(m: ModelView) -> list[tuple[str, str]]:
    """One model on its way: ``✓ asr  distil-large-v3  8.1s  cuda:0``."""
    sign, token = {"ready": ("✓", "ok"), "loading": ("◌", "accent"), "failed": ("■", "crit")}.get(m.state, ("·", "faint"))
    loud = m.state in ("ready", "loading", "failed")
    took = fmt.span(m.load_s) if m.load_s is not None else ""
    return [
        (f"{sign} ", token),
        (safe.fit(m.role, 13), "text" if loud else "muted"),
        (safe.fit(m.name, 42), "bright" if m.state == "loading" else "text" if loud else "faint"),
        (safe.fit(took, 8, ">"), "text"),
        (f"   {m.device or ''}" if m.state != "loading" else "   loading …", "muted"),
        (f"  {m.note}" if m.note else "", "warn"),
    ]

"""5 Host: every GPU, who uses it, the machine, what it depends on, every slot."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.frame import Frame
from gainstage.tui.widgets.gpu import GpuPanel
from gainstage.tui.widgets.hostinfo import DependenciesPanel, HostPanel, SlotsPanel, UsersPanel


class HostScreen(DeskScreen):
    NAME = "host"
    BINDINGS: ClassVar[list[Any]] = bindings("host")

    def __init__(self) -> None:
        super().__init__()
        self.gpu, self.users, self.host = GpuPanel(), UsersPanel(), HostPanel()
        self.dependencies, self.slots = DependenciesPanel(), SlotsPanel()

    def body(self) -> ComposeResult:
        with Container(id="host-grid"):
            yield self.gpu
            yield self.users
            yield self.host
            yield self.dependencies
        yield self.slots

    def on_mount(self) -> None:
        self.set_focus(self.gpu)

    def apply(self, frame: Frame) -> None:
        s = frame.snapshot
        if s is None:
            return
        console = self.console
        levels = {
            f"gpu{d.index}.{name}": console.alerts.of(f"gpu{d.index}.{name}")
            for d in s.devices
            for name in ("sm", "memory", "temperature")
        }
        self.gpu.show(s.devices, s.host, console.memory_limit, levels)
        self.users.show(self.gpu.device, s.models, console.memory_limit)
        self.host.show(s.host, console.alerts.of("disk"))
        self.dependencies.show(s, console.alerts.of("database"))
        self.slots.show(s.stages)

    def do_next_gpu(self, _: str) -> None:
        if len(self.gpu.devices) < 2:
            self.console.notice("there is one GPU" if self.gpu.devices else "no GPU can be read", "info")
        self.gpu.next()
        self.apply(self.frame)

    def do_window(self, _: str) -> None:
        self.gpu.widen()

    def do_cursor_left(self, _: str) -> None:
        self.gpu.widen()

    def do_cursor_right(self, _: str) -> None:
        self.gpu.widen()

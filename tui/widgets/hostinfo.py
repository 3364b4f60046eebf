"""The machine, what it depends on, who uses the GPU, and what every slot is doing."""

from __future__ import annotations

from gainstage.config.defaults import MEMORY_LIMIT_PERCENT
from gainstage.engine.views.snapshot import (
    DatabaseView,
    DeviceView,
    HostBudget,
    HostView,
    ModelView,
    SlotView,
    Snapshot,
    StageView,
)
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import meter, spark
from gainstage.tui.widgets.machine import share_of
from gainstage.tui.widgets.panel import Panel

STUCK_FACTOR = 3.0


class UsersPanel(Panel):
    """Who holds the memory of the GPU: our models one by one, then other processes."""

    TITLE = "who uses it"
    OF_ENGINE = True

    def __init__(self) -> None:
        super().__init__(id="users")
        self.device: DeviceView | None = None
        self.models: tuple[ModelView, ...] = ()
        self.limit = MEMORY_LIMIT_PERCENT / 100

    def show(self, device: DeviceView | None, models: tuple[ModelView, ...], limit: float) -> None:
        if (device, models, limit) != (self.device, self.models, self.limit):
            self.device, self.models, self.limit = device, models, limit
            self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        d = self.device
        total = d.memory_total if d is not None else None
        bar = 10
        name_width = max(10, width - 8 - bar - 2)
        lines: list[Line] = []

        def row(name: str, memory: float | None, token: str, note: str = "") -> Line:
            line = Line().fit(name, name_width, p[token]).fit(fmt.size(memory), 7, p["text"], ">").gap(2, p["ground"])
            return meter(line, share_of(memory, total), bar, p) if total else line.clip(note, bar, p["muted"])

        for model in self.models:
            state = "" if model.state == "ready" else f" ({model.state})"
            lines.append(row(f"{model.role} {model.name.rpartition('/')[2]}{state}", model.memory, "text", model.device or ""))
        if d is None:
            return lines or [Line().add("no models loaded", p["faint"])]
        by_models = sum(m.memory or 0 for m in self.models)
        if d.memory_ours is not None and d.memory_ours > by_models:
            lines.append(row("our buffers and batches", d.memory_ours - by_models, "text"))
        for process in d.processes:
            if not process.ours:
                lines.append(row(f"other: {process.name} pid {process.pid}", process.memory, "warn"))
        if d.memory_used is not None and total:
            free = self.limit * total - d.memory_used
            line = Line().add("free below the limit ", p["muted"])
            line.add(fmt.size(free) if free > 0 else "none ▲", p["bright" if free > 0 else "warn"])
            if len(lines) + 2 <= height:
                lines.append(Line())
            lines.append(line)
        return lines


class HostPanel(Panel):
    TITLE = "host"
    OF_ENGINE = True

    def __init__(self) -> None:
        super().__init__(id="hostinfo")
        self.host: HostView | None = None
        self.disk_level = "ok"

    def show(self, host: HostView, disk_level: str) -> None:
        if (host, disk_level) != (self.host, self.disk_level):
            self.host, self.disk_level = host, disk_level
            self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        return line.add(f"  {self.host.name}", p["bright"]) if self.host is not None else line

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        h = self.host
        if h is None:
            return [Line().add("not known yet", p["faint"])]
        bar = 12

        def row(name: str, share: float | None, text: str, token: str = "bar") -> Line:
            line = Line().fit(name, 7, p["muted"])
            return meter(line, share, bar, p, token).fit(text, 6, p["text"], ">")

        cpu = row("CPU", h.cpu, fmt.percent(h.cpu)).gap(1, p["ground"]).add(spark(h.cpu_history, 12), p["spark"])
        cpu.add(f" load {h.load:.1f}/{h.cores}" if h.load is not None and h.cores else "", p["muted"])
        ram = row("RAM", share_of(h.memory_used, h.memory_total), fmt.size(h.memory_used))
        ram.add(f" of {fmt.size(h.memory_total, 0)}  swap {fmt.size(h.swap_used)}", p["muted"])
        used = h.disk_total - h.disk_free if h.disk_total is not None and h.disk_free is not None else None
        sign = {"ok": "", "warn": "▲ ", "crit": "■ "}[self.disk_level]
        level = "muted" if self.disk_level == "ok" else self.disk_level
        disk = row(
            "disk", share_of(used, h.disk_total), fmt.size(h.disk_free), "bar" if self.disk_level == "ok" else self.disk_level
        )
        disk.add(" free", p["muted"])
        if h.disk_full_in_s is not None:
            disk.add(f", {sign}full in {fmt.roughly(h.disk_full_in_s)}", p[level])
        disk.add(f"  work {fmt.size(h.work_bytes)}", p["muted"])
        net = Line().fit("net", 7, p["muted"]).add("in ", p["muted"]).add(f"{fmt.size(h.net_rx)}/s", p["text"])
        net.add("  out ", p["muted"]).add(f"{fmt.size(h.net_tx)}/s", p["text"])
        cores = f"{h.engine_cpu:.1f}" if h.engine_cpu is not None else fmt.UNKNOWN
        engine = (
            Line()
            .fit("engine", 7, p["muted"])
            .add(cores, p["text"])
            .add(" cores  ", p["muted"])
            .add(fmt.size(h.engine_rss), p["text"])
        )
        engine.add(f"  {fmt.brief(h.engine_threads)} threads  {fmt.brief(h.engine_handles)} files", p["muted"])
        return [cpu, ram, disk, net, engine] if height > 4 else [cpu, ram, disk, engine]


class DependenciesPanel(Panel):
    TITLE = "depends on"
    OF_ENGINE = True

    def __init__(self) -> None:
        super().__init__(id="dependencies")
        self.database: DatabaseView | None = None
        self.budgets: tuple[HostBudget, ...] = ()
        self.models: tuple[ModelView, ...] = ()
        self.level = "ok"
        self.wall = 0.0

    def show(self, s: Snapshot, level: str) -> None:
        fresh = (s.database, s.budgets, s.models, level)
        if fresh != (self.database, self.budgets, self.models, self.level):
            self.database, self.budgets, self.models, self.level = fresh
            self.wall = s.wall
            self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if self.database is None:
            return [Line().add("not known yet", p["faint"])]
        building = [self._index(self.database, width, p)] if self.database.index_phase is not None else []
        return [
            self._database(self.database, width, p),
            *building,
            *(self._budget(b, width, p) for b in self.budgets[: max(1, height - 2 - len(building))]),
            self._models(width, p),
        ]

    def _index(self, d: DatabaseView, width: int, p: Palette) -> Line:
        """The build of a vector index; the run goes on beside it."""
        line = Line().fit("index", 12, p["muted"]).add("◌ ", p["info"])
        if d.index_share is not None:
            meter(line, d.index_share, 10, p).add(f" {fmt.percent(d.index_share)}  ", p["text"])
        return line.clip((d.index_phase or "").removeprefix("building index: "), width - line.used, p["muted"])

    def _database(self, d: DatabaseView, width: int, p: Palette) -> Line:
        line = Line().fit("postgres", 12, p["muted"])
        if not d.up:
            down = fmt.roughly(self.wall - d.down_since_wall) if d.down_since_wall is not None else fmt.UNKNOWN
            return line.add(f"■ down for {down}", p["crit"]).clip(
                f"  {d.where}  {d.reconnects} reconnects", width - line.used, p["muted"]
            )
        token = {"ok": "ok"}.get(self.level, self.level)
        line.add("● " if self.level == "ok" else "▲ ", p[token]).add(fmt.span(d.latency_p50_s), p["text"]).add(
            f" p95 {fmt.span(d.latency_p95_s)}", p["muted"]
        )
        pool = f"  pool {fmt.brief(d.pool_busy)}/{fmt.brief(d.pool_size)}"
        line.add(f"{pool}  {fmt.brief(d.segments)} segments  {fmt.size(d.size)}", p["muted"])
        where = f"  {'embedded' if d.embedded else d.where}"
        return line.clip(where, width - line.used, p["faint"]) if width - line.used >= 10 else line

    def _budget(self, b: HostBudget, width: int, p: Palette) -> Line:
        token, sign = {"closed": ("ok", "●"), "open": ("crit", "■"), "trial": ("warn", "▲")}.get(b.state, ("muted", "·"))
        line = Line().fit(b.host.removeprefix("www."), 12, p["muted"]).fit(sign, 2, p[token])
        meter(line, share_of(b.used, b.rate), 10, p).add(f" {b.used:,}/{b.rate:,} an hour", p["text"])
        if b.throttled:
            line.add(f"  ▲ ×{b.throttled}", p["warn"])
        if b.state == "open" and b.until_wall is not None:
            line.add(f"  waits {fmt.roughly(b.until_wall - self.wall)}", p["crit"])
        return line

    def _models(self, width: int, p: Palette) -> Line:
        ready = sum(m.state == "ready" for m in self.models)
        failed = [m for m in self.models if m.state == "failed"]
        line = Line().fit("models", 12, p["muted"])
        if failed:
            return line.add("■ ", p["crit"]).clip(f"{failed[0].role}: {failed[0].note or 'failed'}", width - line.used, p["crit"])
        line.add("● " if self.models and ready == len(self.models) else "◌ ", p["ok" if ready == len(self.models) else "info"])
        took = sum(m.load_s or 0.0 for m in self.models)
        return line.add(f"{ready}/{len(self.models)} ready", p["text"]).add(f"  loaded in {fmt.span(took)}", p["muted"])


class SlotsPanel(Panel):
    """Every slot of every stage in columns: what it holds and for how long."""

    TITLE = "slots"
    OF_ENGINE = True

    def __init__(self) -> None:
        super().__init__(id="slots")
        self.stages: tuple[StageView, ...] = ()

    def show(self, stages: tuple[StageView, ...]) -> None:
        if stages != self.stages:
            self.stages = stages
            self.redraw()

    @staticmethod
    def _stuck(stage: StageView, slot: SlotView) -> bool:
        """Longer at it than three times what 95 % of recordings need."""
        return slot.state == "busy" and stage.service_p95_s is not None and slot.for_s > STUCK_FACTOR * stage.service_p95_s

    def heading(self, p: Palette) -> Line:
        slots = [(stage, slot) for stage in self.stages for slot in stage.slots]
        busy = sum(slot.state == "busy" for _, slot in slots)
        late = sum(self._stuck(stage, slot) for stage, slot in slots)
        line = super().heading(p).add(f"  {len(slots)}", p["bright"]).add(f"  busy {busy}", p["muted"])
        return line.add(f"  ▲ unusually long {late}", p["warn"]) if late else line

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        cells = [(stage, slot) for stage in self.stages for slot in stage.slots]
        if not cells:
            return [Line().add("no slots yet", p["faint"])]
        each = 36
        columns = max(1, (width + 3) // (each + 3))
        rows = min(height, -(-len(cells) // columns))
        if rows * columns < len(cells):  # what works comes first where not everything fits
            cells.sort(key=lambda c: c[1].state != "busy")
        lines = [Line() for _ in range(rows)]
        for i, (stage, slot) in enumerate(cells[: rows * columns]):
            line = lines[i % rows]
            line.to((i // rows) * (each + 3), p["ground"])
            busy, late = slot.state == "busy", self._stuck(stage, slot)
            line.add("▲ " if late else "  ", p["warn"]).fit(f"{stage.name}-{slot.index}", 13, p["text" if busy else "faint"])
            state = slot.recording if busy and slot.recording else slot.state  # who is busy with what says that it is busy
            line.fit(state, 14, p["text" if busy else "info" if slot.state == "retiring" else "faint"])
            line.fit(fmt.span(slot.for_s), 7, p["warn" if late else "text" if busy else "faint"], ">")
        return lines

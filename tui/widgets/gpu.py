"""One GPU over time: utilisation and memory as graphs, heat, power and clocks as figures. Without a GPU: the processor."""

from __future__ import annotations

from gainstage.config.defaults import MEMORY_LIMIT_PERCENT
from gainstage.engine.views.snapshot import DeviceView, HostView
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import braille, meter
from gainstage.tui.widgets.machine import share_of
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.throughput import stretched

SAMPLE_S = 5.0
WINDOWS_S = (300.0, 900.0, 3600.0)


def quantile(values: list[float], share: float) -> float | None:
    """The value below which ``share`` of the values lie; None without any."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class GpuPanel(Panel):
    TITLE = "GPU"
    OF_ENGINE = True

    def __init__(self) -> None:
        super().__init__(id="gpu")
        self.devices: tuple[DeviceView, ...] = ()
        self.chosen = 0
        self.window_s = WINDOWS_S[1]
        self.limit = MEMORY_LIMIT_PERCENT / 100
        self.levels: dict[str, str] = {}
        self.host: HostView | None = None

    def show(self, devices: tuple[DeviceView, ...], host: HostView, limit: float, levels: dict[str, str]) -> None:
        """``levels`` by ``gpu0.sm``, ``gpu0.memory``, ``gpu0.temperature``."""
        fresh = (devices, limit, levels, None if devices else host)
        if fresh != (self.devices, self.limit, self.levels, self.host):
            self.devices, self.limit, self.levels, self.host = fresh
            self.redraw()

    @property
    def device(self) -> DeviceView | None:
        return self.devices[self.chosen % len(self.devices)] if self.devices else None

    def next(self) -> None:
        """The next device."""
        self.chosen = (self.chosen + 1) % max(1, len(self.devices))
        self.redraw()

    def widen(self) -> None:
        """The next window of the graphs."""
        self.window_s = WINDOWS_S[(WINDOWS_S.index(self.window_s) + 1) % len(WINDOWS_S)]
        self.redraw()

    def heading(self, p: Palette) -> Line:
        d = self.device
        if d is None:
            return super().heading(p)
        line = Line().add(f"GPU {d.index}", p["title+b"]).add(f"  {d.name}", p["bright"])
        line.add(f"  driver {d.driver}" if d.driver else "", p["muted"])
        return line.add(f"  of {len(self.devices)}", p["muted"]) if len(self.devices) > 1 else line

    def corner(self, p: Palette) -> Line:
        return (
            Line()
            .add(f"last {fmt.roughly(self.window_s)}", p["muted"])
            .add("  W window" + ("  g next GPU" if len(self.devices) > 1 else ""), p["faint"])
        )

    def _level(self, name: str) -> str:
        d = self.device
        return self.levels.get(f"gpu{d.index}.{name}", "ok") if d is not None else "ok"

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        d = self.device
        if d is None:
            return self._without(width, height, p)
        if height < 9:
            return self._short(d, width, p)
        rows = max(2, (height - 4) // 2)
        used = max(12, width - 8 - 26)
        sm = [v for v in d.sm_history[-round(self.window_s / SAMPLE_S) :] if v is not None]
        lines = self._graph(
            d.use_name.upper(),
            d.sm_history,
            rows,
            used,
            ("100%", "0"),
            "spark" if self._level("sm") == "ok" else self._level("sm"),
            p,
        )
        side = [
            Line().add("now  ", p["muted"]).add(fmt.percent(d.sm), p["bright+b"]).add(f" {self._sign('sm')}", p[self._token("sm")]),
            Line().add("p50  ", p["muted"]).add(fmt.percent(quantile(sm, 0.5)), p["text"]),
            Line().add("p95  ", p["muted"]).add(fmt.percent(quantile(sm, 0.95)), p["text"]),
        ]
        self._beside(lines, side, width, p)
        total = fmt.size(d.memory_total, 0)
        memory = self._graph(
            "VRAM",
            d.memory_history,
            rows,
            used,
            (total, "0"),
            "spark" if self._level("memory") == "ok" else self._level("memory"),
            p,
            self.limit,
        )
        share = share_of(d.memory_used, d.memory_total)
        side = [
            Line()
            .add("now  ", p["muted"])
            .add(f"{fmt.size(d.memory_used)}", p["bright+b"])
            .add(f" {fmt.percent(share)} {self._sign('memory')}", p[self._token("memory")]),
            Line().add("peak ", p["muted"]).add(fmt.size(d.memory_peak), p["text"]),
            Line().add("limit ", p["muted"]).add(fmt.percent(self.limit), p["text"]).add(" ┈┈", p["limit"]),
        ]
        self._beside(memory, side, width, p)
        return [*lines, Line(), *memory, Line(), *self._figures(d, width, p)]

    def _without(self, width: int, height: int, p: Palette) -> list[Line]:
        note = (self.host.gpu_note if self.host else None) or "no GPU on this machine"
        lines = [
            Line().add(f"{note}." if note.startswith("GPU") else f"GPU: not readable ({note}).", p["text"]),
            Line().add("Work goes on; bands and advice for the GPU are off.", p["muted"]),
        ]
        if self.host is None or height < 9:
            return lines
        history = self.host.cpu_history
        graph = self._graph("CPU", history, height - 4, max(12, width - 36), ("100%", "0"), "spark", p)
        recent = [v for v in history[-round(self.window_s / SAMPLE_S) :] if v is not None]
        side = [
            Line().add("now  ", p["muted"]).add(fmt.percent(self.host.cpu), p["bright+b"]),
            Line().add("p50  ", p["muted"]).add(fmt.percent(quantile(recent, 0.5)), p["text"]),
            Line().add("p95  ", p["muted"]).add(fmt.percent(quantile(recent, 0.95)), p["text"]),
        ]
        self._beside(graph, side, width, p)
        return [*lines, Line(), *graph]

    def _token(self, name: str) -> str:
        return {"ok": "muted"}.get(self._level(name), self._level(name))

    def _sign(self, name: str) -> str:
        return {"ok": " ", "warn": "▲", "crit": "■"}[self._level(name)]

    @staticmethod
    def _beside(lines: list[Line], side: list[Line], width: int, p: Palette) -> None:
        for line, text in zip(lines, side, strict=False):
            line.gap(3, p["ground"]).extend(text)

    def _graph(
        self,
        name: str,
        history: tuple[float | None, ...],
        rows: int,
        cells: int,
        scale: tuple[str, str],
        token: str,
        p: Palette,
        limit: float | None = None,
    ) -> list[Line]:
        samples = round(self.window_s / SAMPLE_S)
        recent = list(history[-samples:])
        drawn = stretched(recent, round(2 * cells * min(1.0, len(recent) / samples)))
        lines = []
        at = None if limit is None else min(rows - 1, int((1 - limit) * rows))
        for i, text in enumerate(braille(drawn, cells, rows, 1.0)):
            label = name if i == 0 else ""
            number = scale[0] if i == 0 else scale[1] if i == rows - 1 else ""
            line = Line().fit(label, 4, p["muted"]).fit(f"{number}┤", 6, p["faint"], ">")
            if i == at:
                for piece, filled in _pieces(text):
                    line.add(piece if filled else "┈" * len(piece), p[token if filled else "limit"])
            else:
                line.add(text, p[token])
            lines.append(line)
        return lines

    def _figures(self, d: DeviceView, width: int, p: Palette) -> list[Line]:
        reasons = fmt.UNKNOWN if d.throttle is None else ", ".join(d.throttle) or "none"
        line = Line().add("throttle ", p["muted"]).add(("▲ " if d.throttle else "") + reasons, p["warn" if d.throttle else "text"])
        line.add("   temperature ", p["muted"])
        line.add(f"{d.temperature:.0f}°C" if d.temperature is not None else fmt.UNKNOWN, p["text"])
        line.add(f" {self._sign('temperature')}", p[self._token("temperature")])
        if d.slowdown_at is not None:
            line.add(f"slows at {d.slowdown_at:.0f}", p["muted"])
        if d.shutdown_at is not None:
            line.add(f", off at {d.shutdown_at:.0f}", p["muted"])
        power = f"{d.power_w:.0f}" if d.power_w is not None else fmt.UNKNOWN
        line.add("   power ", p["muted"]).add(power, p["text"]).add(
            f"/{d.power_limit_w:.0f} W" if d.power_limit_w is not None else " W", p["muted"]
        )
        second = (
            Line()
            .add("clocks SM ", p["muted"])
            .add(f"{fmt.brief(d.clock_sm_mhz)}", p["text"])
            .add(f"/{fmt.brief(d.clock_sm_max_mhz)}", p["muted"])
        )
        second.add(" memory ", p["muted"]).add(fmt.brief(d.clock_memory_mhz), p["text"]).add(" MHz   PCIe in ", p["muted"]).add(
            f"{fmt.size(d.pcie_rx)}/s", p["text"]
        )
        second.add(" out ", p["muted"]).add(f"{fmt.size(d.pcie_tx)}/s", p["text"])
        for name, share in (
            ("busy", d.busy if d.sm_measured else None),
            ("occupancy", d.occupancy),
            ("bandwidth", d.memory_bandwidth),
        ):
            if share is not None and d.occupancy is not None:
                second.add(f"   {name} ", p["muted"]).add(fmt.percent(share), p["text"])
        if d.energy_j is not None:
            second.add("   energy ", p["muted"]).add(f"{d.energy_j / 3.6e6:.2f} kWh", p["text"])
        if d.ecc_errors is not None:
            second.add("   ECC ", p["muted"]).add(str(d.ecc_errors), p["warn" if d.ecc_errors else "text"])
        return [line, second]

    def _short(self, d: DeviceView, width: int, p: Palette) -> list[Line]:
        from gainstage.tui.widgets.glyphs import spark

        bar = max(8, width - 52)
        memory = share_of(d.memory_used, d.memory_total)

        def row(name: str, share: float | None, text: str, tail: Line, level: str, limit: float | None = None) -> Line:
            line = Line().fit(name, 5, p["muted"])
            meter(line, share, bar, p, "bar" if level == "ok" else level, limit)
            return line.fit(text, 7, p["text" if level == "ok" else level], ">").gap(2, p["ground"]).extend(tail)

        sm = [v for v in d.sm_history if v is not None]
        hot = d.shutdown_at or (d.slowdown_at + 5 if d.slowdown_at else None)
        reasons = fmt.UNKNOWN if d.throttle is None else ", ".join(d.throttle) or "no throttle"
        return [
            row(d.use_name.upper(), d.sm, fmt.percent(d.sm), Line().add(spark(d.sm_history, 14), p["spark"]).add(f"  p50 {fmt.percent(quantile(sm, 0.5))} p95 {fmt.percent(quantile(sm, 0.95))}", p["muted"]), self._level("sm")),
            row("VRAM", memory, fmt.percent(memory), Line().add(f"{fmt.size(d.memory_used)}/{fmt.size(d.memory_total, 0)} peak {fmt.size(d.memory_peak)}", p["muted"]), self._level("memory"), self.limit),
            row("TEMP", share_of(d.temperature, hot), f"{d.temperature:.0f}°C" if d.temperature is not None else fmt.UNKNOWN, Line().add(f"slows at {d.slowdown_at:.0f}  " if d.slowdown_at else "", p["muted"]).clip(reasons, 20, p["warn" if d.throttle else "muted"]), self._level("temperature"), share_of(d.slowdown_at, hot)),
            row("PWR", share_of(d.power_w, d.power_limit_w), f"{d.power_w:.0f}W" if d.power_w is not None else fmt.UNKNOWN, Line().add(f"clock {fmt.brief(d.clock_sm_mhz)} MHz", p["muted"]), "ok"),
        ]  # fmt: skip


def _pieces(text: str) -> list[tuple[str, bool]]:
    """Runs of drawn and of empty braille cells."""
    runs: list[tuple[str, bool]] = []
    for c in text:
        filled = c != "\u2800"
        if runs and runs[-1][1] == filled:
            runs[-1] = (runs[-1][0] + c, filled)
        else:
            runs.append((c, filled))
    return runs

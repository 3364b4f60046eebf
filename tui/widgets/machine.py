"""The GPU and the host in seven lines, or in one."""

from __future__ import annotations

from gainstage.engine.views.snapshot import CpuSplit, DeviceView, HostView
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import meter, spark
from gainstage.tui.widgets.panel import Panel


def share_of(part: float | None, whole: float | None) -> float | None:
    """A share, unknown when either side is."""
    return part / whole if part is not None and whole else None


def split_words(split: CpuSplit, cells: int) -> str:
    """Who uses the CPU: ``engine 61 pg 4 other 20`` (percent of all cores), shorter where there is less room."""
    parts = [("engine", "eng", split.engine), ("pg", "pg", split.postgres), ("other", "oth", split.others)]
    for short in (False, True):
        text = " ".join(f"{words[short]} {share * 100:.0f}" for *words, share in parts if share is not None)
        if len(text) < cells:
            break
    return text


class MachinePanel(Panel):
    """Meters with their limits drawn in; unknown readings are dots."""

    TITLE = "machine"
    OF_ENGINE = True
    HINT = "5"

    def __init__(self) -> None:
        super().__init__(id="machine")
        self.device: DeviceView | None = None
        self.host: HostView | None = None
        self.more = 0
        self.limit: float | None = None
        self.levels: tuple[str, ...] = ("ok", "ok", "ok", "ok")
        self.rtfx: float | None = None
        self.beside = False

    def show(
        self,
        devices: tuple[DeviceView, ...],
        host: HostView,
        limit: float | None,
        levels: tuple[str, ...],
        rtfx: float | None,
        beside: bool = False,
    ) -> None:
        """``levels`` of sm, memory, temperature and disk. ``beside``: another panel has the use of the CPU; here is its load."""
        device = devices[0] if devices else None
        fresh = (device, host, max(0, len(devices) - 1), limit, levels, rtfx, beside)
        if fresh != (self.device, self.host, self.more, self.limit, self.levels, self.rtfx, self.beside):
            self.device, self.host, self.more, self.limit, self.levels, self.rtfx, self.beside = fresh
            self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        if self.device is not None:
            line.add(f"  GPU {self.device.index}", p["muted"])
            if self.more:
                line.add(f" of {self.more + 1}", p["muted"])
        return line

    def _token(self, which: int) -> str:
        return {"ok": "bar", "warn": "warn", "crit": "crit"}[self.levels[which]]

    def _sign(self, which: int) -> str:
        return {"ok": " ", "warn": "▲", "crit": "■"}[self.levels[which]]

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        h = self.host
        if h is None:
            return [Line().add("not known yet", p["faint"])]
        if height <= 2:
            return [self._one_line(width, p)]
        lines = self._gpu(width, height, p)
        bar = max(6, width - 34)

        def row(name: str, share: float | None, text: str, tail: str, token: str = "bar", limit: float | None = None) -> Line:
            line = Line().fit(name, 5, p["muted"])
            meter(line, share, bar, p, token, limit)
            return line.fit(text, 7, p["text"], ">").gap(1, p["ground"]).fit(tail, width - line.used, p["muted"])

        cores = f"{h.cores} cores" if h.cores else ""
        tail = f" {spark(h.cpu_history, 8)} {cores}"
        if h.split is not None and h.postgres_cpu is not None:
            tail = " " + split_words(h.split, width - bar - 13)
        if self.beside:
            lines.append(
                row(
                    "load",
                    share_of(h.load, h.cores),
                    fmt.UNKNOWN if h.load is None else f"{h.load:.1f}",
                    f" on {cores}" if cores else "",
                )
            )
        else:
            lines.append(row("CPU", h.cpu, fmt.percent(h.cpu), tail if bar + 13 + len(tail) <= width else f" {cores}"))
        lines.append(
            row("RAM", share_of(h.memory_used, h.memory_total), fmt.size(h.memory_used), f" of {fmt.size(h.memory_total, 0)}")
        )
        disk = Line().fit("disk", 5, p["muted"]).add(fmt.size(h.disk_free), p["text"]).add(" free", p["muted"])
        if h.disk_full_in_s is not None:
            disk.add(
                f" {self._sign(3)}full in {fmt.roughly(h.disk_full_in_s)}", p[self.levels[3] if self.levels[3] != "ok" else "muted"]
            )
        net = f"   net {fmt.size(h.net_rx)}/s"
        disk.add(net if disk.used + len(net) <= width else "", p["muted"])
        lines.append(disk)
        return lines

    def _gpu(self, width: int, height: int, p: Palette) -> list[Line]:
        d = self.device
        h = self.host
        if d is None:
            note = (h.gpu_note if h else None) or "no GPU on this machine"
            from gainstage.tui.render.safe import wrapped

            rows = max(0, height - 3)  # the processor, memory and disk follow
            words = [Line().add(t, p["muted"]) for t in wrapped(note if note.startswith("GPU") else f"GPU: {note}", width)[:rows]]
            rest = wrapped("Work goes on; its bands and advice are off.", width)
            return words + [Line().add(t, p["faint"]) for t in rest] if len(words) + len(rest) <= rows else words
        bar = max(6, width - 34)

        def row(name: str, which: int | None, share: float | None, text: str, tail: Line, limit: float | None = None) -> Line:
            line = Line().fit(name, 5, p["muted"])
            meter(line, share, bar, p, "bar" if which is None else self._token(which), limit)
            token = "text" if which is None or self.levels[which] == "ok" else self.levels[which]
            sign = " " if which is None else self._sign(which)
            line.fit(f"{sign}{text}", 7, p[token], ">").gap(2, p["ground"])
            return line.extend(tail)

        temperature = f"{d.temperature:.0f}°C" if d.temperature is not None else fmt.UNKNOWN
        memory = share_of(d.memory_used, d.memory_total)
        power = f"{d.power_w:.0f}W" if d.power_w is not None else fmt.UNKNOWN
        throttle = fmt.UNKNOWN if d.throttle is None else ", ".join(d.throttle) or "no throttle"
        hot = share_of(d.temperature, d.shutdown_at or (d.slowdown_at + 5 if d.slowdown_at else None))
        ceiling = share_of(d.slowdown_at, d.shutdown_at or (d.slowdown_at + 5 if d.slowdown_at else None))
        return [
            row(
                d.use_name.upper(),
                0,
                d.sm,
                fmt.percent(d.sm),
                Line().add(spark(d.sm_history, max(4, width - bar - 16)), p["spark"]),
            ),
            row(
                "VRAM",
                1,
                memory,
                fmt.percent(memory),
                Line().add(f"{fmt.size(d.memory_used)} of {fmt.size(d.memory_total, 0)}", p["muted"]),
                self.limit,
            ),
            row(
                "TEMP",
                2,
                hot,
                temperature,
                Line().add(f"slows at {d.slowdown_at:.0f}" if d.slowdown_at else "", p["muted"]),
                ceiling,
            ),
            row(
                "PWR",
                None,
                share_of(d.power_w, d.power_limit_w),
                power,
                Line().clip(throttle, 17, p["warn" if d.throttle else "muted"]),
            ),
        ]

    def _one_line(self, width: int, p: Palette) -> Line:
        d, h = self.device, self.host
        line = Line()
        if d is not None:
            memory = share_of(d.memory_used, d.memory_total)
            line.add(f"{d.use_name} ", p["muted"])
            meter(line, d.sm, 10, p, self._token(0)).fit(fmt.percent(d.sm), 5, p["text"], ">").add("  VRAM ", p["muted"])
            meter(line, memory, 10, p, self._token(1), self.limit).fit(fmt.percent(memory), 5, p["text"], ">")
            line.add(f"{self._sign(1)} {fmt.size(d.memory_used)}/{fmt.size(d.memory_total, 0)}", p["muted"])
            if d.temperature is not None:
                line.add(f"  {d.temperature:.0f}°C{self._sign(2)}", p["text"])
            if d.power_w is not None:
                line.add(f" {d.power_w:.0f}W", p["muted"])
        elif h is not None:
            line.add("CPU ", p["muted"])
            meter(line, h.cpu, 10, p).fit(fmt.percent(h.cpu), 5, p["text"], ">").add("  RAM ", p["muted"])
            meter(line, share_of(h.memory_used, h.memory_total), 10, p).add(
                f" {fmt.size(h.memory_used)}/{fmt.size(h.memory_total, 0)}", p["muted"]
            )
            line.add("  no GPU", p["faint"])
        return line.add("  ", p["ground"]).add(fmt.times(self.rtfx), p["bright"]).add(" rt", p["muted"])

"""What stands below the stages on their time axis: processor, GPU, throughput."""

from __future__ import annotations

from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.render import format as fmt
from gainstage.tui.widgets.glyphs import nice_top
from gainstage.tui.widgets.machine import share_of, split_words
from gainstage.tui.widgets.stages import Gauge

SPLIT_CELLS = 40


def gauges_of(s: Snapshot) -> tuple[Gauge, ...]:
    """The lines of a frame."""
    h, run = s.host, s.run
    known = [rate for rate in run.rtfx_trend if rate is not None]
    top = nice_top(max([*known, 1.0]))
    gauges = [
        Gauge(
            "CPU",
            h.cpu,
            f"{h.cores} cores" if h.cores else "",
            split_words(h.split, SPLIT_CELLS) if h.split is not None and h.postgres_cpu is not None else "",
            h.cpu_history,
        )
    ]
    if s.devices:
        d = s.devices[0]
        memory = f"{fmt.percent(share_of(d.memory_used, d.memory_total))} of memory"
        others = f" of {len(s.devices)}" if len(s.devices) > 1 else ""
        gauges.append(Gauge(f"GPU {d.use_name}", d.sm, f"GPU {d.index}{others}", memory, d.sm_history))
    now = f"now {fmt.times(run.rtfx)}" if run.rtfx is not None else "measuring" if run.running else "idle"
    more = [f"{fmt.times(run.rtfx_overall)} in all"] if run.rtfx_overall else []
    more += [f"scale to {fmt.times(top)}"] if known else []
    gauges.append(Gauge("audio/h", None, now, " · ".join(more), run.rtfx_trend, top))
    return tuple(gauges)

"""The result of a dry run, in words: for ``add --dry-run`` and for the console's preview."""

from __future__ import annotations

from gainstage.engine.views.rows import ModelNeed, RunPlan
from gainstage.tui.render.format import audio, roughly, size, times


def plan_lines(plan: RunPlan) -> list[tuple[str, str]]:
    """(what, words) of a plan; what is unknown is left out or called unknown."""
    about = "about " if plan.unknown else ""
    words = f"{about}{audio(plan.audio_s)}"
    if plan.unknown:
        words += f" ({plan.unknown} of unknown length)"
    lines = [("audio", words)]
    if plan.downloads:
        lines.append(("downloads", f"{plan.downloads}, about {size(plan.download_bytes)}"))
    left = plan.left
    if left.left_s is None:
        lines.append(("time", f"· ({left.basis})"))
    else:
        rate = f", {times(plan.rtfx)} real time" if plan.rtfx else ""
        bound = f", bound by {plan.bottleneck}" if plan.bottleneck else ""
        span = f"{roughly(left.low_s)} to {roughly(left.high_s)}"
        lines.append(("time", f"about {roughly(left.left_s)} ({span}){rate}{bound}; {left.basis}"))
    lines.append(("disk", f"up to {size(plan.disk_peak)} while it runs, about {size(plan.disk_stored)} stored"))
    needs = [f"{need.role} {_memory(need)}" for need in plan.models]
    lines.append(("models", ", ".join(needs)))
    total = sum(need.bytes or 0 for need in plan.models)
    if plan.memory is not None and total > plan.memory:
        words = (
            f"▲ the models need {size(total)} and {size(plan.memory)} may be used here; choose smaller ones, or keep them on a GPU"
        )
        lines.append(("memory", words))
    return lines


def _memory(need: ModelNeed) -> str:
    if need.bytes is None:
        return "of unknown size"
    return size(need.bytes) + ("" if need.measured else " of weights")

"""The first lines of a run's report, as plain text. Pure."""

from __future__ import annotations

from datetime import datetime

from gainstage.engine.advisor.forecast import span
from gainstage.engine.clean import counted
from gainstage.engine.views.run_report import RunReport


def summary_lines(report: RunReport) -> list[str]:
    """The first lines of a report: what it was, how far it is, how fast it went, what it cost."""
    run = report.run
    shares = (
        (run.stored, "stored"),
        (run.failed, "failed"),
        (run.skipped, "skipped"),
        (run.cancelled, "cancelled"),
        (run.left, "to do"),
    )
    lines = [f"{counted(run.total, 'recording')}: " + ", ".join(f"{n:,} {word}" for n, word in shares if n)]
    if run.sources:
        more = f" and {len(run.sources) - 5} more" if len(run.sources) > 5 else ""
        lines.append(f"from {', '.join(run.sources[:5])}{more}")
    times = [f"added {_stamp(run.added_wall)}"]
    if run.began_wall is not None:
        times.append(f"begun {_stamp(run.began_wall)}")
    if run.ended_wall is not None:
        times.append(f"ended {_stamp(run.ended_wall)}")
    lines.append(", ".join(times))
    if run.rtfx is not None:
        audio, work = span(run.audio_done_s), span(run.work_s)
        lines.append(f"{audio} of audio stored in {work} of work: {run.rtfx:.1f}x real time")
    if len(report.engines) > 1:
        each = ", ".join(f"{engine} {stored:,}" for engine, stored in report.engines[:16])
        more = f" and {len(report.engines) - 16} more" if len(report.engines) > 16 else ""
        lines.append(f"stored by {len(report.engines)} engines: {each}{more}")
    if report.coverage:
        c = report.coverage
        lines.append(
            f"{span(c['speech_s'])} of speech: {span(c['worded_s'])} under words, {span(c['judged_silent_s'])} judged"
            f" non-speech, {span(c['left_s'])} left"
        )
    hours = run.audio_done_s / 3600
    if report.kwh is None:
        lines.append("energy is not known: no GPU reports it")
    else:
        lines.append(f"{report.kwh:.3f} kWh by the GPUs" + (f", {report.kwh / hours:.4f} kWh per hour of audio" if hours else ""))
    return lines


def _stamp(wall: float) -> str:
    return datetime.fromtimestamp(wall).strftime("%Y-%m-%d %H:%M:%S")

"""The report of a run as Markdown and as one HTML page, with the throughput as an inline SVG. Every text in it is untrusted."""

from __future__ import annotations

import html
import re

from gainstage.engine.advisor.run_summary import summary_lines
from gainstage.engine.clean import clean_text, value_text
from gainstage.engine.views.run_report import RunReport
from gainstage.tui.render import format as fmt
from gainstage.tui.render.throughput_svg import throughput_svg

LISTED = 500
"""Recordings a report lists; the rest is counted."""

Table = tuple[list[str], list[list[str]], set[int]]  # headings, rows, columns set to the right

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:14px}th,td{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
th{border-bottom:1px solid #999;font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181c}}"""


def markdown(report: RunReport) -> str:
    """The report as Markdown."""
    lines = [f"# Run {_md(report.run.name)}", "", *(f"* {_md(line)}" for line in summary_lines(report)), ""]
    if report.throughput:
        lines += ["## Throughput", "", throughput_svg(report), ""]
    for title, (headings, rows, right) in _tables(report):
        lines += [f"## {title}", "", "| " + " | ".join(headings) + " |"]
        lines.append("|" + "|".join("---:" if n in right else "---" for n in range(len(headings))) + "|")
        lines += ["| " + " | ".join(map(_md, row)) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def page(report: RunReport) -> str:
    """The report as an HTML page that needs nothing else."""
    parts = [
        f"<h1>Run {_html(report.run.name)}</h1>",
        "<ul>",
        *(f"<li>{_html(line)}</li>" for line in summary_lines(report)),
        "</ul>",
    ]
    if report.throughput:
        parts += ["<h2>Throughput</h2>", throughput_svg(report)]
    for title, (headings, rows, right) in _tables(report):
        parts.append(f"<h2>{title}</h2><table><tr>")
        parts += [f'<th class="{"n" if n in right else "t"}">{_html(name)}</th>' for n, name in enumerate(headings)]
        parts.append("</tr>")
        for row in rows:
            cells = "".join(f'<td class="{"n" if n in right else "t"}">{_html(cell)}</td>' for n, cell in enumerate(row))
            parts.append(f"<tr>{cells}</tr>")
        parts.append("</table>")
    title = _html(f"gainstage run {report.run.name}")
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>'
    return head + "\n".join(parts) + "</body></html>\n"


def _tables(report: RunReport) -> list[tuple[str, Table]]:
    every = (
        ("Stages", _stages(report)),
        ("Changes of settings", _changes(report)),
        ("Failures by cause", _failures(report)),
        ("Speakers", _speakers(report)),
        ("Recordings", _recordings(report)),
    )
    return [(title, table) for title, table in every if table[1]]


def _stages(report: RunReport) -> Table:
    rows = [
        [
            s.name, f"{s.passes:,}", f"{s.failed:,}" if s.failed else "", fmt.span(s.served_s), f"{s.share:.0%}", fmt.span(s.waited_s),
            _figure(s.service_p50_s), _figure(s.service_p95_s),
        ]
        for s in report.stages
    ]  # fmt: skip
    return ["stage", "passes", "failed", "service", "share", "waited", "p50 s", "p95 s"], rows, set(range(1, 8))


def _changes(report: RunReport) -> Table:
    rows = [
        [
            fmt.clock(c.wall),
            c.key,
            f"{value_text(c.old)} → {value_text(c.new)}",
            c.by,
            c.predicted or "no model",
            c.effect_text or "not measured",
        ]
        for c in report.changes
    ]
    return ["time", "setting", "value", "by", "predicted", "measured"], rows, set()


def _failures(report: RunReport) -> Table:
    return (
        ["cause", "recordings", "what helps", "such as"],
        [[f.cause, f"{f.count:,}", f.hint or "", ", ".join(f.examples)] for f in report.failures],
        {1},
    )


def _speakers(report: RunReport) -> Table:
    total = sum(s.seconds for s in report.speakers)
    rows = [
        [s.name, fmt.span(s.seconds), f"{s.seconds / total:.0%}" if total else "", f"{s.recordings:,}"]
        for s in report.speakers[:50]
    ]
    return ["speaker", "speech", "share", "recordings"], rows, {1, 2, 3}


def _recordings(report: RunReport) -> Table:
    rows = [
        [
            r.title,
            r.status,
            fmt.runtime(r.duration_s),
            fmt.span(r.served_s),
            "" if r.speakers is None else str(r.speakers),
            r.note or "",
        ]
        for r in report.recordings[:LISTED]
    ]
    if len(report.recordings) > LISTED:
        rows.append([f"and {len(report.recordings) - LISTED:,} more", "", "", "", "", ""])
    return ["recording", "became", "audio", "service", "speakers", "note"], rows, {2, 3, 4}


def _figure(value: float | None) -> str:
    return "·" if value is None else f"{value:.2f}"


def _md(text: str) -> str:
    """Untrusted text in Markdown: no markup of it is rendered."""
    escaped = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", clean_text(text, 300))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("://", ":&#47;&#47;")


def _html(text: str) -> str:
    return html.escape(clean_text(text, 300))

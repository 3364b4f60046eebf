"""Speaker decisions as they are made: the similarities of each cluster drawn against the threshold, and what followed from them."""

from __future__ import annotations

from gainstage.engine.views.judged import Judged
from gainstage.engine.views.snapshot import DecisionRow, DecisionsView
from gainstage.tui.render import format as fmt
from gainstage.tui.render import judged
from gainstage.tui.render.cells import Line
from gainstage.tui.render.filters import matches
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.filter_table import FilterTable
from gainstage.tui.widgets.glyphs import similarity
from gainstage.tui.widgets.table import Column
from gainstage.tui.widgets.voices_panel import outcome

_WIDE = (
    Column("time", "TIME", 8, keep=6),
    Column("recording", "RECORDING", 11, keep=10, ids=True),
    Column("cluster", "CL", 3, keep=9),
    Column("turns", "TURNS", 5, ">", keep=5),
    Column("seconds", "SPEECH", 7, ">", keep=6),
    Column("mean", "MEAN", 4, ">", keep=8),
    Column("variance", "VAR", 4, ">", keep=9),
    Column("range", "RANGE", 5, ">", keep=8),
    Column("strip", "0 ── similarity ── 1", 25, keep=7),
    Column("decision", "DECISION", 15, keep=10),
    Column("speakers", "SPEAKERS", 16, grow=True, keep=4),
    Column("why", "WHY", 26, keep=3),
)
_NARROW = (
    Column("time", "TIME", 8, keep=6),
    Column("recording", "RECORDING", 11, keep=10),
    Column("cluster", "CL", 3, keep=9),
    Column("mean", "MEAN", 4, ">", keep=8),
    Column("variance", "VAR", 4, ">", keep=9),
    Column("range", "RNG", 4, ">", keep=8),
    Column("decision", "DECISION", 8, keep=10),
    Column("speakers", "SPEAKERS", 10, grow=True, keep=4),
)


def short_why(d: DecisionRow) -> str:
    """The reason in a few characters."""
    match d.rule:
        case "variance":
            return f"variance {judged.variance(Judged.of(d, None))} over the limit"
        case "range":
            return f"range {judged.range_of(Judged.of(d, None))} over the limit"
        case "under limits":
            if d.mean is not None and d.threshold is not None:
                return f"mean {fmt.decimal(d.mean, 2)} {'≥' if d.mean >= d.threshold else '<'} {fmt.decimal(d.threshold, 2)}"
            return d.rule
    return d.why or d.rule


def who(d: DecisionRow) -> str:
    """Who it was, with seconds where there are several."""
    if len(d.speakers) == 1:
        return d.speakers[0][0]
    return " + ".join(f"{name} {fmt.roughly(seconds)}" for name, seconds in d.speakers)


class DecisionsTable(FilterTable[DecisionRow]):
    TITLE = "decisions"
    FIELDS = ("recording", "cluster", "rule")
    FILTER_HINT = "words · split · rec:ID · !inverts"
    FAULTS = "split or massive"

    def __init__(self) -> None:
        super().__init__(id="decisions")
        self.all: tuple[DecisionRow, ...] = ()
        self.view: DecisionsView | None = None
        self.has_profiles = True

    def key_of(self, item: DecisionRow) -> str:
        return str(item.id)

    def recording_of(self, item: DecisionRow) -> str:
        return item.recording

    def show(self, rows: tuple[DecisionRow, ...]) -> None:
        """The latest decisions, newest first."""
        self.all = rows
        self.refilter()

    def show_sums(self, view: DecisionsView) -> None:
        if view != self.view:
            self.view = view
            self.redraw()

    def refilter(self) -> None:
        f = self.filter

        def wanted(d: DecisionRow) -> bool:
            if self.faults_only and not (d.split or d.massive):
                return False
            word = "massive" if d.massive else "split" if d.split else "keep"
            text = f"{d.recording} {d.title} {d.cluster} {who(d)} {word} {d.why}"
            return matches(f, text, recording=d.recording, cluster=d.cluster, rule=d.rule)

        self.set_items([d for d in self.all if wanted(d)])
        self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        v = self.view
        if v is not None:
            share = f" {v.split / v.clusters:.1%}" if v.clusters else ""
            line.add(f"  {v.clusters:,}", p["bright"]).add(" clusters", p["muted"]).add(f"  ● kept {v.kept:,}", p["muted"])
            line.add(f"  ◆ split {v.split:,}{share}", p["info"])
            if v.massive:
                line.add(f"  ▲ massive {v.massive:,}", p["warn"])
            if v.unknown:
                line.add(f"  unknown {v.unknown:,}", p["muted"])
        return self.add_filter(line, p)

    def corner(self, p: Palette) -> Line:
        near = f"near a limit ±10%: {self.view.grey}  " if self.view else ""
        return Line().add(near, p["muted"]).add("n next", p["faint"])

    def columns(self) -> tuple[Column, ...]:
        return _NARROW if self.narrow else _WIDE

    def nothing(self, p: Palette) -> list[Line]:
        if self.all:
            return self.no_match(len(self.all), p)
        first = "  First decision comes after the first diarized recording (a few minutes)."
        lines = [Line(), Line().add(first, p["muted"])]
        if not self.has_profiles:
            lines.append(
                Line().add(
                    '  No voice profile: every speaker stays "Speaker 1, 2 …".  gainstage voices enrol NAME FILE', p["muted"]
                )
            )
        return lines

    def mark(self, item: DecisionRow) -> tuple[str, str]:
        return ("~", "warn") if Judged.of(item, self.view).grey else (" ", "text")

    def cell(self, item: DecisionRow, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        word, token = outcome(item)
        match key:
            case "time":
                return fmt.clock(item.wall), "faint"
            case "recording":
                return item.recording, "text"
            case "cluster":
                return fmt.cluster(item.cluster), "text"
            case "turns":
                return fmt.brief(item.turns), "muted"
            case "seconds":
                return fmt.runtime(item.seconds), "muted"
            case "mean":
                return fmt.decimal(item.mean, 2), "text"
            case "variance":
                return judged.variance(Judged.of(item, None)), "info" if item.rule == "variance" else "text"
            case "range":
                return judged.range_of(Judged.of(item, None)), "info" if item.rule == "range" else "text"
            case "strip":
                return similarity(
                    Line(), item.low, item.mean, item.high, item.threshold, width, p, token if token != "muted" else "bar"
                )
            case "decision":
                return word if width > 8 else word.replace(" massive", ""), token
            case "speakers":
                return who(item), "bright" if len(item.speakers) == 1 else "text"
            case "why":
                return short_why(item), "muted"
        return "", "text"


def variance_histogram(rows: tuple[DecisionRow, ...], view: DecisionsView, n: int = 24) -> tuple[int, ...]:
    """How many decisions fall into each of ``n`` buckets over 0 .. twice the limit of each, the last one open."""
    counts = [0] * n
    for d in rows:
        if (share := Judged.of(d, view).share) is not None:
            counts[min(n - 1, int(share / 2 * n))] += 1
    return tuple(counts)

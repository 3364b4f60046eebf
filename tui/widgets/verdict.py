"""The operator's four questions, answered in two lines: healthy? bottleneck? what should I change? (when? is in the status line)."""

from __future__ import annotations

from gainstage.engine.views.snapshot import Verdict
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line, sides
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.frame import EMPTY, Contact, Frame
from gainstage.tui.widgets.bars import HEALTH
from gainstage.tui.widgets.panel import Panel


def no_advice(verdict: Verdict) -> str:
    """Why there is none, in words."""
    if verdict.forecast.soon:
        return "done before a change would act"
    return {"stage": "no setting would help", "unknown": "not known yet"}.get(verdict.bottleneck.kind, "nothing to change")


def nothing_to_try(verdict: Verdict | None) -> str:
    """Why ``T`` does nothing, in words."""
    if verdict is None:
        return "no advice to try: no engine has said anything yet"
    if verdict.advice is not None:
        return f"no setting to try: {verdict.advice.text}"
    return f"no advice to try: {'everything is done' if verdict.health == 'done' else no_advice(verdict)}"


class VerdictPanel(Panel):
    TITLE = "verdict"
    HINT = "why? w"
    FADES = False

    def __init__(self) -> None:
        super().__init__(id="verdict")
        self.frame = EMPTY
        self.ignored = False

    def show(self, frame: Frame, ignored: bool) -> None:
        """``ignored``: the operator does not want to see this advice for a while."""
        self.frame, self.ignored = frame, ignored
        self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        s = self.frame.snapshot
        if s is None or self.frame.health in ("stale", "offline", "starting", "done"):
            return line
        reason = s.verdict.reason or s.run.reason or ""
        glyph, word, token = HEALTH[self.frame.health]
        if reason and self.frame.health != "healthy":
            line.add("  ", p["ground"]).add(f"{glyph} {word.lower()}: {reason}", p[token])
        return line

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        return self._lines(width, p)

    def _lines(self, width: int, p: Palette) -> list[Line]:
        f = self.frame
        s = f.snapshot
        if s is None:
            if f.error:
                return [Line().add("✗ ", p["crit"]).clip(f.error, width - 2, p["text"])]
            if f.contact is Contact.UNKNOWN:
                return [Line().add(f"Connecting to {f.label} …", p["muted"])]
            return [
                Line().add("No engine at this database.  ", p["bright"]).extend(self._starter(p)),
                Line()
                .add("a", p["accent"])
                .add(" adds sources first  ·  elsewhere: gainstage attach URL  ·  to look around: gainstage demo", p["muted"]),
            ]
        if f.contact is Contact.FOREIGN:
            return [Line().add(f"The engine writes schema {s.schema}, which this console cannot read: read-only.", p["warn"])]
        if f.contact is Contact.STOPPED:
            line = Line().add(f"The engine stopped at {fmt.clock(s.wall)}. ", p["bright"]).extend(self._starter(p))
            if s.run.reason and s.run.state != "done":  # why it ended matters more than what it had done
                return [line, Line().add("■ ", p["crit"]).clip(s.run.reason, width - 2, p["text"])]
            return [line, self._finished(width, p)]
        if f.lost:
            ended = f"The engine has ended without signing off; its last snapshot is of {fmt.clock(f.now - (f.age_s or 0))}.  "
            return [
                Line().add(ended, p["crit"]).extend(self._starter(p)),
                Line().add("Nothing is lost: what it had in flight is taken up again.", p["muted"]),
            ]
        if f.contact is Contact.OFFLINE:
            why = f": {f.error}" if f.error else ""
            return [
                Line().clip(f"No snapshot from the engine since {fmt.clock(f.now - (f.age_s or 0))}{why}", width, p["crit"]),
                Line().add("What is shown is the last frame. Keys that need the engine are refused until it is back.", p["muted"]),
            ]
        if s.verdict.health == "starting" or s.run.loading:
            head = Line().add("Starting  ", p["bright"]).add(f"{fmt.span(max(0.0, f.now - s.run.started_wall))}  ", p["muted"])
            if not s.run.loading:
                return [head.add("first figures come with the first recordings", p["muted"])]
            lines = [head.clip(s.run.loading[0], max(0, width - head.used), p["text"])]
            return lines + [Line().clip(text, width, p["text"]) for text in s.run.loading[1:]]
        if s.verdict.health == "done" or s.run.state == "done":
            next_keys = Line()
            if s.run.failed:
                next_keys.add("R", p["accent"]).add(" retry failed   ", p["muted"])
            return [self._finished(width, p), next_keys.add("a", p["accent"]).add(" add more", p["muted"])]
        if not s.flights and not s.run.queued and not s.run.running:
            return [
                Line()
                .add("Queue is empty.  ", p["bright"])
                .add("a", p["accent"])
                .add(" adds sources, or  gainstage add FILE", p["muted"])
            ]
        return [self._bottleneck(width, p), self._advice(width, p)]

    def _starter(self, p: Palette) -> Line:
        """What starts an engine from here."""
        if self.console.can_start:
            return Line().add("Enter", p["accent"]).add(" starts one", p["muted"])
        return Line().add("gainstage engine", p["accent"]).add(" starts one", p["muted"])

    def _finished(self, width: int, p: Palette) -> Line:
        s = self.frame.snapshot
        assert s is not None
        run = s.run
        took_s = run.work_s if run.work_s is not None else run.state_since_wall - run.started_wall
        line = Line().add("✓ ", p["ok+b"]).add("done: ", p["bright"])
        line.add(f"{run.stored:,} stored", p["text"])
        line.add(f", {run.failed:,} failed", p["warn" if run.failed else "text"])
        line.add(f", {run.skipped:,} skipped", p["text"])
        if run.audio_done_s > 0 and took_s > 0:  # of this engine, while it had work; the counts are those of the database
            speed = f"  ·  {fmt.audio(run.audio_done_s)} of audio in {fmt.roughly(took_s)}, {fmt.times(run.audio_done_s / took_s)} real time"
            line.add(speed if line.used + len(speed) <= width else "", p["muted"])
        return line

    def _bottleneck(self, width: int, p: Palette) -> Line:
        s = self.frame.snapshot
        assert s is not None
        b = s.verdict.bottleneck
        label = "BOTTLENECK  "
        line = Line().add(label, p["muted"])
        if b.kind in ("stage", "source"):
            name = b.stage or "source"
            line.add(name, p["accent+b"]).add("  ", p["ground"])
            text = b.text.removeprefix(name).strip()
        else:
            text = b.text
        room = width - line.used - len(text) - 3
        right = Line().clip(b.evidence, room, p["muted"]) if room > 24 else Line()
        return sides(line.clip(text, width - line.used, p["text"]), right, width, p["ground"])

    def _advice(self, width: int, p: Palette) -> Line:
        s = self.frame.snapshot
        assert s is not None
        a = s.verdict.advice
        line = Line().add("TRY         ", p["muted"])
        if a is None or self.ignored:
            return line.add("ignored for now" if a else no_advice(s.verdict), p["faint"])
        right = Line()
        if a.key is not None:
            line.add(f"{a.key} ", p["bright"]).add(f"{fmt.value(a.old)} → {fmt.value(a.new)}", p["accent+b"]).add("  ", p["ground"])
            right.add(" T", p["accent"]).add(" try", p["muted"]).add("  i", p["accent"]).add(" ignore", p["muted"])
        else:
            line.clip(a.text, width - line.used, p["text"]).add("  ", p["ground"])
            right.add(" i", p["accent"]).add(" ignore", p["muted"])
        if width > 110:
            right = Line().add(f"confidence {a.confidence}  ", p["faint"]).extend(right)
        for text, token in ((a.expected, "text"), (a.evidence, "muted")):
            room = width - right.used - line.used - 2
            if text and room > 12:
                line.clip(text, room, p[token]).add("  ", p["ground"])
        return sides(line, right, width, p["ground"])

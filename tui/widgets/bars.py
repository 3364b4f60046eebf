"""What frames every screen: the status line, the tabs, the footer and the notices."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from gainstage.engine.views.snapshot import Health, ScopeName
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line, sides
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.actions import BY_ID, SCREEN_TITLES, SCREENS, Action, foot_key, shown_key
from gainstage.tui.state.frame import EMPTY, Contact, Frame
from gainstage.tui.state.notices import Notice
from gainstage.tui.widgets.live import Live

HEALTH: dict[Health, tuple[str, str, str]] = {
    "healthy": ("●", "HEALTHY", "ok"),
    "degraded": ("▲", "DEGRADED", "warn"),
    "stalled": ("■", "STALLED", "crit"),
    "paused": ("‖", "PAUSED", "info"),
    "draining": ("↧", "DRAINING", "info"),
    "failed": ("■", "FAILED", "crit"),
    "stale": ("◌", "STALE", "stale"),
    "offline": ("✗", "OFFLINE", "crit"),
    "done": ("✓", "DONE", "ok"),
    "starting": ("◌", "STARTING", "info"),
}
"""Glyph, word and token of every verdict."""


def health_word(frame: Frame) -> tuple[str, str]:
    """The verdict with what belongs to it, and its token: ``✗ OFFLINE 12s``."""
    if frame.contact is Contact.UNKNOWN:
        return "◌ CONNECTING", "info"
    if frame.contact is Contact.NONE:
        return "○ NO ENGINE", "info"
    glyph, word, token = HEALTH[frame.health]
    word = "LOST" if frame.lost else word
    run = frame.snapshot.run if frame.snapshot else None
    tail = ""
    if frame.contact is Contact.STOPPED:
        return "○ STOPPED " + fmt.roughly(frame.age_s), "info"
    if frame.health in ("offline", "stale"):
        tail = f" {frame.age_s or 0:.1f}s" if (frame.age_s or 0) < 10 else " " + fmt.roughly(frame.age_s)
    elif frame.health == "paused" and run:
        since = run.state_since_wall if run.state == "paused" else frame.snapshot.verdict.since_wall if frame.snapshot else None
        tail = "" if since is None or frame.snapshot is None else " " + fmt.roughly(max(0.0, frame.snapshot.wall - since))
        tail += f" ({run.by})" if run.by and run.state == "paused" else ""
    elif frame.health == "draining" and run:
        tail = f" {run.running} left"
    return f"{glyph} {word}{tail}", token


def place(frame: Frame) -> tuple[str, str]:
    """In which view the screen is: live, frozen, scrubbed, replayed; with its token."""
    if not frame.live:
        return " ".join(filter(None, (f"REPLAY {fmt.stamp(frame.now)}", frame.pace))), "warn"
    if frame.mode == "frozen":
        return f"❄ frozen {fmt.runtime(frame.frozen_for_s)}, {frame.newer:,} newer", "info"
    if frame.mode == "scrub" and frame.snapshot:
        return f"◂ {fmt.clock(frame.snapshot.wall)}, {fmt.span(frame.now - frame.snapshot.wall)} ago", "change"
    if frame.age_s is None:
        return "waiting", "muted"
    if frame.contact in (Contact.LIVE, Contact.FOREIGN):
        return f"live {frame.age_s:.1f}s", "faint"
    return f"seen {fmt.roughly(frame.age_s)} ago", "warn"


def eta(frame: Frame) -> str:
    """Time left with its interval: ``ETA 6h10 ±40m``, ``ETA 5s to 20s`` where that is wider than the time itself; empty where nothing is
    left to wait for, or no engine works.
    """
    s = frame.snapshot
    if s is None or frame.health == "offline" or s.verdict.health == "done" or s.run.state in ("stopped", "done"):
        return ""
    f = s.verdict.forecast
    if f.left_s is None:
        return "ETA …"
    if f.left_s == 0:
        return ""
    if f.low_s is None or f.high_s is None:
        return f"ETA {fmt.roughly(f.left_s)}"
    if f.wide:
        return f"ETA {fmt.roughly(f.low_s)} to {fmt.roughly(f.high_s)}"
    return f"ETA {fmt.roughly(f.left_s)} ±{fmt.roughly(max(f.high_s - f.left_s, f.left_s - f.low_s))}"


SCOPE_WORDS: dict[ScopeName, str] = {"run": "this run", "today": "today", "all": "all"}


class StatusBar(Live):
    """The first line: how it goes, whose run it is, how far it is, and how fresh the picture is."""

    FADES = False

    def __init__(self) -> None:
        super().__init__(id="status")
        self.frame = EMPTY
        self.screen_title = ""

    def show(self, frame: Frame, title: str) -> None:
        self.frame, self.screen_title = frame, title
        self.redraw()

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        f, s = self.frame, self.frame.snapshot
        base = p["ground"]
        word, token = health_word(f)
        left = Line().gap(1, base).add("gainstage", p["accent+b"]).gap(2, base).add(word, p[token + "+b"])
        right = self._right(p, clock=True)
        if s is not None:
            run = s.run
            total = run.stored + run.failed + run.skipped + run.cancelled + run.queued + run.running
            finished = total - run.queued - run.running
            done_s = run.audio_done_s if run.audio_stored_s is None else run.audio_stored_s
            when = eta(f)
            done = fmt.done_of(finished, total)
            scope = SCOPE_WORDS[s.scope] if s.scopes else ""
            if scope:
                left.gap(2, base).add(scope, p["accent"])
            if width >= 140:
                left.gap(1 if scope else 2, base).add(f"{finished:,}", p["bright"]).add(
                    f"/{total:,} recordings · {done}", p["text"]
                )
                left.add(f" · {fmt.audio(done_s, run.audio_left_s)}", p["muted"])
                if when:
                    end = f.snapshot.verdict.forecast.left_s if f.snapshot else None
                    middle = Line().add(when, p["bright"])
                    if end is not None:
                        middle.add(f" → {fmt.day_clock(s.wall + end)}", p["muted"])
                    right = middle.gap(3, base).extend(right)
            else:
                left.gap(1 if scope else 2, base).add(done, p["bright"]).add(f" {finished:,}/{total:,}", p["text"])
                if when:
                    left.gap(2, base).add(when, p["bright"])
        if width < 100 and self.screen_title != "Deck":
            left = Line().gap(1, base).add(self.screen_title, p["accent+b"]).gap(2, base).add(word, p[token + "+b"])
            if s is not None:
                left.gap(2, base).add(eta(f), p["bright"])
        if left.used + right.used + 2 > width:  # what is left to do matters more than the time of day
            right = self._right(p, clock=False)
        return [sides(left, right, width, base)]

    def _right(self, p: Palette, *, clock: bool) -> Line:
        where, token = place(self.frame)
        right = Line()
        if self.frame.read_only:
            right.add("read-only", p["warn"]).gap(2, p["ground"])
        right.add(where, p[token])
        if clock and self.frame.contact is not Contact.UNKNOWN:  # the desk has not said what time it is
            right.gap(2, p["ground"]).add(fmt.clock(self.frame.now), p["text"])
        return right.gap(1, p["ground"])


class NavBar(Live):
    """The second line: the seven screens, and what this console is connected to."""

    FADES = False

    def __init__(self) -> None:
        super().__init__(id="nav")
        self.frame = EMPTY
        self.current = ""
        self.hot: list[tuple[int, int, str]] = []

    def show(self, frame: Frame, current: str) -> None:
        self.frame, self.current = frame, current
        self.redraw()

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        base = p["ground"]
        line = Line()
        hot: list[tuple[int, int, str]] = []
        keymap = self.console.keymap
        for name in SCREENS:
            key = shown_key(BY_ID[name], keymap)
            start = line.used
            if name == self.current:
                line.add(f" {key} {SCREEN_TITLES[name]} ", p["accent+rb"])
            else:
                line.gap(1, base).add(key, p["faint"]).gap(1, base).add(SCREEN_TITLES[name], p["muted"]).gap(1, base)
            hot.append((start, line.used, name))
            line.gap(1, base)
        self.hot = hot
        s = self.frame.snapshot
        right = Line()
        if s is not None:
            gpu = s.devices[0].name.removeprefix("NVIDIA ") if s.devices else ""
            many = f"{len(s.devices)}× " if len(s.devices) > 1 else ""
            tail = Line().add(self.frame.label, p["muted"]).gap(2, base)
            tail.add(" · ".join(filter(None, (s.host.name, many + gpu))), p["muted"])
            if (alone := self.console.desk.engine) is not None:
                tail.add(f" · {alone} alone", p["accent"])
            elif self.frame.engines > 1:
                tail.add(f" · {self.frame.engines} engines", p["text"])
            room = width - line.used - tail.used - 7
            if s.run.source and room >= min(16, len(s.run.source)):
                right.clip(s.run.source, room, p["muted"]).add(" → ", p["faint"])
            right.extend(tail)
        else:
            right.add(self.frame.label, p["muted"])
        return [sides(line, right.gap(1, base), width, base)]

    def on_click(self, event: events.Click) -> None:
        for start, end, name in self.hot:
            if start <= event.x < end:
                self.console.perform(name)


class FooterBar(Live):
    """The last line: the keys that matter here; those refused now are faint."""

    FADES = False

    def __init__(self) -> None:
        super().__init__(id="footer")
        self.actions: tuple[Action, ...] = ()
        self.frame = EMPTY
        self.hot: list[tuple[int, int, str]] = []

    def show(self, frame: Frame, actions: tuple[Action, ...]) -> None:
        self.frame, self.actions = frame, actions
        self.redraw()

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        from gainstage.tui.state.actions import refusal

        base = p["ground"]
        if isinstance(self.screen.focused, Input):
            self.hot = []
            line = Line().gap(1, base).add("Enter", p["accent"]).add(" takes it  ", p["muted"]).add("Esc", p["accent"])
            return [line.add(" leaves the line, then the keys work again", p["muted"])]
        keymap = self.console.keymap
        always = [a for a in self.actions if a.id in ("help", "detach")]
        tail = Line()
        for action in always:
            tail.add(shown_key(action, keymap), p["accent"]).gap(1, base).add(action.foot, p["muted"]).gap(2, base)
        line = Line().gap(1, base)
        hot: list[tuple[int, int, str]] = []
        for action in self.actions:
            if action in always:
                continue
            key = foot_key(action, keymap)
            if line.used + len(key) + len(action.foot) + 3 + tail.used > width:
                break
            start = line.used
            refused = refusal(action, self.frame) is not None
            line.add(key, p["faint" if refused else "accent"]).gap(1, base).add(action.foot, p["faint" if refused else "muted"])
            hot.append((start, line.used, action.id))
            line.gap(2, base)
        self.hot = hot
        return [sides(line, tail, width, base)]

    def on_click(self, event: events.Click) -> None:
        for start, end, name in self.hot:
            if start <= event.x < end:
                self.console.perform(name)


LEAST = (60, 16)
"""Columns and rows below which nothing but one line is shown."""


class NoticeBox(Live):
    """The newest few notices over the lower right corner; the same text again is one notice with a number."""

    FADES = False
    SHOWN = 4
    SIGNS = {"ok": "✓", "warn": "▲", "crit": "■", "info": "•", "change": "◆", "pending": "…"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id="notices")
        self.notices: list[Notice] = []
        self._placed: object = None

    def show(self, notices: list[Notice]) -> None:
        if not notices and not self.display:
            return
        self.notices = notices[-self.SHOWN :]
        lines = len(self.notices)
        screen = self.screen.size
        width = max(1, min(max((safe.width(safe.display(n.text)) for n in self.notices), default=0) + 8, screen.width - 4))
        if (lines, width, screen) != self._placed:  # a layout only when the box itself changes
            self._placed = (lines, width, screen)
            self.display = bool(lines)
            self.styles.width, self.styles.height = width, max(1, lines)
            self.styles.offset = (screen.width - width - 2, screen.height - lines - 2)
        self.redraw()

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        row = p.on_cursor()
        lines = []
        for notice in self.notices:
            token = "muted" if notice.band == "pending" else notice.band
            line = Line().gap(1, row["ground"]).add(self.SIGNS[notice.band], row[token + "+b"]).gap(1, row["ground"])
            tail = f" ×{notice.times}" if notice.times > 1 else ""
            line.clip(notice.text, width - 4 - len(tail), row["bright"]).add(tail, row["muted"])
            lines.append(line.to(width, row["ground"]))
        return lines


class TooSmall(Live):
    """All there is on a terminal too small for anything else: how it goes, and the size that is needed."""

    FADES = False

    def __init__(self) -> None:
        super().__init__(id="too-small")
        self.frame = EMPTY

    def show(self, frame: Frame) -> None:
        self.frame = frame
        self.redraw()

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        word, token = health_word(self.frame)
        s = self.frame.snapshot
        line = Line().gap(1, p["ground"]).add(word, p[token + "+b"])
        if s is not None:
            line.add(f"  {s.run.stored:,} stored", p["text"]).add(f"  {eta(self.frame)}", p["text"])
        now = self.screen.size
        need = Line().gap(1, p["ground"]).add(f"needs {LEAST[0]} × {LEAST[1]}, is {now.width} × {now.height}", p["muted"])
        return [line, need][: max(1, height)]

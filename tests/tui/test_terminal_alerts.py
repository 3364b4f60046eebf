"""The console calls somebody: the bell and a notification of the terminal, on a real pty; nothing foreign becomes a sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gainstage.engine.advisor.happenings import Happening
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.tui.console.terminal_alerts import TerminalAlerts, sequence
from tests.tui.test_life import Terminal

STALLS = """
import sys, time
from dataclasses import replace
from pathlib import Path
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.tui.console.launch import run_console

class Stalling(ScriptedDesk):
    def snapshot(self):
        frame = super().snapshot()
        if frame is None or time.monotonic() - began < 4:
            return frame
        return replace(frame, verdict=replace(frame.verdict, health="stalled", reason="nothing moved; for 5 m"))

began = time.monotonic()
raise SystemExit(run_console(Stalling(clock=time.monotonic, start_at=60.0), log=Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("iTerm.app", b"\x1b]9;gainstage: stalled: nothing moved, for 5 m\x07"),
        ("", b"\x1b]777;notify;gainstage: stalled;nothing moved, for 5 m\x07"),
    ],
)
def test_a_stall_rings_and_calls_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, expected: bytes) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TERM_PROGRAM", program)
    t = Terminal(STALLS, tmp_path / "console.log")
    try:
        t.until(expected)
        for _ in range(8):
            t.read(0.5)
        assert t.seen.count(expected) == 1
        assert t.seen.replace(expected, b"").count(b"\x07") >= 1, "the bell"
    finally:
        t.close()


class Host:
    is_headless = False
    is_web = False

    def __init__(self, **settings: Any) -> None:
        desk = ScriptedDesk()
        self.settings = {r.key: replace(r, value=settings.get(r.key.replace(".", "__"), r.value)) for r in desk.settings()}
        self.notices: list[str] = []
        self.bells = 0

    def notice(self, text: str, band: str = "info") -> None:
        self.notices.append(text)

    def bell(self) -> None:
        self.bells += 1


@pytest.mark.parametrize(("how", "bells", "written"), [("desktop", 1, 1), ("bell", 1, 0), ("off", 0, 0)])
def test_the_setting_says_how(monkeypatch: pytest.MonkeyPatch, how: str, bells: int, written: int) -> None:
    monkeypatch.setenv("TERM", "xterm")
    desk, out = ScriptedDesk(), list[str]()
    desk.advance(60.0)
    frame = desk.snapshot()
    assert frame is not None
    host = Host(console__alerts=how, fetch__disk_floor=0)
    alerts = TerminalAlerts(host, out.append)
    alerts.look(frame)
    for _ in range(3):
        alerts.look(replace(frame, verdict=replace(frame.verdict, health="stalled", since_wall=5.0)))
    assert (host.bells, len(out), len(host.notices)) == (bells, written, bells)


def test_foreign_text_ends_no_sequence_and_a_bare_terminal_gets_none() -> None:
    hostile = Happening("k", "done", "gainstage: \x1b]0;x\x07;a", "t\x1b\\\x07;b\nsecond line")
    text = sequence(hostile, {"TERM": "xterm"})
    assert text.count("\x1b") == text.count("\x07") == 1
    assert text.count(";") == 3
    assert "second" not in text
    for term in ("", "dumb", "linux"):
        assert sequence(hostile, {"TERM": term}) == ""

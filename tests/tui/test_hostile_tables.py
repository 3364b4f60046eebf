"""Every table of the console draws rows that another client wrote, whatever stands in their texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from gainstage.engine.views.desk import Desk
from gainstage.engine.views.frame_json import loads, tree
from gainstage.engine.views.rows import SettingRow
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.screens.modals.evidence import EvidenceScreen
from gainstage.tui.screens.modals.experiments import ExperimentsScreen
from gainstage.tui.screens.modals.fleet import FleetScreen
from tests.frames_kit import WORDS
from tests.tui.conftest import SIZES

Run = Callable[..., Any]

ACTED_ON = (
    "\x00\x07\x08\x1f\x7f"
    "\x1b[31mred\x1b[2J\x1b]0;title\x07"
    "\x9b31mred\x85\x9d0;title\x9c"
    "\u202eder\u2066\u200f\u061c"
    "one\ntwo\r\nthree\tfour\u2028five\u2029\x1b"
)
"""Control characters, escapes of ANSI and by U+009B, bidi overrides, line breaks."""

TEXTS = {
    "acted on": ACTED_ON,
    "ten thousand signs": "天x" * 5_000,
    "markup": "[bold red]B[/] [@click=app.quit]x[/] [/x] [",
    "lone surrogates": "\ud800broken\udfff",
}

KEPT = {*WORDS, "health", "level", "kind", "status", "scope", "bottleneck", "mode", "outcome", "unit", "waiting", "risk", "effect"}
"""Fields whose words are the engine's own; a frame with others is refused where it is read."""


def hostile(value: Any, text: str, name: str = "") -> Any:
    """The same rows, with the text behind every text of theirs that is not one of the engine's own words."""
    if isinstance(value, SettingRow):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        own = {"name"} if type(value).__name__ in ("StageView", "BatcherView", "ScopeView") else set()
        made = {
            f.name: hostile(getattr(value, f.name), text, f.name)
            for f in fields(value)
            if f.name not in KEPT | own and "Literal" not in str(f.type)
        }
        return type(value)(**{f.name: made.get(f.name, getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, tuple | list):
        return type(value)(hostile(v, text, name) for v in value)
    if isinstance(value, dict):
        return {k: hostile(v, text, name) for k, v in value.items()}
    return value + text if isinstance(value, str) and value else value


def as_read(value: Any) -> Any:
    """What a console gets: frames come as JSON, with escapes for what no UTF-8 can hold."""
    if isinstance(value, Snapshot):
        return loads(json.dumps(tree(value)))
    if isinstance(value, tuple) and value and isinstance(value[0], Snapshot):
        return tuple(map(as_read, value))
    return value


class HostileDesk:
    """The story with hostile rows; what comes back from the console is taken for the row it stands for."""

    def __init__(self, desk: Any, text: str) -> None:
        self._desk, self._text = desk, text

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._desk, name)
        if name not in vars(Desk) or not callable(value) or name in ("settings", "now", "narrow", "send", "ack"):
            return value
        return lambda *a, **k: as_read(hostile(value(*self._plain(a), **k), self._text))

    def _plain(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(a.removesuffix(self._text) if isinstance(a, str) else a for a in arguments)


def check(d: Any, where: str) -> None:
    raw = {c for c in d.text if not c.isprintable() and c not in "\n\u3000"} | set(d.text) & set("\u202e\u2066\u200f\u061c")
    assert not raw, (where, raw)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_every_table_draws_what_others_wrote(driven: Run, desk_at: Run, text: str) -> None:
    desk = HostileDesk(desk_at("burst"), text)
    seen = set()
    async with driven(desk, size=SIZES["wide"]) as d:
        for key in "1234567":
            await d.press(key)
            await d.wait(1)
            check(d, f"screen {key}")
            for keys in (("down", "enter"), ("tab", "down", "enter")):
                await d.press(*keys)
                seen.add(type(d.app.screen).__name__)
                check(d, f"screen {key}, {keys}")
                await d.press("escape")
        await d.press("2", "down", "T")
        check(d, "transcript")
        await d.press("escape", "1")
        for keys in (("G",), ("H",), ("w",), ("4", "x"), ("3", "enter")):
            await d.press(*keys)
            seen.add(type(d.app.screen).__name__)
            check(d, str(keys))
            await d.press("escape")
        await d.press("7", "e")
        await d.type("rings")
        await d.press("enter")
        await d.wait(1)
        check(d, "what was found")
        if text.startswith("[bold"):
            await d.press("2")
            assert "[bold red]" in d.text, "markup is text"
    assert {FleetScreen.__name__, ExperimentsScreen.__name__, EvidenceScreen.__name__} <= seen, seen

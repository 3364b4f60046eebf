"""Pictures of every screen at every size, and of every state that has a look of its own.

``pytest tests/tui/test_snapshots.py --snapshot-update`` writes them anew after a wanted change; look at them before you commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gainstage.engine.desk.scripted.desk import STORY
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.events import Events
from gainstage.tui.bench.screenshots import NARROW, SHOTS, WIDE, app_for, play, settle
from gainstage.tui.console.app import GainstageApp
from tests.tui.conftest import SIZES, Bent, RecordingDesk

SEVEN = ("deck", "recordings", "voices", "tune", "host", "logs", "search")
NAMED = {shot.name: shot for shot in SHOTS}
LARGE = ("evidence", "start", "light", "tuning", "transcript")
SMALL = ("correct", "help", "why", "palette", "drain", "add", "done", "outage", "deuteranopia", "contrast", "mono")


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", SEVEN)
def test_screen(snap_compare: Any, name: str, size: tuple[int, int]) -> None:
    app = app_for(NAMED[name])
    assert snap_compare(app, terminal_size=size, run_before=lambda pilot: play(NAMED[name], app, pilot))


@pytest.mark.parametrize("name", [*LARGE, *SMALL])
def test_look(snap_compare: Any, name: str) -> None:
    app = app_for(NAMED[name])
    size = WIDE if name in LARGE else NARROW
    assert snap_compare(app, terminal_size=size, run_before=lambda pilot: play(NAMED[name], app, pilot))


@dataclass(frozen=True)
class State:
    """A console on a bent desk."""

    mark: str | float = "bottleneck"
    bend: Callable[[Any], Any] | None = None
    answers: tuple[tuple[str, Any], ...] = ()
    keys: tuple[str, ...] = ()
    size: tuple[int, int] = NARROW
    options: tuple[tuple[str, Any], ...] = ()
    later: Callable[[Any], None] | None = None


def _hold(seconds: float) -> Callable[[Any], None]:
    def later(desk: Any) -> None:
        held = desk.snapshot()
        desk._bend = lambda _: held
        desk.advance(seconds)

    return later


def _no_gpu(s: Any) -> Any:
    return replace(s, devices=(), host=replace(s.host, gpu_note="libnvidia-ml.so not found"))


def _empty(s: Any) -> Any:
    return replace(s, flights=(), run=replace(s.run, queued=0, running=0, retrying=0))


DOWN = DeskError("Postgres: connection refused (3 tries, next in 8 s)")
STATES = {
    "no-engine": State(0.0, lambda _: None, (("events", Events((), 0, 0)),), size=WIDE),
    "no-engine-narrow": State(0.0, lambda _: None, (("events", Events((), 0, 0)),)),
    "stale": State(later=_hold(2.0)),
    "offline": State(later=_hold(30.0), size=WIDE),
    "empty-queue": State("burst", _empty),
    "frozen": State(keys=("space",)),
    "scrubbed": State(keys=("left_curly_bracket",)),
    "replay": State("oom", answers=(("live", False), ("label", "REPLAY 2026-11-21 03:12")), size=WIDE),
    "read-only": State(options=(("read_only", True),), keys=("P",)),
    "no-gpu": State("burst", _no_gpu, size=WIDE),
    "no-gpu-host": State("burst", _no_gpu, keys=("5",)),
    "search-database-down": State(answers=(("search", DOWN), ("index_health", DOWN)), keys=("7", *"trees", "enter")),
    "no-profiles": State("warm-up", answers=(("decisions", ()), ("profiles", ())), keys=("3",)),
    "filter-hides-all": State("oom", keys=("2", "slash", *"zzzz", "enter")),
    "stop-dialog": State(keys=("Q",)),
    "low": State(size=(80, 18)),
    "tiny": State(size=(50, 12)),
    "ascii": State(options=(("ascii", True),), size=WIDE),
    "jump": State(keys=("ctrl+o",), size=WIDE),
    "maximised": State(keys=("z",)),
    "traceback": State("outage", keys=("6", "N", "N", "enter")),
}


@pytest.mark.parametrize("name", STATES)
def test_state(snap_compare: Any, tmp_path: Path, name: str) -> None:
    state = STATES[name]
    story = RecordingDesk(0, label="pg:prod")
    desk: Any = Bent(story, state.bend, **dict(state.answers))
    options = {"start_engine": lambda: "engine started", **dict(state.options)}
    app = GainstageApp(desk, manual=True, log=Path("/tmp/gainstage-faults.log"), exports=tmp_path, **options)

    async def before(pilot: Any) -> None:
        moment = STORY[state.mark] if isinstance(state.mark, str) else state.mark
        story.advance(max(0.0, moment - 10.0))
        for _ in range(int(min(10.0, moment))):
            app.poller.poll()
            app.tick()
            story.advance(1.0)
        await settle(app, pilot)
        if state.later is not None:
            state.later(desk)
            await settle(app, pilot)
        for key in state.keys:
            await pilot.press(key)
            await settle(app, pilot)
        assert not app.reported

    assert snap_compare(app, terminal_size=state.size, run_before=before)

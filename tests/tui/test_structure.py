"""What a tick may cost, counted, not timed; and what the console may import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Input

from gainstage.tui.bench.screenshots import settle
from gainstage.tui.console.pace import SLOW_HZ, SLOW_TICK_S
from gainstage.tui.state.actions import SCREENS
from tests.tui.conftest import SIZES, Bent

Run = Callable[..., Any]


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every layout that any screen makes."""
    made: list[str] = []
    real = Screen._refresh_layout

    def counted(self: Any, *args: Any, **options: Any) -> None:
        made.append(type(self).__name__)
        real(self, *args, **options)

    monkeypatch.setattr(Screen, "_refresh_layout", counted)
    return made


async def test_a_tick_on_the_deck_lays_nothing_out_and_draws_what_changed(driven: Run, desk_at: Run, layouts: list[str]) -> None:
    async with driven(desk_at("bottleneck")) as d:
        app = d.app
        await d.wait(3)
        layouts.clear()
        for _ in range(10):
            builds, lines = app.counts.builds, app.counts.lines
            d.desk.advance(0.2)
            app.poller.poll()
            app.tick()
            await d.pilot.pause()
            assert app.counts.builds - builds <= 12, "every widget at most once"
            assert app.counts.lines - lines <= 48, "no line twice"
        assert layouts == []


async def test_a_frame_that_changed_nothing_draws_next_to_nothing(driven: Run, desk_at: Run, layouts: list[str]) -> None:
    async with driven(desk_at("bottleneck")) as d:
        app = d.app
        layouts.clear()
        builds, lines = app.counts.builds, app.counts.lines
        for _ in range(5):
            app.tick()
            await d.pilot.pause()
        assert app.counts.lines - lines == 0
        assert app.counts.builds - builds <= 5 * 5
        assert layouts == []


@pytest.mark.parametrize("name", SCREENS)
async def test_a_tick_lays_nothing_out_on_any_screen(driven: Run, desk_at: Run, layouts: list[str], name: str) -> None:
    async with driven(desk_at("bottleneck")) as d:
        await d.app.go(name)
        await d.settle()
        await d.wait(2)
        layouts.clear()
        for _ in range(8):
            d.desk.advance(0.25)
            d.app.poller.poll()
            d.app.tick()
            await d.pilot.pause()
        assert layouts == []


async def test_a_screen_that_is_not_shown_draws_nothing(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        deck = d.app.desk_screen
        await d.press("5")
        drawn: list[str] = []
        for panel in deck.query("Live"):
            real = panel.draw
            name = type(panel).__name__
            panel.draw = lambda *a, real=real, name=name: (drawn.append(name), real(*a))[1]
        await d.wait(3)
        assert drawn == []


async def test_a_table_formats_only_what_it_shows(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        flights = d.app.desk_screen.flights
        base = d.app.newest
        many = tuple(replace(base.flights[i % 24], id=f"r{i:05d}") for i in range(5000))
        asked: list[str] = []
        real = flights.cell
        flights.cell = lambda item, key, width, p: (asked.append(item.view.id), real(item, key, width, p))[1]
        d.app.desk_screen.show(replace(d.app.frame, snapshot=replace(base, flights=many)))
        assert len(flights.items) >= 5000
        assert len(set(asked)) <= flights.rows_shown


async def test_screens_own_no_timers(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        for name in SCREENS:
            await d.app.go(name)
            await d.settle()
            screen = d.app.desk_screen
            ours = [w for w in (screen, *screen.query("*")) if not isinstance(w, Input)]
            assert [t for w in ours for t in w._timers if t.name != "screen_update"] == [], name


async def test_memory_of_the_past_is_bounded(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        await d.wait(30)
        ring = d.app.poller.ring
        assert ring.bytes / len(ring) < 40_000
        d.app.events.extend(d.app.events * 400)
        d.desk.advance(3)
        await d.wait(3)
        assert len(d.app.events) <= 20_000


TUI = Path(__file__).parents[2] / "tui"


def _module(path: Path) -> str:
    parts = path.relative_to(TUI.parent).with_suffix("").parts
    return ".".join(("gainstage", *parts)).removesuffix(".__init__")


def test_importing_the_console_loads_no_model_library() -> None:
    modules = [
        _module(path) for room in ("console", "screens", "widgets", "state", "render") for path in (TUI / room).rglob("*.py")
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "heavy = {'torch','faster_whisper','pyannote','speechbrain','sentence_transformers','transformers','ctranslate2','av','scipy'}\n"
        "print(sorted(heavy & {m.partition('.')[0] for m in sys.modules}))\n"
        "print(sorted({'numpy','psycopg','procrastinate','pydantic'} & {m.partition('.')[0] for m in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, light = done.stdout.splitlines()
    assert heavy == "[]"
    assert light == "[]", "what a console does not need it does not wait for"


def test_the_private_hook_that_keeps_locals_off_the_terminal_still_exists() -> None:
    from textual.app import App

    assert callable(App._fatal_error)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_every_line_is_as_wide_as_the_screen(driven: Run, desk_at: Run, size: tuple[int, int]) -> None:
    async with driven(desk_at("throttled"), size=size) as d:
        for name in SCREENS:
            await d.app.go(name)
            await settle(d.app, d.pilot)
            strips = d.app.screen._compositor.render_strips()
            assert len(strips) == size[1]
            assert {s.cell_length for s in strips} == {size[0]}
        assert not d.app.reported


async def test_the_picture_moves_slower_where_every_frame_is_taken_from_the_work(driven: Run, desk_at: Run) -> None:
    def busy(share: float) -> Bent:
        return Bent(desk_at(), lambda s: replace(s, host=replace(s.host, cpu=share)))

    async with driven(busy(0.99)) as d:
        assert d.app.poller.hz == SLOW_HZ
    async with driven(busy(0.5)) as d:
        assert d.app.poller.hz == d.app.pace.wanted_hz or d.app.pace.mean_tick_s > SLOW_TICK_S, "unless this machine is slow itself"

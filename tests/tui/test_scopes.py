"""This run, today, all: one key changes what every figure is about; and looking back shows what was, nothing later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.enqueue import Origin, enqueue
from gainstage.engine.store.database import Database
from gainstage.tui.widgets.flights import FlightsPanel
from tests.engine.engine_kit import make_engine, running
from tests.queue_kit import until


async def test_the_header_and_the_title_follow_the_scope(database: Database, tmp_path: Path, driven: Callable[..., Any]) -> None:
    """202 recordings of the database's life must not be in the first second of a new folder."""
    backlog = Backlog(database)
    old = tuple(replace(r, extra={**r.extra, "fail": "decode"}) for r in simulated_recordings(5, seed=1))
    enqueue(backlog, Choice(old, (), 5), Origin("run", ("/old",), "old talks"))
    with running(make_engine(database, tmp_path)):
        until(lambda: backlog.counts().queued + backlog.counts().running == 0)
        fresh = tuple(simulated_recordings(3, seed=2, scale=30.0))
        enqueue(backlog, Choice(fresh, (), 3), Origin("run", ("/new",), "new talks"))
        until(lambda: backlog.counts().running == 3)
        desk = PostgresDesk(database)
        until(lambda: (s := desk.snapshot()) is not None and any(v.title == "new talks" and v.health for v in s.scopes))
        async with driven(desk) as d:
            first = d.text.splitlines()
            assert "this run 0/3 recordings" in first[0]
            assert "DEGRADED" not in first[0]
            assert "new talks" in first[1]
            await d.press("d")
            assert "today 5/8 recordings" in d.text
            await d.press("d")
            assert "all 5/8 recordings" in d.text
            assert "DEGRADED" in d.text.splitlines()[0]
            await d.command("scope run")
            assert "this run 0/3 recordings" in d.text
        async with driven(desk, size=(80, 24)) as d:
            assert "this run 0% 0/3" in d.text.splitlines()[0]


async def test_looking_back_shows_nothing_that_had_not_begun(desk_at: Callable[..., Any], driven: Callable[..., Any]) -> None:
    async with driven(desk_at("bottleneck")) as d:
        panel = d.app.desk_screen.query_one(FlightsPanel)
        await d.wait(60)
        begun = {item.view.id for item in panel.items if item is not None}
        await d.press("left_square_bracket", "left_curly_bracket")
        assert d.app.frame.mode == "scrub"
        shown = {item.view.id for item in panel.items if item is not None}
        then = {flight.id for flight in d.app.frame.snapshot.flights}
        assert shown == then
        assert begun - then, "otherwise nothing is looked at"
        assert "next in line" not in d.text

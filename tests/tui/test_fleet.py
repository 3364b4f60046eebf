"""The console over several engines: a list of them, one alone on every screen, and changes for it alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.store.database import Database
from tests.engine.engine_kit import make_engine, queue, running
from tests.queue_kit import frame, register, until

HOST = socket.gethostname()


async def test_a_change_goes_to_the_engine_that_is_shown_alone(
    database: Database, tmp_path: Path, driven: Callable[..., Any]
) -> None:
    queue(database, 40, scale=20)
    desk = PostgresDesk(database)
    gpu0, gpu1 = (make_engine(database, tmp_path, member=name, workers__store=1) for name in ("gpu0", "gpu1"))
    with running(gpu0), running(gpu1):
        until(lambda: (s := desk.snapshot()) is not None and s.engine == "2 engines")
        async with driven(desk) as d:
            await d.press("G")
            assert "2 engines" in d.text
            assert gpu0.context.id in d.text
            await d.press("enter")
            assert desk.engine == gpu0.context.id
            await d.press("4")
            assert f"of {HOST}/gpu0" in d.text
            await d.command("filter workers.store")
            await d.press("right")
            assert f"staged 1 · {HOST}/gpu0 alone" in d.text
            await d.press("A")
            until(lambda: gpu0.context.settings.workers.store == 2)
            assert gpu1.context.settings.workers.store == 1
            assert d.app.command_log.history[-1].label == f"workers.store 1 → 2 · {HOST}/gpu0 alone"
            await d.press("right")
            await d.press("escape", "escape", "escape")
            assert desk.engine is None
            assert d.app.command_log.staged == {}, "what was staged for one engine is not sent to all"
            await d.press("right")
            assert "staged 1 · all 2 engines" in d.text
            rows = d.app.settings
            assert (rows["workers.store"].value, rows["workers.store"].origin) == (1, "command line")
            assert (rows[f"workers.store@{HOST}/gpu0"].value, rows[f"workers.store@{HOST}/gpu0"].origin) == (2, "live")


async def test_the_engines_are_sorted_by_any_column(database: Database, tmp_path: Path, driven: Callable[..., Any]) -> None:
    names = {"a-gpu1-1-x": (30.0, 5), "a-gpu0-2-x": (90.0, 3), "b-gpu0-3-x": (60.0, 9)}
    for name, (rate, _) in names.items():
        shown = frame(name)
        register(database, name, tmp_path / name).publish(replace(shown, run=replace(shown.run, rtfx=rate)))
    with database.connection() as connection:
        connection.execute("update engine set host = left(id, 1)")
    desk = PostgresDesk(database)
    desk.snapshot()

    def order(text: str) -> list[str]:
        return [name for line in text.splitlines() for name in names if name in line]

    async with driven(desk) as d:
        await d.press("G")
        assert "ENGINE▴" in d.text
        assert order(d.text) == ["a-gpu0-2-x", "a-gpu1-1-x", "b-gpu0-3-x"]
        await d.press(*"sssss")
        assert "RATE▴" in d.text
        assert order(d.text) == ["a-gpu1-1-x", "b-gpu0-3-x", "a-gpu0-2-x"]
        await d.press("S")
        assert "RATE▾" in d.text
        assert order(d.text) == ["a-gpu0-2-x", "b-gpu0-3-x", "a-gpu1-1-x"]
        await d.press("a")
        assert desk.engine is None

"""Tune shows the experiments that were made, and how one is made where there is none."""

from __future__ import annotations

from typing import Any

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue import experiments
from gainstage.engine.store.database import Database
from gainstage.engine.views.experiments import ExperimentLine

Run = Any


async def test_tune_lists_experiments_with_their_verdicts(driven: Run, desk_at: Run) -> None:
    desk = desk_at("burst")
    verdict = "transcribe takes -20% (-24% to -15%); the words are the same \x1b[31m"
    desk.experiments = lambda limit=50: (ExperimentLine(7, 1_790_000_000.0, "asr.batch=8, 5 recordings x 3", "done", verdict),)
    async with driven(desk) as d:
        await d.press("4", "x")
        await d.pilot.pause()
        assert "asr.batch=8, 5 recordings x 3" in d.text
        assert "transcribe takes -20% (-24% to -15%); the words are the same" in d.text
        assert "[31m" not in d.text


async def test_without_any_it_says_how_one_is_made(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        await d.press("4", "x")
        await d.pilot.pause()
        assert "gainstage experiment --sample 5" in d.text


def test_the_desk_of_a_database_gives_them_newest_first(database: Database) -> None:
    spec = {"recordings": ["a", "b"], "sets": ["asr.batch=8", "in_flight=4"], "against": "12", "repeat": 3}
    for n in range(3):
        number = experiments.begin(database, spec)
        experiments.keep(database, number, [], [], f"verdict {n}\nand more", "done")
    rows = PostgresDesk(database).experiments()
    assert [r.verdict for r in rows] == [f"verdict {n}. and more" for n in (2, 1, 0)]
    assert rows[0].what == "asr.batch=8, in_flight=4 against 12, 2 recordings x 3"

"""Header, panels, table, status and database agree at random moments of a live engine; and disagreement is found."""

from __future__ import annotations

from dataclasses import replace

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.tui.bench.truth import bracket_problems, run, screen_problems, table


def test_at_any_moment_every_place_says_the_same(database_url: str) -> None:
    result = run(25, seed=4, database_url=database_url)
    assert result["disagreements"] == 0, table(result)
    assert result["unmoved"] > 0, "some moments must be compared exactly"


def test_a_place_that_says_something_else_is_found() -> None:
    frame = ScriptedDesk(start_at=STORY["bottleneck"]).snapshot()
    assert frame is not None
    said = f"all 1/2 recordings\n in flight  {len(frame.flights)}  waiting {frame.run.queued}"
    assert screen_problems(frame, said) == [p for p in screen_problems(frame, said) if p.startswith("header shows (1, 2)")]
    assert screen_problems(frame, said)
    done = replace(frame, verdict=replace(frame.verdict, health="done"))
    assert any("verdict done" in p for p in screen_problems(done, said))
    rows = {"stored": frame.run.stored + 1}
    assert any("stored" in p for p in bracket_problems(frame, rows, rows, "screen"))

"""The autopilot on a live engine: it finds the slots that help, takes the rest back, remembers, and keeps away from a hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gainstage.engine.advisor.slot_search import Bounds
from gainstage.engine.queue import changes
from gainstage.engine.queue.autopilot_memory import Learned, recall, remember
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.autopilot import MOVED, NAME, bounds_of
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from tests.engine.engine_kit import make_engine, running
from tests.queue_kit import until

TIMES = {"fetch": 0.01, "decode": 0.01, "transcribe": 0.4, "diarize": 0.05, "identify": 0.01, "embed": 0.01}


def quick(engine: Engine) -> Engine:
    """With windows of seconds in place of minutes."""
    effects, pilot = engine.threads.change_effects, engine.threads.autopilot
    effects.window_s, effects.settle_s, effects.least_s = 12.0, 0.5, 2.0
    pilot.baseline_s, pilot.patience_s = 3.0, 30.0
    return engine


def test_it_finds_the_slots_that_help_and_keeps_away_from_a_hand(database: Database, tmp_path: Path) -> None:
    Backlog(database).add(simulated_recordings(4000, times=TIMES))
    bounds = {"workers.decode": "2-2", "workers.diarize": "1-1", "workers.identify": "2-2", "workers.transcribe": "1-3"}
    settings = {"workers__transcribe": 1, "workers__diarize": 1, "workers__identify": 2, "workers__decode": 2}
    engine = quick(make_engine(database, tmp_path, in_flight=16, **settings))
    with running(engine):
        until(lambda: engine.threads.publisher.history and engine.threads.publisher.history[-1].run.stored > 5)
        changes.set_value(database, "autopilot.bounds", bounds, "test")
        changes.set_value(database, "autopilot.on", True, "test")
        until(lambda: engine.context.settings.workers.transcribe == 3 and recall(database, *engine.threads.autopilot._place()), 180)
        # a prediction is written down by the thread that measures, up to a second after the change
        rows = until(
            lambda: (own := [r for r in changes.history(database) if r.by == NAME]) and all(r.predicted for r in own) and own
        )
        assert {row.key for row in rows} == {"workers.transcribe"}
        frame = until(lambda: (f := engine.threads.publisher.history[-1]).autopilot and f)
        assert frame.autopilot is not None
        step = next(r for r in changes.history(database) if r.by == NAME and r.undone_by is None)
        assert changes.undo(database, "ops").state != "refused", "a step is undone as any change is"
        until(lambda: engine.context.settings.workers.transcribe == step.old)
        assert next(r for r in changes.history(database) if r.revision == step.revision).undone_by is not None
        until(lambda: (engine.threads.autopilot.doing or "").startswith("paused"))
        changes.set_value(database, "autopilot.on", False, "test")
        until(lambda: engine.threads.autopilot.doing is None)
        learned = recall(database, *engine.threads.autopilot._place())
    assert learned is not None
    assert learned.best["workers.transcribe"] >= 2


def test_it_is_off_by_default(database: Database, tmp_path: Path) -> None:
    Backlog(database).add(simulated_recordings(30, times=TIMES))
    engine = quick(make_engine(database, tmp_path))
    with running(engine):
        until(lambda: engine.threads.publisher.history and engine.threads.publisher.history[-1].run.stored > 5)
        engine.threads.autopilot.step()
        assert engine.threads.autopilot.doing is None
        assert changes.history(database) == ()


@pytest.mark.parametrize(
    ("text", "bounds"),
    [("1-4", Bounds(1, 4)), ("2", Bounds(2, 2)), ("", Bounds(1, 8)), ("x-3", Bounds(1, 8)), ("0-99", Bounds(1, 16))],
)
def test_bounds_are_read_as_typed(text: str, bounds: Bounds) -> None:
    assert bounds_of({"workers.transcribe": text})["workers.transcribe"] == bounds
    assert set(bounds_of({})) == set(MOVED)


@pytest.mark.parametrize("written", ['{"workers.asr": "many"}', '["a"]', '{"a": {}}', "7"])
def test_what_another_client_wrote_into_its_memory_is_not_taken(database: Database, written: str) -> None:
    remember(database, "machine", "models", Learned({"workers.transcribe": 2}, ((2,),)))
    assert recall(database, "machine", "models") == Learned({"workers.transcribe": 2}, ((2,),))
    for column in ("best", "tried", "too_much"):
        remember(database, "machine", "models", Learned({"workers.transcribe": 2}, ((2,),)))
        with database.connection() as connection:
            connection.execute(f"update autopilot_memory set {column} = %s::jsonb", [written])
        assert recall(database, "machine", "models") is None, column

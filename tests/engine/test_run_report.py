"""The report of a run on a live engine: taken, become, stages, changes, failures, speakers, coverage, energy; in three formats."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gainstage.engine.desk.run_report import merged, report, throughput
from gainstage.engine.queue import changes, runs
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.enqueue import Origin, enqueue
from gainstage.engine.store.database import Database
from gainstage.tui.render.run_report import markdown, page
from gainstage.tui.render.throughput_svg import tick_of
from tests.engine.engine_kit import make_engine, running
from tests.queue_kit import until

HOSTILE = "<script>alert(1)</script> | `x` \x1b[31m [a](http://e.vil)"


class Reader(HTMLParser):
    """Tags in the order they open; fails on one that is closed out of order."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_tells_the_whole_run(database: Database, tmp_path: Path) -> None:
    engine = make_engine(database, tmp_path)
    backlog = Backlog(database)
    made = simulated_recordings(8, seed=3, scale=4.0)
    made[0] = replace(made[0], title=HOSTILE, extra={**made[0].extra, "fail": "decode"})
    enqueue(backlog, Choice(tuple(made), (), 8), Origin("run", ("/talks",), "talks"))
    with running(engine):
        until(lambda: backlog.counts().running)
        changes.set_value(database, "workers.transcribe", 3, "test")
        until(lambda: backlog.counts().queued + backlog.counts().running == 0)
    with database.connection() as connection:
        connection.execute("update run set energy_j = 7.2e6")
        id = runs.find(connection).id
    made_of = report(database, "tal")
    assert (made_of.run.id, made_of.run.stored, made_of.run.failed) == (id, 7, 1)
    assert {r.status for r in made_of.recordings} == {"stored", "failed"}
    assert [(f.cause, f.count) for f in made_of.failures] == [("simulated fault", 1)]
    assert [s.name for s in made_of.stages][:3] == ["fetch", "decode", "transcribe"]
    assert {s.name: s.passes for s in made_of.stages}["transcribe"] == 7
    assert sum(s.share for s in made_of.stages) == pytest.approx(1.0, abs=0.01)
    with database.connection() as connection:
        rows = connection.execute("select speaker, sum(end_s - start_s)::float8 from segment group by 1").fetchall()
    assert {s.name: pytest.approx(s.seconds, abs=0.01) for s in made_of.speakers} == dict(rows)
    assert [(c.key, c.new) for c in made_of.changes] == [("workers.transcribe", 3)]
    assert made_of.kwh == 2.0
    json.loads(json.dumps(made_of.document(), allow_nan=False))
    text, html = markdown(made_of), page(made_of)
    for part in ("# Run talks", "## Stages", "workers.transcribe", "simulated fault", "2.000 kWh", "<svg", "7 stored, 1 failed"):
        assert part in text.replace("\\", ""), part
    assert "<script" not in text
    assert "<script" not in html
    assert "\x1b" not in text + html
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert "svg" in reader.tags


def test_throughput_is_over_the_time_with_work() -> None:
    first = [{"stage": "x", "start_wall": 0.0, "wait_s": 0.0, "service_s": 120.0}]
    second = [{"stage": "x", "start_wall": 600.0, "wait_s": 60.0, "service_s": 60.0}]
    stretches = throughput([(1200.0, first), (600.0, second), (None, first)])
    assert [s.rtfx for s in stretches[:2]] == [10.0, 10.0]
    assert stretches[5].rtfx is None
    assert [s.rtfx for s in stretches[10:12]] == [0.0, 10.0]
    assert throughput([]) == ()


def test_the_picture_of_a_short_run_ends_with_it() -> None:
    spans = [{"stage": "x", "start_wall": 100.0, "wait_s": 0.0, "service_s": 14.0}]
    stretches = throughput([(280.0, spans)])
    assert len(stretches) == 12
    assert stretches[-1].wall + stretches[-1].seconds == pytest.approx(114.0, abs=0.2)
    assert {s.rtfx for s in stretches} == {20.0}


def test_stretches_of_time_are_joined() -> None:
    assert merged([(5, 6), (0, 2), (1, 3), (3, 4)]) == [(0, 4), (5, 6)]


@pytest.mark.parametrize(("highest", "step"), [(1.0, 0.2), (9.0, 2.0), (22.0, 10.0), (0.3, 0.1), (1000.0, 200.0)])
def test_axes_have_round_steps(highest: float, step: float) -> None:
    assert tick_of(highest) == pytest.approx(step)
    assert 2 <= highest / step <= 5


def test_recordings_that_are_taken_again_bring_nothing_of_their_last_run(database: Database, tmp_path: Path) -> None:
    made = simulated_recordings(4, seed=5, scale=1.0)
    for number in range(2):
        enqueue(Backlog(database), Choice(tuple(made), (), 4), Origin("run", ("/talks",), f"talks {number}"), force=True)
        waiting = report(database, f"talks {number}")
        assert (waiting.stages, waiting.throughput, waiting.engines) == ((), (), ())
        with running(make_engine(database, tmp_path, until_empty=True)) as engine:
            until(lambda: report(database).run.stored == 4)
        whole = report(database, f"talks {number}")
        assert {s.name: s.passes for s in whole.stages}["transcribe"] == 4
        assert whole.engines == ((engine.context.id, 4),)
    before = report(database, "talks 0")
    assert {s.name: s.passes for s in before.stages}["transcribe"] == 4
    assert [stored for _, stored in before.engines] == [4]
    assert before.engines != whole.engines

"""Experiments: real engines on a shadow database in alternation; what is concluded, kept, repeated and compared."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
from math import exp
from pathlib import Path
from random import Random

import psutil
import pytest

from gainstage.engine.evaluation.experiments import (
    BASE,
    ELAPSED,
    WHOLE,
    Differences,
    MeasuredRecording,
    SideRun,
    conclude,
    moved_seconds,
)
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.experiments import list_experiments
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from tests.chaos.kit import EngineProcess, cared_for, wait_for
from tests.cli_kit import command, environment, gainstage, said

NOTHING = Differences()


def side(name: str, repeat: int, seconds: float, *, stage: float | None = None, failed: int = 0, recordings: int = 5) -> SideRun:
    """A run in which a recording of 100 s takes so many seconds, unlike each other by their number."""
    measured = [
        MeasuredRecording(
            f"r{n}",
            "failed" if n < failed else "stored",
            100.0,
            seconds * (1 + n / 10),
            {"transcribe": (stage or seconds) * (1 + n / 10)},
        )
        for n in range(recordings)
    ]
    return SideRun(name, repeat, seconds * recordings, 10**9, None, tuple(measured))


def test_a_change_of_every_pair_is_told_from_noise() -> None:
    wobble = (1.0, 1.03, 0.98)
    runs = [run for k, w in enumerate(wobble) for run in (side(BASE, k, 10 * w), side("after", k, 8 * wobble[(k + 1) % 3]))]
    found = conclude(runs, "after", NOTHING)
    changes = {c.what: c for c in found.changes}
    for what in ("transcribe", WHOLE):
        assert changes[what].certain
        assert changes[what].low < -0.2 < changes[what].high < 0  # type: ignore[operator]
    assert (changes["transcribe"].pairs, changes["transcribe"].recordings) == (15, 5)
    assert (changes[WHOLE].pairs, changes[WHOLE].recordings) == (3, 0)
    assert "transcribe takes -20%" in found.verdict


def test_nobody_is_told_of_a_change_that_takes_no_time() -> None:
    runs = [r for k in range(3) for r in (side(BASE, k, 10, stage=0.01), side("after", k, 10, stage=0.02))]
    found = conclude(runs, "after", NOTHING)
    assert {c.what: round(c.change or 0, 2) for c in found.changes if c.certain} == {"transcribe": 1.0}
    assert "transcribe" not in found.verdict
    assert "no difference in time can be told from noise" in found.verdict


def test_a_stage_may_be_faster_where_the_whole_run_is_not() -> None:
    wobble = (1.0, 1.03, 0.98)
    runs = [
        r for k, w in enumerate(wobble) for r in (side(BASE, k, 10 * w), side("after", k, 10 * wobble[(k + 1) % 3], stage=8 * w))
    ]
    verdict = conclude(runs, "after", NOTHING).verdict
    assert "transcribe takes -20%" in verdict
    assert "of the whole run nothing can be told from noise with 3 repetitions" in verdict


def test_repeating_two_unlike_recordings_makes_no_third() -> None:
    """One gets much faster, the other slower, in each of ten repetitions: what a third would do is not known."""
    runs = []
    for repeat in range(10):
        for name, seconds in ((BASE, (10.0, 10.0)), ("after", (6.0, 10.5))):
            measured = tuple(MeasuredRecording(f"r{n}", "stored", 100.0, s, {"transcribe": s}) for n, s in enumerate(seconds))
            runs.append(SideRun(name, repeat, sum(seconds), 10**9, None, measured))
    change = next(c for c in conclude(runs, "after", NOTHING).changes if c.what == "transcribe")
    assert (change.pairs, change.recordings) == (20, 2)
    assert change.change == pytest.approx(-0.175)
    assert change.low == -1.0, "nothing takes less than no time"
    assert change.high > 0.05  # type: ignore[operator]
    assert change.p > 0.4  # type: ignore[operator]
    assert not change.certain


def test_repeating_one_recording_says_something_of_that_one() -> None:
    runs = [
        run
        for k, w in enumerate((1.0, 1.03, 0.98))
        for run in (side(BASE, k, 10 * w, recordings=1), side("after", k, 7, recordings=1))
    ]
    change = next(c for c in conclude(runs, "after", NOTHING).changes if c.what == "transcribe")
    assert (change.pairs, change.recordings, change.certain) == (3, 1, True)
    once = conclude([r for r in runs if r.repeat == 0], "after", NOTHING).changes
    assert [(c.what, c.change) for c in once] == [(WHOLE, None), (ELAPSED, None), ("transcribe", None)]


@pytest.mark.parametrize(("runs_vary", "recordings_vary"), [(0.05, 0.02), (0.0, 0.05)])
def test_a_slow_minute_is_told_from_noise_no_oftener_than_it_should(runs_vary: float, recordings_vary: float) -> None:
    """Nothing differs but how fast the machine is in each run: of a hundred experiments with three repetitions few say otherwise."""
    random, certain, held = Random(3), 0, 0
    for _ in range(100):
        runs = []
        for repeat, name in itertools.product(range(3), (BASE, "after")):
            pace = exp(random.gauss(0, runs_vary))
            seconds = [10 * (1 + n / 10) * pace * exp(random.gauss(0, recordings_vary)) for n in range(5)]
            measured = tuple(MeasuredRecording(f"r{n}", "stored", 100.0, s, {"transcribe": s}) for n, s in enumerate(seconds))
            runs.append(SideRun(name, repeat, sum(seconds), 10**9, None, measured))
        change = next(c for c in conclude(runs, "after", NOTHING).changes if c.what == "transcribe")
        certain += change.certain
        held += change.low <= 0 <= change.high  # type: ignore[operator]
    assert certain <= 10
    assert held >= 90


def test_noise_is_called_noise() -> None:
    noise = (1.0, 1.2, 0.9, 1.1, 0.85, 1.15)
    runs = [run for k, w in enumerate(noise) for run in (side(BASE, k, 10 * w), side("after", k, 10 * noise[-k - 1]))]
    found = conclude(runs, "after", NOTHING)
    assert not any(c.certain for c in found.changes)
    assert "no difference in time can be told from noise" in found.verdict


def test_failures_and_results_are_in_the_verdict() -> None:
    runs = [side(BASE, 0, 10), side("after", 0, 10, failed=2)]
    words = Differences(3, 300, 0.0, 60.0)
    verdict = conclude(runs, "after", words).verdict
    assert "2 failures instead of 0" in verdict
    assert "1.0% of the words differ" in verdict
    assert "the speakers are the same" in verdict
    nothing = conclude([side(BASE, 0, 10), side("after", 0, 10, failed=5)], "after", NOTHING)
    assert "nothing can be compared" in nothing.verdict


def test_seconds_that_moved_to_another_speaker() -> None:
    first = [(0.0, 10.0, "Ada"), (10.0, 20.0, "Grace")]
    assert moved_seconds(first, first) == (0.0, 20.0)
    assert moved_seconds(first, [(0.0, 12.0, "Ada"), (12.0, 20.0, "Grace")]) == (2.0, 20.0)
    assert moved_seconds(first, [(0.0, 20.0, "Ada"), (18.0, 20.0, "Grace")]) == (10.0, 20.0)
    assert moved_seconds([], [(1.0, 2.0, "Ada")]) == (1.0, 1.0)


@pytest.fixture
def stored(database: Database, database_url: str, tmp_path: Path) -> Path:
    """A home whose database holds six simulated recordings."""
    home = tmp_path / "home"
    made = simulated_recordings(6, seed=1, times={"transcribe": 0.6}, scale=1.0)
    Backlog(database).add(made)
    with cared_for(engine := EngineProcess(home, database_url, until_empty=True)):
        assert engine.wait() == 0
    return home


def fingerprint(database: Database) -> str:
    """Everything stored of recordings, as one text."""
    with database.connection() as connection:
        tables = ("recording", "segment", "decision", "run", "change", "setting", "profile")
        return str([connection.execute(f"select t::text from {table} t order by 1").fetchall() for table in tables])  # type: ignore[arg-type]


def test_slots_are_tried_on_a_shadow_and_the_store_stays_as_it_is(stored: Path, database: Database, database_url: str) -> None:
    where = ("--home", str(stored), "--database", database_url)
    before = fingerprint(database)
    done = gainstage(
        "experiment", "--sample", "6", "--set", "workers.transcribe=4", "--repeat", "2", "--simulated", "--json", *where
    )
    row = json.loads(done.stdout)
    assert fingerprint(database) == before
    assert (row["id"], row["state"], len(row["runs"])) == (1, "done", 4)
    assert [r["side"] for r in row["runs"]] == ["before", "after", "after", "before"], "in alternation"
    assert {(m["status"], m["cause"]) for r in row["runs"] for m in r["recordings"]} == {("stored", None)}
    assert all(r["rss_peak"] > 10**7 for r in row["runs"])
    changes = {c["what"]: c for c in row["conclusion"][0]["changes"]}
    assert changes["whole run"]["change"] < -0.1, "four slots in the place of two"
    assert abs(changes["transcribe"]["change"]) < 0.5
    assert row["conclusion"][0]["differences"]["words"] == 0
    assert "the words are the same" in row["verdict"]
    shown = said("experiments", "show", 1, "--database", database_url)
    assert "whole run" in shown
    assert "workers.transcribe=4" in said("experiments", "list", "--database", database_url)
    wrong = gainstage("experiment", "--set", "workers.transcibe=4", "--json", *where, status=2)
    assert "did you mean" in json.loads(wrong.stdout)["error"]["message"]
    assert "nothing differs" in said("experiment", *where, status=1)
    assert "no experiment 9" in said("experiments", "show", 9, "--database", database_url, status=1)


def test_one_that_is_killed_touches_no_store_and_the_next_removes_what_it_left(
    stored: Path, database: Database, database_url: str, tmp_path: Path
) -> None:
    where = ("--home", str(stored), "--database", database_url)
    (temporary := tmp_path / "t").mkdir()
    before = fingerprint(database)
    words = ("experiment", "--sample", "2", "--set", "workers.transcribe=3", "--repeat", "9", "--simulated", *where)
    environ = environment(TMPDIR=str(temporary))
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stderr is not None
            wait_for(lambda: "run 2 of 18" in process.stderr.readline(), "the second run", timeout_s=200)  # type: ignore[union-attr]
        finally:
            process.kill()
    assert fingerprint(database) == before
    (left,) = temporary.iterdir()
    assert [row.state for row in list_experiments(database)] == ["running"]
    once = ("experiment", "--sample", "1", "--set", "workers.transcribe=3", "--repeat", "1", "--simulated", "--json", *where)
    row = json.loads(gainstage(*once, environ={"TMPDIR": str(temporary)}).stdout)
    assert (row["id"], row["state"]) == (2, "done")
    assert list(temporary.iterdir()) == []
    assert [row.state for row in list_experiments(database)] == ["done", "ended early"]
    of_it = [p for p in psutil.process_iter(["cmdline"]) if any(str(left) in word for word in p.info["cmdline"] or ())]
    assert [p for p in of_it if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert fingerprint(database) == before


def test_an_interrupted_one_keeps_what_was_done_and_is_repeated_and_compared(
    stored: Path, database: Database, database_url: str
) -> None:
    where = ("--home", str(stored), "--database", database_url)
    words = ("experiment", "--sample", "3", "--set", "workers.transcribe=3", "--repeat", "9", "--simulated", *where)
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stderr is not None
            wait_for(lambda: "run 3 of 18" in process.stderr.readline(), "the third run", timeout_s=200)  # type: ignore[union-attr]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    (row,) = json.loads(said("experiments", "list", "--json", "--database", database_url))
    assert (row["state"], len(row["runs"])) == ("ended early", 2)
    assert row["conclusion"][0]["side"] == "after"
    with database.transaction() as connection:
        connection.execute("update experiment set spec = jsonb_set(spec, '{repeat}', '1')")
    again = json.loads(gainstage("experiment", "--again", "1", "--simulated", "--json", *where).stdout)
    assert again["spec"]["recordings"] == row["spec"]["recordings"]
    compared = json.loads(said("experiments", "compare", 1, again["id"], "--json", "--database", database_url))
    assert compared["same_spec"] is True
    assert "whole run" in {f["what"] for f in compared["figures"]}

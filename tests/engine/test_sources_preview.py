"""A preview is a dry run: what it shows is what a run then takes, nothing else and at the cost told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.origins import Loaded
from gainstage.config.settings import Settings, changed
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue import changes
from gainstage.engine.sources.choose import choose
from gainstage.engine.sources.enqueue import enqueue
from gainstage.engine.sources.plan import plan_run
from gainstage.engine.sources.selection import Selection
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.rows import Preview
from tests.cli_kit import data_of
from tests.http_server import running
from tests.queue_kit import job_queue, register, store
from tests.unit.test_sources_listing import serve_feed

LOCAL = changed(changed(Settings(), "fetch.allow_private", True), "fetch.sleep", 0)


@pytest.fixture
def desk(database: Database) -> PostgresDesk:
    return PostgresDesk(database, loaded=Loaded(LOCAL))


@pytest.fixture
def feed(desk: PostgresDesk) -> Iterator[str]:
    """Sixty episodes, of which one is stored, one failed and two are queued."""
    with running() as server:
        url = serve_feed(server, pages=3)
        queue = job_queue(desk.database)
        enqueue(queue, choose([url], LOCAL, desk.database, Selection(limit=3), token=CancelToken()))
        claim = queue.take()
        assert claim
        store(desk.database, queue, claim)
        yield url


def taken(seen: Preview) -> list[str]:
    return [row.id for row in seen.rows if row.take]


def test_what_is_previewed_is_what_a_run_takes_and_costs(desk: PostgresDesk, feed: str) -> None:
    options: dict[str, Any] = {"limit": 12, "match": "[024-9]$", "max_duration": "2h"}
    seen = desk.preview((feed,), options)
    choice = choose([feed], LOCAL, desk.database, Selection.of(options), token=CancelToken())
    assert taken(seen) == [r.id for r in choice.new]
    assert [(row.title, row.reason) for row in seen.rows if not row.take] == [(left.title, left.reason) for left in choice.passed]
    assert {row.reason for row in seen.rows} >= {"new", "queued already", "stored already", "title does not match"}
    assert seen.plan == plan_run(choice.new, LOCAL, desk.database)
    assert seen.plan.downloads == len(choice.new) == 11
    assert (seen.audio_s, seen.expected_s) == (seen.plan.audio_s, seen.plan.left.left_s)
    added = enqueue(desk.queue, choice)
    assert (added.added, added.known) == (11, 1)
    again = desk.preview((feed,), options)
    assert (taken(again), again.audio_s) == ([], 0.0)
    assert {row.reason for row in again.rows} == {"queued already", "stored already", "title does not match"}


def test_with_force_what_is_stored_is_taken_and_what_is_queued_is_not(desk: PostgresDesk, feed: str) -> None:
    seen = desk.preview((feed,), {"limit": 4, "force": "yes"})
    assert [row.reason for row in seen.rows] == ["new", "new", "queued already", "queued already"]
    choice = choose([feed], LOCAL, desk.database, Selection(limit=4, force=True), token=CancelToken())
    added = enqueue(desk.queue, choice, force=True)
    assert (added.added + added.requeued, added.known) == (2, 2)


def test_a_dry_run_of_the_command_line_says_the_same(desk: PostgresDesk, feed: str, database_url: str) -> None:
    seen = desk.preview((feed,), {"limit": 8, "match": "[0-6]$"})
    told = data_of(
        "add", feed, "--limit", 8, "--match", "[0-6]$", "--dry-run", "--database", database_url,
        "--set", "fetch.allow_private=true", "--set", "fetch.sleep=0",
    )  # fmt: skip
    assert [r["id"] for r in told["recordings"]] == taken(seen)
    assert [(left["title"], left["reason"]) for left in told["left"]] == [(r.title, r.reason) for r in seen.rows if not r.take]
    assert seen.plan
    assert told["plan"] == json.loads(json.dumps(asdict(seen.plan)))


def test_it_goes_by_the_settings_in_force_as_the_engine_does(desk: PostgresDesk, feed: str, tmp_path: Path) -> None:
    theirs = LOCAL
    for key, value in {"fetch.rate": 20, "workers.transcribe": 8, "workers.diarize": 8}.items():
        theirs = changed(theirs, key, value)
    register(desk.database, "one", tmp_path, theirs)
    plan = desk.preview((feed,), {}).plan
    assert plan
    assert (plan.downloads, plan.bottleneck) == (57, "fetch.rate")
    changes.set_value(desk.database, "fetch.max_duration", 60, "test")
    (tmp_path / "list.jsonl").write_text('{"url": "https://e.org/a.mp3", "duration": 61}\n{"url": "https://e.org/b.mp3"}\n')
    seen = desk.preview((str(tmp_path / "list.jsonl"),), {})
    assert [(row.title, row.reason) for row in seen.rows] == [("b", "new"), ("a", "longer than fetch.max_duration (60 s)")]
    assert desk.in_force().fetch.allow_private


def test_an_option_that_is_none_is_told(desk: PostgresDesk) -> None:
    with pytest.raises(DeskError, match="Did you mean limit"):
        desk.preview(("nowhere",), {"limt": 5})
    with pytest.raises(DeskError, match="whole number"):
        desk.preview(("nowhere",), {"limit": "few"})

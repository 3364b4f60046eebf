"""A home of very many recordings: nothing a screen or a command asks for reads a whole table.

Judged by the database's own count of sequential scans, not by time; ``tests/bench/bench_commands.py`` has the seconds at 200,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gainstage.config.settings import Settings
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.sources.plan import speeds_of, typical_seconds
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.rows import Query
from gainstage.tui.cli import main
from gainstage.tui.widgets.recordings_table import RecordingsTable
from tests.scale_kit import CAUSES, fill

RECORDINGS = 12_000
TABLES = ("recording", "segment", "decision", "procrastinate_jobs")

FILTERS = {
    "nothing": Query(),
    "status": Query(status=("failed",)),
    "statuses": Query(status=("queued", "stored")),
    "not a status": Query(status=("stored",), invert=True),
    "rare text": Query(text="00018"),
    "common text": Query(text="conversation"),
    "text nowhere": Query(text="zzz"),
    "text and status": Query(text="bread", status=("failed",)),
    "not a text": Query(text="bread", invert=True),
    "cause": Query(cause=CAUSES[0]),
    "cause nowhere": Query(cause="nope"),
    "stage": Query(stage="decode"),
    "long": Query(min_duration_s=5000.0),
    "short": Query(max_duration_s=100.0),
    "far down": Query(offset=RECORDINGS // 2),
}


@pytest.fixture
def many(database: Database) -> Database:
    with database.own_connection() as connection:
        fill(connection, RECORDINGS)
    return database


@contextmanager
def no_whole_table(database: Database, what: str) -> Iterator[None]:
    """Fails when a sequential scan of a large table began in the block."""
    before = scans(database)
    yield
    after = scans(database)
    assert {table: after[table] - before[table] for table in TABLES if after[table] != before[table]} == {}, what


def scans(database: Database) -> dict[str, int]:
    """Sequential scans of each table so far, those of every pooled connection among them."""
    with database.connection() as connection:
        connection.execute("select pg_stat_force_next_flush()")
    with database.own_connection() as connection:
        rows = connection.execute("select relname, seq_scan from pg_stat_user_tables where schemaname = 'gainstage'").fetchall()
    return {str(name): int(count) for name, count in rows if name in TABLES}


def test_a_sequential_scan_is_counted(many: Database) -> None:
    failing, watching = pytest.raises(AssertionError, match="an unindexed search"), no_whole_table(many, "an unindexed search")
    with failing, watching, many.connection() as connection:
        connection.execute("select count(*) from recording where hint = 'nothing'")


def test_no_filter_and_no_order_of_the_recordings_screen_reads_the_whole_table(many: Database) -> None:
    store = RecordingStore(many)
    for name, query in FILTERS.items():
        with no_whole_table(many, name):
            store.rows(query)
    for sort in RecordingsTable.SORTS:
        for descending in (True, False):
            with no_whole_table(many, f"sorted by {sort}"):
                store.rows(Query(sort=sort, descending=descending))


def test_counts_of_every_filter_are_those_of_the_table(many: Database) -> None:
    store = RecordingStore(many)
    conditions = {
        "nothing": "true",
        "status": "status = 'failed'",
        "statuses": "status in ('queued', 'stored')",
        "not a status": "status <> 'stored'",
        "rare text": "title like '%00018%' or id like '%00018%'",
        "common text": "title like '%conversation%'",
        "text nowhere": "false",
        "text and status": "title like '%bread%' and status = 'failed'",
        "not a text": "title not like '%bread%'",
        "cause": f"cause = '{CAUSES[0]}'",
        "cause nowhere": "false",
        "stage": "stage = 'decode'",
        "long": "duration >= 5000",
        "short": "duration <= 100",
        "far down": "true",
    }
    with many.own_connection() as connection:
        for name, condition in conditions.items():
            row = connection.execute(f"select count(*) from recording where {condition}").fetchone()
            page = store.rows(FILTERS[name])
            assert (page.total, page.matched) == (RECORDINGS, row[0] if row else None), name
            assert len(page.rows) == min(200, page.matched)


def test_an_estimate_and_an_export_read_no_whole_table(many: Database) -> None:
    questions: dict[str, Callable[[], object]] = {
        "speeds": lambda: speeds_of(Settings(), many, remote=True),
        "typical length": lambda: typical_seconds(many),
        "everything stored": RecordingStore(many).stored_ids,
        "decisions": lambda: PostgresDesk(many).decisions(500),
        "what if": lambda: PostgresDesk(many).what_if({"identify.range_limit": 0.4}, 50),
        "the picture": lambda: PostgresDesk(many).snapshot(),
    }
    for name, ask in questions.items():
        with no_whole_table(many, name):
            ask()
    with many.connection() as connection:
        row = connection.execute("select avg(duration)::float8 from recording where status = 'stored'").fetchone()
    assert row is not None
    assert typical_seconds(many) == pytest.approx(row[0])


def test_no_command_reads_a_whole_table(many: Database, database_url: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with many.connection() as connection:
        rows = connection.execute("select distinct on (status) status, id from recording order by status, changed desc").fetchall()
    one = {str(status): str(id) for status, id in rows}
    for words in (
        ["status"],
        ["recordings"],
        ["recordings", "--status", "failed", "--json"],
        ["recordings", "--match", "conversation", "--sort", "title"],
        ["recordings", "--cause", "timeout"],
        ["show", one["stored"]],
        ["search", "word17", "--mode", "words", "--speaker", "Helen"],
        ["voices", "list"],
        ["decisions"],
        ["decisions", one["stored"]],
        ["settings"],
        ["set", "in_flight", "7"],
        ["undo"],
        ["following"],
        ["retry", one["failed"]],
        ["retry", "--cause", CAUSES[2]],
        ["skip", one["queued"]],
        ["priority", one["queued"], "--front"],
    ):
        with no_whole_table(many, " ".join(words)):
            status = main([*words, "--database", database_url, "--home", str(home)])
        assert status in (0, 1), capsys.readouterr().err

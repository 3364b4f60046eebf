from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import OperationalError

from gainstage.engine.errors import LostClaim
from gainstage.engine.queue.engines import list_engines
from gainstage.engine.queue.jobs import JobQueue, Recovered
from gainstage.engine.store.database import Database
from gainstage.engine.store.sessions import end_holders, session_name
from tests.queue_kit import column, job_queue, jobs, recording, recordings, register, store, until

HOLDER = """
import sys, time
from pathlib import Path
from gainstage.engine.store.database import Database
from tests.queue_kit import job_queue, register
url, home, name, stalled_s = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
db = Database.open(url, home, pool_size=1)
register(db, name, home)
queue = job_queue(db, name, stalled_s=stalled_s)
held = [queue.take() for _ in range(3)]
print("holds", *[c.recording.id for c in held], flush=True)
while True:
    queue.beat()
    time.sleep(0.1)
"""

COPIER = HOLDER.replace(
    "while True:",
    """
with db.transaction() as connection, connection.cursor() as cursor:
    cursor.execute("select 1 from recording for update")
    with cursor.copy("copy segment (id, recording, ordinal, start_s, end_s, text) from stdin") as copy:
        copy.write("1\\tr0000\\t0\\t")
        print("copies", flush=True)
        time.sleep(3600)
while True:""",
)


class Holder:
    """A process of its own that holds three recordings and beats."""

    def __init__(self, url: str, home: Path, name: str, stalled_s: float, script: str = HOLDER) -> None:
        home.mkdir(exist_ok=True)
        arguments = [sys.executable, "-c", script, url, str(home), name, str(stalled_s)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert self.process.stdout
        self.held = self.process.stdout.readline().split()[1:]
        assert len(self.held) == 3

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for holder in made:
        holder.end()


def test_what_a_killed_engine_held_is_queued_again(
    database: Database, database_url: str, tmp_path: Path, holders: list[Holder]
) -> None:
    survivor = job_queue(database, "survivor", stalled_s=1.0)
    survivor.add(recordings(6))
    holders.append(Holder(database_url, tmp_path / "a", "a", 1.0))
    holders.append(Holder(database_url, tmp_path / "b", "b", 1.0))
    holders[0].process.kill()
    back: set[str] = set()

    def recovered() -> bool:
        survivor.beat()
        back.update(survivor.recover().requeued)
        return set(holders[0].held) <= back

    until(recovered)
    assert {column(database, id, "status") for id in holders[1].held} <= {"running", "queued"}
    for id in holders[0].held:
        assert [column(database, id, c) for c in ("status", "attempt", "deaths", "engine")] == ["queued", 0, 1, None]
    claim = survivor.take()
    assert claim
    store(database, survivor, claim)
    assert column(database, claim.recording.id, "deaths") == 0


def test_a_frozen_engine_loses_its_claims(database: Database, database_url: str, tmp_path: Path, holders: list[Holder]) -> None:
    survivor = job_queue(database, "survivor", stalled_s=1.0)
    survivor.add(recordings(3))
    holders.append(Holder(database_url, tmp_path / "a", "a", 1.0))
    os.kill(holders[0].process.pid, signal.SIGSTOP)
    until(lambda: survivor.beat() and survivor.recover().requeued)
    os.kill(holders[0].process.pid, signal.SIGCONT)
    claims = [claim for _ in range(3) if (claim := survivor.take())]
    assert [c.recording.id for c in claims] == holders[0].held
    for claim in claims:
        store(database, survivor, claim)
    assert jobs(database) == 0


def test_what_an_engine_frozen_in_the_middle_of_a_copy_has_locked_is_taken_back(
    database: Database, database_url: str, tmp_path: Path, holders: list[Holder]
) -> None:
    """The server waits for the rest of the rows, and ends no such session by itself."""
    survivor = job_queue(database, "survivor", stalled_s=1.0)
    survivor.add(recordings(3))
    holders.append(Holder(database_url, tmp_path / "a", "a", 1.0, COPIER))
    output = holders[0].process.stdout
    assert output is not None
    assert output.readline() == "copies\n"
    os.kill(holders[0].process.pid, signal.SIGSTOP)
    asked = "select state, wait_event from pg_stat_activity where application_name = %s and xact_start is not null"
    with database.connection() as connection:
        named = [session_name(pid=holders[0].process.pid)]
        until(lambda: connection.execute(asked, named).fetchall() == [("active", "ClientRead")])  # the rows sent are read first
    assert set(until(lambda: survivor.beat() and survivor.recover().requeued)) == set(holders[0].held)
    for _ in holders[0].held:
        claim = survivor.take()
        assert claim
        store(database, survivor, claim)
    assert jobs(database) == 0


@pytest.mark.parametrize("statement", ["begin", "select pg_advisory_lock(1)"])
def test_only_what_holds_locks_of_the_process_named_is_ended(database: Database, statement: LiteralString) -> None:
    host, pid = socket.gethostname(), os.getpid()
    before = datetime.now(UTC)
    with database.own_connection() as own, database.connection() as connection:
        now = datetime.now(UTC) + timedelta(seconds=1)
        assert end_holders(connection, [(host, pid, now)]) == 0  # none holds a lock
        own.execute(statement)
        assert end_holders(connection, [("elsewhere", pid, now), (host, 1, now)]) == 0
        assert end_holders(connection, [(host, pid, before)]) == 0, "a later process with the same number"
        assert end_holders(connection, [(host, pid, now)]) == 1
        with pytest.raises(OperationalError):
            own.execute("select 1")


def test_a_living_engine_with_the_number_of_a_lost_one_keeps_its_sessions(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """In containers that share the name of the host every engine has number 1."""
    survivor = job_queue(database, "survivor", stalled_s=1.0)
    for name in ("lost", "sibling"):
        register(database, name, tmp_path / name)
    with database.own_connection() as connection:
        connection.execute("update engine set host = 'box', pid = 1, lease_s = 3600 where id in ('lost', 'sibling')")
        with Database.open(database_url, tmp_path, application=session_name("box", 1)) as its, its.own_connection() as own:
            connection.execute("update engine set heartbeat = now(), lease_s = 0 where id = 'lost'")
            own.execute("begin")
            until(
                lambda: connection.execute(
                    "select 1 from engine where id = 'lost' and heartbeat < now() - interval '1 s'"
                ).fetchall()
            )
            survivor.recover()
            assert own.execute("select 1").fetchone() == (1,)
            connection.execute("update engine set ended = now() where id = 'sibling'")
            survivor.recover()
            with pytest.raises(OperationalError):
                own.execute("select 1")


def test_a_session_is_named_after_its_process() -> None:
    assert session_name() == f"gainstage {os.getpid()} {socket.gethostname()}"[:63]
    assert session_name("höst", 7) == "gainstage 7 h?st"
    assert len(session_name("h" * 100, 7)) == 63


def test_a_successor_on_the_same_home_does_not_wait(
    database: Database, database_url: str, tmp_path: Path, holders: list[Holder]
) -> None:
    queue = job_queue(database, "other")
    queue.add(recordings(3))
    home = tmp_path / "home"
    holders.append(Holder(database_url, home, "first", 3600.0))
    holders[0].end()
    assert queue.recover().requeued == ()
    register(database, "second", home)
    successor = JobQueue(database, "second", heartbeat_s=1200.0, stalled_s=3600.0)
    assert set(successor.register().requeued) == set(holders[0].held)
    assert {row.id: row.state for row in list_engines(database)}["first"] == "died"


def test_leaving_hands_back_what_is_still_claimed(database: Database) -> None:
    leaving, other = job_queue(database, "leaving"), job_queue(database, "other")
    leaving.add(recordings(1))
    claim = leaving.take()
    leaving.unregister()
    assert other.recover().requeued == ("r0000",)
    assert claim
    with pytest.raises(LostClaim):
        store(database, other, claim)


def test_an_engine_that_was_given_up_registers_anew(database: Database) -> None:
    queue = job_queue(database)
    before = queue.worker
    assert queue.beat()
    with database.connection() as connection:
        connection.execute("delete from procrastinate_workers")
    assert not queue.beat()
    assert queue.worker != before
    assert queue.beat()
    queue.add(recordings(1))
    with database.connection() as connection:
        connection.execute("delete from procrastinate_workers")
    assert queue.take()


def test_an_engine_that_was_held_up_does_not_take_its_own_work_for_lost(database: Database, tmp_path: Path) -> None:
    for name in ("late", "other"):
        register(database, name, tmp_path)
    late, other = job_queue(database, "late", stalled_s=1.0), job_queue(database, "other", stalled_s=1.0)
    late.add(recordings(1))
    claim = late.take()
    assert claim is not None
    with database.connection() as connection:
        connection.execute(
            "update procrastinate_workers set last_heartbeat = now() - interval '90 seconds' where id = %s", [late.worker]
        )
        connection.execute("update engine set heartbeat = now() - interval '90 seconds' where id = 'late'")
    assert late.recover() == Recovered()
    assert column(database, claim.recording.id, "engine") == "late"
    assert other.recover().requeued == (claim.recording.id,), "another engine cannot tell it from a dead one"


def test_a_recording_that_kills_engine_after_engine_fails_with_that_cause(database: Database) -> None:
    queue = job_queue(database, stalled_s=0.0, most_deaths=3)
    queue.add([recording(1)])
    for _ in range(2):
        assert queue.take()
        assert queue.recover().requeued == ("r0001",)
    assert queue.take()
    assert queue.recover().ended == ("r0001",)
    assert [column(database, "r0001", c) for c in ("status", "cause", "job")] == ["failed", "engine died", None]
    assert queue.retry(["r0001"]) == 1
    assert column(database, "r0001", "deaths") == 0


def test_a_wish_outlives_the_engine_it_was_told(database: Database) -> None:
    queue = job_queue(database, stalled_s=0.0)
    queue.add(recordings(2))
    queue.take(), queue.take()
    queue.cancel(["r0000"])
    queue.skip(["r0001"])
    assert set(queue.recover().ended) == {"r0000", "r0001"}
    assert (column(database, "r0000", "status"), column(database, "r0001", "status")) == ("cancelled", "skipped")
    assert jobs(database) == 0


def test_one_recording_that_goes_on_does_not_hide_another_that_ends(database: Database) -> None:
    """Three come back from a dead engine: one wished away and one held at too many deaths end, the one between is queued."""
    queue = job_queue(database, stalled_s=0.0, most_deaths=2)
    queue.add(recordings(3))
    assert [claim.recording.id for _ in range(3) if (claim := queue.take())] == ["r0000", "r0001", "r0002"]
    with database.transaction() as connection:
        connection.execute("update recording set wish = 'cancelled' where id = 'r0002'")
        connection.execute("update recording set deaths = 1 where id = 'r0000'")
    back = queue.recover()
    assert (back.requeued, sorted(back.ended)) == (("r0001",), ["r0000", "r0002"])
    assert [column(database, id, "status") for id in ("r0000", "r0001", "r0002")] == ["failed", "queued", "cancelled"]


def test_what_an_engine_holds_is_told_by_the_database_and_can_be_given_back(database: Database) -> None:
    queue, other = job_queue(database, "one"), job_queue(database, "two")
    queue.add(recordings(2))
    claim, theirs = queue.take(), other.take()
    assert claim
    assert theirs
    held = queue.held()
    assert {id: (h.job, h.worker, h.turn, h.wish) for id, h in held.items()} == {
        claim.recording.id: (claim.job, claim.worker, claim.turn, None)
    }
    assert queue.give_back(claim.recording.id, held[claim.recording.id])
    assert column(database, claim.recording.id, "status") == "queued"
    assert column(database, claim.recording.id, "attempt") == 0
    assert not queue.give_back(claim.recording.id, held[claim.recording.id]), "it is nobody's any more"
    assert queue.held() == {}


def test_a_released_recording_has_not_been_tried(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(1))
    claim = queue.take()
    assert claim
    decision = queue.release(claim)
    assert (decision.retry, decision.counted) == (True, False)


def test_a_queue_takes_nothing_before_it_is_registered(database: Database) -> None:
    with pytest.raises(RuntimeError, match="before register"):
        JobQueue(database, "one", heartbeat_s=1, stalled_s=3).take()

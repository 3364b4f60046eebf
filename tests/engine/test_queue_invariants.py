"""Two engines and an operator do random things; the record and the queue agree after every one of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gainstage.config.settings import Retry
from gainstage.engine.errors import Cancelled, EngineError, LostClaim, Misconfigured, Permanent, Rejected, Throttled, Transient
from gainstage.engine.queue.jobs import Claim
from gainstage.engine.store.database import Database
from tests.queue_kit import job_queue, recordings, store

ERRORS: tuple[EngineError, ...] = (
    Permanent("p"),
    Rejected("r"),
    Cancelled(),
    Transient("t"),
    Throttled("h", after_s=0.0),
    Misconfigured("m"),
)

ACTS = ("add", "force", *["take"] * 6, *["store"] * 2, "fail", "fail", "release", "die", "cancel", "skip", "retry", "move")


def check(db: Database) -> None:
    with db.connection() as connection:
        orphans = connection.execute(
            "select r.id, r.status, j.status from recording r full join procrastinate_jobs j on j.id = r.job "
            "where (j.id is null) <> (r.status not in ('queued', 'running')) or r.id is null "
            "or (j.status = 'doing') <> (r.status = 'running') or (r.status = 'running') <> (r.engine is not null) "
            "or r.attempt < 0 or j.args ->> 'recording' <> r.id or (j.status = 'todo' and j.priority <> r.priority)"
        ).fetchall()
        assert orphans == []
        tally = connection.execute(
            "select status, sum(recordings)::int from recording_tally group by 1 having sum(recordings) <> 0"
        )
        counted = connection.execute("select status, count(*)::int from recording group by 1")
        assert Counter(dict(tally.fetchall())) == Counter(dict(counted.fetchall()))


@pytest.mark.parametrize("seed", range(3))
def test_record_and_queue_always_agree(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    queues = [job_queue(database, name, stalled_s=3600.0, most_deaths=4) for name in ("one", "two")]
    held: list[tuple[int, Claim]] = []
    stores: Counter[str] = Counter()
    given = recordings(25)

    def some() -> list[str]:
        return [r.id for r in chance.sample(given, 4)]

    for _ in range(120):
        who = chance.randrange(2)
        queue = queues[who]
        act = chance.choice(ACTS)
        if act in ("add", "force"):
            queue.add(chance.sample(given, 5), force=act == "force", priority=chance.randrange(3))
        elif act == "take":
            if claim := queue.take():
                held.append((who, claim))
        elif act == "die":
            with database.connection() as connection:
                connection.execute("delete from procrastinate_workers where id = %s", [queue.worker])
            queue.beat()
            queues[1 - who].recover()
        elif act in ("store", "fail", "release") and held:
            owner, claim = held.pop(chance.randrange(len(held)))
            try:
                if act == "store":
                    store(database, queues[owner], claim)
                    stores[claim.recording.id] += 1
                elif act == "fail":
                    queues[owner].fail(claim, chance.choice(ERRORS), "", Retry(attempts=3, backoff=0))
                else:
                    queues[owner].release(claim)
            except LostClaim:
                pass
        elif act == "cancel":
            queue.cancel(some())
        elif act == "skip":
            queue.skip(some())
        elif act == "retry":
            queue.retry(some()) if chance.random() < 0.5 else queue.retry(everything=True)
        elif act == "move":
            queue.prioritise(some(), delta=chance.randrange(-3, 4), to_front=chance.random() < 0.3)
        check(database)
    assert stores

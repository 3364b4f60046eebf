"""Time to judge stored decisions again with another limit, in a new embedded database and without a model.

``python -m gainstage.engine.bench.decisions`` prints it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gainstage.engine.store.database import Database
from gainstage.engine.store.writing import decision_row, insert_decisions
from gainstage.engine.terms import Decision
from gainstage.engine.voices.evidence import ClusterEvidence, TurnRow
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Candidate
from gainstage.engine.voices.replay import read, replay, what_if

CLUSTERS, TURNS = 3, 20
PEOPLE = (Candidate(1, "Helen", True, None), Candidate(2, "Oscar", False, None), Candidate(3, "Clara", False, 0.7))
CHANGES = {"identify.range_limit": 0.4}
GOAL_S = 1.0


def run(decisions: int = 10_000, seed: int = 0, *, repeats: int = 3) -> dict[str, Any]:
    """Store ``decisions`` (per recording three clusters of twenty turns; three profiles; one cluster in eight mixed) and try
    another limit on all of them: seconds from the first query to the difference, median of ``repeats``, and its parts."""
    with tempfile.TemporaryDirectory() as folder, Database.open(None, Path(folder)) as database:
        return measured(database, decisions, seed, repeats)


def measured(database: Database, decisions: int, seed: int, repeats: int) -> dict[str, Any]:
    """The measurement of :func:`run` in an empty database of the caller."""
    count = _fill(database, decisions, seed)
    parts: dict[str, list[float]] = {"total": [], "read": [], "judge": []}
    result = what_if(database, CHANGES, count)
    for _ in range(repeats):
        began = time.perf_counter()
        what_if(database, CHANGES, count)
        parts["total"].append(time.perf_counter() - began)
        began = time.perf_counter()
        recordings = read(database, count)
        parts["read"].append(time.perf_counter() - began)
        began = time.perf_counter()
        replay(database, recordings, CHANGES)
        parts["judge"].append(time.perf_counter() - began)
    return {
        "decisions": result.clusters,
        "split_before": result.split_before,
        "split_after": result.split_after,
        "recordings_changed": result.recordings,
        "seconds": {name: round(statistics.median(values), 4) for name, values in parts.items()},
        "repeats": repeats,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result of :func:`run` as plain text."""
    seconds = result["seconds"]
    reached = "reached" if seconds["total"] < GOAL_S else "missed"
    return "\n".join(
        [
            f"{result['decisions']} stored decisions, range limit 0.5 -> 0.4: {result['split_before']} split, then "
            f"{result['split_after']}; {result['recordings_changed']} recordings change",
            f"from the query to the difference  {seconds['total']:.3f} s (goal < {GOAL_S:g} s for 10000: {reached})",
            f"reading                           {seconds['read']:.3f} s",
            f"turns of split clusters, judging  {seconds['judge']:.3f} s",
        ]
    )


def recordings_of(count: int, seed: int) -> Iterator[tuple[Decision, ...]]:
    """Generated decisions, by recording."""
    rng = random.Random(seed)
    while count > 0:
        evidence = [_cluster(rng, k) for k in range(min(CLUSTERS, count))]
        count -= len(evidence)
        yield decide(evidence, Limits(), 1).decisions


def _cluster(rng: random.Random, number: int) -> ClusterEvidence:
    usual, mixed = rng.choice([0.12, 0.8, 0.5]), rng.random() < 0.125
    turns, now = [], rng.uniform(0, 30)
    for i in range(TURNS):
        middle = rng.choice([0.15, 0.85]) if mixed else usual
        alike = round(min(1.0, max(-1.0, rng.gauss(middle, 0.09))), 4)
        length = rng.uniform(0.5, 20)
        others = (round(rng.gauss(0.2, 0.1), 4), round(rng.gauss(0.2, 0.1), 4))
        turns.append(TurnRow(now, now + length, alike, None, (alike, *others), i > 0 and rng.random() < 0.3))
        now += length + rng.uniform(0, 30)
    sampled = tuple(t.similarity for t in turns[::2] if t.similarity is not None)
    scores = (round(statistics.mean(sampled), 4), 0.21, 0.18)
    seconds = sum(t.end - t.start for t in turns)
    return ClusterEvidence(
        f"SPEAKER_{number:02d}", seconds, turns[0].start, sampled, "primary", PEOPLE, scores, False, tuple(turns)
    )


def _fill(database: Database, decisions: int, seed: int) -> int:
    stored = 0
    with database.transaction() as connection, connection.cursor() as cursor:
        rows = []
        for number, recorded in enumerate(recordings_of(decisions, seed)):
            id = f"bench{number:05d}"
            cursor.execute(
                "insert into recording (id, key, source, title, status) values (%s, %s, %s, %s, 'stored')",
                [id, id, id, f"Talk {number}"],
            )
            rows += [decision_row(id, k, decision) for k, decision in enumerate(recorded)]
            stored += len(recorded)
        insert_decisions(cursor, rows)
    with database.connection() as connection:
        connection.execute("analyze decision")
    return stored


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--decisions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = run(args.decisions, args.seed)
    print(json.dumps(result) if args.json else table(result))

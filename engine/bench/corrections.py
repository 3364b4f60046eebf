"""What a correction costs and what it repairs, on generated voices in a new embedded database.

``python -m gainstage.engine.bench.corrections`` prints both: the seconds to the diff over many hours of stored turns, and the share of
speech under the right name before and after five corrections.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg.types.json import Jsonb

from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.vectors import ensure_table
from gainstage.engine.store.writing import numbers
from gainstage.engine.terms import ModelId
from gainstage.engine.views.corrections import CorrectionAsk
from gainstage.engine.voices.alike import StoredSpeaker, decided
from gainstage.engine.voices.correct import correct, preview
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import ProfileIndex
from gainstage.engine.voices.profile_store import ProfileStore, Version

DIMENSION = 192
MODEL = ModelId("generated/voice", "1", DIMENSION)
LIMITS = Limits(other_threshold=0.65, primary_threshold=0.65)
TURN_S = 10.0
PER_HOUR = 360
VOICES = 4
"""People in a recording."""

OWN, STRANGER = 0.72, 0.37
"""Cosines of real speakers: two 3 s windows of one person, and of two."""

GOAL_S, GOAL_HOURS, GOAL_ACCURACY, CORRECTIONS = 3.0, 1200, 0.97, 5
WRONG = 0.10


@dataclass(frozen=True, slots=True)
class People:
    """Voices of invented people (n, d), a voice of theirs in another condition (a telephone, a cold), and the noise of a turn."""

    usual: NDArray[np.float32]
    other: NDArray[np.float32]


def people(count: int, rng: np.random.Generator) -> People:
    """People whose usual voices have the cosine of strangers; each one's other voice lies near the next one's usual voice."""
    common = _unit(rng.standard_normal(DIMENSION))
    own = _unit(rng.standard_normal((count, DIMENSION)))
    usual = _unit(np.sqrt(STRANGER) * common + np.sqrt(1 - STRANGER) * own)
    odd = _unit(rng.standard_normal((count, DIMENSION)))
    other = _unit(0.35 * usual + 0.75 * np.roll(usual, -1, axis=0) + 0.45 * odd)
    return People(usual.astype(np.float32), other.astype(np.float32))


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    unit: NDArray[Any] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit


def heard(middle: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Turns of these voices (n, d): two of one person have the cosine :data:`OWN`."""
    noise = rng.standard_normal(middle.shape) * np.sqrt((1 / OWN - 1) / DIMENSION)
    return np.asarray(_unit(middle + noise), np.float32)


def run(hours: int = GOAL_HOURS, recordings: int = 200, seed: int = 0, repeats: int = 3) -> dict[str, Any]:
    """Both measurements: ``hours`` of stored turns for the time, ``recordings`` of an hour for the accuracy."""
    with tempfile.TemporaryDirectory() as folder, Database.open(None, Path(folder)) as database:
        timed = diff_time(database, hours, seed, repeats)
    with tempfile.TemporaryDirectory() as folder, Database.open(None, Path(folder)) as database:
        repaired = accuracy(database, recordings, seed)
    return {"diff": timed, "accuracy": repaired}


def diff_time(database: Database, hours: int, seed: int, repeats: int) -> dict[str, Any]:
    """Seconds from the question to the diff, median of ``repeats``, in an empty database of the caller."""
    store, wrong = fill(database, hours, seed)
    ask = CorrectionAsk(wrong[0][0], 5.0 + TURN_S * wrong[0][1], speaker=wrong[0][2])
    preview(store, ask, LIMITS)
    times, planned = [], preview(store, ask, LIMITS)
    for _ in range(repeats):
        began = time.perf_counter()
        planned = preview(store, ask, LIMITS)
        times.append(time.perf_counter() - began)
    return {
        "hours": hours,
        "turns": hours * PER_HOUR,
        "seconds": round(statistics.median(times), 3),
        "recordings": planned.recordings,
        "seconds_moved": round(planned.seconds_moved),
    }


def accuracy(database: Database, recordings: int, seed: int) -> dict[str, Any]:
    """The share of turns under the right name after each of five corrections: each of the first wrong turn of the largest group of
    wrong ones, as an operator meets them. In an empty database of the caller."""
    store, _ = fill(database, recordings, seed)
    shares = [_right(database)]
    for _ in range(CORRECTIONS):
        wrong = _first_wrong(database)
        if wrong is None:
            break
        recording, ordinal, name = wrong
        correct(store, CorrectionAsk(recording, 5.0 + TURN_S * ordinal, speaker=name), LIMITS, revision=1, by="bench", likes=True)
        shares.append(_right(database))
    return {"recordings": recordings, "before": shares[0], "after": shares[-1], "each": shares}


def _right(database: Database) -> float:
    with database.connection() as connection:
        row = connection.execute(
            "select avg((s.speaker = r.extra -> 'truth' ->> s.ordinal)::int)::float8 from segment s join recording r on r.id = s.recording"
        ).fetchone()
    return round(float(row[0]) if row else 0.0, 4)


def _first_wrong(database: Database) -> tuple[str, int, str] | None:
    with database.connection() as connection:
        row = connection.execute(
            "with wrong as (select s.recording, s.ordinal, s.speaker, r.extra -> 'truth' ->> s.ordinal as truth from segment s"
            " join recording r on r.id = s.recording where s.speaker <> r.extra -> 'truth' ->> s.ordinal)"
            " select recording, ordinal, truth from wrong join (select speaker, truth from wrong group by 1, 2 order by count(*) desc"
            " limit 1) most using (speaker, truth) order by recording, ordinal limit 1"
        ).fetchone()
    return None if row is None else (str(row[0]), int(row[1]), str(row[2]))


def fill(database: Database, hours: int, seed: int) -> tuple[RecordingStore, list[tuple[str, int, str]]]:
    """Store recordings of an hour with :data:`VOICES` people each, named by the rules; in a share of them one person has another
    voice than the one enrolled. Returns the store, and wrong turns: recording, ordinal, right name."""
    rng = np.random.default_rng(seed)
    who = people(20, rng)
    profiles = ProfileStore(database)
    names = [f"Person {n:02d}" for n in range(len(who.usual))]
    for name, voice in zip(names, who.usual, strict=True):
        profiles.save(name, Version(MODEL, heard(np.repeat(voice[None], 24, axis=0), rng)))
    index = ProfileIndex(profiles.load(MODEL), MODEL)
    ids = {p.name: p.id for p in index.profiles}
    table = ensure_table(database, "voice", MODEL)
    wrong: list[tuple[str, int, str]] = []
    for number in range(hours):
        recording = f"bench{number:06d}"
        present = rng.choice(len(names), VOICES, replace=False)
        # five of twenty people, a quarter of the turns each, are met in their other voice as often as makes one turn in ten wrong
        odd = np.array([p < CORRECTIONS and rng.random() < VOICES * WRONG for p in present])
        turns = rng.integers(0, VOICES, PER_HOUR)
        middle = np.where(odd[turns][:, None], who.other[present[turns]], who.usual[present[turns]])
        voices = heard(middle.astype(np.float32), rng)
        means = [_unit(voices[turns == k].mean(axis=0)).astype(np.float32) for k in range(VOICES)]
        speakers = [StoredSpeaker(recording, "", f"c{k}", None, float(k), 900.0, 90, mean) for k, mean in enumerate(means)]
        now = decided(speakers, index, LIMITS)
        named = [now[recording, f"c{k}"].name or f"Speaker {k + 1}" for k in range(VOICES)]
        truth = [names[present[k]] for k in turns]
        wrong += [(recording, n, truth[n]) for n, k in enumerate(turns) if named[k] != truth[n]][:1]
        _store(database, table.name, table.id, recording, [named[k] for k in turns], ids, voices, truth)
    with database.own_connection() as connection:
        connection.execute("vacuum analyze segment")
        connection.execute(f"vacuum analyze {table.name}")
    return RecordingStore(database), wrong


def _store(
    database: Database,
    table: str,
    model: int,
    recording: str,
    speakers: list[str],
    ids: Mapping[str, int],
    voices: NDArray[np.float32],
    truth: list[str],
) -> None:
    with database.transaction() as connection, connection.cursor() as cursor:
        turns = [[n * TURN_S, (n + 1) * TURN_S - 1, f"c_{name}", name, "cluster", 0.8] for n, name in enumerate(speakers)]
        cursor.execute(
            "insert into recording (id, key, source, title, status, stored, extra, facts, voice_model)"
            " values (%s, %s, %s, %s, 'stored', now(), %s, %s, %s)",
            [recording, recording, recording, recording, Jsonb({"truth": truth}), Jsonb({"turns": turns}), model],
        )
        rows = numbers(cursor, "segment", len(speakers))
        columns = "id, recording, ordinal, start_s, end_s, speaker, profile, confidence, provenance, text, words"
        with cursor.copy(f"copy segment ({columns}) from stdin") as copy:
            for id, (n, name) in zip(rows, enumerate(speakers), strict=True):
                start = n * TURN_S
                words = json.dumps([[f" word{k}", start + k, start + k + 0.5, 0.9, None, False] for k in range(9)])
                copy.write_row(
                    (id, recording, n, start, start + TURN_S - 1, name, ids.get(name), 0.8, "cluster", "what was said here", words)
                )
        with cursor.copy(f"copy {table} (segment, vector) from stdin with (format binary)") as copy:
            copy.set_types(["int8", "halfvec"])
            for id, voice in zip(rows, voices, strict=True):
                copy.write_row((id, HalfVector(voice)))


def table(result: Mapping[str, Any]) -> str:
    """The result of :func:`run` as plain text."""
    diff, names = result["diff"], result["accuracy"]
    fast = "reached" if diff["seconds"] <= GOAL_S else "missed"
    right = "reached" if names["after"] >= GOAL_ACCURACY else "missed"
    each = " ".join(f"{100 * share:.1f}" for share in names["each"])
    return "\n".join(
        [
            f"{diff['hours']} h, {diff['turns']} stored turns: the diff of one correction in {diff['seconds']:.2f} s (goal {GOAL_S:g} s:"
            f" {fast}); {diff['seconds_moved'] / 3600:.1f} h in {diff['recordings']} recordings move",
            f"{names['recordings']} h with wrong names, right turns in % before and after each of {CORRECTIONS} corrections: {each}"
            f" (goal {100 * GOAL_ACCURACY:.0f}: {right})",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hours", type=int, default=GOAL_HOURS)
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measured = run(args.hours, args.recordings, args.seed)
    print(json.dumps(measured) if args.json else table(measured))

"""Figures of the store on this machine: ``python -m tests.bench.bench_store [--rows N] [--json]``.

Prints medians: starts of the embedded server, recordings added, a recording of 200 segments stored, the recordings table at
100,000, searches without and with the vector index.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.search import search
from gainstage.engine.store.vector_index import build_indexes
from gainstage.engine.terms import Balance, ModelId, Provenance, Recording, Segment, Word
from gainstage.engine.views.rows import Query

TEXT, VOICE = ModelId("bench/text", "1", 384), ModelId("bench/voice", "1", 192)
SEGMENTS = 200


def took(call: Callable[[], object], times: int = 1) -> float:
    """Median seconds of a call."""
    spans = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


def recording(n: int) -> Recording:
    return Recording(f"{n:011x}", f"bench:{n}", f"https://example.org/{n}", f"Recording {n} of {n % 977}", 600.0)


def segments(seed: int) -> tuple[Segment, ...]:
    draw, numbers = random.Random(seed), np.random.default_rng(seed)
    made = []
    for n in range(SEGMENTS):
        said = [f"word{int(draw.paretovariate(0.6)) % 20_000}" for _ in range(60)]
        words = tuple(Word(w, 30.0 * n + 0.4 * i, 30.0 * n + 0.4 * i + 0.3, 0.9) for i, w in enumerate(said))
        vectors = [numbers.standard_normal(m.dimension).astype(np.float32) for m in (VOICE, TEXT)]
        who = "Helen" if draw.random() < 0.14 else "Ravi"
        made.append(
            Segment(
                30.0 * n, 30.0 * n + 29, who, None, 0.7, Provenance.CLUSTER, " ".join(said), words, False, vectors[0], vectors[1]
            )
        )
    return tuple(made)


def figures(folder: Path, rows: int) -> dict[str, float]:
    found: dict[str, float] = {}
    found["first_start_s"] = took(lambda: Database.open(None, folder).close())
    found["restart_s"] = took(lambda: Database.open(None, folder).close(), 3)
    with Database.open(None, folder) as db:
        found["attach_s"] = took(lambda: Database.open(None, folder).close(), 5)
        store = RecordingStore(db)
        found["added_per_s"] = 100_000 / took(lambda: store.add(recording(n) for n in range(100_000)))

        def put(n: int) -> float:
            said = segments(n)
            return took(
                lambda: store.store(
                    recording(n),
                    said,
                    (),
                    models={"embed": TEXT, "voice": VOICE},
                    revision=1,
                    facts={"language": "en"},
                    spans=(),
                    fingerprint=str(n),
                    balance=Balance(1.0, 1.0, 0.0),
                )
            )

        put(0)
        found["store_200_s"] = statistics.median(put(n) for n in range(1, rows // SEGMENTS))
        with db.own_connection() as connection:
            connection.execute("vacuum analyze")
        for name, query in {"first": Query(), "filter": Query(text="00018"), "sort_title": Query(sort="title")}.items():
            found[f"table_{name}_s"] = took(lambda query=query: store.rows(query), 9)  # type: ignore[misc]
        vector = np.random.default_rng(1).standard_normal(TEXT.dimension).astype(np.float32)
        for kind in ("exact", "hnsw"):
            if kind == "hnsw":
                found["hnsw_build_s"] = took(lambda: build_indexes(db, 1_000))
            for mode in ("meaning", "both"):
                found[f"search_{mode}_{kind}_s"] = took(lambda mode=mode: search(db, "word7 word31", vector, TEXT, mode), 15)  # type: ignore[misc]
            found[f"search_speaker_{kind}_s"] = took(lambda: search(db, "word7", vector, TEXT, "both", "Helen"), 15)
        found["search_words_s"] = took(lambda: search(db, "word7 word31", None, None, "words"), 15)
        found["store_200_with_hnsw_s"] = statistics.median(put(n) for n in range(1000, 1010))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="segments to search in")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gainstage-bench-"))
    try:
        found = figures(folder, args.rows)
    finally:
        EmbeddedPostgres(folder).remove()
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:28} {value:12.1f}" if name.endswith("per_s") else f"{name:28} {1000 * value:12.1f} ms")


if __name__ == "__main__":
    main()

"""Search by meaning on a large store: recall and latency of the vector index, and what its build costs the stores beside it.

``python -m gainstage.engine.bench.search --segments 300000`` prints it. The vectors are clustered, as those of talk are: passages about
one thing lie near each other. Recall is against every vector compared one by one, in the precision they are stored in. ``--home``
keeps the store in a folder: a second run searches in it without filling it and building its index again.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg.sql import SQL, Identifier

from gainstage.engine.errors import Misconfigured
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.search import search
from gainstage.engine.store.vector_index import build_indexes, valid_index
from gainstage.engine.store.vectors import ensure_table, rows_about, tables
from gainstage.engine.terms import Balance, ModelId, Provenance, Recording, Segment, Word

MODEL = ModelId("bench/text", "1", 384)
PER_RECORDING = 200
PER_CLUSTER = 300
SPREAD = 0.9
"""Length of what differs within a cluster, relative to its centre: neighbours have a cosine of 0.5 to 0.6."""

SPEAKERS = {"Helen": 0.14, "Ravi": 0.02, "Oda": 0.002}
"""Who says which share of the passages; everybody else the rest."""

SOMEBODY = "Somebody"

GOAL_P95_S = 0.03
GOAL_RECALL = 0.98
GOAL_STORE = 2.0
LOST = 0.5
"""Share of its nearest passages below which a query is lost: the scan ended in talk about something else."""

PACE_S = 4.0
"""From one store beside the build to the next, at 300,000 passages: still a thousand times as fast as people talk."""

_RECORDINGS = """
insert into recording (id, key, source, title, status, duration, segments, speakers, stored)
select 'b' || n, 'bench:' || n, 'https://example.org/' || n, 'Recording ' || n, 'stored', 6000, %(each)s, 3, now()
from generate_series(0, %(count)s / %(each)s) n
"""

_SEGMENTS = """
insert into segment (id, recording, ordinal, start_s, end_s, speaker, provenance, text, words, language)
select n, 'b' || n / %(each)s, n %% %(each)s, 30 * (n %% %(each)s), 30 * (n %% %(each)s) + 29, (%(speakers)s::text[])[n + 1], 'cluster',
  'passage ' || n || ' about thing ' || n %% 977, '[["passage", 0, 0.5, 0.9, null, false]]', 'en'
from generate_series(0, %(count)s - 1) n
"""


class PassageVectors:
    """Vectors of passages in clusters, and the speaker of each."""

    def __init__(self, count: int, seed: int, per_cluster: int = PER_CLUSTER) -> None:
        self._draw = np.random.default_rng(seed)
        self.centres = self._unit(self._draw.standard_normal((max(1, count // per_cluster), MODEL.dimension), np.float32))
        self.vectors = self.passages(count).astype(np.float16)
        names = np.array([*SPEAKERS, SOMEBODY])
        shares = [*SPEAKERS.values(), 1 - sum(SPEAKERS.values())]
        self.speakers = names[self._draw.choice(len(names), count, p=shares)]
        self.ids = np.arange(count)
        self._rows: NDArray[np.float32] | None = None

    @staticmethod
    def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def passages(self, count: int) -> NDArray[np.float32]:
        """New vectors (count, d) of the same clusters."""
        noise = self._unit(self._draw.standard_normal((count, MODEL.dimension), np.float32))
        return self._unit(self.centres[self._draw.integers(len(self.centres), size=count)] + np.float32(SPREAD) * noise)

    def read(self, database: Database) -> None:
        """Take the passages that are stored in place of those that were made."""
        with database.connection() as connection:
            (table,) = tables(connection, "embed")
            query = SQL("select v.segment, s.speaker, v.vector from {} v join segment s on s.id = v.segment order by v.segment")
            rows = connection.execute(query.format(Identifier(table.name)), binary=True).fetchall()
        self.ids = np.array([id for id, _, _ in rows])
        self.speakers = np.array([speaker for _, speaker, _ in rows])
        self.vectors = np.stack([vector.to_numpy() for _, _, vector in rows]).astype(np.float16)

    def nearest(self, query: NDArray[np.float32], k: int, speaker: str | None = None) -> set[int]:
        """The numbers of the ``k`` passages with the largest cosine, of ``speaker`` where one is named."""
        if self._rows is None:
            self._rows = self._unit(self.vectors.astype(np.float32))
        cosines = self._rows @ query
        rows = np.arange(len(cosines)) if speaker is None else np.flatnonzero(self.speakers == speaker)
        cosines = cosines[rows]
        return {int(self.ids[rows[n]]) for n in np.argpartition(-cosines, min(k, len(rows)) - 1)[:k]}


def run(
    segments: int = 20_000, seed: int = 0, *, queries: int = 100, per_cluster: int = PER_CLUSTER, home: Path | None = None
) -> dict[str, Any]:
    """Fill a store with ``segments`` passages, ``per_cluster`` about each thing, build the index beside stores of new recordings,
    then search ``queries`` times in each way. Takes about a minute for each 60,000 passages. With ``home`` the store is kept there,
    and only searched the next time.
    """
    talk = PassageVectors(segments, seed, per_cluster)
    with ExitStack() as stack:
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gainstage-bench-", ignore_cleanup_errors=True)))
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
        database = stack.enter_context(Database.open(None, home / "postgres"))
        figures: dict[str, list[float]] = {}
        build_s = None
        if not _is_filled(database, segments):
            _fill(database, talk)
            stores = _Stores(database, talk)
            figures["before"] = [stores.one() for _ in range(20)]
            figures["during"], build_s = _beside_build(database, stores)
            figures["after"] = [stores.one() for _ in range(20)]
            build_indexes(database, 1)  # what came meanwhile may be more than is left beside an index: an engine builds again
            with database.own_connection() as connection:
                connection.execute("vacuum analyze")
        talk.read(database)
        queried = talk.passages(queries)
        ways = {
            "all": _searched(database, talk, queried, None, 10),
            "all, 100 hits": _searched(database, talk, queried[: queries // 2], None, 100),
            **{f"only {name}, {share:.1%}": _searched(database, talk, queried, name, 10) for name, share in SPEAKERS.items()},
        }
    p95 = {name: float(np.quantile(values, 0.95)) for name, values in figures.items() if values}
    ratio = p95["during"] / p95["before"] if "during" in p95 else None
    return {
        "segments": segments,
        "build_s": build_s,
        "stores": {name: {"count": len(v), "p50_s": statistics.median(v), "p95_s": p95[name]} for name, v in figures.items() if v},
        "stores_ratio": ratio,
        "stores_reached": ratio is None or ratio <= GOAL_STORE,
        "searches": ways,
        "searches_reached": all(
            way["p95_s"] <= GOAL_P95_S and way["recall"] >= GOAL_RECALL for name, way in ways.items() if "100 hits" not in name
        ),
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as plain text."""
    built = "of a kept home" if result["build_s"] is None else f"the index was built in {result['build_s']:.0f} s"
    lines = [f"{result['segments']:,} passages of {MODEL.dimension} numbers; {built}"]
    for name, store in result["stores"].items():
        lines.append(
            f"a recording of {PER_RECORDING} passages stored {name + ' the build':<17} p50 {1000 * store['p50_s']:6.0f} ms"
            f"  p95 {1000 * store['p95_s']:6.0f} ms  ({store['count']})"
        )
    if result["stores_ratio"] is not None:
        lines.append(f"p95 beside the build: {result['stores_ratio']:.2f} x, goal {GOAL_STORE}: {_mark(result['stores_reached'])}")
    for name, way in result["searches"].items():
        lines.append(
            f"search in {name:<18} p50 {1000 * way['p50_s']:5.1f} ms  p95 {1000 * way['p95_s']:5.1f} ms"
            f"  processor {1000 * way['processor_s']:5.1f} ms  recall@{way['k']} {way['recall']:.3f}  lost {way['lost']} of {way['queries']}"
        )
    goal = f"goal p95 {1000 * GOAL_P95_S:.0f} ms, recall@10 {GOAL_RECALL}"
    return "\n".join([*lines, f"{goal}: {_mark(result['searches_reached'])}"])


def _mark(reached: bool) -> str:
    return "reached" if reached else "MISSED"


def _fill(database: Database, talk: PassageVectors) -> None:
    table, count = ensure_table(database, "embed", MODEL), len(talk.vectors)
    values = {"count": count, "each": PER_RECORDING, "speakers": [str(name) for name in talk.speakers]}
    with database.own_connection() as connection:
        connection.execute(_RECORDINGS, values)
        connection.execute("analyze recording")  # else every passage's check of its recording reads them all
        connection.execute(_SEGMENTS, values)
        connection.execute("select setval(pg_get_serial_sequence('segment', 'id'), %s)", [count])
        connection.execute("insert into language (code) values ('en') on conflict do nothing")
        connection.execute("analyze segment")
        text = SQL("copy {} (segment, vector) from stdin with (format binary)").format(Identifier(table.name))
        with connection.cursor() as cursor, cursor.copy(text) as copy:
            copy.set_types(["int8", "halfvec"])
            for number, vector in enumerate(talk.vectors):
                copy.write_row((number, HalfVector(vector)))
        connection.execute("vacuum analyze")


def _is_filled(database: Database, segments: int) -> bool:
    """Whether this is a kept home of so many passages, its index built."""
    with database.connection() as connection:
        if not (there := tables(connection, "embed")):
            return False
        rows = rows_about(connection, there[0].name, segments)
        if rows < segments or valid_index(connection, there[0]) is None:
            raise Misconfigured(f"its store has about {rows:,} passages, or no index: name another --home", cause="another store")
    return True


class _Stores:
    """Recordings stored one after the other, as an engine stores them."""

    def __init__(self, database: Database, talk: PassageVectors) -> None:
        self._store, self._talk, self._number = RecordingStore(database), talk, 0
        self.passages = len(talk.vectors)

    def one(self) -> float:
        """Seconds of one."""
        self._number += 1
        id, vectors = f"new{self._number}", self._talk.passages(PER_RECORDING)
        said = tuple(
            Segment(
                start=30.0 * n,
                end=30.0 * n + 29,
                speaker=SOMEBODY,
                profile=None,
                confidence=0.7,
                provenance=Provenance.CLUSTER,
                text=f"passage {n} of recording {self._number}",
                words=tuple(Word(f"word{k}", 30.0 * n + 0.4 * k, 30.0 * n + 0.4 * k + 0.3, 0.9) for k in range(60)),
                vector=vector,
            )
            for n, vector in enumerate(vectors)
        )
        recording = Recording(id, f"bench:{id}", f"https://example.org/{id}", id, 6000.0)
        began = time.perf_counter()
        self._store.store(
            recording,
            said,
            (),
            models={"embed": MODEL},
            revision=1,
            facts={"language": "en"},
            spans=(),
            fingerprint=id,
            balance=Balance(1.0, 1.0, 0.0),
        )
        took_s = time.perf_counter() - began
        return took_s


def _beside_build(database: Database, stores: _Stores) -> tuple[list[float], float]:
    """(seconds of each store while the index was built, seconds of the build). However long it takes, the store grows by a
    tenth at most, so that the searches after it are those of the size that was asked for."""
    took: list[float] = []
    pace_s, most = PACE_S * min(1.0, stores.passages / 300_000), max(1, stores.passages // (10 * PER_RECORDING))
    builder = threading.Thread(target=build_indexes, args=(database, 1), name="bench-index")
    began = time.perf_counter()
    builder.start()
    while builder.is_alive() and len(took) < most:
        seconds = stores.one()
        if builder.is_alive():
            took.append(seconds)
        builder.join(max(0.0, pace_s - seconds))
    builder.join()
    return took, time.perf_counter() - began


def _searched(database: Database, talk: PassageVectors, asked: NDArray[np.float32], speaker: str | None, k: int) -> dict[str, Any]:
    def hits(query: NDArray[np.float32]) -> tuple[float, set[int]]:
        began = time.perf_counter()
        answer = search(database, "", query, MODEL, "meaning", speaker, k)
        return time.perf_counter() - began, {hit.segment for hit in answer}

    for query in asked[:10]:  # what is read for the first time comes from the disk, and statements are prepared
        hits(query)
    before = _processor_s(database)
    answers = [hits(query) for query in asked]
    processor_s = (_processor_s(database) - before) / len(asked)
    took = [seconds for seconds, _ in answers]
    recalls = []
    for query, (_, matches) in zip(asked, answers, strict=True):
        true = talk.nearest(query, k, speaker)
        recalls.append(len(matches & true) / len(true))
    return {
        "k": k,
        "queries": len(took),
        "lost": sum(recall < LOST for recall in recalls),
        "p50_s": statistics.median(took),
        "p95_s": float(np.quantile(took, 0.95)),
        "processor_s": processor_s,
        "recall": float(np.mean(recalls)),
    }


def _processor_s(database: Database) -> float:
    """Seconds of the processor that this process and the server have used, its ended processes included."""
    used = time.process_time()
    server = psutil.Process(database.server_pid)
    for process in (server, *server.children()):
        with suppress(psutil.Error):
            times = process.cpu_times()
            used += times.user + times.system
    return used + server.cpu_times().children_user + server.cpu_times().children_system


def main(show: Callable[[str], object] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=300_000)
    parser.add_argument("--queries", type=int, default=100, help="in each way; half as many where 100 hits are asked for")
    parser.add_argument("--per-cluster", type=int, default=PER_CLUSTER, help="passages about one thing: the more, the harder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="keep the store in this folder, and search in it the next time")
    args = parser.parse_args()
    show(table(run(args.segments, args.seed, queries=args.queries, per_cluster=args.per_cluster, home=args.home)))


if __name__ == "__main__":
    main()

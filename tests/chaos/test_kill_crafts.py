"""kill -9 in mid-transfer, in the middle of a store, an index build, a migration, an export: what is there is whole, the rest is done anew."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from gainstage.engine.store.database import Database
from gainstage.engine.store.export import export_recording
from gainstage.engine.store.migrate import store_migrations
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.search import search
from gainstage.engine.store.vector_index import build_in_progress, build_indexes, indexes
from gainstage.engine.store.vectors import tables
from tests.chaos import kill_targets as targets
from tests.chaos.kill_targets import SAID, kill_again_and_again
from tests.chaos.kit import kills
from tests.engine.store_kit import MODELS, TEXT, recording, segments, store, vector
from tests.http_server import Request, Server, running

KILLS = kills(12, 200)
BODY = random.Random(5).randbytes(400_000)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def slowly(request: Request) -> None:
    """The file in small blocks, from where it is asked for."""
    start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
    request.send_response(206 if start else 200)
    request.send_header("Content-Type", "audio/mpeg")
    request.send_header("ETag", '"one"')
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    request.send_header("Content-Length", str(len(BODY) - start))
    request.end_headers()
    with contextlib.suppress(OSError):  # killed in mid-transfer
        for at in range(start, len(BODY), 20_000):
            request.wfile.write(BODY[at : at + 20_000])
            request.wfile.flush()
            request.server.ending.wait(0.01)


def test_downloads_killed_in_mid_transfer_go_on_and_are_never_kept_in_part(
    database: Database, database_url: str, server: Server, tmp_path: Path
) -> None:
    ids = [f"file{n}" for n in range(KILLS // 4)]
    for id in ids:
        server.serve(f"/{id}.mp3", slowly)
    kept = tmp_path / "partial"

    def look() -> None:
        for path in (*tmp_path.glob("work-*/media"), *kept.glob("*.media")):
            assert path.read_bytes() == BODY, path
        for path in kept.glob("*.part"):
            assert BODY.startswith(path.read_bytes()), path

    arguments = (database_url, str(tmp_path), server.url, ids)
    met = kill_again_and_again(targets.download, arguments, KILLS, random.Random(1), 0.8, look)
    assert met > KILLS // 2
    process = targets.context().Process(target=targets.download, args=arguments, daemon=True)
    process.start()
    end = time.monotonic() + 120
    while len(list(kept.glob("*.media"))) < len(ids):
        assert time.monotonic() < end, sorted(path.name for path in kept.iterdir())
        process.join(0.1)
    process.kill()
    process.join()
    look()
    assert [path.name for path in kept.iterdir() if path.suffix in (".part", ".etag", ".size")] == []


def test_streams_killed_between_and_in_their_pieces_are_never_kept_short_or_long(server: Server, tmp_path: Path) -> None:
    pieces = [random.Random(n).randbytes(20_000) for n in range(12)]
    urls, names = [], "".join(f"#EXTINF:2.0,\n/piece{n}.ts\n" for n in range(len(pieces)))
    text = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n{names}#EXT-X-ENDLIST\n".encode()

    def slow(piece: bytes) -> Callable[[Request], None]:
        def answer(request: Request) -> None:
            request.server.ending.wait(0.01)
            request.answer(200, piece, Content_Type="video/mp2t")

        return answer

    for n, piece in enumerate(pieces):
        server.serve(f"/piece{n}.ts", slow(piece))
    for n in range(max(2, KILLS // 6)):
        urls.append(server.serve(f"/talk{n}.m3u8", lambda r: r.answer(200, text, Content_Type="application/vnd.apple.mpegurl")))
    whole = b"".join(pieces)

    def look() -> None:
        for path in tmp_path.glob("*.media"):
            assert path.read_bytes() == whole, path

    arguments = (urls, str(tmp_path))
    met = kill_again_and_again(targets.download_streams, arguments, KILLS, random.Random(11), 1.5, look)
    assert met > KILLS // 2
    process = targets.context().Process(target=targets.download_streams, args=arguments, daemon=True)
    process.start()
    end = time.monotonic() + 240
    while len(list(tmp_path.glob("*.media"))) < len(urls):
        assert time.monotonic() < end, sorted(path.name for path in tmp_path.iterdir())
        process.join(0.1)
    process.kill()
    process.join()
    look()


def test_stores_killed_at_any_moment_leave_every_recording_whole(database: Database, database_url: str, tmp_path: Path) -> None:
    count = 6
    query = (
        "select r.id from recording r where r.status <> 'stored' or r.segments <> (select count(*) from segment s where s.recording = r.id)"
        " or r.segments <> (select count(*) from segment s join text_vector_1 v on v.segment = s.id where s.recording = r.id)"
        " or r.segments <> (select count(*) from segment s join voice_vector_2 v on v.segment = s.id where s.recording = r.id)"
    )
    store(RecordingStore(database), recording(0), segments(SAID))

    def look() -> None:
        with database.connection() as connection:
            assert connection.execute(query).fetchall() == []
            row = connection.execute("select count(*) from segment").fetchone()
            stored = connection.execute("select count(*) from recording").fetchone()
            assert row is not None
            assert stored is not None
            assert row[0] == SAID * stored[0]

    with database.connection() as connection:
        assert [t.name for role in ("embed", "voice") for t in tables(connection, role)] == ["text_vector_1", "voice_vector_2"]  # type: ignore[arg-type]
    met = kill_again_and_again(targets.store_recordings, (database_url, str(tmp_path), count), KILLS, random.Random(2), 0.5, look)
    assert met == KILLS


def test_index_builds_killed_with_and_without_their_server_process_end_in_one_whole_index(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    draw, numbers = random.Random(3), np.random.default_rng(3)
    target = RecordingStore(database)
    for n in range(4):
        near = [vector(1) + 0.2 * numbers.standard_normal(TEXT.dimension).astype(np.float32) for _ in range(500)]
        said = [s for s in segments(500)]
        store(
            target, recording(n), [type(s)(**{**_fields(s), "vector": v}) for s, v in zip(said, near, strict=True)], models=MODELS
        )

    def look() -> None:
        with database.connection() as connection:
            if draw.random() < 0.7:  # the server's process dies too, as with the server or the machine
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where query like 'create index concurrently%%'"
                    " and pid <> pg_backend_pid()",
                    [],
                )
            (table,) = tables(connection, "embed")
            assert sum(index.valid for index in indexes(connection, table)) <= 1
            if draw.random() < 0.5 and build_in_progress(connection) is None:  # so that the next one has something to do
                for index in indexes(connection, table):
                    connection.execute(f"drop index {index.name}")  # type: ignore[arg-type]
        assert len(search(database, "", vector(3), TEXT, "meaning", limit=10)) == 10

    met = kill_again_and_again(targets.build_index, (database_url, str(tmp_path)), KILLS, draw, 0.4, look)
    assert met > KILLS // 4
    end = time.monotonic() + 60
    while True:  # a server process that was left alone may still build
        build_indexes(database, 1_000)
        with database.connection() as connection:
            (table,) = tables(connection, "embed")
            found = indexes(connection, table)
        if [index.valid for index in found] == [True]:
            break
        assert time.monotonic() < end, found


def _fields(segment: object) -> dict[str, object]:
    from dataclasses import fields

    return {field.name: getattr(segment, field.name) for field in fields(segment)}  # type: ignore[arg-type]


def test_migrations_killed_at_any_step_are_finished_by_the_next_process(
    bare_database_url: str, database_url: str, tmp_path: Path
) -> None:
    def tables_of(url: str) -> list[tuple[object, ...]]:
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(
                "select table_name, column_name, data_type from information_schema.columns where table_schema = 'gainstage'"
                " union all select tablename, indexname, indexdef from pg_indexes where schemaname = 'gainstage' order by 1, 2, 3"
            ).fetchall()

    whole, started = tables_of(database_url), random.Random(4)

    def look() -> None:
        with psycopg.connect(bare_database_url, autocommit=True) as connection:
            if connection.execute("select to_regclass('gainstage.migration') is null").fetchone() == (True,):
                return
            done = [n for (n,) in connection.execute("select number from gainstage.migration order by number")]
            assert done == [m.number for m in store_migrations()][: len(done)]
        if tables_of(bare_database_url) == whole:  # from the beginning again
            with psycopg.connect(bare_database_url, autocommit=True) as connection:
                connection.execute("drop schema gainstage cascade")

    met = kill_again_and_again(targets.migrate, (bare_database_url, str(tmp_path)), KILLS, started, 0.5, look)
    assert met > KILLS // 4
    targets.migrate(bare_database_url, str(tmp_path))
    assert tables_of(bare_database_url) == whole


def test_exports_killed_at_any_moment_are_whole_or_absent(database: Database, database_url: str, tmp_path: Path) -> None:
    target, ids = RecordingStore(database), [recording(n).id for n in range(3)]
    for n in range(3):
        store(target, recording(n), segments(400))
    whole = {id: export_recording(target, id, "json", tmp_path / "whole").read_bytes() for id in ids}

    def look() -> None:
        for id in ids:
            path = tmp_path / "out" / f"{id}.json"
            assert not path.exists() or path.read_bytes() == whole[id]

    met = kill_again_and_again(targets.export, (database_url, str(tmp_path), ids), KILLS, random.Random(6), 0.5, look)
    assert met == KILLS

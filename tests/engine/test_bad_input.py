"""Everything a folder, a network and an operator can get wrong, in one run of the real pipeline with the bundled models.

Each fault ends as a recording with its cause, its stage and a hint, and nothing that is good beside it is lost.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psycopg
import pytest
import soundfile
from psycopg.rows import dict_row
from speech_kit import dialogue, tone, write_media

from gainstage.engine.clean import clean_text
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.sources.local import file_recording
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.tui.cli import main
from tests.cli_kit import data_of, engine_ended, environment, gainstage, last_words
from tests.conftest import administrator
from tests.http_server import Media, Request, Server, running

QUICK = {
    "retry.attempts": "2", "retry.backoff": "0", "fetch.timeout": "1", "fetch.sleep": "0", "fetch.rate": "100000",
    "fetch.allow_private": "true", "fetch.disk_floor": "0", "watch.record": "false", "queue.heartbeat": "2",
}  # fmt: skip
HARMLESS = {"\n", "\t"}


def options(**more: str) -> list[str]:
    pairs = QUICK | {k.replace("__", "."): v for k, v in more.items()}
    return [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]


def speech(path: Path, gain: float, *, rate: int = 16000, channels: int = 1) -> Path:
    """A short talk of two; the gain makes each another recording."""
    samples = dialogue() * np.float32(gain)
    if rate != 16000:
        at = np.arange(round(len(samples) * rate / 16000)) * 16000 / rate
        samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_media(path, samples, rate=rate, channels=channels)


def cut_short(path: Path) -> Path:
    """An mp4 whose index comes first, so that it opens, and whose end is missing."""
    whole = write_media(path.with_name("whole.mp4"), tone(30), video=True)
    subprocess.run([sys.executable, "-c", _FASTSTART, str(whole), str(path)], check=True, env=environment())
    whole.unlink()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


_FASTSTART = """
import av, sys
with av.open(sys.argv[1]) as source, av.open(sys.argv[2], "w", options={"movflags": "faststart"}) as target:
    streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
    for packet in source.demux():
        if packet.dts is not None:
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def stalls(body: bytes) -> object:
    def answer(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/flac")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[:1000])
        request.wfile.flush()
        request.server.ending.wait(60)

    return answer


def closes(body: bytes) -> object:
    def answer(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/flac")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2])
        request.close_connection = True

    return answer


def unreadable_files(folder: Path, elsewhere: Path) -> dict[Path, tuple[str, str]]:
    """Files that cannot be taken in, with the (cause, stage) of each; one outside the folder does not exist."""
    (folder / "empty.mp3").touch()
    (folder / "words.mp4").write_text("only words " * 1000)
    failed = {
        folder / "empty.mp3": ("empty file", "decode"),
        folder / "words.mp4": ("not a media file", "decode"),
        cut_short(folder / "cut short.mp4"): ("corrupt media", "decode"),
        write_media(folder / "mute.mp4", tone(1), video=True, audio=False): ("no audio stream", "decode"),
        write_media(folder / "blip.wav", tone(0.2)): ("too short", "decode"),
        elsewhere / "gone.mp3": ("missing file", "fetch"),
    }
    if os.geteuid() != 0:  # root may read everything: see the test that gives its rights up
        closed = write_media(folder / "closed.wav", tone(2))
        closed.chmod(0)
        failed[closed] = ("unreadable file", "fetch")
    return failed


def broken_addresses(server: Server, body: bytes) -> dict[str, tuple[str, str]]:
    """Addresses that give no recording, with the (cause, stage) of each."""
    return {
        server.url + "/404.mp3": ("HTTP 404", "fetch"),
        server.serve("/stalls.flac", stalls(body)): ("stalled", "fetch"),  # type: ignore[arg-type]
        server.serve("/closes.flac", closes(body)): ("closed early", "fetch"),  # type: ignore[arg-type]
        server.serve("/page.mp3", Media(b"<html>no</html>", content_type="text/html; charset=utf-8")): ("not media", "fetch"),
    }


def test_bad_input_fails_with_its_cause_and_stops_nothing(
    database: Database, database_url: str, home: Path, tmp_path: Path, server: Server
) -> None:
    folder = tmp_path / "talks"
    good = [speech(folder / "good one.flac", 1.0), speech(folder / "good two.opus", 0.9)]
    stored = [
        *good,
        speech(folder / "8 kHz.wav", 0.8, rate=8000),
        speech(folder / "96 kHz.wav", 0.7, rate=96000, channels=2),
        speech(folder / 'it\'s "so"\nnew' / "käse & \U0001f399 $(id); --x.flac", 0.6),
        speech(folder / "[red]bold[" / "[@click=app.quit]x[].flac", 0.5),
        speech(folder / "\x1b]0;owned\x07\x1b[31mred\u202ecod.exe\x9b5m.flac", 0.4),
    ]
    silence = folder / "an hour of silence.flac"
    soundfile.write(silence, np.zeros(3600 * 8000, np.int16), 8000)
    failed = unreadable_files(folder, tmp_path)
    urls = broken_addresses(server, good[0].read_bytes())
    name = "\x1b[2J[blink]a\x00b\x1b]8;;x\x07"
    resumed = speech(tmp_path / "resumed.flac", 0.3).read_bytes()
    late = server.serve("/" + quote(name) + ".flac", Media(resumed, close_after=len(resumed) // 2))

    with engine_ended(home):
        done = gainstage(
            "run", folder, tmp_path / "gone.mp3", *urls, late, "--headless", "--json", "--profile", "demo",
            "--home", home, "--database", database_url, *options(), status=None,
        )  # fmt: skip
    assert done.returncode == 1, done.stderr + last_words(home)
    result = json.loads(done.stdout)

    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        rows = {r["source"]: r for r in connection.execute("select * from gainstage.recording").fetchall()}
    assert len(result["recordings"]) == len(rows) == len(stored) + 1 + len(failed) + len(urls) + 1
    story = {s: (r["status"], r["cause"], r["stage"]) for s, r in rows.items()}
    expected = {str(p): ("failed", *why) for p, why in failed.items()} | {u: ("failed", *why) for u, why in urls.items()}
    assert {s: story[s] for s in expected} == expected, last_words(home)
    for source in expected:
        assert rows[source]["hint"], source
        assert rows[source]["error"]
    for path in stored:
        row = rows[str(path)]
        assert story[str(path)][:2] == ("stored", None), row["error"]
        assert row["segments"] > 0
        assert row["title"] == file_recording(path).title
        assert abs(row["labelled_s"] + row["unknown_s"] - row["speech_s"]) < 0.01
    hour = rows[str(silence)]
    assert (hour["status"], hour["segments"], round(hour["duration"])) == ("stored", 0, 3600)
    assert rows[late]["status"] == "stored"  # cut off half-way the first time, resumed the second
    assert (result["stored"], result["failed"]) == (len(stored) + 2, len(expected))

    titles = [r["title"] for r in rows.values()]
    assert "[@click=app.quit]x[]" in titles
    for title in titles:
        assert title == clean_text(title)
        assert title.isprintable()
    place = ("--home", home, "--database", database_url)
    for words in (gainstage("recordings", *place), gainstage("show", rows[late]["id"], *place)):
        assert all(c.isprintable() or c in HARMLESS for c in words.stdout)
    assert "[@click=app.quit]x[]" in gainstage("recordings", *place).stdout
    assert data_of("recordings", "--cause", "corrupt media", *place)["matched"] == 1


def small_disk() -> list[str] | None:
    """The start of a command that may mount what only its own processes see; None where this is not allowed."""
    for wrapper in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        probe = [*wrapper, "mount", "-t", "tmpfs", "none", "/mnt"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0:
            return wrapper
    return None


def test_a_full_disk_fails_what_does_not_fit_and_stores_what_does(
    database: Database, database_url: str, home: Path, tmp_path: Path
) -> None:
    wrapper = small_disk()
    if wrapper is None:
        pytest.skip("no file system can be mounted here")
    work = home / "work"
    work.mkdir()
    large = file_recording(write_media(tmp_path / "large.flac", tone(60)))  # 1.9 MB decoded
    small = file_recording(speech(tmp_path / "small.flac", 1.0))  # 0.4 MB
    Backlog(database).add([large, small])
    script = 'mount -t tmpfs -o size=1m none "$0" && "$@"; status=$?; ls "$0"; exit $status'
    engine = [
        sys.executable,
        "-m",
        "gainstage.engine.process",
        "--until-empty",
        "--profile",
        "demo",
        "--home",
        str(home),
        *options(in_flight="1"),
    ]
    done = subprocess.run(
        [*wrapper, "sh", "-c", script, str(work), *engine],
        capture_output=True,
        text=True,
        env=environment(GAINSTAGE_STORE__DATABASE=database_url),
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with database.connection() as connection:
        rows = dict(connection.execute("select id, (status, cause, stage, attempt)::text from recording").fetchall())
    assert rows == {large.id: '(failed,"disk full",decode,2)', small.id: "(stored,,,1)"}
    assert done.stdout.splitlines()[-1].endswith("ends"), "the work folder holds something"


def test_a_file_the_engine_may_not_read_says_so(tmp_path: Path) -> None:
    source = write_media(tmp_path / "closed.wav", tone(2))
    source.chmod(0)
    code = """
import os, sys
from pathlib import Path
from gainstage.engine.errors import Permanent
from gainstage.engine.sources.fetch import local_file
from gainstage.engine.terms import Recording
if os.geteuid() == 0:
    os.setuid(65534)
try:
    local_file(Recording("x", "x", sys.argv[1], "x"))
except Permanent as error:
    print(error.cause, "|", error.hint)
"""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to(tmp_path.parents[2]):
            folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, str(source)], capture_output=True, text=True, env=environment())
    assert done.stdout == "unreadable file | Check its permissions.\n", done.stderr


# -- what is refused before anything runs -----------------------------------------------------------------------------


def refused(*args: object, status: int = 1) -> str:
    """What a command that must fail says, on stderr, in a few lines."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main([str(a) for a in args]) == status
    assert out.getvalue() == ""
    assert 1 <= err.getvalue().count("\n") <= 3
    return err.getvalue()


def test_sources_that_are_nothing(database_url: str, home: Path, tmp_path: Path) -> None:
    place = ("--home", home, "--database", database_url)
    (tmp_path / "note.txt~").touch()
    said = refused("run", tmp_path, "--headless", *place)
    assert said.startswith("gainstage run: no media files in ")
    assert "note.txt~: no audio in it" in said
    assert "no such file or folder: nowhere" in refused("run", "nowhere", "--headless", *place)
    assert "no such file or folder: now[31mhere" not in refused("run", "now\x1b[31mhere", "--headless", *place)
    assert "127.0.0.1" in refused("run", "http://127.0.0.1:1/page", "--headless", *place)
    assert "file:" in refused("run", "file:///etc/passwd", "--headless", *place)


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("workers.transcibe=4", "unknown setting 'workers.transcibe'; did you mean workers.transcribe?"),
        ("workers.transcribe=99", "workers.transcribe [command line]: "),
        ("identify.range_limit=wide", "identify.range_limit [command line]: "),
        ("identify.range_limit", "write KEY=VALUE"),
    ],
)
def test_a_wrong_setting_starts_nothing(pair: str, says: str, home: Path) -> None:
    assert says in refused("run", "talk.mp3", "--headless", "--home", home, "--set", pair, status=2)
    assert list(home.iterdir()) == []


def test_a_database_that_is_not_there_or_is_no_use(
    bare_database_url: str, shared_postgres: EmbeddedPostgres, home: Path, tmp_path: Path
) -> None:
    talk = write_media(tmp_path / "talk.wav", tone(1))
    away = refused("run", talk, "--headless", "--home", home, "--database", "postgresql://me:geheim@127.0.0.1:1/none")
    assert "no database answers at 127.0.0.1:1/none" in away
    assert "geheim" not in away
    with administrator(shared_postgres) as connection:
        if connection.execute("select 1 from pg_roles where rolname = 'plain'").fetchone() is None:
            connection.execute("create role plain login")
    plain = bare_database_url.replace("postgres@", "plain@")
    without = refused("run", talk, "--headless", "--home", home, "--database", plain)
    assert "no pgvector" in without
    assert "CREATE EXTENSION vector" in without


def test_voices_that_are_none_are_refused_by_file(database: Database, database_url: str, home: Path, tmp_path: Path) -> None:
    good = np.random.default_rng(1).normal(size=96).tolist()
    files = {
        "good": {"name": "Good", "centroid": good},
        "other dimension": {"name": "Wide", "centroid": [0.1] * 192, "model": "speechbrain/spkrec-ecapa-voxceleb"},
        "short": {"name": "Short", "embeddings": [[0.1] * 40]},
        "nan": {"name": "Nan", "centroid": [float("nan"), *good[1:]]},
        "zero": {"name": "Zero", "centroid": [0.0] * 96},
    }
    for name, profile in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(profile))
    paths = [tmp_path / f"{name}.json" for name in files]
    told = data_of("voices", "import", *paths, "--home", home, "--database", database_url, "--profile", "demo", status=1)
    assert [t["error"] is None for t in told] == [True, False, False, False, False]
    assert "spkrec-ecapa-voxceleb" in told[1]["error"]
    assert "40" in told[2]["error"]
    assert "NaN" in told[3]["error"]
    assert [p["name"] for p in data_of("voices", "list", "--home", home, "--database", database_url)] == ["Good"]

"""What another client wrote into the database reaches no terminal as it is: neither as words nor as JSON."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from random import Random

import psutil
import pytest

from gainstage.config.paths import PASSED, Paths
from gainstage.engine.fleet.home import serving
from gainstage.engine.queue.events import write_events
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.events import Event
from gainstage.engine.views.frame_json import dumps
from gainstage.tui.cli import main
from tests.chaos.kit import wait_for
from tests.cli_kit import command, environment, said
from tests.engine.speech_kit import tone, write_media
from tests.engine.store_kit import decision, recording, segments, store
from tests.frames_kit import random_frame

EVIL = "\x1b]0;title\x07\x9b31mred\u202eder\u2066\u200b\x07"
"""A title of the terminal, colours by U+009B, text turned round, a bell."""


def teeth(text: str) -> set[str]:
    """What of a text a terminal would act on."""
    return {c for c in text if (not c.isprintable() and c not in "\n\u3000") or c in "\u202e\u2066\u200b"}


@pytest.fixture
def hostile(database: Database, database_url: str) -> str:
    """A database with one stored and one failed recording, an engine with its frame, a change and an event: every text of theirs hostile."""
    recordings = RecordingStore(database)
    bad = replace(recording(1), id=f"r{EVIL}", title=f"t{EVIL}", source=f"https://example.org/{EVIL}", channel=EVIL)
    store(
        recordings, bad, segments(2, text=f"rings {EVIL}", speaker=f"s{EVIL}"), [decision(EVIL, why=EVIL, speaker=EVIL, rule=EVIL)]
    )
    recordings.add([replace(recording(2), id=f"f{EVIL}", title=EVIL)])
    frame = random_frame(Random(5))
    frame = replace(frame, engine=EVIL, run=replace(frame.run, state="running", reason=EVIL, source=EVIL))
    frame = replace(frame, verdict=replace(frame.verdict, reason=EVIL, bottleneck=replace(frame.verdict.bottleneck, text=EVIL)))
    with database.transaction() as connection:
        connection.execute(
            "update recording set status = 'failed', stage = %s, cause = %s, error = %s, hint = %s, traceback = %s where id = %s",
            [*[EVIL] * 5, f"f{EVIL}"],
        )
        connection.execute(
            "insert into engine (id, host, pid, home, version, state, doing, lease_s) values (%s, %s, 1, %s, %s, %s, %s, 1e6)",
            [EVIL] * 6,
        )
        connection.execute("insert into engine_frame (engine, frame) values (%s, %s)", [EVIL, dumps(frame)])
        connection.execute(
            "insert into subscription (source, every_s, options, last_error, next_at) values (%s, 3600, '{}', %s, now())",
            [EVIL, EVIL],
        )
        connection.execute("insert into run (name, kind, sources) values (%s, %s, %s)", [EVIL, EVIL, [EVIL]])
        connection.execute(
            "insert into alert (key, kind, title, text, engine, state) values (%s, %s, %s, %s, %s, 'sent')", [EVIL] * 5
        )
        connection.execute(
            "insert into change (revision, by, key, old, new, text) values (1, %s, %s, to_jsonb(%s::text), to_jsonb(%s::text), %s)",
            [EVIL] * 5,
        )
    line = Event(1, 1.0, "error", "log", EVIL, EVIL, EVIL, EVIL, EVIL, {EVIL: EVIL}, f"{EVIL}\n{EVIL}")
    write_events(database, EVIL, [line])
    return database_url


COMMANDS = [
    ("status",),
    ("watch", "--count", "1"),
    ("recordings",),
    ("recordings", "--status", "failed"),
    ("show", "r"),
    ("show", "f"),
    ("show", "r", "--words"),
    ("search", "rings", "--mode", "words"),
    ("decisions",),
    ("following",),
    ("settings",),
    ("settings", "--history"),
    ("runs",),
    ("logs",),
    ("top", "--count", "1"),
    ("notify", "sent"),
    ("voices", "list"),
    ("doctor",),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_what_other_clients_wrote_is_printed_without_its_teeth(
    hostile: str, arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--home", str(tmp_path)] + ([] if arguments[0] == "doctor" else ["--database", hostile])
    for form in ([], ["--json"]):
        main([*arguments, *place, *form])
        told = capsys.readouterr()
        assert told.out or told.err
        assert not teeth(told.out), ascii(told.out)
        assert not teeth(told.err), ascii(told.err)


def test_json_keeps_what_it_escapes(hostile: str, tmp_path: Path) -> None:
    """The escapes stand for the characters themselves: a program reads the id as it is."""
    page = json.loads(said("recordings", "--home", tmp_path, "--database", hostile, "--json"))
    assert {r["id"] for r in page["rows"]} == {f"r{EVIL}", f"f{EVIL}"}


def test_an_exported_file_whose_name_is_no_utf_8_is_named(database: Database, database_url: str, tmp_path: Path) -> None:
    store(RecordingStore(database), recording(1), segments(2))
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/out-\xff\x9b")
    done = subprocess.run(
        command("export", "rec00001", "--format", "txt", "-o", folder, "--home", tmp_path, "--database", database_url),
        capture_output=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert not teeth(done.stdout.decode("utf-8"))
    assert len(list(Path(folder).iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_takes_its_embedded_server_with_it(home: Path, tmp_path: Path, number: signal.Signals) -> None:
    said("add", write_media(tmp_path / "talk.wav", tone(1.0)), "--home", home)
    watching = subprocess.Popen(
        command("watch", "--home", home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert watching.stderr is not None
    line = watching.stderr.readline()
    assert "no engine runs" in line
    servers = _servers(Paths.of(home).database)
    assert servers
    watching.send_signal(number)
    assert watching.wait(60) == 128 + number
    watching.communicate()
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in servers), "the server to end")


def _servers(folder: Path) -> list[psutil.Process]:
    """Server processes of a home: its folder, or the one the server of root lies in, is among their arguments."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if process.info["name"] == "postgres" and " -D " in f" {words}" and str(folder) in words:
            found.append(process)
    return found


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_of_a_home_are_their_owners(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        home = Paths.of(tmp_path / "home").ensure()
        member = home.member("gpu-1").ensure()
        with serving(member):
            assert stat.S_IMODE(member.engine_pid.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in (home.data, *home.data.rglob("*")) if folder.is_dir()}
    at_the_top = modes.pop(home.data)
    assert at_the_top == (PASSED & ~umask if os.geteuid() == 0 else 0o700)
    assert set(modes.values()) == {0o700}, modes
    assert member.members in modes

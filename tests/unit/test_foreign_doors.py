"""Doors where foreign text and files come in beside the pipeline: launchers, logs, errors, kept audio."""

from __future__ import annotations

import argparse
import shlex
import stat
import sys
from pathlib import Path

import pytest

from gainstage.config.paths import Paths
from gainstage.engine.errors import Permanent
from gainstage.engine.fleet.launcher import FleetPlan, LaunchError
from gainstage.engine.fleet.members import Member
from gainstage.engine.fleet.slurm import SlurmLauncher
from gainstage.engine.fleet.supervisor import MOST_READ, Supervisor
from gainstage.engine.process import log_tail
from gainstage.engine.store.kept_audio import kept_file
from gainstage.tui.cli import guarded

HOSTILE = "\x1b]0;owned\x07Talk\x9b2J\u202e one\x1b[31m"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of Slurm that write down what they are given; the folder they write to."""
    bin, said = tmp_path / "bin", tmp_path / "said"
    bin.mkdir()
    said.mkdir()
    jobs = r"12+0|gainstage:slurm-0|RUNNING|n1\n13_4|gainstage:slurm-1|PENDING|\nno number|gainstage:x|RUNNING|n2\n14|other|RUNNING|n\377"
    for name, body in {
        "sbatch": f'printf "%s\\0" "$@" > "{said}/sbatch"; cat > "{said}/script"; echo 15',
        "squeue": f'printf "{jobs}\\n"',
    }.items():
        (bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:/usr/bin:/bin")
    return said


def test_slurm_gets_a_home_of_any_name_and_its_answers_may_be_any(cluster: Path, tmp_path: Path) -> None:
    home = tmp_path / "a %j 'home'; touch owned"
    launcher = SlurmLauncher(FleetPlan("slurm", ("--set=a='b c'",), "postgresql://db/x"), Paths.of(home).ensure())
    assert [(e.name, e.state) for e in launcher.list()] == [("slurm-0", "running"), ("slurm-1", "pending")]
    launcher.start(1)
    words = (cluster / "sbatch").read_text().split("\0")
    output = next(word for word in words if word.startswith("--output="))
    assert output.removeprefix("--output=").replace("%%", "%").startswith(str(home))
    assert "%j" not in output.replace("%%", "")
    script = (cluster / "script").read_text()
    line = shlex.split(script.splitlines()[1])
    assert line[:2] == ["exec", sys.executable]
    assert line[line.index("--home") + 1] == str(home)
    assert line[-1] == "--set=a='b c'"


def test_options_of_sbatch_that_cannot_be_read_are_refused_in_a_sentence(cluster: Path, tmp_path: Path) -> None:
    plan = FleetPlan("slurm", (), "postgresql://db/x", {"sbatch": "-t '1"})
    with pytest.raises(LaunchError, match="cannot be read"):
        SlurmLauncher(plan, Paths.of(tmp_path / "home").ensure()).start(1)
    assert list(cluster.iterdir()) == []


def test_the_plan_of_a_fleet_is_whole_and_its_owners(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path / "home").ensure()
    plan = FleetPlan("slurm", ("--profile=cpu",), "postgresql://me:secret@db/x", {"sbatch": "-G 1"})
    plan.save(paths)
    file = paths.data / "fleet.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.stat().st_ino
    plan.save(paths)
    assert file.stat().st_ino != before, "it is replaced, never written over"
    assert FleetPlan.load(paths) == plan
    assert [path.name for path in paths.data.iterdir() if path.name.endswith(".part")] == []


def test_what_engines_write_reaches_the_supervisors_terminal_harmless(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    paths = Paths.of(tmp_path / "home").ensure()
    supervisor = Supervisor(paths, [Member("gpu0", None, 1)], lambda member, why: [], json_lines=True)
    log = paths.member("gpu0").engine_log
    endless = b"x" * (2 * MOST_READ)
    log.write_bytes(HOSTILE.encode() + b"\n" + f'{{"text":"{HOSTILE}"}}\n'.encode("utf-8", "replace") + endless)
    for _ in range(4):
        supervisor._relay()
    with log.open("ab") as file:
        file.write(b"\nafter it\n")
    supervisor._relay()
    printed = capfdbinary.readouterr().out.decode()
    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    assert printed.splitlines()[-1] == "gpu0 | after it", "a line without an end does not end the repetition"


def test_errors_and_ends_of_logs_reach_the_terminal_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(name: str, args: argparse.Namespace) -> int:
        raise Permanent(f"{HOSTILE} cannot be read:\nsecond line", hint=HOSTILE)

    assert guarded(fails, "show", argparse.Namespace()) == 1
    printed = capsys.readouterr().err
    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    assert "second line" in printed
    paths = Paths.of(tmp_path / "home").ensure()
    paths.engine_log.write_bytes(HOSTILE.encode() + b"\nlast\n")
    assert not set(log_tail(paths)) & set("\x1b\x07\x9b\u202e")
    assert log_tail(paths).splitlines()[-1] == "last"


def test_a_fingerprint_of_a_shared_database_names_no_file_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    (tmp_path / "secret.ogg").write_bytes(b"x")
    (folder / "abc.ogg").write_bytes(b"x")
    assert kept_file(folder, "abc") == folder / "abc.ogg"
    for fingerprint in ("*", "../secret", "/etc/hostname", "[a]bc", "a?c", "**/abc"):
        assert kept_file(folder, fingerprint) is None, fingerprint

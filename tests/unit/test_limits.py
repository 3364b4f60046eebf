"""What a process may use is known before it is used up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gainstage.config.paths import Paths
from gainstage.engine.telemetry.limits import FILES_EACH, OWN_FILES, ProcessLimits, limits, memory_in_use

GIB = 1024**3


def groups(folder: Path, files: dict[str, str], membership: str) -> tuple[Path, Path]:
    """A tree of control groups and the file that says where in it a process is."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    where = folder / "membership"
    where.write_text(membership)
    return folder, where


@pytest.mark.parametrize(
    ("files", "membership", "memory", "threads"),
    [
        ({"memory.max": f"{2 * GIB}\n", "pids.max": "100\n"}, "0::/\n", 2 * GIB, 100),
        ({"memory.max": "max\n", "system.slice/unit/memory.max": f"{GIB}\n"}, "0::/system.slice/unit\n", GIB, None),
        (
            {"system.slice/memory.max": f"{GIB}\n", "system.slice/unit/memory.max": f"{2 * GIB}"},
            "0::/system.slice/unit\n",
            GIB,
            None,
        ),
        (
            {"memory/docker/a/memory.limit_in_bytes": f"{GIB}\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"},
            "4:memory:/docker/a\n2:cpu,cpuacct:/\n0::/\n",
            GIB,
            None,
        ),
        ({"pids/pids.max": "max\n"}, "8:pids:/\n", None, None),
    ],
)
def test_the_smallest_limit_of_all_groups_counts(
    tmp_path: Path, files: dict[str, str], membership: str, memory: int | None, threads: int | None
) -> None:
    found = limits(*groups(tmp_path, files, membership))
    assert found.memory == min(memory or sys.maxsize, psutil.virtual_memory().total)
    if threads is not None:
        assert found.threads == threads


def test_where_there_are_no_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert limits(tmp_path, tmp_path / "nothing").memory == psutil.virtual_memory().total


def test_a_limit_of_the_address_space_counts_as_memory() -> None:
    script = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600 * 2**20, resource.RLIM_INFINITY))\n"
        "from gainstage.engine.store.embedded_server import tuned\n"
        "from gainstage.engine.telemetry.limits import memory_limit\n"
        "print(memory_limit() // 2**20, tuned()['shared_buffers'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "600 150MB\n"


def test_a_disk_without_room_refuses_the_engine_in_a_sentence(tmp_path: Path) -> None:
    home = Paths.of(tmp_path / "home").ensure()
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from gainstage.engine.process import main\n"
        "sys.exit(main(['--home', sys.argv[1], '--simulated', '--database', 'postgresql://127.0.0.1:1/none']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(home.data)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {home.data} cannot be written: File too large. Check whether the disk is full")


def test_memory_in_use_is_within_the_limit() -> None:
    used = memory_in_use()
    assert used is None or 0 < used < limits().memory


def test_too_few_files_or_threads_are_said_in_one_sentence() -> None:
    assert ProcessLimits(None, None, GIB).shortage(512) is None
    assert ProcessLimits(OWN_FILES + 24 * FILES_EACH, None, GIB).shortage(24) is None
    shortage = ProcessLimits(OWN_FILES + 24 * FILES_EACH - 1, None, GIB).shortage(24)
    assert shortage is not None
    assert shortage.message == "639 open files are allowed here, and an engine with in_flight 24 needs 640"
    shortage = ProcessLimits(None, 100, GIB).shortage(8)
    assert shortage is not None
    assert shortage.cause == "too few threads"
    assert "lower in_flight" in shortage.hint


def test_the_soft_limit_of_open_files_is_raised_and_a_hard_one_refuses_the_engine(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from gainstage.engine.telemetry.limits import raise_open_files\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 3000))\n"
        "raise_open_files()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))\n"
        "from gainstage.engine.process import main\n"
        "sys.exit(main(['--home', sys.argv[1], '--simulated', '--database', 'postgresql://127.0.0.1:1/none']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[0] == "(3000, 3000)"
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: 300 open files are allowed here, and an engine with in_flight 24 needs 640. Raise the limit (ulimit -n, LimitNOFILE of"
        " systemd), or lower in_flight."
    ]

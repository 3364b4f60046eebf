"""What a command loads before it does anything: most of the time of a short one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.tui.state.collector import COLLECT_EVERY

HEAVY = {"numpy", "pgvector", "torch", "av", "textual", "rich", "httpx", "yt_dlp", "gainstage.engine.advisor.forecast"}
"""What the commands below never need; each takes 20 ms and more of a processor."""

MOST_MODULES = 560
"""Of Python, of libraries and our own, of a command that reads the database: 467 on Python 3.11."""

COMMANDS = (
    ["status"], ["recordings", "--status", "failed"], ["search", "--mode", "words", "rings of Saturn"], ["settings", "--history"],
    ["set", "in_flight", "7"], ["undo"], ["following"], ["runs"], ["retry", "--cause", "HTTP 404"], ["pause"],
)  # fmt: skip

_RUN = """
import gc, json, sys
from gainstage.tui.cli import main
status = main(json.loads(sys.argv[1]))
print(json.dumps([status, gc.get_threshold()[0], sorted(sys.modules)]))
"""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_short_command_loads_little(words: list[str], database_url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps([*words, "--home", str(tmp_path)])],
        capture_output=True,
        text=True,
        env={**os.environ, "GAINSTAGE_STORE__DATABASE": database_url},
        check=True,
    )
    status, threshold, modules = json.loads(done.stdout.splitlines()[-1])
    assert status in (0, 1), done.stderr
    assert HEAVY.isdisjoint(modules), sorted(HEAVY.intersection(modules))
    assert len(modules) <= MOST_MODULES
    assert threshold == COLLECT_EVERY

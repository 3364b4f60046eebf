"""`status` where no engine runs: how the last one ended, and how long ago, in a form that is no time of day."""

from __future__ import annotations

from pathlib import Path

import pytest

from gainstage.config.paths import Paths
from gainstage.engine.queue.counts import QueueCounts
from gainstage.engine.views.rows import EngineEnd
from gainstage.tui.commands.control import none_runs


@pytest.mark.parametrize(("ago_s", "words"), [(4, "4s ago"), (659, "11m ago"), (9000, "2h30 ago")])
def test_the_end_of_the_last_engine_is_told_with_its_age(
    ago_s: float, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1.8e9
    ended = EngineEnd("vm-1", "vm", 1, str(tmp_path), "stopped", now - 10_000, now - ago_s)
    none_runs(ended, QueueCounts(queued=3, stored=15, failed=1), Paths.of(tmp_path), now)
    said = capsys.readouterr().out
    assert f"last engine  vm-1 on vm, {words}: it was stopped\n" in said
    assert "queued 3  running 0  stored 15  failed 1  skipped 0" in said

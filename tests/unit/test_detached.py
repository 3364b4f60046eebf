"""Programs that outlive their parent: reaped when they end, and no warning while they run."""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from pathlib import Path

import psutil

from gainstage.engine import detached
from tests.chaos.kit import wait_for


def test_what_a_detached_program_says_is_added_to_its_log_and_its_status_is_known(tmp_path: Path) -> None:
    log = tmp_path / "out.log"
    log.write_text("before\n")
    code = "import os, sys; print(os.getcwd(), os.environ['WHO'], os.getsid(0) == os.getpid()); sys.exit(3)"
    child = detached.start([sys.executable, "-c", code], log, {"WHO": "me"})
    wait_for(lambda: child.returncode == 3, "the child to be waited for")
    assert log.read_text() == "before\n/ me True\n"


def test_a_running_program_that_nothing_refers_to_is_no_warning_and_leaves_no_zombie(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        child = detached.start([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "out.log", {})
        pid = child.pid
        del child
        gc.collect()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid), "the child to be reaped")

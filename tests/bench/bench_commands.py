"""Seconds of every command on a home of very many recordings: ``python -m tests.bench.bench_commands [--recordings N] [--home HOME]``.

Each is a process of its own, as an operator starts it, beside an engine that is paused (``--alone``: without one, so that each command
also starts the embedded server). The least of three is printed, of the clock and of the processor; commands whose work grows with what
they are asked to copy (``export --all``, ``backup``) are left out. Exit status 1 when one takes longer than a goal. That of the
processor also holds on a loaded machine; it leaves a machine of half the speed under a second.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gainstage.config.paths import Paths
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from tests.chaos.kit import EngineProcess, wait_for
from tests.scale_kit import fill

GOAL_S = 1.0
GOAL_PROCESSOR_S = 0.5

COMMANDS = (
    "status", "status --json", "recordings", "recordings --status failed", "recordings --match conversation --sort title --limit 500",
    "recordings --cause 'HTTP 403' --json", "show {id}", "show {id} --json", "search --mode words 'rings of Saturn'",
    "search --mode words --speaker Helen 'rings of Saturn' --limit 100", "voices list", "decisions", "decisions {id}",
    "decisions --what-if identify.range_limit=0.4", "settings", "settings --history", "config show", "set workers.transcribe 3", "undo",
    "add {folder} --dry-run", "add {folder}", "following", "retry {failed}", "retry --cause 'HTTP 404'", "cancel {queued}", "skip {queued}",
    "priority {queued} --front", "export {id} --format srt -o {out}", "watch --count 1 --json", "pause", "resume", "pause",
)  # fmt: skip


def ids_of(database: Database) -> dict[str, str]:
    """A recording of each state that the commands name."""
    with database.connection() as connection:
        rows = connection.execute("select distinct on (status) status, id from recording order by status, changed desc").fetchall()
    found = {str(status): str(id) for status, id in rows}
    return {"id": found["stored"], "failed": found["failed"], "queued": found["queued"]}


@contextmanager
def paused_engine(home: Path, url: str) -> Iterator[None]:
    """An engine of simulated recordings on the home's database, which takes none."""
    engine = EngineProcess(home / "engine", url)
    try:
        with Database.open(url, home) as database:
            from gainstage.engine.desk.postgres import PostgresDesk
            from gainstage.engine.views.commands import Command

            desk = PostgresDesk(database)
            wait_for(lambda: any(e.alive for e in desk.engines()), "the engine")
            ack = desk.send(Command("pause", {}, by="bench"))
            wait_for(lambda: desk.ack(ack.id).state == "done", "the pause")
        yield
    finally:
        engine.kill()


def took(command: str, home: Path, place: dict[str, str]) -> tuple[float, float, int, str]:
    """(seconds of the clock, of the processor, exit status, last words) of one command."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
    words = shlex.split(command.format(**{name: shlex.quote(value) for name, value in place.items()}))
    began, before = time.perf_counter(), _processor_s()
    done = subprocess.run(
        [sys.executable, "-m", "gainstage.tui.cli", *words, *([] if words[0] == "config" else ["--home", str(home)])],
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "100"},
        check=False,
    )
    last = (done.stderr or done.stdout).strip()[-200:]
    return time.perf_counter() - began, _processor_s() - before, done.returncode, last


def _processor_s() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=200_000)
    parser.add_argument("--home", type=Path, help="one that `python -m tests.scale_kit` has filled (default: made and removed)")
    parser.add_argument("--alone", action="store_true", help="without an engine and without a running server")
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    slow = []
    with ExitStack() as stack:
        home = args.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gainstage-bench-")))
        home.chmod(0o755)
        paths = Paths.of(home).ensure()
        with Database.open(None, paths.database) as database:
            if args.home is None:
                stack.callback(EmbeddedPostgres(paths.database).remove)
                with database.own_connection() as connection:
                    fill(connection, args.recordings)
            place = ids_of(database)
        folder = home / "talks"
        folder.mkdir(exist_ok=True)
        (folder / "talk.mp3").write_bytes(b"ID3" + os.urandom(50_000))
        place |= {"folder": str(folder), "out": str(home / "out")}
        if not args.alone:
            server = stack.enter_context(EmbeddedPostgres(paths.database))
            stack.enter_context(paused_engine(home, server.url))
        for command in COMMANDS:
            if args.alone and command.split()[0] in ("watch", "pause", "resume"):
                continue
            runs = [took(command, home, place) for _ in range(args.times)]
            seconds, processor_s = min(run[0] for run in runs), min(run[1] for run in runs)
            missed = "SLOW" if seconds > GOAL_S else "BUSY" if processor_s > GOAL_PROCESSOR_S else "    "
            slow += [command] * bool(missed.strip())
            status, last = runs[0][2:]
            words = f"  exit status {status}: {last}" if status not in (0, 1) or "Traceback" in last else ""
            print(f"{seconds:6.2f} s {processor_s:6.2f} s {missed} {command}{words}", flush=True)
        with Database.open(None, paths.database) as database:
            print(
                f"{len(COMMANDS)} commands, {Backlog(database).counts().total:,} recordings, {len(slow)} above {GOAL_S} s of the clock"
                f" or {GOAL_PROCESSOR_S} s of the processor"
            )
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())

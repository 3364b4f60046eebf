"""The engine as a process: one per home, detached from the terminal that started it, told to leave by signals.

POSIX only where it says so (sessions, niceness, flock); everything else of the engine is portable.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gainstage.config.errors import SettingError
from gainstage.config.origins import Loaded, load
from gainstage.config.paths import Paths
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.locks import FileLock
from gainstage.engine.store.outage import STARTUP_PATIENCE_S, retry_until
from gainstage.engine.views.events import Event

STARTUP_S = 90.0
"""Longest wait for a detached engine to register itself."""

LOOK_S = 1.0
"""How long a starting engine tries to lock its home before it says that another engine serves it."""

LONGEST_LOG = 16 * 1024**2


def lock_of(paths: Paths) -> FileLock:
    """The lock an engine holds for its whole life; the kernel drops it with the process."""
    return FileLock(paths.engine_lock)


def engine_pid(paths: Paths) -> int | None:
    """The process id of the engine that serves this home, None when there is none."""
    lock = lock_of(paths)
    if not lock.path.exists() or lock.is_free():
        return None
    with contextlib.suppress(OSError, ValueError):
        return int((paths.data / "engine.pid").read_text())
    return None


def start_detached(paths: Paths, arguments: list[str], environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``gainstage engine`` in a session of its own: no terminal, output to the log file, nicer than a console.

    The command line is the same an operator or systemd would use, so there is one way to start an engine.
    """
    paths.ensure()
    _turn_over(paths.engine_log)
    command = [sys.executable, "-P", "-m", "gainstage.engine.process", *arguments]
    with paths.engine_log.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
        )


def _turn_over(log: Path) -> None:
    """Begin a new log when the old one has grown long; one old one is kept."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LONGEST_LOG:
            log.replace(log.with_suffix(".log.1"))


def log_tail(paths: Paths, lines: int = 12) -> str:
    """The end of the engine's log: what a person needs when it did not start."""
    try:
        with paths.engine_log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16_384))
            return b"\n".join(log.read().splitlines()[-lines:]).decode("utf-8", "replace")
    except OSError:
        return ""


def serve(
    loaded: Loaded,
    paths: Paths,
    database_url: str | None,
    *,
    until_empty: bool = False,
    title: str = "",
    log_json: bool = False,
    prepare: Callable[[Any], None] | None = None,
    flow: Callable[..., None] | None = None,
    models: bool = True,
) -> int:
    """Run an engine in this process until it is told to leave. Exit status: 0 fine, 1 the database stays away, 2 misconfigured,
    3 another engine serves this home. Nothing that is queued is lost by any of them.
    """
    paths.ensure()
    lock = lock_of(paths)
    if not _acquired(lock):
        print(f"an engine serves {paths.data} already (pid {engine_pid(paths)}); `gainstage status` shows it", file=sys.stderr)
        return 3
    (paths.data / "engine.pid").write_text(str(os.getpid()))
    if sys.stdin is None or not sys.stdin.isatty():
        with contextlib.suppress(OSError):
            os.nice(5)  # a console on the same cores must stay quick
    from gainstage.engine.pipeline import ingest
    from gainstage.engine.runtime.engine import Engine
    from gainstage.engine.store.database import Database
    from gainstage.engine.store.reach import POOL

    engine = None
    try:
        database = retry_until(
            lambda: Database.open(database_url, paths.database, engine=True, pool_size=max(POOL, loaded.settings.workers.store)),
            CancelToken(),
            patience_s=STARTUP_PATIENCE_S,
            report=_waiting,
        )
        try:
            engine = Engine(
                loaded, paths, database, until_empty=until_empty, flow=flow or ingest, prepare=prepare, models=models, title=title
            )
            engine.context.journal.echo(_json_line if log_json else _plain_line)
            engine.threads.listen_to_signals()
            with contextlib.suppress(Cancelled):  # stopped before it had begun
                engine.run()
        finally:
            if engine is not None:
                engine.close()
            database.close()
    except EngineError as error:
        print(f"error: {clean_text(str(error))}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, Misconfigured) else 1
    finally:
        (paths.data / "engine.pid").unlink(missing_ok=True)
        lock.release()
    return 0


def _acquired(lock: FileLock) -> bool:
    """Take the lock of the home. Whoever only looks whether it is free holds it for a moment: tried for a second."""
    end = time.monotonic() + LOOK_S
    while not lock.acquire(blocking=False):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _waiting(error: Transient) -> None:
    print(f"waiting for the database: {error}", file=sys.stderr, flush=True)


def _plain_line(event: Event) -> None:
    """For people: no debug lines; one write per line, so that threads do not mix theirs."""
    if event.level == "debug":
        return
    clock = time.strftime("%H:%M:%S", time.localtime(event.wall))
    place = clean_text(" ".join(p for p in (event.stage, event.recording) if p), 200)
    text = f"{clock} {event.level.upper():7} {place:24} {event.text}\n"
    sys.stdout.write(text + (event.traceback + "\n" if event.traceback else ""))
    sys.stdout.flush()


def _json_line(event: Event) -> None:
    """For machines: every event, one JSON object a line."""
    fields = {k: v for k, v in asdict(event).items() if v not in (None, {}, "")}
    sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """``python -m gainstage.engine.process``: what ``gainstage engine`` and a detached start run."""
    import argparse

    parser = argparse.ArgumentParser(prog="gainstage engine", description="Run an engine in the foreground.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: Any) -> None:
    parser.add_argument("--home", type=Path, help="keep everything under this folder")
    parser.add_argument("--database", help="Postgres URL; left out, the embedded server")
    parser.add_argument("--profile", help="bundled profile or .toml file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, strongest of all layers")
    parser.add_argument("--until-empty", action="store_true", help="end when the queue is empty")
    parser.add_argument("--title", default="", help="what is being ingested, for the title line")
    parser.add_argument("--log-json", action="store_true", help="log as JSON Lines")
    parser.add_argument("--demo", action="store_true", help="enrol the bundled demo voices first")
    parser.add_argument("--simulated", action="store_true", help="simulated stages, for experiments; needs no model")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise SettingError(f"--set {text!r}: write KEY=VALUE")
    return key.strip(), value


def run(args: Any) -> int:
    try:
        paths = Paths.of(args.home).ensure()
        overrides = dict(_pair(text) for text in args.set)
        loaded = load(profile=args.profile, user_file=paths.settings_file, overrides=overrides)
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    secret = loaded.settings.store.database
    url = args.database or (secret.get_secret_value() if secret else None)
    prepare: Callable[[Any], None] | None = None
    flow: Callable[..., None] | None = None
    if args.demo:
        from gainstage.engine.runtime.demo import enrol_demo_voices

        prepare = enrol_demo_voices
    if args.simulated:
        from gainstage.engine.runtime.simulated import simulated

        flow = simulated
    return serve(
        loaded,
        paths,
        url,
        until_empty=args.until_empty,
        title=args.title,
        log_json=args.log_json,
        prepare=prepare,
        flow=flow,
        models=not args.simulated,
    )


if __name__ == "__main__":
    sys.exit(main())

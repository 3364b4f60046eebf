"""The engine as a process: one per home, or several under a supervisor, detached from the terminal that started it, asked to
stop by signals.

POSIX only where it says so (sessions, niceness, flock); everything else of the engine is portable.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gainstage.config.errors import SettingError
from gainstage.config.origins import Loaded, load
from gainstage.config.paths import Paths
from gainstage.engine import detached
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured, Transient
from gainstage.engine.fleet.home import Served, engine_pid, serving
from gainstage.engine.fleet.members import Member, MemberPlaces, members_of
from gainstage.engine.fleet.options import add_engine_options
from gainstage.engine.fleet.supervisor import Supervisor
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.outage import STARTUP_PATIENCE_S, retry_until
from gainstage.engine.telemetry.limits import limits, raise_open_files
from gainstage.engine.views.events import Event

__all__ = ["engine_pid", "log_tail", "main", "run", "serve", "start_detached"]

STARTUP_S = 90.0
"""Longest wait for a detached engine to register itself."""

PARENT_EVERY_S = 1.0
"""How often a member looks whether its supervisor lives."""

MODULE = (sys.executable, "-P", "-m", "gainstage.engine.process")

LONGEST_LOG = 16 * 1024**2


def start_detached(paths: Paths, arguments: list[str], environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``gainstage engine`` in a session of its own: no terminal, output to the log file, nicer than a console.

    The command line is the same an operator or systemd would use, so there is one way to start an engine.
    """
    paths.ensure()
    _turn_over(paths.engine_log)
    command = [*MODULE, *arguments]
    return detached.start(command, paths.engine_log, environ or {})


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
            return "\n".join(clean_text(line.decode("utf-8", "replace")) for line in log.read().splitlines()[-lines:])
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
    again: str = "",
) -> int:
    """Run an engine in this process until it is asked to stop. ``again`` says why it is started once more, for its journal. Exit status: 0 fine, 1 the database stays away, 2 misconfigured,
    3 another engine serves this home. Nothing that is queued is lost by any of them.
    """
    try:
        with serving(paths.ensure()):
            if sys.stdin is None or not sys.stdin.isatty():
                with contextlib.suppress(OSError):
                    os.nice(5)  # a console on the same cores must stay quick
            options = {"until_empty": until_empty, "prepare": prepare, "models": models, "title": title, "flow": flow}
            _serve(loaded, paths, database_url, _json_line if log_json else _plain_line, again, **options)
    except Served as served:
        print(served, file=sys.stderr)
        return 3
    except EngineError as error:
        print(f"error: {clean_text(str(error))}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, Misconfigured) else 1
    return 0


def _serve(
    loaded: Loaded, paths: Paths, database_url: str | None, echo: Callable[[Event], None], again: str, **options: Any
) -> None:
    """The life of the engine, once the home is its own."""
    from gainstage.engine.notify.notifier import Notifier
    from gainstage.engine.redo import ingest_or_redo
    from gainstage.engine.runtime.engine import Engine
    from gainstage.engine.store.database import Database
    from gainstage.engine.store.reach import POOL

    database = retry_until(
        lambda: Database.open(database_url, paths.database, engine=True, pool_size=max(POOL, loaded.settings.workers.store)),
        CancelToken(),
        patience_s=STARTUP_PATIENCE_S,
        report=_waiting,
    )
    engine = notifier = None
    try:
        engine = Engine(loaded, paths, database, **{**options, "flow": options["flow"] or ingest_or_redo})
        engine.context.journal.echo(echo)
        if again:
            engine.context.journal.log("warning", f"engine {paths.name} is started again: it {again}", kind="state")
        engine.threads.listen_to_signals()
        history = engine.threads.publisher.history
        notifier = Notifier(engine.context, lambda: history[-1] if history else None)
        notifier.start()
        with contextlib.suppress(Cancelled):  # stopped before it had begun
            engine.run()
    finally:
        if notifier is not None:
            notifier.close()
        if engine is not None:
            engine.close()
        database.close()


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
    parser = argparse.ArgumentParser(prog="gainstage engine", description="Run an engine in the foreground.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: Any) -> None:
    """The options of an engine's process, as the command line and a service manager give them."""
    parser.add_argument("--home", type=Path, help="keep everything under this folder")
    parser.add_argument("--database", help="Postgres URL; left out, the embedded server")
    parser.add_argument("--profile", help="bundled profile or .toml file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, strongest of all layers")
    parser.add_argument("--until-empty", action="store_true", help="end when the queue is empty")
    parser.add_argument("--title", default="", help="what is being ingested, for the title line")
    parser.add_argument("--log-json", action="store_true", help="log as JSON Lines")
    parser.add_argument("--demo", action="store_true", help="enrol the bundled demo voices first")
    add_engine_options(parser)
    parser.add_argument("--member", help=argparse.SUPPRESS)
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--again", default="", help=argparse.SUPPRESS)
    parser.add_argument("--simulated", action="store_true", help="simulated stages, for experiments; needs no model")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise SettingError(f"--set {text!r}: write KEY=VALUE")
    return key.strip(), value


def run(args: Any) -> int:
    """Run one engine, or the supervisor of several, until it ends. Exit status: 2 for wrong settings, else that of :func:`serve`."""
    try:
        paths = Paths.of(args.home).ensure()
        overrides = dict(_pair(text) for text in args.set)
        loaded = load(profile=args.profile, user_file=paths.settings_file, overrides=overrides)
        members = () if args.member else members_of(loaded.settings.engines)
    except (SettingError, EngineError) as error:
        print(f"error: {clean_text(str(error))}", file=sys.stderr)
        return 2
    if args.supervised or len(members) > 1:
        return supervise(args, loaded, paths, members)
    if members:
        os.environ.update(members[0].environment(os.environ))  # before a model library is loaded
    raise_open_files()
    if shortage := limits().shortage(loaded.settings.in_flight):  # before a library meets the limit, which ends it in its own way
        print(f"error: {clean_text(str(shortage))}", file=sys.stderr)
        return 2
    if args.member:
        paths = paths.member(args.member)
        threading.Thread(target=_drain_without, args=(os.getppid(),), name="parent", daemon=True).start()
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
        again=args.again,
    )


def supervise(args: Any, loaded: Loaded, paths: Paths, members: Sequence[Member]) -> int:
    """Run several engines of this home until all have ended; the exit status is that of :func:`serve`."""
    port = loaded.settings.watch.prometheus_port
    ports: dict[str, int] = {}

    def command(member: Member, again: str) -> list[str]:
        words = [*MODULE, "--member", member.name, "--home", str(paths.data)] if args.home else [*MODULE, "--member", member.name]
        for name in ("profile", "title"):
            words += [f"--{name}={value}"] if (value := getattr(args, name)) else []
        words += [f"--set={pair}" for pair in args.set]
        words += [f"--set=watch.prometheus_port={ports.setdefault(member.name, port + len(ports))}"] if port else []
        words += [f"--{name.replace('_', '-')}" for name in ("until_empty", "log_json", "demo", "simulated") if getattr(args, name)]
        return words + ([f"--again={again}"] if again else [])

    if args.database:
        os.environ["GAINSTAGE_STORE__DATABASE"] = args.database  # not on a command line, where other users read the password
    try:
        with serving(paths):
            if args.supervised:
                places = MemberPlaces(paths, members)
                return Supervisor(paths, places.all(), command, json_lines=args.log_json, resized=places.changed).run()
            return Supervisor(paths, members, command, json_lines=args.log_json).run()
    except Served as served:
        print(served, file=sys.stderr)
        return 3
    except Misconfigured as error:
        print(f"error: {clean_text(str(error))}", file=sys.stderr)
        return 2


def _drain_without(parent: int) -> None:
    """A member whose supervisor was killed finishes what is in flight and ends, so that the next supervisor finds its home free."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    print("the supervisor is gone: draining", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

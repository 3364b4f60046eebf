"""``status``, ``watch``, ``pause``, ``resume``, ``stop``: watch and control a running system."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from gainstage.engine.clean import terminal_json
from gainstage.engine.views.commands import Ack, Command, CommandName, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.frame_json import dumps
from gainstage.engine.views.scopes import scoped
from gainstage.engine.views.snapshot import SCOPES, Snapshot
from gainstage.tui.commands.common import alive, clock, open_desk, paths_of, place_arguments, plain, print_json, speaking, table
from gainstage.tui.render.format import roughly
from gainstage.tui.state.setting_scope import engine_named

if TYPE_CHECKING:
    from gainstage.config.paths import Paths
    from gainstage.engine.desk.postgres import PostgresDesk
    from gainstage.engine.queue.counts import QueueCounts
    from gainstage.engine.views.rows import EngineEnd

EXAMPLES = {
    "status": "examples:\n  gainstage status\n  gainstage status --json\n  gainstage status --database postgresql://db/prod",
    "watch": "examples:\n  gainstage watch --json | jq .run.rtfx\n  gainstage watch --every 10 --count 6",
    "pause": "examples:\n  gainstage pause               take no new recordings\n  gainstage pause transcribe    hold one stage",
    "resume": "examples:\n  gainstage resume\n  gainstage resume transcribe",
    "stop": "examples:\n  gainstage stop           finish what is in flight, then end\n  gainstage stop --now     put what is in flight back into the queue",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    if name in ("pause", "resume"):
        parser.add_argument("stage", nargs="?", metavar="STAGE", help="one stage only")
    if name == "stop":
        parser.add_argument("--now", action="store_true", help="do not wait: what is in flight goes back into the queue")
        parser.add_argument("--no-wait", action="store_true", help="return at once")
    if name == "watch":
        parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="seconds between two (default %(default)s)")
        parser.add_argument("--count", type=int, default=0, help="end after this many frames")
    if name == "status":
        parser.add_argument("--scope", choices=SCOPES, default="run", help="what the counts are about (default: %(default)s)")
    if name != "watch":
        parser.add_argument("--engine", metavar="ID", help="one engine, by its id or its name in its home (default: all)")
        parser.add_argument("--host", metavar="NAME", help="the engines of one host")


def run(name: str, args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        desk.narrow(engine_named(desk, getattr(args, "engine", None)))
        if name == "status":
            return status(desk, args)
        if name == "watch":
            return watch(desk, args)
        return command(desk, name, args)


def status(desk: PostgresDesk, args: argparse.Namespace) -> int:
    """Print the status. Exit status 0 when an engine (of the scope asked for) is running, 1 when none is: then how the last one
    ended, and what is left to do."""
    from gainstage.engine.queue.engines import last_ended

    scope = desk.engine, args.host
    engines = [e for e in desk.engines() if scope[0] in (None, e.id) and scope[1] in (None, e.host)]
    frame = desk.snapshot()
    if not speaking(args):
        from dataclasses import asdict

        ended, counts = last_ended(desk.database), desk.queue.counts()
        document = {"engines": [asdict(e) for e in engines], "snapshot": asdict(frame) if frame else None}
        last = asdict(ended) | {"how": ended.how} if ended else None
        print_json(document | {"queue": asdict(counts), "last_ended": last})
        return 0 if any(e.alive for e in engines) else 1
    if not any(e.alive for e in engines):
        none_runs(last_ended(desk.database), desk.queue.counts(), paths_of(args), desk.now())
        return 1
    print(
        table(
            ["ENGINE", "HOST", "PID", "STATE", "HEARTBEAT", "DOING"],
            [[e.id, e.host, str(e.pid), e.state, f"{e.heartbeat_age_s:.1f} s ago", plain(e.doing)] for e in engines],
            right=(2,),
        )
    )
    if frame:
        print()
        describe(scoped(frame, args.scope))
    return 0


def none_runs(ended: EngineEnd | None, counts: QueueCounts, paths: Paths, now: float) -> None:
    """Print how the last engine ended and what waits for the next."""
    from gainstage.engine.fleet.home import member_names

    print("no engine runs on this database; `gainstage run` or `gainstage engine` starts one")
    if ended is not None:
        ago = roughly(now - ended.at_wall)
        print(f"last engine  {plain(ended.id)} on {plain(ended.host)}, {ago} ago: {ended.how}")
        if ended.state not in ("done", "stopped"):
            if ended.trouble:
                print(f"last trouble  {plain(ended.trouble, 400)}")
            ours = next((p for p in (paths, *map(paths.member, member_names(paths))) if str(p.own) == ended.home), None)
            print(f"see  gainstage logs --engine {plain(ended.id)}" + (f", and {ours.engine_log}" if ours else ""))
    named = [(name, getattr(counts, name)) for name in ("queued", "running", "stored", "failed", "skipped")]
    print("  ".join(f"{name} {number}" for name, number in named) + (f"  retrying {counts.retrying}" if counts.retrying else ""))
    if counts.running:
        print(f"what was running goes back into the queue when an engine starts: {counts.running}")


def describe(frame: Snapshot) -> None:
    """Print the four answers and the stages as plain text."""
    run, verdict = frame.run, frame.verdict
    if frame.scopes:
        print(f"run  {plain(run.source)}" if frame.scope == "run" else frame.scope)
    print(f"{plain(verdict.health)}  {plain(verdict.reason, 400)}".rstrip())
    print(
        f"queued {run.queued}  running {run.running}  stored {run.stored}  failed {run.failed}  skipped {run.skipped}"
        + (f"  {speed:.1f}x real time" if (speed := run.rtfx or run.rtfx_overall) else "")
    )
    print(f"bottleneck  {plain(verdict.bottleneck.text, 400) or '·'}")
    left = verdict.forecast
    if left.left_s is not None:
        print(f"time left  {clock(left.left_s)} ({clock(left.low_s)} to {clock(left.high_s)})")
    if verdict.advice:
        print(f"try  {plain(verdict.advice.text)}  {plain(verdict.advice.expected)}")
    rows = [
        [
            s.name + (" (paused)" if s.paused else ""),
            f"{s.busy}/{s.capacity}",
            str(s.depth),
            _figure(s.service_p50_s),
            _figure(s.service_p95_s),
            "·" if s.busy_share is None else f"{s.busy_share:.2f}",
            str(s.done),
            str(s.failed),
        ]
        for s in frame.stages
    ]
    print()
    print(table(["STAGE", "BUSY", "WAITING", "P50 s", "P95 s", "BUSY SHARE", "DONE", "FAILED"], rows, right=(1, 2, 3, 4, 5, 6, 7)))


def _figure(value: float | None) -> str:
    return "·" if value is None else f"{value:.2f}"


def watch(desk: Desk, args: argparse.Namespace) -> int:
    printed, last = 0, None
    if not alive(desk):
        print("no engine runs on this database yet; waiting for one", file=sys.stderr)
    while not args.count or printed < args.count:
        frame = desk.snapshot()
        if frame is not None and (frame.engine, frame.seq) != last:
            last = (frame.engine, frame.seq)
            print(terminal_json(dumps(frame)), flush=True)
            printed += 1
            if printed == args.count:
                break
        time.sleep(args.every)
    return 0


def acknowledged(desk: Desk, ack: Ack, timeout_s: float = 15.0) -> Ack:
    """Wait until a command has been answered."""
    end = time.monotonic() + timeout_s
    while ack.state == "pending" and time.monotonic() < end:
        time.sleep(0.05)
        ack = desk.ack(ack.id)
    return ack


def command(desk: Desk, name: str, args: argparse.Namespace) -> int:
    if not alive(desk):
        raise DeskError("no engine runs on this database")
    verbs: dict[str, CommandName] = {"pause": "pause", "resume": "resume", "stop": "drain"}
    verb: CommandName = "stop" if name == "stop" and args.now else verbs[name]
    arguments = {}
    if getattr(args, "stage", None):
        verb, arguments = ("pause_stage" if name == "pause" else "resume_stage"), {"stage": args.stage}
    scope = [e.id for e in desk.engines() if e.alive and desk.engine in (None, e.id) and args.host in (None, e.host)]
    if len(scope) > 1 and speaking(args):
        print(f"{name}: {len(scope)} engines{f' of {plain(args.host)}' if args.host else ''}", file=sys.stderr)
    ack = acknowledged(desk, desk.send(Command(verb, arguments, engine=desk.engine, by="cli", host=args.host)))
    if name == "stop" and ack.state == "done" and not args.no_wait:
        while any(e.alive for e in desk.engines() if e.id in scope):
            frame = desk.snapshot()
            if frame and speaking(args) and sys.stderr.isatty():
                print(f"\r{plain(frame.run.state)}: {len(frame.flights)} in flight ", end="", file=sys.stderr)
            time.sleep(0.25)
    if speaking(args):
        print(f"{plain(ack.state)}: {plain(ack.text)}")
    else:
        print_json(ack)
    return 0 if ack.state == "done" else 1

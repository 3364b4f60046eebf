"""``fleet``: start, resize, list and end engines on this machine, on a Ray cluster or on Slurm."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

from gainstage.config.paths import Paths
from gainstage.engine.fleet.launcher import NAMES, FleetPlan, Launched, Launcher, Scaling, resize
from gainstage.engine.fleet.launchers import launcher_of
from gainstage.tui.commands.common import (
    database_url,
    open_desk,
    paths_of,
    place_arguments,
    plain,
    print_json,
    setting_arguments,
    settings_of,
    speaking,
    table,
    without_secrets,
)

VERBS = {
    "up": 'examples:\n  gainstage fleet up --engines 8 --profile workstation\n  gainstage fleet up --launcher ray --engines 2 --most 16 --address head:6379 --database URL\n  gainstage fleet up --launcher slurm --engines 16 --sbatch "-G 1 -t 12:00:00" --database URL',
    "resize": "examples:\n  gainstage fleet resize 4\n  gainstage fleet resize 1 --now",
    "status": "examples:\n  gainstage fleet status\n  gainstage fleet status --json",
    "down": "examples:\n  gainstage fleet down\n  gainstage fleet down --no-wait",
}

EXAMPLES = {
    "fleet": """examples:
  gainstage fleet up --engines 8                                     on this machine, under a supervisor
  gainstage fleet up --launcher ray --engines 2 --most 16 --database postgresql://db/prod   with the length of the queue
  gainstage fleet up --launcher slurm --engines 16 --sbatch "-G 1 -p gpu -t 12:00:00" --database postgresql://db/prod
  gainstage fleet resize 4          drain all but four
  gainstage fleet status
  gainstage fleet down              finish what is in flight, then end""",
}


OF_RAY = ("address", "num_gpus", "num_cpus", "most")
"""Options of ``up`` that a Ray cluster takes."""


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    helps = {
        "up": "start engines",
        "resize": "have so many engines",
        "status": "list the engines as the launcher and the database know them",
        "down": "drain all",
    }
    for action, text in helps.items():
        sub = actions.add_parser(
            action, help=text, description=text, epilog=VERBS[action], formatter_class=argparse.RawDescriptionHelpFormatter
        )
        place_arguments(sub)
        setting_arguments(sub)
        if action == "up":
            sub.add_argument("--engines", type=int, default=1, metavar="N", help="how many (default %(default)s)")
            sub.add_argument("--launcher", choices=NAMES, default="local", help="what places them (default %(default)s)")
            sub.add_argument("--sbatch", metavar="OPTIONS", help="slurm: options of sbatch (default --gpus=1)")
            sub.add_argument("--address", metavar="HOST:PORT", help="ray: the cluster (default: that of this machine)")
            sub.add_argument("--num-gpus", type=float, metavar="N", help="ray: GPUs of an engine, 0 for none (default 1)")
            sub.add_argument("--num-cpus", type=float, metavar="N", help="ray: processor cores of an engine")
            sub.add_argument("--most", type=int, metavar="N", help="ray: follow the length of the queue, up to so many engines")
            sub.add_argument("--until-empty", action="store_true", help="end when the queue is empty")
            sub.add_argument("--simulated", action="store_true", help=argparse.SUPPRESS)
        if action == "resize":
            sub.add_argument("count", type=int, metavar="N", help="how many engines there are to be")
        if action in ("resize", "down"):
            sub.add_argument("--now", action="store_true", help="do not wait: what is in flight goes back into the queue")
            sub.add_argument("--no-wait", action="store_true", help="return at once")


def run(name: str, args: argparse.Namespace) -> int:
    paths = paths_of(args)
    if args.action == "up":
        paths.ensure()
        plan = plan_of(args)
        launcher = launcher_of(plan, paths)
        plan.save(paths)
        ended = sized(launcher, args.engines, args)
        if isinstance(launcher, Scaling):
            launcher.scale(args.engines) if args.most else launcher.unscale()
        return ended
    launcher = launcher_of(FleetPlan.load(paths), paths)
    if args.action == "status":
        return status(launcher, paths, args)
    if isinstance(launcher, Scaling):
        launcher.unscale()
    return sized(launcher, args.count if args.action == "resize" else 0, args)


def plan_of(args: argparse.Namespace) -> FleetPlan:
    """What every engine of this command line is started with; secrets stay out of it."""
    from gainstage.config.errors import SettingError

    profile = args.profile
    if profile and profile.endswith(".toml"):
        profile = str(Path(profile).absolute())
    words = [f"--profile={profile}"] if profile else []
    pairs, secrets = without_secrets(args.set)
    if secrets:
        raise SettingError("secrets are not kept for a fleet: put them into the settings file of the home, or set them live")
    words += [f"--set={pair}" for pair in pairs]
    words += ["--until-empty"] * args.until_empty + ["--simulated"] * args.simulated
    given = {name: getattr(args, name) for name in ("sbatch", *OF_RAY) if getattr(args, name) is not None}
    if foreign := [name for name in given if (name in OF_RAY) != (args.launcher == "ray") or args.launcher == "local"]:
        option = foreign[0].replace("_", "-")
        raise SettingError(f"--{option} is for --launcher {'ray' if foreign[0] in OF_RAY else 'slurm'}")
    if args.most is not None and args.most < max(1, args.engines):
        raise SettingError(f"--most {args.most}: write a number from {max(1, args.engines)} on, the number of --engines")
    options = {name: str(value) for name, value in given.items()}
    return FleetPlan(args.launcher, tuple(words), database_url(args, settings_of(args)), options)


def sized(launcher: Launcher, count: int, args: argparse.Namespace) -> int:
    """Bring the fleet to ``count`` engines; those that go are waited for."""
    from gainstage.config.errors import SettingError

    if not 0 <= count <= 10_000:
        raise SettingError(f"{count} engines: write a number from 0 to 10000")
    before, after = resize(launcher, count, now=getattr(args, "now", False))
    if after < before and not args.no_wait:
        while len(launcher.list()) > after:
            time.sleep(0.5)
    if speaking(args):
        print(f"{before} → {after} engines")
    else:
        print_json({"before": before, "after": after, "engines": [asdict(e) for e in launcher.list()]})
    return 0


def status(launcher: Launcher, paths: Paths, args: argparse.Namespace) -> int:
    """The launcher's list beside the database's. Exit status 0 when every engine of the launcher is known to the database."""
    placed = launcher.list()
    with open_desk(args) as desk:
        frame = desk.snapshot()
        rows = [row for row in desk.fleet() if row.alive]
    if not speaking(args):
        print_json({"placed": [asdict(e) for e in placed], "engines": [asdict(r) for r in rows]})
    else:
        print(
            table(["PLACED", "STATE", "WHERE"], [[e.name, e.state, e.where] for e in placed]) if placed else "no engine is placed"
        )
        if rows:
            print()
            cells = [
                [
                    r.engine,
                    r.host,
                    r.card or "",
                    r.state,
                    f"{r.rtfx:.0f}x" if r.rtfx else "·",
                    str(r.in_flight or 0),
                    r.waiting_for or "",
                ]
                for r in rows
            ]
            print(table(["ENGINE", "HOST", "CARD", "STATE", "RATE", "IN FLIGHT", "WAITS FOR"], cells, right=(4, 5)))
        if frame is not None:
            print(f"\n{plain(frame.verdict.health)}  {plain(frame.verdict.reason, 400)}")
        if silent := unknown(placed, [r.engine for r in rows]):
            print(f"placed, but not signed on yet: {plain(', '.join(silent), 2000)}", file=sys.stderr)
    return 1 if unknown(placed, [r.engine for r in rows]) else 0


def unknown(placed: tuple[Launched, ...], engines: list[str]) -> list[str]:
    """Engines that a launcher has placed and the database does not know as living."""
    return [e.name for e in placed if not any(f"-{e.name}-" in engine for engine in engines)]

"""``experiment``, ``experiments``: what a change of settings does to the same recordings, measured beside the running system."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import (
    alive,
    open_desk,
    paths_of,
    place_arguments,
    plain,
    print_json,
    settings_of,
    speaking,
    table,
)

if TYPE_CHECKING:
    from gainstage.engine.desk.postgres import PostgresDesk
    from gainstage.engine.experiment.trial import ExperimentSpec
    from gainstage.engine.queue.experiments import ExperimentRow

VERBS = {
    "list": "examples:\n  gainstage experiments list\n  gainstage experiments list --json",
    "show": "examples:\n  gainstage experiments show 3\n  gainstage experiments show 3 --json",
    "compare": "examples:\n  gainstage experiments compare 3 12       is it still as it was a month ago?",
}

EXAMPLES = {
    "experiment": """examples:
  gainstage experiment --sample 5 --newest-first --set asr.batch=8
  gainstage experiment dQw4 --set asr.batch=8 --set workers.transcribe=2 --repeat 5
  gainstage experiment --set asr.model=small --truth truth/*.stm
  gainstage experiment --against 12            what is set now, against revision 12
  gainstage experiment --again 3               the same once more

The recordings are taken apart again by engines of their own, in a database of their own that is removed: nothing that is stored
changes. Only audio on this machine is used: files, and what store.keep_audio kept. Each side runs once in each repetition, in
turn; with several --set each is also tried alone. Ctrl-C keeps what was measured.""",
    "experiments": """examples:
  gainstage experiments list
  gainstage experiments show 3
  gainstage experiments compare 3 12""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "experiments":
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        helps = {"list": "the newest experiments with their verdicts", "show": "one experiment", "compare": "two, figure by figure"}
        for action, text in helps.items():
            sub = actions.add_parser(
                action, help=text, description=text, epilog=VERBS[action], formatter_class=argparse.RawDescriptionHelpFormatter
            )
            place_arguments(sub)
            if action != "list":
                sub.add_argument("number", type=int, metavar="N", help="the number of the experiment")
            if action == "compare":
                sub.add_argument("other", type=int, metavar="M", help="the number of a later one")
        return
    place_arguments(parser)
    parser.add_argument(
        "--profile", metavar="NAME|FILE", help="the profile that the system runs with (demo, workstation, cpu, a .toml file)"
    )
    parser.add_argument("ids", metavar="ID", nargs="*", help="stored recordings, by id or its start (default: a sample)")
    parser.add_argument("--sample", type=_positive, default=5, metavar="N", help="so many stored recordings (default %(default)s)")
    parser.add_argument("--newest-first", action="store_true", help="the newest ones (default: evenly over their lengths)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="the change to try; repeatable")
    parser.add_argument("--against", default="current", metavar="SIDE", help="current, a revision, or a profile (default current)")
    parser.add_argument("--repeat", type=_positive, default=3, metavar="N", help="repetitions (default %(default)s)")
    parser.add_argument(
        "--truth", type=Path, nargs="+", default=[], metavar="FILE", help="references named after recordings: id, title or file"
    )
    parser.add_argument("--again", type=int, metavar="N", help="repeat an earlier experiment")
    parser.add_argument("--simulated", action="store_true", help=argparse.SUPPRESS)


def _positive(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100")
    return int(text)


def run(name: str, args: argparse.Namespace) -> int:
    return {"experiment": experiment, "experiments": kept}[name](args)


def experiment(args: argparse.Namespace) -> int:
    from gainstage.engine.evaluation.references import load_reference
    from gainstage.engine.experiment.trial import run as run_trial
    from gainstage.engine.queue.experiments import find, list_experiments
    from gainstage.tui.commands.score import references_of

    if not args.set and args.against == "current" and args.again is None:
        raise DeskError("nothing differs: name a change with --set, or another side with --against")
    talks = [(path, talk) for path in args.truth for talk in load_reference(path)]
    sets, args.set = args.set, []
    with open_desk(args, settings_of(args)) as desk:
        spec = _spec(args, desk, sets)
        truth = [replace(talk, name=id) for id, talk in references_of(desk.store, talks, spec.recordings).items()]
        if talks and not truth:
            raise DeskError("none of these references is named after a recording of the experiment: its id, title or file")
        if alive(desk) and speaking(args):
            print("an engine works beside it: times are less sure", file=sys.stderr)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupted)
        try:
            outcome = run_trial(spec, desk, paths_of(args), _reporter(args), truth, simulated=args.simulated)
        except KeyboardInterrupt:
            newest = list_experiments(desk.database, 1)
            if newest and speaking(args):
                print(f"\nwhat was measured is kept: gainstage experiments show {newest[0].id}", file=sys.stderr)
            raise
        finally:
            if speaking(args) and sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        row = find(desk.database, outcome.id)
    show(row, args)
    return 0


def _interrupted(number: int, frame: object) -> None:
    """A signal that ends the program ends the experiment as Ctrl-C does: its engine and its database go, what was measured is kept."""
    raise KeyboardInterrupt


def _spec(args: argparse.Namespace, desk: PostgresDesk, sets: list[str]) -> ExperimentSpec:
    from gainstage.engine.experiment.trial import ExperimentSpec, sample, sides_of
    from gainstage.engine.queue.experiments import find

    if args.again is not None:
        return ExperimentSpec.of(find(desk.database, args.again).spec)
    for text in sets:
        if "=" not in text:
            raise DeskError(f"--set {text!r}: write KEY=VALUE")
    sides_of(ExperimentSpec((), tuple(sets), args.against), desk)  # a wrong setting is refused before anything else
    ids = tuple(desk.store.find(i) for i in args.ids) or sample(
        desk, paths_of(args).audio, args.sample, newest=args.newest_first, simulated=args.simulated
    )
    return ExperimentSpec(ids, tuple(sets), args.against, args.repeat)


def _reporter(args: argparse.Namespace) -> Any:
    """Progress on stderr: in place on a terminal, else a line for each change."""
    last = ""

    def report(text: str) -> None:
        nonlocal last
        if not speaking(args) or text == last:
            return
        last = text
        if sys.stderr.isatty():
            print(f"\r{plain(text)}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(plain(text), file=sys.stderr, flush=True)

    return report


def kept(args: argparse.Namespace) -> int:
    from gainstage.engine.queue.experiments import find, list_experiments

    with open_desk(args) as desk:
        if args.action == "list":
            return list_all(list_experiments(desk.database), args)
        first = find(desk.database, args.number)
        if args.action == "show":
            show(first, args)
            return 0
        return compare(first, find(desk.database, args.other), args)


def list_all(rows: tuple[ExperimentRow, ...], args: argparse.Namespace) -> int:
    if not speaking(args):
        print_json([asdict(row) for row in rows])
        return 0
    if not rows:
        print("no experiment was made yet; `gainstage experiment --set KEY=VALUE` makes one")
        return 0
    cells = [
        [str(r.id), time.strftime("%Y-%m-%d %H:%M", time.localtime(r.wall)), r.state, r.what, plain(r.verdict, 100)] for r in rows
    ]
    print(table(["NR", "WHEN", "STATE", "WHAT", "VERDICT"], cells, right=(0,)))
    return 0


def show(row: ExperimentRow, args: argparse.Namespace) -> None:
    """The table of an experiment and its verdict."""
    from gainstage.engine.evaluation.experiments import BASE

    if not speaking(args):
        print_json(asdict(row))
        return
    print(f"experiment {row.id}, {row.state}: {row.what}")
    for side in row.conclusion or ():
        print(f"\nbefore → {plain(side['side'])}   (seconds for each second of audio)")
        print(
            table(
                ["", "BEFORE", "AFTER", "CHANGE", "95 %", "PAIRS", ""], [_cells(c) for c in side["changes"]], right=(1, 2, 3, 4, 5)
            )
        )
        print(
            f"failed {side['failed'][0]} → {side['failed'][1]}   memory {_both(side['rss_peak'])}   GPU {_both(side['gpu_peak'])}"
        )
        different = side["differences"]
        if different["of_words"]:
            print(f"words that differ {different['words']:.0f} of {different['of_words']:.0f}")
        if different["speech_s"]:
            print(f"seconds with another speaker {different['moved_s']:.1f} of {different['speech_s']:.1f}")
        for name, rates in sorted(different["against_truth"].items(), key=lambda pair: pair[0] != BASE):
            print(
                f"against the truth, {name}: " + ", ".join(f"{key} {rate:.1%}" for key, rate in rates.items() if rate is not None)
            )
    print(f"\n{plain(row.verdict.replace(chr(10), '. '), 1500) or 'nothing was measured'}")


def _cells(c: dict[str, Any]) -> list[str]:
    change = "·" if c["change"] is None else f"{c['change']:+.1%}"
    between = "·" if c["low"] is None else f"{c['low']:+.1%} to {c['high']:+.1%}"
    sure = "" if c["certain"] else "too few pairs" if c["change"] is None else "cannot be told from noise"
    pairs = f"{c['pairs']} of {of}" if (of := c.get("recordings")) and of != c["pairs"] else str(c["pairs"])
    return [c["what"], f"{c['before']:.4f}", f"{c['after']:.4f}", change, between, pairs, sure]


def _both(sizes: list[int | None]) -> str:
    from gainstage.tui.render import format as fmt

    return " → ".join("·" if not size else fmt.size(size) for size in sizes)


def compare(first: ExperimentRow, second: ExperimentRow, args: argparse.Namespace) -> int:
    """Two experiments, side by side: the change each found, and whether their intervals meet."""
    rows: list[dict[str, Any]] = []
    for side in first.conclusion or ():
        other = next((s for s in second.conclusion or () if s["side"] == side["side"]), None)
        later = {c["what"]: c for c in (other or {}).get("changes", ())}
        for c in side["changes"]:
            if (d := later.get(c["what"])) is not None:
                known = None not in (c["low"], d["low"])
                meet = known and c["low"] <= d["high"] and d["low"] <= c["high"]
                rows.append({"side": side["side"], "what": c["what"], "first": c, "second": d, "agree": meet if known else None})
    if not rows:
        raise DeskError(f"experiments {first.id} and {second.id} have no side in common")
    same = all(first.spec[key] == second.spec[key] for key in ("recordings", "sets", "against"))
    if not speaking(args):
        print_json({"first": first.id, "second": second.id, "same_spec": same, "figures": rows})
        return 0
    if not same:
        print("they did not try the same on the same recordings")
    print(f"{first.id}: {first.what}\n{second.id}: {second.what}")
    cells = [
        [
            r["side"],
            r["what"],
            *_cells(r["first"])[3:5],
            *_cells(r["second"])[3:5],
            {True: "agree", False: "differ", None: "·"}[r["agree"]],
        ]
        for r in rows
    ]
    print(table(["SIDE", "WHAT", f"NR {first.id}", "95 %", f"NR {second.id}", "95 %", ""], cells, right=(2, 3, 4, 5)))
    return 0

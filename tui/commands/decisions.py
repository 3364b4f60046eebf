"""``decisions``: the decision about each cluster, its reason, and what other limits would change."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Any

from gainstage.engine.clean import counted
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.judged import Judged
from gainstage.engine.views.rows import WhatIf
from gainstage.tui.commands.common import (
    clock,
    open_desk,
    place_arguments,
    plain,
    print_json,
    setting_arguments,
    settings_of,
    speaking,
    table,
)
from gainstage.tui.render import judged

EXAMPLES = {
    "decisions": """examples:
  gainstage decisions                          the latest clusters
  gainstage decisions dQw4                     one recording, explained
  gainstage decisions --what-if identify.range_limit=0.4 --last 500
  gainstage decisions --what-if identify.split_threshold=0.6 --apply
  gainstage decisions --undo-apply 14          take back what revision 14 rewrote""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    setting_arguments(parser)
    parser.add_argument("id", nargs="?", metavar="ID", help="one recording, by id or its start")
    parser.add_argument("--last", type=_positive, default=500, metavar="N", help="how many decisions to look at (default: 500)")
    parser.add_argument(
        "--what-if", action="append", default=[], metavar="KEY=VALUE", help="try a limit on what is stored; repeatable"
    )
    parser.add_argument("--apply", action="store_true", help="with --what-if: rewrite the labels, undoable")
    parser.add_argument("--undo-apply", type=int, metavar="REVISION", help="take back the labels a revision rewrote")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def run(name: str, args: argparse.Namespace) -> int:
    with open_desk(args, settings_of(args)) as desk:
        if args.undo_apply is not None:
            from gainstage.engine.voices.relabel import undo

            return _undone(args, undo(desk.store, args.undo_apply))
        if args.what_if:
            if args.id:
                raise DeskError("--what-if looks at the --last N decisions of all recordings; leave the ID away")
            changes = dict(_pair(text) for text in args.what_if)
            if args.apply:
                return apply(args, desk, changes)
            difference = desk.what_if(changes, args.last)
            return print_what_if(args, difference)
        if args.apply:
            raise DeskError("--apply goes with --what-if KEY=VALUE")
        return show(args, desk)


def _pair(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    try:
        return key.strip(), float(value)
    except ValueError:
        raise DeskError(f"--what-if {text}: write KEY=NUMBER, as in identify.range_limit=0.4") from None


def show(args: argparse.Namespace, desk: Any) -> int:
    recording = desk.store.find(args.id) if args.id else None
    stored = desk.store.decisions(recording=recording, limit=None if recording else args.last)
    if not speaking(args):
        print_json(list(stored))
        return 0
    if not stored:
        print("no decisions yet: the first comes with the first recording")
        return 0
    if recording:
        for item in stored:
            explain(item.decision)
        return 0
    rows = []
    for row in desk.decisions(args.last):
        speakers = ", ".join(f"{plain(name, 20)} {clock(seconds)}" for name, seconds in row.speakers)
        rows.append(
            [
                time.strftime("%m-%d %H:%M:%S", time.localtime(row.wall)),
                row.recording,
                plain(row.cluster, 12),
                str(row.turns),
                clock(row.seconds),
                _n(row.mean),
                judged.variance(Judged.of(row, None)),
                judged.range_of(Judged.of(row, None)),
                "split" if row.split else "keep",
                row.rule,
                speakers,
            ]
        )
    head = ["WHEN", "RECORDING", "CLUSTER", "TURNS", "SPEECH", "MEAN", "VAR", "RANGE", "DECISION", "RULE", "SPEAKERS"]
    print(table(head, rows, right=(3, 4, 5, 6, 7)))
    return 0


def explain(d: Any) -> None:
    """Print one decision in words, with every number it was made from."""
    print(f"cluster {plain(d.cluster, 20)}: {d.turns} turns, {clock(d.seconds)} of speech, decided under revision {d.revision}")
    print(f"  {plain(d.why, 600)}")
    if d.similarities:
        print(f"  similarities to {d.reference}: " + " ".join(f"{s:.2f}" for s in sorted(d.similarities)))
        print(
            f"  mean {_n(d.mean)}  variance {_n(d.variance, 3)}  range {_n(d.spread)}  two-mode gap {_n(d.bimodality)}  rule: {d.rule}"
        )
        if d.variance_spreads is not None:
            print(f"  in one voice's own deviation: variance {_n(d.variance_spreads, 1)}×  range {_n(d.range_spreads, 1)}σ")
    if d.scores:
        print("  compared with " + ", ".join(f"{plain(s.name, 30)} {s.score:.2f} (needs {s.threshold:.2f})" for s in d.scores[:6]))
    print("  limits " + ", ".join(f"{key.removeprefix('identify.')} {value:g}" for key, value in d.limits.items()))
    print(
        "  speakers " + ", ".join(f"{plain(n, 30)} {clock(s)}" for n, s in d.seconds_by_speaker.items()) + f"  ({d.provenance})\n"
    )


def _n(value: float | None, digits: int = 2) -> str:
    return "·" if value is None else f"{value:.{digits}f}"


def print_what_if(args: argparse.Namespace, w: WhatIf) -> int:
    if not speaking(args):
        print_json(w)
        return 0
    changes = ", ".join(f"{k} = {v:g}" for k, v in w.changes.items())
    print(
        f"{changes}: split {w.split_before} → {w.split_after} of {w.clusters} clusters, {clock(w.seconds_moved)} of speech change hands"
    )
    print(f"in {w.recordings} recordings, replayed in {1000 * w.took_s:.0f} ms without any model; nothing was changed")
    rows = [
        [f.recording, plain(f.title, 36), plain(f.cluster, 12), plain(f.before, 40), plain(f.after, 60), clock(f.seconds)]
        for f in w.flips
    ]
    if rows:
        print("\n" + table(["RECORDING", "TITLE", "CLUSTER", "NOW", "THEN", "MOVES"], rows, right=(5,)))
    return 0


def apply(args: argparse.Namespace, desk: Any, changes: dict[str, float]) -> int:
    """Make the limits the live settings and relabel the stored recordings, under one revision."""
    from gainstage.engine.views.commands import Command
    from gainstage.engine.voices.relabel import apply as rewrite
    from gainstage.engine.voices.replay import checked_changes

    checked_changes(changes)
    revision = before = max((c.revision for c in desk.changes(100)), default=0)
    for key, value in changes.items():
        ack = desk.send(Command("set", {"key": key, "value": value}, by="cli what-if"))
        if ack.state == "refused":
            raise DeskError(ack.text)
        revision = ack.revision or revision
    done = rewrite(desk.store, changes, revision, args.last)
    if not speaking(args):
        print_json({"revision": revision, **asdict(done)})
        return 0
    print(
        f"revision {revision}: decisions of {counted(len(done.recordings), 'recording')} rewritten, "
        f"another label on {counted(done.segments, 'segment')}"
        + (f"; {done.mixed} of them with two people in it (gainstage run --force cuts them anew)" if done.mixed else "")
    )
    if done.recordings:
        print(f"gainstage decisions --undo-apply {revision} takes the labels back")
    print(f"gainstage undo --to {before} takes the settings back")
    return 0


def _undone(args: argparse.Namespace, recordings: tuple[str, ...]) -> int:
    if not speaking(args):
        print_json({"recordings": list(recordings)})
    elif recordings:
        print(f"labels of {counted(len(recordings), 'recording')} are back; the settings are as they were applied")
    else:
        print(f"no labels to take back: revision {args.undo_apply} rewrote none that were not rewritten again since")
    return 0 if recordings else 1

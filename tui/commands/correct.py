"""``correct``: who really speaks at a place, and everything that is alike."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

from gainstage.engine.clean import counted
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionDiff
from gainstage.tui.commands.common import clock, open_desk, place_arguments, plain, print_json, settings_of, speaking, table
from gainstage.tui.render.format import seconds_of
from gainstage.tui.state.author import author

MOST_MOVES = 40

EXAMPLES = {
    "correct": """examples:
  gainstage correct dQw4 --at 12:30 --speaker Ada            this turn is Ada's; what is alike is shown
  gainstage correct dQw4 --at 12:30 --speaker Ada --apply    and renamed too
  gainstage correct dQw4 --at 12:30 --speaker Ada --dry-run  only shown, nothing written
  gainstage correct dQw4 --at 12:30 --speaker Zoe --new      somebody not enrolled yet
  gainstage correct dQw4 --at 12:30 --nobody                 none of the people enrolled
  gainstage correct dQw4 --at 12:30 --split --speaker Ada    another turn begins here, and it is Ada's
  gainstage correct dQw4 --of "Speaker 2" --speaker Ada      all of one speaker; merges two of a recording
  gainstage correct --undo                                   take the last correction back, with its likes
  gainstage correct --list                                   who corrected what, and when""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    parser.add_argument("id", nargs="?", metavar="ID", help="id of a recording, or its start")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--at", type=seconds, metavar="TIME", help="the turn at this time: 12:30, 1:02:44 or seconds")
    where.add_argument("--of", metavar="NAME", help="every passage of this speaker of the recording")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--speaker", metavar="NAME", help="who it is: a person enrolled, or a speaker of the recording")
    who.add_argument("--nobody", action="store_true", help="it is none of the people enrolled")
    parser.add_argument("--new", action="store_true", help="with --speaker: enrol this person by this voice")
    parser.add_argument("--split", action="store_true", help="with --at: another turn begins here")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--apply", action="store_true", help="rename what is alike too, here and in every recording")
    how.add_argument("--dry-run", action="store_true", help="only show what would change")
    how.add_argument("--undo", nargs="?", type=int, const=0, metavar="N", help="take back correction N, or the last one")
    how.add_argument("--list", action="store_true", help="corrections, the newest first")
    parser.add_argument("--by", metavar="NAME", help="who says so (default: your user name)")


def seconds(text: str) -> float:
    """A time of a recording in seconds: ``12:30``, ``1:02:44.5`` or ``750``."""
    total = seconds_of(text)
    if total is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 12:30, 1:02:44 or seconds")
    return total


def run(name: str, args: argparse.Namespace) -> int:
    if not (args.undo is not None or args.list) and not args.id:
        raise DeskError("name the recording: gainstage correct ID --at 12:30 --speaker NAME")
    with open_desk(args, settings_of(args)) as desk:
        if args.list:
            return listed(args, desk.store, desk.store.find(args.id) if args.id else None)
        if args.undo is not None:
            return undone(args, desk.undo_correction(args.undo or None, by=args.by or author()))
        ask = CorrectionAsk(
            recording=desk.store.find(args.id),
            at=args.at,
            of=args.of,
            speaker=args.speaker,
            new=args.new,
            nobody=args.nobody,
            split=args.split,
        )
        diff = desk.preview_correction(ask) if args.dry_run else desk.correct(ask, likes=args.apply, by=args.by or author())
    if not speaking(args):
        print_json(diff)
        return 0
    shown(diff)
    return 0


def shown(diff: CorrectionDiff) -> None:
    """Print a correction and what is alike."""
    place = f"{clock(diff.start)} to {clock(diff.end)} of {plain(diff.title or diff.recording, 60)}"
    state = "would be" if diff.id is None else f"correction {diff.id}:"
    if diff.passages:
        print(f"{state} {plain(diff.was, 40)} → {plain(diff.speaker, 40)}, {place}, {counted(diff.passages, 'passage')}")
    else:
        print(f"{state} a turn of {plain(diff.was, 40)} that begins at {clock(diff.start)}, {place}")
    print(f"  “{plain(diff.text, 160)}”")
    if diff.note:
        print(plain(diff.note, 300))
    if diff.moves:
        rows = [
            [m.recording, plain(m.title, 40), plain(m.before, 30), plain(m.after, 30), clock(m.seconds), str(m.passages)]
            for m in diff.moves[:MOST_MOVES]
        ]
        print("\n" + table(["RECORDING", "TITLE", "NOW", "THEN", "MOVES", "PASSAGES"], rows, right=(4, 5)))
        if len(diff.moves) > MOST_MOVES:
            print(f"and {len(diff.moves) - MOST_MOVES} more; --json has all")
    what = f"{clock(diff.seconds_moved)} of speech in {counted(diff.recordings, 'recording')}"
    took = f"decided again in {1000 * diff.took_s:.0f} ms without a model"
    if diff.moves and diff.applied:
        print(f"alike, and renamed: {what}, {took}")
    elif diff.moves:
        print(f"alike, not renamed: {what}, {took}; the same command with --apply renames it")
    elif not diff.note and diff.passages:
        print(f"nothing else is alike, {took}")
    if diff.id is not None:
        print(f"gainstage correct --undo {diff.id} takes it back")


def listed(args: argparse.Namespace, store: object, recording: str | None) -> int:
    from gainstage.engine.store.recordings import RecordingStore
    from gainstage.engine.voices.correct import history

    assert isinstance(store, RecordingStore)
    rows = history(store, 200, recording)
    if not speaking(args):
        print_json(list(rows))
        return 0
    if not rows:
        print("no corrections yet: gainstage correct ID --at TIME --speaker NAME")
        return 0
    cells = [
        [
            str(c.id),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(c.wall)),
            plain(c.by, 20),
            str(c.revision),
            c.recording,
            clock(c.start),
            f"{plain(c.was, 24)} → {plain(c.speaker, 24)}" if c.kind != "split" else f"split of {plain(c.was, 24)}",
            f"{clock(c.effect.get('seconds', 0.0))} in {counted(int(c.effect.get('recordings', 0)), 'recording')}",
            "undone" if c.undone else "",
        ]
        for c in rows
    ]
    print(table(["N", "WHEN", "BY", "REVISION", "RECORDING", "AT", "WHAT", "ALIKE", ""], cells, right=(0, 3, 5)))
    return 0


def undone(args: argparse.Namespace, what: object) -> int:
    from gainstage.engine.views.corrections import CorrectionUndone

    assert isinstance(what, CorrectionUndone)
    if not speaking(args):
        print_json(asdict(what))
        return 0
    where = counted(len(what.recordings), "recording")
    print(f"correction {what.id} is taken back: {plain(what.speaker, 40)} → {plain(what.was, 40)} in {where}")
    return 0

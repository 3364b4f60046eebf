"""``set``, ``settings``, ``undo``: live settings."""

from __future__ import annotations

import argparse
import sys
import time

from gainstage.config.origins import Loaded, parse, spec_of
from gainstage.engine.views.commands import Ack, Command
from gainstage.engine.views.rows import SettingRow
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
)
from gainstage.tui.commands.control import acknowledged
from gainstage.tui.state.setting_scope import scope_of

EXAMPLES = {
    "set": "examples:\n  gainstage set workers.transcribe 4\n  gainstage set identify.range_limit 0.4 --json\n  gainstage set diarization.max_speakers none\n  gainstage set workers.transcribe=4 --host gpu-07",
    "settings": "examples:\n  gainstage settings\n  gainstage settings --changed\n  gainstage settings --history",
    "undo": "examples:\n  gainstage undo\n  gainstage undo --to 12      back to how it was at revision 12",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    parser.set_defaults(wrong_usage=parser.error)
    if name == "set":
        parser.add_argument("key", metavar="KEY", help="the setting, as `gainstage settings` lists it")
        parser.add_argument(
            "value",
            metavar="VALUE",
            nargs="?",
            help="its new value; on or off for a switch, none for no value, - to read it from standard input (a secret, off `ps`)",
        )
        parser.add_argument("--host", metavar="NAME", help="for the engines of this host only")
        parser.add_argument("--engine", metavar="ID", help="for one engine that has a name in its home")
    elif name == "settings":
        setting_arguments(parser)
        parser.add_argument("--changed", action="store_true", help="only what differs from its default")
        parser.add_argument("--history", action="store_true", help="every change, with its measured effect")
    else:
        parser.add_argument("--to", type=int, metavar="REVISION", help="undo everything after this revision")


def run(name: str, args: argparse.Namespace) -> int:
    if name == "set":
        if args.value is None:
            args.key, equals, args.value = args.key.partition("=")
            if not equals:
                args.wrong_usage(f"write {args.key} VALUE or {args.key}=VALUE")
        spec_of(args.key)  # an unknown key is refused, with the nearest one named, before anything is opened
    loaded = settings_of(args)
    if name == "settings" and not args.history and (rows := _without_database(args, loaded)) is not None:
        return show_rows(rows, args)
    with open_desk(args, loaded, make=name == "set") as desk:
        if name == "settings":
            return show(desk, args)
        if name == "set":
            value = parse(args.key, sys.stdin.readline().rstrip("\n") if args.value == "-" else args.value)
            args.key += scope_of(desk, args.host, args.engine)
            ack = desk.send(Command("set", {"key": args.key, "value": value}, by="cli"))
        elif args.to is not None:
            ack = desk.send(Command("undo_to", {"revision": args.to}, by="cli"))
        else:
            ack = desk.send(Command("undo", {}, by="cli"))
        ack = acknowledged(desk, ack)
        if name != "set":  # the revision identifies the key that an undo touched last
            args.key = next((c.key for c in desk.changes(20) if c.revision == ack.revision), None)
    return report(args, ack)


def report(args: argparse.Namespace, ack: Ack) -> int:
    """Print the acknowledgement; as JSON with ``state`` and ``text`` when it is not simply done."""
    if not speaking(args):
        answer = {
            "key": args.key,
            "old": ack.old,
            "new": ack.new,
            "revision": ack.revision,
            "effect": ack.effect,
            "applied_after_s": ack.applied_after_s,
        }
        print_json(answer if ack.state == "done" else answer | {"state": ack.state, "text": ack.text})
    else:
        after = f" after {ack.applied_after_s:.2f} s" if ack.applied_after_s is not None else ""
        change = f"{args.key} {plain(ack.old)} → {plain(ack.new)}" if ack.revision is not None else ""
        print(f"{ack.state}{after}: {'. '.join(part for part in (change, plain(ack.text)) if part)}")
    return 0 if ack.state in ("done", "pending") else 1


def show(desk: object, args: argparse.Namespace) -> int:
    if args.history:
        changes = desk.changes()  # type: ignore[attr-defined]
        if not speaking(args):
            print_json(changes)
            return 0
        rows = [
            [
                str(c.revision),
                time.strftime("%m-%d %H:%M:%S", time.localtime(c.wall)),
                plain(c.by, 20),
                c.key,
                f"{c.old} → {c.new}",
                c.state,
                plain(c.effect_text or c.text or "", 90),
            ]
            for c in changes
        ]
        print(table(["REV", "WHEN", "WHO", "SETTING", "CHANGE", "STATE", "EFFECT"], rows, right=(0,)) if rows else "no changes yet")
        return 0
    return show_rows(desk.settings(), args)  # type: ignore[attr-defined]


def _without_database(args: argparse.Namespace, loaded: Loaded) -> tuple[SettingRow, ...] | None:
    """The settings of a home in which nothing has run yet: there are no live ones. None where there is a database to ask."""
    from gainstage.config.origins import shown_with_origins
    from gainstage.engine.queue.setting_rows import setting_rows

    if database_url(args, loaded) or paths_of(args).database.is_dir():
        return None
    return setting_rows(shown_with_origins(loaded), {})


def show_rows(settings: tuple[SettingRow, ...], args: argparse.Namespace) -> int:
    if args.changed:
        settings = tuple(s for s in settings if s.value != s.default)
    if not speaking(args):
        print_json(list(settings))
        return 0
    rows = [[s.key, plain(s.value, 50), s.unit, plain(s.origin, 40), s.effect, plain(s.help, 90)] for s in settings]
    print(table(["SETTING", "VALUE", "UNIT", "ORIGIN", "EFFECT", "WHAT IT DOES"], rows))
    return 0

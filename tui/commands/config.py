"""``config show|validate|schema``: the settings layers, before anything runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from gainstage.config.origins import effective, load, markdown_table, schema
from gainstage.tui.commands.common import paths_of, plain, print_json, setting_arguments, settings_of, speaking, table

EXAMPLES = {
    "config": """examples:
  gainstage config show --profile workstation      values with their origin
  gainstage config validate my.toml                says which line is wrong, and what was meant
  gainstage config schema --markdown               as a table of Markdown""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "what", choices=["show", "validate", "schema"], help="values with their origin, a check of a file, or what there is"
    )
    parser.add_argument("file", nargs="?", type=Path, help="validate: the file to check (default: the user's)")
    parser.add_argument("--home", type=Path, help="the home whose gainstage.toml is read")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", action="store_true", help="schema: as a Markdown table")
    setting_arguments(parser)


def run(name: str, args: argparse.Namespace) -> int:
    if args.what == "schema":
        if args.markdown:
            print(markdown_table())
        elif not speaking(args):
            print_json(schema())
        else:
            rows = [
                [s["key"], s["type"], plain(s["default"], 40), _range(s["low"], s["high"]), s["unit"], s["effect"], s["help"]]
                for s in schema()
            ]
            print(table(["SETTING", "TYPE", "DEFAULT", "RANGE", "UNIT", "EFFECT", "WHAT IT DOES"], rows))
        return 0
    if args.what == "validate":
        path = args.file or paths_of(args).settings_file
        load(profile=args.profile, user_file=path, overrides=dict(p.split("=", 1) for p in args.set))
        if not speaking(args):
            print_json({"file": str(path), "exists": path.exists(), "valid": True})
        else:
            print(f"{path}: valid" if path.exists() else f"{path}: no such file; defaults apply")
        return 0
    loaded = settings_of(args)
    values = effective(loaded)
    if not speaking(args):
        print_json(values)
        return 0
    rows = [[v["key"], plain(v["value"], 60), v["unit"], plain(v["origin"], 50), v["effect"]] for v in values]
    print(table(["SETTING", "VALUE", "UNIT", "ORIGIN", "EFFECT"], rows))
    return 0


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:g} to {high:g}"

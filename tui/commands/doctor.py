"""``doctor``: what is ready, what is missing, and how to fix it."""

from __future__ import annotations

import argparse

from gainstage.tui.commands.common import paths_of, place_arguments, plain, print_json, setting_arguments, settings_of, speaking

EXAMPLES = {"doctor": "examples:\n  gainstage doctor\n  gainstage doctor --profile workstation --json"}
MARKS = {"ok": "✓", "warn": "▲", "fail": "■", "unknown": "·"}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    setting_arguments(parser)


def run(name: str, args: argparse.Namespace) -> int:
    """Print the checks. Exit status 1 when something must be fixed before a run."""
    from gainstage.engine.doctor import checks
    from gainstage.tui.commands.common import database_url

    loaded = settings_of(args)
    results = checks(loaded.settings, paths_of(args), database_url=database_url(args, loaded))
    if not speaking(args):
        print_json(list(results))
    else:
        for check in results:
            print(f"{MARKS[check.state]} {check.name:<18} {plain(check.text, 300)}")
            if check.hint and check.state != "ok":
                print(f"  {'':<18} → {plain(check.hint, 400)}")
    return 1 if any(c.state == "fail" for c in results) else 0

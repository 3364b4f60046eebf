"""``notify``: try the addresses of ``notify.urls``, and list the alerts that were sent."""

from __future__ import annotations

import argparse
import time

from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import (
    open_desk,
    place_arguments,
    plain,
    print_json,
    setting_arguments,
    settings_of,
    speaking,
    table,
)

VERBS = {
    "test": "examples:\n  gainstage notify test\n  GAINSTAGE_NOTIFY__URLS=ntfy://mytopic gainstage notify test --json",
    "sent": "examples:\n  gainstage notify sent\n  gainstage notify sent --limit 5 --json",
}

EXAMPLES = {
    "notify": """examples:
  echo "ntfy://mytopic mailto://user:password@example.org" | gainstage set notify.urls -
  gainstage notify test          send a line to every address now
  gainstage notify sent          what was sent, and what was held back

An engine sends an alert when it stalls, when another engine is lost, when more than notify.failed_share of a run failed, when the
disk is nearly full, and the first lines of its report when a run is done. Each is sent once, by one engine. Addresses are those of
the apprise library: https://appriseit.com/services. They are secrets and shown nowhere."""
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in (("test", "send a line to every address, and say which took it"), ("sent", "the newest alerts")):
        sub = actions.add_parser(
            action, help=text, description=text, epilog=VERBS[action], formatter_class=argparse.RawDescriptionHelpFormatter
        )
        place_arguments(sub)
        if action == "test":
            setting_arguments(sub)
        else:
            sub.add_argument("--limit", type=int, default=20, metavar="N", help="the newest N (default %(default)s)")


def run(name: str, args: argparse.Namespace) -> int:
    return test(args) if args.action == "test" else sent(args)


def test(args: argparse.Namespace) -> int:
    """Send a line to every address. Exit status 1 when one does not take it."""
    from gainstage.engine.notify.sending import send, services
    from gainstage.tui.commands.common import NoSystem

    loaded = settings_of(args)
    urls = loaded.settings.notify.urls
    try:
        with open_desk(args, loaded) as desk:
            urls = desk.in_force().notify.urls
    except NoSystem:
        pass  # tried before anything has run: the settings file and the environment say where
    made = services(urls)
    if not made:
        raise DeskError("notify.urls names no address; `echo ntfy://mytopic | gainstage set notify.urls -` does")
    deliveries = send(made, "gainstage: a test", "Alerts of gainstage reach this address.")
    if not speaking(args):
        print_json(list(deliveries))
    else:
        for delivery in deliveries:
            print(f"{'sent' if delivery.sent else 'failed':<7} {delivery.name}")
    return 0 if all(d.sent for d in deliveries) else 1


def sent(args: argparse.Namespace) -> int:
    from gainstage.engine.queue.alerts import list_alerts

    with open_desk(args) as desk:
        rows = list_alerts(desk.database, args.limit)
    if not speaking(args):
        print_json(list(rows))
        return 0
    if not rows:
        print("no alert was sent yet")
        return 0
    cells = [
        [time.strftime("%m-%d %H:%M:%S", time.localtime(r.wall)), r.state, r.kind, plain(r.title, 60), plain(r.text, 90)]
        for r in rows
    ]
    print(table(["WHEN", "STATE", "WHY", "TITLE", "TEXT"], cells))
    return 0

"""``engine``: run an engine in the foreground."""

from __future__ import annotations

import argparse

from gainstage.engine.process import add_arguments as engine_arguments
from gainstage.engine.process import run as run_engine

EXAMPLES = {
    "engine": """examples:
  gainstage engine --profile workstation
  gainstage engine --database postgresql://db/prod --log-json
  systemd: ExecStart=/usr/bin/gainstage engine --log-json   (SIGTERM drains, a second one stops now)""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    engine_arguments(parser)


def run(name: str, args: argparse.Namespace) -> int:
    return run_engine(args)

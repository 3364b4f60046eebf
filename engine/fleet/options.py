"""The command-line options that say how many engines a machine runs: shorthands for their settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class _Shorthand(argparse.Action):
    """``--gpus all`` is ``--set engines.gpus=all``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), f"{self.const}={values}"])


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--gpus`` and ``--engines`` to a parser that has ``--set``."""
    parser.add_argument(
        "--gpus",
        dest="set",
        action=_Shorthand,
        const="engines.gpus",
        metavar="WHICH",
        help="GPUs that get an engine each: all, 0,2, none, or one engine for all of them (engines.gpus)",
    )
    parser.add_argument(
        "--engines",
        dest="set",
        action=_Shorthand,
        const="engines.count",
        metavar="N",
        help="engines per GPU, or in all without GPUs; they share the processor cores (engines.count)",
    )

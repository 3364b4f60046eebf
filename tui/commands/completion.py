"""``completion``: completion scripts for shells, generated from the options of every command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLES = {
    "completion": """examples:
  gainstage completion bash > ~/.local/share/bash-completion/completions/gainstage
  gainstage completion zsh > ~/.zfunc/_gainstage        with ~/.zfunc on fpath
  gainstage completion fish > ~/.config/fish/completions/gainstage.fish""",
}

SHELLS = ("bash", "zsh", "fish")
FOLDERS = ("home", "output")
"""Arguments that are folders; other paths are files."""


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(name: str, args: argparse.Namespace) -> int:
    print(script(args.shell))
    return 0


def script(shell: str) -> str:
    """The completion script for a shell: commands, options, their choices, paths, names of settings."""
    import shtab

    text: str = shtab.complete(whole_parser(), shell=shell)  # nosec B604
    return text


def whole_parser() -> argparse.ArgumentParser:
    """All commands in one parser, for programs that read it; the command line itself imports only the command that is called."""
    from gainstage.tui.commands.registry import COMMANDS, parser_of

    parser = argparse.ArgumentParser(prog="gainstage", description="who said what, when, searchable")
    commands = parser.add_subparsers()
    for name, entry in COMMANDS.items():
        _completed(parser_of(name, commands.add_parser(name, help=entry.summary)))
    return parser


def _completed(parser: argparse.ArgumentParser) -> None:
    """Set for each argument what completes it."""
    import shtab

    from gainstage.config.origins import profile_names
    from gainstage.config.settings import SPECS

    for action in parser._actions:
        words: Any = {"key": list(SPECS), "profile": profile_names()}.get(action.dest)
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _completed(verb)
        elif words:
            action.choices = words
        elif action.dest in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.type is Path or action.dest in ("sources", "files"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]

"""``gainstage``: the entry point of the command line."""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from gainstage.tui.commands.registry import COMMANDS, GROUPS, module_of, parser_of
from gainstage.tui.state.collector import COLLECT_EVERY

EXAMPLES = """examples:
  gainstage demo                             the first minute: a console on a running demo
  gainstage run talks/ --profile cpu         ingest a folder of recordings
  gainstage search "the north star" --mode both
  gainstage set workers.transcribe 4         while it runs; `gainstage undo` takes it back
"""


def overview() -> str:
    """The text of ``gainstage --help``."""
    lines = ["usage: gainstage [COMMAND] [OPTIONS]", "", "Ingests recorded speech: who said what, and when, searchable."]
    lines += ["Without a command the console opens on the default home.", ""]
    for group, entries in GROUPS.items():
        lines.append(f"{group}:")
        lines += [f"  {name:<12} {entry.summary}" for name, entry in entries.items()]
        lines.append("")
    lines += ["`gainstage COMMAND --help` has the options and examples of each; --version prints the version.", "", EXAMPLES]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Entry point. Exit status: 0 fine, 1 something failed, 2 wrong usage or setup, 130 interrupted."""
    from gainstage.tui.commands import streams

    gc.set_threshold(COLLECT_EVERY)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # they are looked for in every package that is installed
    arguments = sys.argv[1:] if argv is None else argv
    as_json = "--json" in arguments or any(pair == ("--format", "json") for pair in itertools.pairwise(arguments))
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "console"
    if closed := streams.prepare(name):
        print(f"gainstage {name}: {closed}", file=sys.stderr)
        return 1
    try:
        try:
            return dispatch(arguments, as_json=as_json)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        streams.abandon()
        return 0
    except OSError as error:
        if not (why := streams.unwritable(error)):
            if error.filename is None:
                raise
            why = f"{error.filename}: {error.strerror}"
            return refused(name, why, 1, as_json=as_json)
        print(f"gainstage {name}: {why}", file=sys.stderr)
        return 1


def refused(name: str, why: str, status: int, *, as_json: bool, error: Exception | None = None) -> int:
    """Print one line about a command that could not do its work, before it an object for a program that asked for JSON. Returns
    the exit status.
    """
    if as_json:
        import json

        from gainstage.engine.clean import clean_text

        kind = "Usage" if error is None else type(error).__name__
        facts = {"kind": kind, "message": clean_text(getattr(error, "message", why.removeprefix("error: "))), "status": status}
        facts |= {key: clean_text(text) for key in ("cause", "hint") if (text := getattr(error, key, ""))}
        print(json.dumps({"error": facts}), flush=True)
    print(f"gainstage{name and f' {name}'}: {_harmless(why)}", file=sys.stderr)
    return status


def dispatch(arguments: list[str], *, as_json: bool = False) -> int:
    """Print help or the version, or run the command that the arguments name."""
    if arguments and arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments and arguments[0] == "--version":
        from importlib.metadata import version

        print(f"gainstage {version('gainstage')}")
        return 0
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "console"
    rest = arguments[1:] if arguments and name == arguments[0] else arguments
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        nearest = f"; did you mean {close[0]}?" if close else ""
        return refused("", f"no command {name!r}{nearest}; see gainstage --help", 2, as_json=as_json)
    try:
        args = parser_of(name, CommandParser(prog=f"gainstage {name}")).parse_args(rest)
    except WrongUsage as wrong:
        wrong.parser.print_usage(sys.stderr)
        refused(wrong.parser.prog.removeprefix("gainstage "), f"error: {wrong}", 2, as_json=as_json)
        raise SystemExit(2) from None
    return guarded(module_of(name).run, name, args, as_json=as_json)


class WrongUsage(Exception):
    """Arguments that a command does not have; ``parser`` is that of the command or of its action."""

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.parser = parser


class CommandParser(argparse.ArgumentParser):
    """Raises :class:`WrongUsage` where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(self, message)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as an exception does, so that what it opened (an embedded server) is closed.

    A command that serves on (an engine, a console) sets handlers of its own. Only the main thread can do this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        for handled in before:  # a second one ends at once
            signal.signal(handled, signal.SIG_DFL)
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        if before[number] is not signal.SIG_IGN:  # nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def guarded(run: object, name: str, args: argparse.Namespace, *, as_json: bool = False) -> int:
    """Run a command; faults an operator can correct become one clear line instead of a traceback."""
    from gainstage.config.errors import SettingError
    from gainstage.engine.errors import EngineError
    from gainstage.engine.views.commands import DeskError

    try:
        with ended_by_signals():
            return int(run(name, args) or 0)  # type: ignore[operator]
    except (SettingError, DeskError, EngineError) as error:
        return refused(name, str(error), 2 if isinstance(error, SettingError) else 1, as_json=as_json, error=error)
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        why = "no thread can be started: raise the limit of this user or of memory (ulimit -u, ulimit -v, TasksMax of systemd)"
        return refused(name, why, 1, as_json=as_json)
    except WrongUsage as wrong:  # found by the command itself
        wrong.parser.print_usage(sys.stderr)
        return refused(name, f"error: {wrong}", 2, as_json=as_json)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _harmless(text: str) -> str:
    """An error on its way to a terminal: what it quotes (titles, file names, a server's words) is other people's."""
    from gainstage.engine.clean import clean_text

    return "\n".join(clean_text(line, 4000) for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main())

"""``gainstage``: the entry point of the command line."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gainstage.tui.commands.registry import COMMANDS, GROUPS, module_of, parser_of

EXAMPLES = """examples:
  gainstage demo                             the first minute: a console on a running demo
  gainstage run talks/ --profile cpu         ingest a folder of recordings
  gainstage search "the north star" --mode both
  gainstage set workers.transcribe 4         while it runs; `gainstage undo` takes it back
"""


def overview() -> str:
    """The text of ``gainstage --help``."""
    lines = ["usage: gainstage [COMMAND] [OPTIONS]", "", "A mixing desk for speech ingestion: who said what, when, searchable."]
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

    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "console"
    if closed := streams.prepare(name):
        print(f"gainstage {name}: {closed}", file=sys.stderr)
        return 1
    try:
        try:
            return dispatch(arguments)
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
        print(f"gainstage {name}: {why}", file=sys.stderr)
        return 1


def dispatch(arguments: list[str]) -> int:
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
        print(
            f"gainstage: no command {name!r}{f'; did you mean {close[0]}?' if close else ''}; see gainstage --help", file=sys.stderr
        )
        return 2
    args = parser_of(name).parse_args(rest)
    return guarded(module_of(name).run, name, args)


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


def guarded(run: object, name: str, args: argparse.Namespace) -> int:
    """Run a command; faults an operator can correct become one clear line instead of a traceback."""
    from gainstage.config.errors import SettingError
    from gainstage.engine.errors import EngineError
    from gainstage.engine.views.commands import DeskError

    try:
        with ended_by_signals():
            return int(run(name, args) or 0)  # type: ignore[operator]
    except (SettingError, DeskError, EngineError) as error:
        print(f"gainstage {name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingError) else 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

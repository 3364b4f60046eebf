"""``python -m gainstage.tui.commands.pages``: the pages that are made from the code: SETTINGS.md, COMMANDS.md, TROUBLESHOOTING.md.

`make pages` writes them; a test compares them with the files in the repository.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from gainstage.config.origins import profile_names, profile_text, settings_rows
from gainstage.config.settings import SPECS
from gainstage.tui.commands.causes import Cause, causes
from gainstage.tui.commands.registry import GROUPS, parser_of
from gainstage.tui.state.actions import ACTIONS, SCREEN_TITLES, Action, key_name

MADE = "<!-- Made by `make pages`; edit the code it is made from. -->"


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()


def code(text: str) -> str:
    """Text as it is typed, for a cell of a Markdown table."""
    return "`" + text.replace("|", "\\|") + "`"


def table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers), *("| " + " | ".join(row) + " |" for row in rows), ""]


# -- settings ---------------------------------------------------------------------------------------------------------

SETTINGS_HEAD = f"""{MADE}
# Settings

Every setting with its default, its range and when a change acts. Layers, lowest first: default, profile, `gainstage.toml` of the
home, environment (`GAINSTAGE_WORKERS__TRANSCRIBE=4`: two underscores for the dot), command line (`--set workers.transcribe=4`),
live change (`gainstage set workers.transcribe 4`, or the Tune screen). `gainstage config show` prints each value with its origin.

| effect | a change acts |
|---|---|
| now | on the running engine, within a second |
| item | with the next recording |
| reload | when the model's stage has drained: the model is loaded again |
| run | with the next start of an engine |
"""


def settings_page() -> str:
    """SETTINGS.md: the schema by section, then the bundled profiles."""
    lines, rows = [SETTINGS_HEAD], settings_rows()
    sections = dict.fromkeys(key.rpartition(".")[0] for key in SPECS)
    for section in sections:
        lines += [f"## {section or 'the engine as a whole'}", ""]
        chosen = [row for key, row in zip(SPECS, rows, strict=True) if key.rpartition(".")[0] == section]
        lines += table(("setting", "default", "range", "unit", "effect", "what it does"), [tuple(map(cell, r)) for r in chosen])
    lines += ["## Profiles", ""]
    for name in profile_names():
        lines += [f"`--profile {name}`", "", "```toml", profile_text(name).strip(), "```", ""]
    return "\n".join(lines)


# -- commands ---------------------------------------------------------------------------------------------------------

COMMANDS_HEAD = f"""{MADE}
# Commands and keys

`gainstage COMMAND --help` prints the same for one command; `gainstage completion bash`, `zsh` or `fish` prints a script that
completes them.

| exit status | means |
|---|---|
| 0 | fine; a reader of the output that left early is fine too |
| 1 | something failed; `status`: no engine runs; `fleet status`: an engine is placed and not signed on; `doctor`: something is missing |
| 2 | wrong usage or setup |
| 3 | `engine`: another engine serves this home |
| 129, 143 | ended by SIGHUP (the terminal is gone), by SIGTERM |
| 130 | interrupted (Ctrl-C); what was asked of an engine goes on |

With `--json` an error is an object on standard output too: `{{"error": {{"kind", "message", "status", "cause", "hint"}}}}`.
A command that only reads makes neither a home nor a database.
"""

KEYS_HEAD = """# Keys of the console

Every action has one name: its key, the palette (`Ctrl+P`), the command line (`:`) and `console.keys` of the settings use it.
"""


def commands_page() -> str:
    """COMMANDS.md: every command with its options and examples, then every key of the console."""
    lines = [COMMANDS_HEAD]
    for group, entries in GROUPS.items():
        lines += [f"## {group}", ""]
        for name in entries:
            lines += list(_command(parser_of(name), f"### gainstage {name}"))
    lines += [KEYS_HEAD, "## everywhere", "", *_keys([a for a in ACTIONS if not a.screens])]
    for screen, title in SCREEN_TITLES.items():
        lines += [f"## {title}", "", *_keys([a for a in ACTIONS if screen in a.screens])]
    return "\n".join(lines)


def _command(parser: argparse.ArgumentParser, head: str) -> Iterator[str]:
    yield from (head, "", f"{parser.description}", "")
    options = [action for action in parser._actions if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))]
    rows = [(code(_written(action)), cell(_explained(action))) for action in options if action.help != argparse.SUPPRESS]
    if rows:
        yield from table(("option", "what it does"), rows)
    if parser.epilog:
        yield from ("```text", parser.epilog.strip("\n"), "```", "")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _command(verb, f"#### {verb.prog}")


def _written(action: argparse.Action) -> str:
    """An option or argument as it is typed."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    word = metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"{word} ..." if action.nargs in ("*", "+") else word
    return ", ".join(action.option_strings) + ("" if action.nargs == 0 else f" {word}")


def _explained(action: argparse.Action) -> str:
    return (action.help or "") % {"default": action.default, "prog": "gainstage"}


def _keys(actions: list[Action]) -> list[str]:
    rows = []
    for action in actions:
        keys = " ".join(f"`` {key_name(key)} ``" for key in action.keys.split(",") if key)
        rows.append((keys, code(f":{action.id} {action.usage}".strip()), cell(action.title), cell(action.help)))
    return table(("key", "name", "action", "what it does"), rows)


# -- causes -----------------------------------------------------------------------------------------------------------

TROUBLE_HEAD = f"""{MADE}
# Troubleshooting

What went wrong is grouped by its cause: on the Recordings screen, in `gainstage recordings --status failed`, in the summary of a
run. Look the cause up here. `gainstage doctor` looks for most of the faults of a set-up before anything runs;
`gainstage show ID` has the whole message, and the traceback of what nobody foresaw (cause "unexpected ...").

Words in angle brackets stand for what the message names.

## When YouTube or another site refuses

All of these are off by default. Each keeps the guard against addresses inside this network; `gainstage doctor` says which are set and
whether they can be used here.

| what is refused | way out |
|---|---|
| "not a bot", captcha, age, members | `fetch.cookies_browser = firefox` (or `chrome:Profile 1`), or `fetch.cookies` |
| a player client | `fetch.player_client = tv,mweb` |
| media without a proof-of-origin token | `fetch.po_token_provider = http://127.0.0.1:4416` (a bgutil server of yours) |
| guests without a history | `fetch.visitor_data` of a browser without a login |
| everything that is no browser (Cloudflare) | `uv sync --extra impersonate`, then `fetch.impersonate = chrome` |
| too many requests | a lower `fetch.rate`, a longer `fetch.sleep` |
| captions | nothing is lost: the recording is recognised as usual |

"""


def troubleshooting_page() -> str:
    """TROUBLESHOOTING.md: every cause by room, what happens to the recording or command, and what an operator can do."""
    lines, every_cause = [TROUBLE_HEAD], causes()
    for room in dict.fromkeys(cause.room for cause in every_cause):
        lines += [f"## {room}", ""]
        lines += table(
            ("cause", "what becomes of it", "what helps"), [_cause(cause) for cause in every_cause if cause.room == room]
        )
    return "\n".join(lines)


def _cause(cause: Cause) -> tuple[str, str, str]:
    return cell(cause.name), cell(cause.outcome), "<br>".join(cell(hint) for hint in cause.hints)


PAGES = {"SETTINGS.md": settings_page, "COMMANDS.md": commands_page, "TROUBLESHOOTING.md": troubleshooting_page}


def main() -> int:
    """``python -m gainstage.tui.commands.pages [FOLDER]`` writes the pages."""
    parser = argparse.ArgumentParser(prog="python -m gainstage.tui.commands.pages", description=main.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="where they go (default: here)")
    folder = parser.parse_args().folder
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

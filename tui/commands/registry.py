"""Every command of ``gainstage``: its group, its module and its options. A module is imported only when its command is called."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command: its module, and its line in `gainstage --help`."""

    module: str
    summary: str


GROUPS: dict[str, dict[str, CommandEntry]] = {
    "start here": {
        "demo": CommandEntry("run", "run the main job on the bundled recordings: no network, GPU or server needed"),
        "run": CommandEntry("run", "ingest sources: files, folders, URLs; follow the run until it is done"),
        "console": CommandEntry("console", "open the console (the same as gainstage alone)"),
        "attach": CommandEntry("console", "open the console on a running system, here or by its database URL"),
        "doctor": CommandEntry("doctor", "check this machine and show how to correct what is missing"),
    },
    "results": {
        "recordings": CommandEntry("results", "list recordings with their state"),
        "show": CommandEntry("results", "one recording: who said what, how it went"),
        "runs": CommandEntry("runs", "what each run brought in, how far it is, how fast it went"),
        "report": CommandEntry("runs", "one run: what became of it, where its time went, what changes of settings did"),
        "search": CommandEntry("results", "find passages by meaning, by words, or both"),
        "play": CommandEntry("play", "hear what was said at a time, or write it as a clip"),
        "export": CommandEntry("results", "write srt, vtt, txt, json or rttm files, or clips"),
    },
    "people": {
        "voices": CommandEntry("voices", "enrol, list, check, rename, merge, import and delete voices"),
        "correct": CommandEntry(
            "correct", "say who really speaks: right at once, kept for ever, and everything alike decided again"
        ),
        "decisions": CommandEntry("decisions", "what was decided about each cluster, why, and what other limits would change"),
    },
    "queue": {
        "add": CommandEntry("run", "put sources into the queue"),
        "retry": CommandEntry("queue", "queue failed recordings again"),
        "cancel": CommandEntry("queue", "cancel queued or running recordings"),
        "skip": CommandEntry("queue", "mark recordings as not wanted"),
        "priority": CommandEntry("queue", "move recordings forward or back in the queue"),
        "redo": CommandEntry("redo", "do one stage of stored recordings again, from what is stored"),
        "follow": CommandEntry("follow", "list a channel, feed or folder again and again, and take what is new"),
        "following": CommandEntry("follow", "what is followed, when it is listed next, what came of it"),
        "unfollow": CommandEntry("follow", "end a subscription"),
    },
    "engine": {
        "engine": CommandEntry("engine", "run an engine in the foreground (systemd, containers)"),
        "fleet": CommandEntry("fleet", "start, resize and end engines: on this machine, on Ray or on Slurm"),
        "status": CommandEntry("control", "is it healthy, what is the bottleneck, when will it finish"),
        "top": CommandEntry("top", "one plain line a second: state, speed, bottleneck, time left, failures"),
        "logs": CommandEntry("logs", "the journal of all engines: follow it, or look for a level, stage, recording, text"),
        "watch": CommandEntry("control", "print snapshots as JSON Lines"),
        "pause": CommandEntry("control", "stop taking new recordings, or pause one stage"),
        "resume": CommandEntry("control", "take recordings again, or resume one stage"),
        "stop": CommandEntry("control", "finish what is in flight and end; --now puts it back into the queue"),
        "serve": CommandEntry("serve", "the console in a browser, on loopback"),
        "backup": CommandEntry("backup", "write the embedded database into one file"),
        "restore": CommandEntry("backup", "replace the embedded database by what a backup holds"),
    },
    "settings": {
        "set": CommandEntry("settings", "change a setting on the running system"),
        "settings": CommandEntry("settings", "every setting with its value, origin and effect"),
        "autopilot": CommandEntry("autopilot", "let the engine tune its own numbers of slots; what it tried and what that did"),
        "undo": CommandEntry("settings", "take the last change back"),
        "config": CommandEntry("config", "show, validate or explain the configuration"),
        "notify": CommandEntry("notify", "try the addresses that alerts go to, list what was sent"),
        "completion": CommandEntry("completion", "print a script that completes commands and options in a shell"),
    },
    "figures": {
        "experiment": CommandEntry(
            "experiment", "the same recordings before and after a change of settings, beside the running system"
        ),
        "experiments": CommandEntry("experiment", "experiments that were made: list, show, compare"),
        "score": CommandEntry("score", "stored recordings against references, by the field's own scorers"),
        "bench": CommandEntry("bench", "measure this machine, as ratios against a reference of the same run"),
    },
}

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}


def module_of(name: str) -> Any:
    """The module of a command, which has ``EXAMPLES`` by command, ``add_arguments(parser, name)`` and ``run(name, args)``."""
    return importlib.import_module(f"gainstage.tui.commands.{COMMANDS[name].module}")


def parser_of(name: str, parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of a command with its examples, added to ``parser`` when one is given."""
    module, parser = module_of(name), parser or argparse.ArgumentParser(prog=f"gainstage {name}")
    parser.description = COMMANDS[name].summary
    parser.epilog = module.EXAMPLES.get(name)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    module.add_arguments(parser, name)
    return parser

"""Every action of the console exactly once: bindings, footer, palette, command line and help are made from this table.

An action is named by its ``id`` (also the name under which its key is rebound in ``console.keys``). Its handler is the method
``do_<id>`` (dashes as underscores) of the current screen, else of the app, called with the words typed after the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

from gainstage.tui.state.frame import Contact, Frame

Needs = Literal["nothing", "engine", "desk"]

SCREENS = ("deck", "recordings", "voices", "tune", "host", "logs", "search")
SCREEN_TITLES = dict(
    zip((*SCREENS, "transcript"), ("Deck", "Recordings", "Voices", "Tune", "Host", "Logs", "Search", "Transcript"), strict=True)
)
"""The seven screens, and the transcript, which is put over them."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing an operator can do.

    ``keys`` is a Textual key list; ``screens`` empty means everywhere. ``needs`` "engine": a live engine that takes commands;
    "desk": a desk that may be written to. ``foot`` is the short text in the footer, none when empty; ``usage`` the words the
    command line takes after the name; ``types``: it opens a place to type in, letters typed right behind its key belong there.
    """

    id: str
    keys: str
    title: str
    help: str
    screens: tuple[str, ...] = ()
    needs: Needs = "nothing"
    dangerous: bool = False
    foot: str = ""
    usage: str = ""
    palette: bool = True
    types: bool = False

    @property
    def handler(self) -> str:
        return "do_" + self.id.replace("-", "_")


def _on(*screens: str) -> tuple[str, ...]:
    return screens


_TABLES = _on("deck", "recordings", "voices", "tune", "logs", "search", "transcript")

ACTIONS: tuple[Action, ...] = (
    # Moving about
    Action("deck", "1", "Deck", "The whole run at a glance."),
    Action("recordings", "2", "Recordings", "Every recording, its stages, failures by cause."),
    Action("voices", "3", "Voices", "Speaker decisions, their evidence, what-if on the limits."),
    Action("tune", "4", "Tune", "Every setting, live; what changed and what it did."),
    Action("host", "5", "Host", "GPUs, machine, dependencies, slots."),
    Action("logs", "6", "Logs", "The journal as it is written."),
    Action("search", "7", "Search", "Search what was said, by meaning or by words."),
    Action("last-view", "backspace", "Last view", "Back to the screen before this one."),
    Action("open", "enter", "Open", "Open what is under the cursor.", foot="open", palette=False),
    Action("back", "escape", "Back", "Close, clear the filter, or leave the panel.", palette=False),
    Action("jump", "ctrl+o", "Jump to a panel", "Shows a letter on every panel; press it to go there."),
    Action("maximise", "z", "Maximise panel", "The focused panel over the whole screen, and back."),
    Action("cursor-up", "up,k", "Up", "Row up.", _TABLES, palette=False),
    Action("cursor-down", "down,j", "Down", "Row down.", _TABLES, palette=False),
    Action("cursor-left", "left", "Left", "Stage to the left, or a value one step down.", _on("deck", "voices", "tune", "host"), palette=False),
    Action("cursor-right", "right", "Right", "Stage to the right, or a value one step up.", _on("deck", "voices", "tune", "host"), palette=False),
    Action("big-left", "shift+left", "Five steps down", "A value five steps down.", _on("voices", "tune"), palette=False),
    Action("big-right", "shift+right", "Five steps up", "A value five steps up.", _on("voices", "tune"), palette=False),
    Action("page-up", "pageup", "Page up", "One page up.", _TABLES, palette=False),
    Action("page-down", "pagedown", "Page down", "One page down.", _TABLES, palette=False),
    Action("top", "home", "First row", "To the first row.", _TABLES, palette=False),
    Action("bottom", "end", "Last row", "To the last row.", _TABLES, palette=False),
    # Looking
    Action("command", "colon", "Command line", "Type a command; up and down walk through the ones before.", foot="command", palette=False, types=True),
    Action("palette", "ctrl+p", "Palette", "Find any action by name.", palette=False, types=True),
    Action("help", "question_mark", "Help", "The keys of this screen.", foot="help"),
    Action("why", "w", "Why this verdict?", "The rules that were looked at and what they saw."),
    Action("freeze", "space", "Freeze the view", "Hold the picture still; the work goes on. A replay pauses.", foot="freeze"),
    Action("scrub-back", "left_square_bracket", "Back one second", "Step back in the last two hours.", foot=""),
    Action("scrub-forward", "right_square_bracket", "Forward one second", "Step forward again."),
    Action("scrub-minute-back", "left_curly_bracket", "Back one minute", "A minute back."),
    Action("scrub-minute-forward", "right_curly_bracket", "Forward one minute", "A minute forward."),
    Action("live", "backslash", "Back to live", "Leave the past; in a replay to its end."),
    Action("seek", "", "Go to a time", "12:30 or 12:30:05 by the clock, -5m or +90s from here, 90 seconds from the beginning.", usage="TIME"),
    Action("previous-moment", "left_parenthesis", "Previous change or failure", "Back to just after the last change or failure before."),
    Action("next-moment", "right_parenthesis", "Next change or failure", "On to the next change or failure."),
    Action("slower", "less_than_sign", "Replay slower", "Half the speed of a replay."),
    Action("faster", "greater_than_sign", "Replay faster", "Twice the speed of a replay."),
    Action("scope", "d", "This run, today, all", "What counts, rates, verdict, title and time left are about.", usage="[run|today|all]"),
    Action("theme", "t", "Next theme", "Dark, light, deuteranopia, high contrast, mono.", usage="[NAME]"),
    Action("filter", "slash", "Filter", "Show only rows that match; fields as stage:transcribe.", _on("recordings", "logs", "voices", "tune", "deck"), foot="filter", usage="[TEXT]", types=True),
    Action("faults", "exclamation_mark", "Faults only", "Only what is failing, retrying or slow.", _on("deck", "recordings", "voices", "logs"), foot="faults"),
    Action("sort", "s", "Sort", "By the next column.", _on("deck", "recordings"), usage="[COLUMN]"),
    Action("reverse", "S", "Reverse the sort", "Turn the order round.", _on("deck", "recordings")),
    Action("columns", "c", "Columns", "More or fewer columns.", _on("deck", "recordings")),
    Action("copy", "y", "Copy", "Copy what is under the cursor."),
    Action("copy-panel", "Y", "Copy panel", "Copy the focused panel as text."),
    Action("export", "E", "Export panel", "Write the focused panel as text, CSV or JSON.", usage="[text|csv|json] [PATH]"),
    Action("history", "H", "Commands sent", "Every command of this console and what became of it."),
    Action("fleet", "G", "Engines", "Every engine of this database; Enter shows one alone on all screens, Esc all again."),
    # The run
    Action("pause", "P", "Pause or resume intake", "Take no new recordings; those in flight go on. Again: resume.", needs="engine", foot="pause"),
    Action("drain", "D", "Drain", "Finish what is in flight, start nothing new.", needs="engine", dangerous=True, foot="drain"),
    Action("stop", "Q", "Stop the engine", "Drain and stop; typed confirmation stops at once.", needs="engine", dangerous=True),
    Action("detach", "q", "Detach", "Close the console; the engine goes on.", foot="detach"),
    Action("add", "a", "Add sources", "Channels, playlists, videos, feeds, files; previewed before anything is queued.", needs="desk", usage="[SOURCE ...]", types=True),
    # The deck
    Action("more", "plus,equals_sign", "One slot more", "A slot more for the stage under the cursor; sent after a moment.", _on("deck"), "engine", foot="slots"),
    Action("fewer", "minus", "One slot fewer", "A slot fewer for the stage under the cursor; sent after a moment.", _on("deck"), "engine"),
    Action("pause-stage", "p", "Pause or resume the stage", "Let no recording pass the stage under the cursor. Again: resume.", _on("deck"), "engine", usage="[STAGE]"),
    Action("ignore-advice", "i", "Ignore this advice", "Not again for half an hour.", _on("deck")),
    Action("take-advice", "T", "Try the advice", "Preview the suggested change, then apply it.", _on("deck"), "engine", foot="try advice"),
    # Recordings
    Action("retry", "r", "Retry", "Queue the recording under the cursor again.", _on("recordings", "deck"), "desk", foot="retry", usage="[ID ...]"),
    Action("retry-filtered", "R", "Retry all shown failures", "Queue again every failure that matches the filter; says how many first.", _on("recordings", "deck"), "desk", True),
    Action("cancel", "x", "Cancel", "Stop and forget the recording under the cursor.", _on("recordings", "deck"), "desk", True, foot="cancel", usage="[ID ...]"),
    Action("skip", "K", "Skip", "Mark the recording as not wanted.", _on("recordings", "deck"), "desk", True, usage="[ID ...]"),
    Action("raise", "circumflex_accent", "Raise priority", "To the front of the queue.", _on("recordings", "deck"), "desk", usage="[ID ...]"),
    Action("mark", "m", "Mark", "Mark the row; actions then take all marked rows.", _on("recordings")),
    Action("open-link", "o", "Open the link", "In a browser, or the link to the clipboard where there is none.", _on("recordings", "search", "transcript"), foot="open link"),
    Action("transcript", "T", "Transcript", "Read the recording under the cursor: who said what and when.", _on("recordings", "search"), foot="transcript"),
    Action("read", "", "Read a recording", "Its transcript, at a time of it.", usage="ID [TIME]"),
    Action("log-of", "L", "Its log", "The journal of this recording only.", _on("recordings", "deck", "voices")),
    Action("goto", "", "Go to a recording", "By id or the start of it.", usage="ID"),
    # Voices
    Action("next-grey", "n", "Next near a limit", "The next decision within 10 % of a limit.", _on("voices"), foot="next near limit"),
    Action("previous-grey", "N", "Previous near a limit", "The one before.", _on("voices")),
    Action("try-limit", "e", "Try other limits", "What another limit would have decided, over the recorded decisions.", _on("voices"), foot="try limits", usage="[KEY VALUE ...]", types=True),
    Action("stage-limits", "A", "Apply the tried limits", "Send the tried limits to the engine.", _on("voices"), "engine"),
    # Tune
    Action("edit", "e", "Edit the value", "Type a new value; it is staged, not sent.", _on("tune"), "engine", foot="edit", types=True),
    Action("apply", "A", "Apply what is staged", "Send every staged value.", _on("tune"), "engine", foot="apply"),
    Action("autopilot", "O", "Autopilot on or off", "The engine tries numbers of slots, keeps what helps, takes the rest back.", _on("tune"), "engine", foot="autopilot"),
    Action("experiments", "x", "Experiments", "What changes of settings did to the same recordings, tried beside this system.", _on("tune")),
    Action("undo", "u", "Undo the last change", "Set it back; an undo is a change like any other.", _on("tune", "deck"), "engine", foot="undo"),
    Action("undo-to", "U", "Undo to here", "Back to the settings before the change under the cursor.", _on("tune"), "engine", True, usage="[REVISION]"),
    Action("differences", "equals_sign", "Differences only", "Only values that differ from their default or file.", _on("tune"), foot="differences"),
    Action("presets", "p", "Presets", "Stage the values of a preset: safe, balanced, fast.", _on("tune"), usage="[NAME]"),
    Action("write-back", "W", "Write to the file", "Write live values to the settings file.", _on("tune"), "desk"),
    Action("set", "", "Set a value", "Change one setting now.", needs="engine", usage="KEY VALUE"),
    # Host
    Action("next-gpu", "g", "Next GPU", "Show the next GPU.", _on("host"), foot="next GPU"),
    Action("window", "W", "Window", "5, 15 minutes, or an hour in the graphs.", _on("host"), foot="window"),
    # Logs
    Action("follow", "f", "Follow", "Stay at the newest line.", _on("logs"), foot="follow"),
    Action("level", "l", "Level", "Debug, info, warning, error.", _on("logs"), foot="level", usage="[LEVEL]"),
    Action("log-stage", "g", "Stage", "Only one stage; again for the next.", _on("logs"), foot="stage", usage="[STAGE]"),
    Action("next-match", "n", "Next match", "The next line that matches.", _on("logs")),
    Action("previous-match", "N", "Previous match", "The one before.", _on("logs")),
    Action("fold", "F", "Fold repeats", "Repeated lines as one, with their number.", _on("logs")),
    Action("clear", "c", "Clear the view", "Forget the lines on screen; the file keeps them.", _on("logs")),
    Action("goto-recording", "v", "To the recording", "The recording this line is about.", _on("logs", "voices", "search", "deck")),
    # Transcript
    Action("find", "slash", "Search in it", "Passages that hold these words, or of this speaker.", _on("transcript"), foot="search", usage="[TEXT]", types=True),
    Action("next-passage", "n", "Next match", "The next passage that matches, else the next doubtful one.", _on("transcript")),
    Action("previous-passage", "N", "Previous match", "The one before.", _on("transcript")),
    Action("correct", "c", "Correct the name", "Say who really speaks; what changes is shown first.", _on("transcript"), "desk", foot="correct", usage="[NAME]", types=True),
    Action("undo-correction", "u", "Undo the correction", "Take the last correction back, with all that was decided like it.", _on("transcript"), "desk", foot="undo"),
    Action("play", "y", "Play it", "Hear the passage: by mpv or ffplay, else open its link or write a clip.", _on("transcript"), foot="play"),
    Action("decision", "d", "Decision behind the name", "What was decided of the speakers here, and why.", _on("transcript"), foot="decision"),
    Action("copy-quote", "Y", "Copy quote and link", "The passage with its speaker, time and link.", _on("transcript"), foot="copy quote"),
    # Search
    Action("query", "e", "Edit the question", "Back to the search box.", _on("search"), foot="question", usage="[TEXT]", types=True),
    Action("mode", "m,ctrl+t", "Search mode", "By meaning, by words, or both.", _on("search"), foot="mode"),
    Action("speaker", "s", "Speaker", "Only what this speaker said; again for the next.", _on("search"), foot="speaker", usage="[NAME]"),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}

_NAMES = {
    "colon": ":", "slash": "/", "question_mark": "?", "exclamation_mark": "!", "left_square_bracket": "[", "right_square_bracket": "]",
    "left_parenthesis": "(", "right_parenthesis": ")", "less_than_sign": "<", "greater_than_sign": ">",
    "left_curly_bracket": "{", "right_curly_bracket": "}", "backslash": "\\", "plus": "+", "minus": "-", "equals_sign": "=",
    "circumflex_accent": "^", "escape": "Esc", "enter": "Enter", "pageup": "PgUp", "pagedown": "PgDn", "up": "↑", "down": "↓",
    "left": "←", "right": "→", "home": "Home", "end": "End", "backspace": "Backspace",
}  # fmt: skip


def key_name(key: str) -> str:
    """A key as it is written for people: ``ctrl+p`` -> ``Ctrl+P``, ``colon`` -> ``:``."""
    *modifiers, last = key.split("+")
    name = _NAMES.get(last, last)
    if modifiers:
        name = name.upper() if len(name) == 1 else name
    return "+".join([*(m.capitalize() for m in modifiers), name])


def keys_of(action: Action, keymap: Mapping[str, str]) -> str:
    """The key list in force: the operator's own, else the default."""
    return keymap.get(action.id, action.keys)


def shown_key(action: Action, keymap: Mapping[str, str]) -> str:
    """The first key of an action as people read it; empty when it has none."""
    keys = keys_of(action, keymap)
    return key_name(keys.split(",")[0]) if keys else ""


PAIRED = {"more": "fewer"}
"""Actions shown in the footer together with their opposite."""


def foot_key(action: Action, keymap: Mapping[str, str]) -> str:
    """The key of an action in the footer, with that of its opposite."""
    key = shown_key(action, keymap)
    return f"{key}{shown_key(BY_ID[PAIRED[action.id]], keymap)}" if action.id in PAIRED else key


def actions_on(screen: str) -> tuple[Action, ...]:
    """Actions that work on a screen, those of the screen itself first."""
    own = [a for a in ACTIONS if screen in a.screens]
    return (*own, *(a for a in ACTIONS if not a.screens))


def bindings(screen: str | None) -> list[Binding]:
    """Textual bindings of a screen's own actions, or of the global ones for None."""
    return [
        Binding(a.keys, f"app.act('{a.id}')", a.title, show=False, id=a.id)
        for a in ACTIONS
        if a.keys and ((screen in a.screens) if screen else not a.screens)
    ]


def refusal(action: Action, frame: Frame) -> str | None:
    """Why an action cannot be done now, in words; None when it can."""
    if action.needs == "nothing":
        return None
    if not frame.live:
        return "this is a replay, nothing can be changed"
    if frame.read_only:
        return "this console is read-only"
    if frame.mode == "scrub":
        return "the view is in the past; \\ goes back to live"
    if frame.contact is Contact.FOREIGN and frame.snapshot is not None:
        return f"the engine writes schema {frame.snapshot.schema}, which this console cannot read: read-only"
    if action.needs == "engine":
        match frame.contact:
            case Contact.UNKNOWN:
                return "not connected yet"
            case Contact.NONE:
                return "no engine at this database"
            case Contact.STOPPED:
                return "the engine has stopped"
            case Contact.OFFLINE if frame.lost:
                return "the engine has ended"
            case Contact.OFFLINE | Contact.STALE:
                return f"no snapshot from the engine for {frame.age_s or 0:.1f} s"
    return None


class UnknownCommand(ValueError):
    """A command line that names nothing; the message says what is near."""


def parse(line: str) -> tuple[Action, str]:
    """The action and the words behind it of a command line such as ``set workers.transcribe 3``."""
    from difflib import get_close_matches

    words = line.strip().removeprefix(":").strip()
    if not words:
        raise UnknownCommand("nothing typed")
    name, _, rest = words.partition(" ")
    if name in BY_ID:
        return BY_ID[name], rest.strip()
    starting = [a for a in ACTIONS if a.id.startswith(name)]
    if len(starting) == 1:
        return starting[0], rest.strip()
    near = [a.id for a in starting] or get_close_matches(name, BY_ID, n=3)
    raise UnknownCommand(f"no command {name!r}" + (f": did you mean {', '.join(near[:4])}?" if near else ": ? lists all of them"))

"""What a half-typed command line may go on to be: names of commands, then the words that they take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from gainstage.engine.stages import STAGES
from gainstage.engine.views.rows import SettingRow
from gainstage.tui.render.theme import THEMES
from gainstage.tui.state.actions import ACTIONS, BY_ID

_WORDS: Mapping[str, tuple[str, ...]] = {
    "theme": tuple(THEMES),
    "pause-stage": STAGES,
    "log-stage": STAGES,
    "level": ("debug", "info", "warning", "error"),
    "presets": ("safe", "balanced", "fast"),
}
"""Words of commands whose usage does not list them."""


def completion(line: str, settings: Mapping[str, SettingRow]) -> str | None:
    """The line as it would go on, the first possible one; None where nothing fits."""
    name, space, rest = line.partition(" ")
    if not space:
        return _first(line, (f"{a.id} " if a.usage else a.id for a in ACTIONS)) if line else None
    action = BY_ID.get(name)
    if action is None:
        return None
    if name == "set":
        key, second, value = rest.partition(" ")
        if not second:
            return _first(line, (f"set {key} " for key in settings)) if rest else None
        row = settings.get(key)
        words = () if row is None else row.choices or (("on", "off") if isinstance(row.value, bool) else ())
        return _first(line, (f"set {key} {word}" for word in words)) if value else None
    listed = re.search(r"\[(\w+(?:\|\w+)+)\]", action.usage)
    words = tuple(listed[1].split("|")) if listed else _WORDS.get(name, ())
    return _first(line, (f"{name} {word}" for word in words)) if rest else None


def _first(typed: str, lines: Iterable[str]) -> str | None:
    return next((line for line in lines if line.startswith(typed) and line != typed), None)

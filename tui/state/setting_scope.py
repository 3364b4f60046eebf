"""A setting for all engines, for those of one host, or for one: what was typed, and the key that is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.desk import Desk

_OPTION = re.compile(r"(?:^|\s)--(host|engine)(?:\s+|=)(\S+)")


@dataclass(frozen=True, slots=True)
class SetWords:
    """``workers.transcribe 4 --host gpu-07`` in its parts; the key may carry its scope itself, as in ``workers.transcribe@gpu-07``."""

    key: str
    value: str
    host: str | None = None
    engine: str | None = None


def set_words(words: str) -> SetWords | None:
    """What a person typed after ``set``: KEY VALUE or KEY=VALUE, with --host or --engine anywhere behind; None without a value."""
    scope = dict(_OPTION.findall(words))
    plain = _OPTION.sub("", words).strip()
    key, value = (part.strip() for part in plain.replace("=", " ", 1 if "=" in plain.split(" ")[0] else 0).partition(" ")[::2])
    return SetWords(key, value, scope.get("host"), scope.get("engine")) if key and value else None


def engine_named(desk: Desk, name: str | None) -> str | None:
    """The id of the engine that ``name`` means: its id, or its name in its home where one alone has it."""
    if name is None:
        return None
    ids = [e.id for e in desk.engines() if e.alive]
    named = [id for id in ids if id == name] or [id for id in ids if f"-{name}-" in id]
    if len(named) > 1:
        raise DeskError(f"several engines are called {name}: {', '.join(named)}")
    return named[0] if named else name


def scope_of(desk: Desk, host: str | None, engine: str | None) -> str:
    """What follows a key that is set for one host or engine: ``@host``, ``@host/name``. Raises :class:`DeskError`."""
    if engine is None:
        return f"@{host}" if host else ""
    id = engine_named(desk, engine)
    row = next((e for e in desk.engines() if e.id == id and host in (None, e.host)), None)
    if row is None:
        raise DeskError(f"engine {engine} is not running")
    if not row.name:
        raise DeskError(f"{row.id} has no name of its own: use --host {row.host}")
    return f"@{row.places[-1]}"


def reach(scope: str, engines: int) -> str:
    """Whom a value is for, in words behind the change; nothing where there is one engine."""
    if scope:
        return f" · {scope} alone"
    return f" · all {engines} engines" if engines > 1 else ""

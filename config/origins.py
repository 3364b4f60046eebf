"""The layers of the settings, and where each value came from.

Precedence, lowest first: default, profile, user file, environment, command line. (A live change, the highest, is kept in
the database.) Nothing is guessed: an unknown key or a value out of range is an error that says where it stands.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from gainstage.config.defaults import CPUS
from gainstage.config.errors import SettingError
from gainstage.config.regular_files import read_regular
from gainstage.config.settings import SPECS, Settings, Spec, value_of

ENV_PREFIX = "GAINSTAGE_"
NOT_SETTINGS = frozenset({"GAINSTAGE_HOME", CPUS})
MASK = "***"
"""What is shown of a secret."""
MOST_BYTES = 4 * 1024**2
"""Largest settings file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings of this process and the origin of every value that is not a default."""

    settings: Settings
    origins: dict[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        return self.origins.get(key, "default")


RETIRED = {
    "asr.refine_below": "Speech in which the recogniser found no words is always recognised again; a wider beam found no more.",
}
"""Settings of earlier versions that may stand in somebody's files, and what became of them."""


def nearest(key: str) -> str:
    """A sentence part naming the known key most like an unknown one, or what became of one that is gone."""
    if key in RETIRED:
        return f": it is gone. {RETIRED[key]} Remove it."
    close = [k for k in SPECS if k.split(".")[-1] == key] or difflib.get_close_matches(key, SPECS, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else "; `gainstage config schema` lists them all"


def spec_of(key: str) -> Spec:
    """The spec behind a key; raises :class:`SettingError` naming the nearest known one."""
    if key not in SPECS:
        raise SettingError(f"unknown setting {key!r}{nearest(key)}")
    return SPECS[key]


def parse(key: str, text: str) -> Any:
    """A value typed by a person: words for switches, ``none`` for no value, JSON for tables; pydantic checks the rest."""
    spec = spec_of(key)
    word = text.strip().lower()
    if spec.optional and word in {"none", "null", ""}:
        return None
    if spec.annotation is bool and word in {"on", "off"}:
        return word == "on"
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SettingError(f"{key}: {error}") from error
    return text


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys; a table that is itself a setting's value stays whole."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, Mapping) and key not in SPECS:
            flat |= flatten(value, key + ".")
        else:
            flat[key] = value
    return flat


def read_toml(path: Path) -> dict[str, Any]:
    """Dotted keys of a TOML file; raises :class:`SettingError` with the file and line."""
    try:
        return flatten(tomllib.loads(read_regular(path, MOST_BYTES).decode("utf-8")))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits, tables without end
        raise SettingError(f"{path}: {error}") from error
    except OSError as error:
        raise SettingError(f"{path}: {error.strerror}") from error


def profile_names() -> list[str]:
    """The bundled profiles."""
    return sorted(
        p.name.removesuffix(".toml")
        for p in resources.files("gainstage.config").joinpath("profiles").iterdir()
        if p.name.endswith(".toml")
    )


def profile_text(name: str) -> str:
    """A bundled profile as it is written."""
    return resources.files("gainstage.config").joinpath("profiles", f"{name}.toml").read_text("utf-8")


def read_profile(name: str) -> tuple[str, dict[str, Any]]:
    """(origin, values) of a bundled profile by name, or of a file by path."""
    if name in profile_names():
        return f"profile {name}", flatten(tomllib.loads(profile_text(name)))
    if Path(name).suffix == ".toml" or os.sep in name:
        return f"profile {name}", read_toml(Path(name).expanduser())
    raise SettingError(f"unknown profile {name!r}; bundled are {', '.join(profile_names())}, or give a .toml file")


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """``GAINSTAGE_WORKERS__TRANSCRIBE=4`` (two underscores for the dot) as dotted keys."""
    result: dict[str, Any] = {}
    for name, text in environ.items():
        if name.startswith(ENV_PREFIX) and name not in NOT_SETTINGS:
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            if key not in SPECS:
                raise SettingError(f"environment {name}: unknown setting {key!r}{nearest(key)}")
            result[key] = parse(key, text)
    return result


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested tables."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        node = tree
        *parents, leaf = key.split(".")
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree


def explain(error: ValidationError, origins: Mapping[str, str] | None = None) -> str:
    """The first fault of a validation in words: key, origin, what is wrong, what is allowed."""
    fault = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in fault["loc"] if str(part) in {p for k in SPECS for p in k.split(".")})
    spec = SPECS.get(key)
    allowed = ""
    if spec:
        if spec.choices:
            allowed = f" (one of {', '.join(spec.choices)})"
        elif spec.low is not None and spec.high is not None:
            allowed = f" (allowed {spec.low:g} to {spec.high:g}{' ' + spec.unit if spec.unit else ''})"
    where = f" [{origins[key]}]" if origins and key in origins else ""
    return f"{key}{where}: {fault['msg']}{allowed}"


def load(
    *,
    profile: str | None = None,
    user_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Put the layers together. ``overrides`` are the command line's. Raises :class:`SettingError`."""
    layers: list[tuple[str, dict[str, Any]]] = []
    if profile:
        layers.append(read_profile(profile))
    if user_file and user_file.exists():
        layers.append((f"file {user_file}", read_toml(user_file)))
    layers.append(("environment", from_environment(os.environ if environ is None else environ)))
    typed = {k: parse(k, v) if isinstance(v, str) and k in SPECS else v for k, v in (overrides or {}).items()}
    layers.append(("command line", typed))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        for key, value in layer.items():
            if key not in SPECS:
                raise SettingError(f"{origin}: unknown setting {key!r}{nearest(key)}")
            values[key] = value
            origins[key] = origin
    try:
        return Loaded(Settings.model_validate(nest(values)), origins)
    except ValidationError as error:
        raise SettingError(explain(error, origins)) from None


def shown(settings: Settings, key: str) -> Any:
    """The value as it may be shown: secrets masked, the rest JSON-ready."""
    value = value_of(settings, key)
    return MASK if isinstance(value, SecretStr) else value


def shown_with_origins(loaded: Loaded) -> dict[str, tuple[Any, str]]:
    """(value, origin) of every key as they may be shown; secrets masked."""
    return {key: (shown(loaded.settings, key), loaded.origin(key)) for key in SPECS}


def effective(loaded: Loaded) -> list[dict[str, Any]]:
    """Every setting with its value, origin and effect, in the schema's order."""
    return [
        {
            "key": key,
            "value": value,
            "origin": origin,
            "effect": SPECS[key].effect.value,
            "unit": SPECS[key].unit,
        }
        for key, (value, origin) in shown_with_origins(loaded).items()
    ]


def schema() -> list[dict[str, Any]]:
    """The schema as plain data: type, default, range, step, unit, effect, help."""
    return [
        {
            "key": s.key,
            "type": " or ".join(s.choices) if s.choices else _type_name(s),
            "default": s.default,
            "low": s.low,
            "high": s.high,
            "step": s.step,
            "unit": s.unit,
            "effect": s.effect.value,
            "help": s.help,
        }
        for s in SPECS.values()
    ]


def _type_name(spec: Spec) -> str:
    name = getattr(spec.annotation, "__name__", str(spec.annotation))
    return (
        str(spec.annotation).replace("pydantic.types.SecretStr", "secret text").replace("NoneType", "none")
        if spec.optional
        else name
    )


def settings_rows() -> list[tuple[str, ...]]:
    """(key, default, range, unit, effect, help) of every setting as a person reads them, in the schema's order."""
    rows: list[tuple[str, ...]] = []
    for s in SPECS.values():
        bounds = f"{s.low:g} to {s.high:g}" if s.low is not None and s.high is not None else ", ".join(s.choices)
        default = "on" if s.default is True else "off" if s.default is False else "none" if s.default is None else s.default
        rows.append((f"`{s.key}`", str(default), bounds, s.unit, s.effect.value, s.help))
    return rows


def markdown_table() -> str:
    """The settings as a table of Markdown."""
    rows: list[tuple[str, ...]] = [
        ("setting", "default", "range", "unit", "effect", "what it does"),
        ("---",) * 6,
        *settings_rows(),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

"""Writing live values into the settings file, its comments and order kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gainstage.config.errors import SettingError


def write_back(path: Path, values: dict[str, Any]) -> int:
    """Set dotted keys in a TOML file, made where it is missing; a value of None takes the key out. Returns how many were set.

    Raises ``SettingError`` where the file cannot be read or written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
        for key, value in values.items():
            *parents, leaf = key.split(".")
            table: Any = document
            for name in parents:
                if name not in table:
                    table[name] = tomlkit.table()
                table = table[name]
            if value is None:
                table.pop(leaf, None)
            else:
                table[leaf] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.touch(mode=0o600)  # it may hold a password: never more open than the file it replaces
        if path.exists():
            fresh.chmod(path.stat().st_mode & 0o777)
        fresh.write_text(tomlkit.dumps(document), "utf-8")
        os.replace(fresh, path)
    except (OSError, TOMLKitError, ValueError, RecursionError) as problem:
        raise SettingError(f"cannot write {path}: {problem}") from None
    return len(values)

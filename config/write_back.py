"""Writing live values into the settings file, its comments and order kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gainstage.config.errors import SettingError
from gainstage.config.origins import MOST_BYTES
from gainstage.config.regular_files import read_regular
from gainstage.config.whole_files import write_whole


def write_back(path: Path, values: dict[str, Any]) -> int:
    """Set dotted keys in a TOML file, made where it is missing; a value of None takes the key out. A link stays one: what it points to
    is written. Returns how many were set.

    Raises ``SettingError`` where the file cannot be read or written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        path = path.resolve()
        document = tomlkit.parse(read_regular(path, MOST_BYTES).decode("utf-8")) if path.exists() else tomlkit.document()
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
        # it may hold a password: never more open than the file it replaces
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        write_whole(path, tomlkit.dumps(document), mode=mode)
    except (OSError, TOMLKitError, ValueError, RecursionError) as problem:
        raise SettingError(f"cannot write {path}: {problem}") from None
    return len(values)

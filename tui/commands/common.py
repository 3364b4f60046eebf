"""Functions that commands share: the place of the system, its connection, and output."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gainstage.config.origins import ENV_PREFIX, Loaded, load
from gainstage.config.paths import Paths
from gainstage.config.settings import SPECS
from gainstage.engine.clean import clean_text, terminal_json
from gainstage.engine.views.commands import DeskError

if TYPE_CHECKING:
    from gainstage.engine.desk.postgres import PostgresDesk
    from gainstage.engine.models.download import Progress
    from gainstage.engine.runtime.models import Models
    from gainstage.engine.store.database import Database
    from gainstage.engine.terms import ModelId, Vector
    from gainstage.engine.views.desk import Desk


TELL_EVERY_S = 10.0


def place_arguments(parser: argparse.ArgumentParser, *, json_too: bool = True) -> None:
    """Add the options of every command that connects to the database."""
    parser.add_argument("--home", type=Path, help="keep everything under this folder (default: the platform's folders)")
    parser.add_argument("--database", metavar="URL", help="Postgres URL (default: the embedded server of the home)")
    if json_too:
        parser.add_argument("--json", action="store_true", help="print JSON")


def setting_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", metavar="NAME|FILE", help="bundled profile (demo, workstation, cpu) or a .toml file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for this run; repeatable")


def engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that may start engines."""
    from gainstage.engine.fleet.options import add_engine_options

    add_engine_options(parser)


def overrides_of(args: argparse.Namespace) -> dict[str, str]:
    from gainstage.config.errors import SettingError

    pairs = {}
    for text in getattr(args, "set", None) or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--set {text!r}: write KEY=VALUE")
        pairs[key.strip()] = value
    return pairs


def absolute_setting(pair: str) -> str:
    """KEY=VALUE for a process that runs in another folder: a path that begins with ``./``, ``../`` or ``~/`` becomes absolute."""
    key, equals, value = pair.partition("=")
    if value.startswith(("./", "../", "~/")):
        return f"{key}{equals}{Path(value).expanduser().absolute()}"
    return pair


def without_secrets(pairs: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """(KEY=VALUE for a child's command line, its environment): secrets go into the environment, which other users cannot read."""
    shown, environ = [], {}
    for pair in map(absolute_setting, pairs):
        key, _, value = pair.partition("=")
        if key in SPECS and SPECS[key].secret:
            environ[f"{ENV_PREFIX}{key.upper().replace('.', '__')}"] = value
        else:
            shown.append(pair)
    return shown, environ


def paths_of(args: argparse.Namespace) -> Paths:
    return Paths.of(getattr(args, "home", None))


def settings_of(args: argparse.Namespace, default_profile: str | None = None) -> Loaded:
    """The settings layers of this command line."""
    paths = paths_of(args)
    return load(
        profile=getattr(args, "profile", None) or default_profile, user_file=paths.settings_file, overrides=overrides_of(args)
    )


def database_url(args: argparse.Namespace, loaded: Loaded) -> str | None:
    secret = loaded.settings.store.database
    return args.database or (secret.get_secret_value() if secret else None)


class NoSystem(DeskError):
    """A command that only reads, in a home where nothing has run yet."""


@contextmanager
def open_database(args: argparse.Namespace, loaded: Loaded | None = None, *, make: bool = False) -> Iterator[Database]:
    """Context with the database of this command line, migrated; closed at the end. With ``make`` the home and the database are made
    where they are missing; without it :class:`NoSystem` says so, and nothing is written.
    """
    from gainstage.engine.store.database import Database

    loaded = loaded or settings_of(args)
    url, paths = database_url(args, loaded), paths_of(args)
    if make:
        paths.ensure()
    elif not url and not paths.database.is_dir():
        raise NoSystem(f"nothing has run in {paths.data} yet; `gainstage run SOURCE` begins there, --home names another folder")
    with waiting("connecting to the database" if url else f"starting Postgres in {paths.database}"):
        database = Database.open(url, paths.database, make=make)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_desk(args: argparse.Namespace, loaded: Loaded | None = None, *, make: bool = False) -> Iterator[PostgresDesk]:
    """Context with the desk of this command line; ``make`` as in :func:`open_database`."""
    from gainstage.engine.desk.postgres import PostgresDesk

    loaded = loaded or settings_of(args)
    with open_database(args, loaded, make=make) as database:
        paths = paths_of(args)
        desk = PostgresDesk(database, loaded=loaded, embed=lambda text: _embed(loaded, paths, text), audio=paths.audio)
        try:
            yield desk
        finally:
            desk.close()


def _embed(loaded: Loaded, paths: Paths, text: str) -> tuple[Vector, ModelId]:
    """A query's vector computed in this process, for when no running engine can do it; loads the text model."""
    from gainstage.engine.runtime.models import Models

    models = Models(lambda: loaded.settings, paths.models)
    tell_downloads(models)
    encoder = models.text_encoder()
    return encoder.encode([text], query=True)[0], encoder.id


def tell_downloads(models: Models) -> None:
    """Report the progress of model downloads on stderr: in place on a terminal, else a line every ten seconds."""
    printed_at = float("-inf")

    def report(role: str, progress: Progress) -> None:
        nonlocal printed_at
        over = progress.done >= progress.total
        if sys.stderr.isatty():
            print(f"\r{role} model: {progress}\x1b[K", end="\n" if over else "", file=sys.stderr, flush=True)
        elif over or time.monotonic() - printed_at > TELL_EVERY_S:
            printed_at = time.monotonic()
            print(f"{role} model: {progress}", file=sys.stderr, flush=True)

    models.on_progress = report


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal what the command waits for; removed when the block ends."""
    if not sys.stderr.isatty():
        yield
        return
    print(f"{text} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout; dataclasses become objects, None becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif isinstance(value, (list, tuple)):
        value = [asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for v in value]
    plain_ascii = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"  # to lose no signs
    indent = 2 if sys.stdout.isatty() else None
    print(terminal_json(json.dumps(value, ensure_ascii=plain_ascii, indent=indent, default=str, allow_nan=False)))


def plain(text: object, limit: int = 200) -> str:
    """Untrusted text made safe for a terminal, at most ``limit`` characters."""
    return clean_text(str(text), limit)


def clock(seconds: float | None) -> str:
    """Seconds as 1:02:44 or 8:02; · when unknown."""
    if seconds is None:
        return "·"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(headers: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """Plain columns aligned by terminal cells, without rich, because the output may be piped. Every cell is made safe."""
    from rich.cells import cell_len

    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max([cell_len(h), *(cell_len(r[i]) for r in rows)]) for i, h in enumerate(headers)]

    def line(cells: list[str]) -> str:
        padded = [
            " " * (widths[i] - cell_len(c)) + c if i in right else c + " " * (widths[i] - cell_len(c)) for i, c in enumerate(cells)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), *(line(r) for r in rows)])


def speaking(args: argparse.Namespace) -> bool:
    """Whether progress and remarks may be printed: not when JSON output is requested."""
    return not getattr(args, "json", False)


def alive(desk: Desk) -> bool:
    """Whether a running engine serves this database."""
    return any(e.alive for e in desk.engines())

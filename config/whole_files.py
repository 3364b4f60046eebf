"""Files that are there whole or not at all: written beside their place, put onto the disk, then given their name."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from gainstage.config.regular_files import check_regular


def write_whole(path: Path, text: str, *, mode: int | None = None, new: bool = False, errors: str = "strict") -> None:
    """Write ``text`` (UTF-8, line ends as given) so that no reader and no power cut meets a part of it.

    ``new`` refuses a file that is there already with ``FileExistsError``. Raises ``OSError``; the file is as it was before then.
    """
    draft = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600), "wb") as file:
            file.write(text.encode("utf-8", errors))
        if mode is not None:
            draft.chmod(mode)
        keep_whole(draft, path, new=new)
    finally:
        draft.unlink(missing_ok=True)


def keep_whole(draft: Path, path: Path, *, new: bool = False) -> None:
    """Give a finished file its name, once its bytes are on the disk: after a power cut a name never stands for less.

    ``new`` as in :func:`write_whole`. Both must lie on one file system. Raises ``OSError``, also where the name is that of a device or
    a FIFO, which a file would replace.
    """
    if path.exists():
        check_regular(path)
    sync(draft)
    if new:
        try:
            os.link(draft, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if path.exists():
                raise FileExistsError(f"{path} is there already") from None
            draft.replace(path)
        else:
            draft.unlink()
    else:
        draft.replace(path)
    with suppress(OSError):  # a folder cannot be opened everywhere
        sync(path.parent)


def sync(path: Path) -> None:
    """Put what was written of a file, or the names in a folder, onto the disk. Raises ``OSError``."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""A player of this machine, started without a shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from gainstage.engine.views.playing import Playable

PLAYERS = ("mpv", "ffplay")


def player_command(what: Playable) -> list[str] | None:
    """The command line that plays a stretch and ends, by the first player found; None without one. Only mpv opens addresses of
    video sites."""
    for name in PLAYERS:
        program = shutil.which(name)
        if program is None or (what.path is None and name != "mpv"):
            continue
        media = str(Path(what.path).absolute()) if what.path is not None else str(what.url)
        start, length = f"{what.start:.2f}", f"{what.end - what.start:.2f}"
        if name == "mpv":
            return [program, "--no-video", "--no-terminal", "--ytdl=yes", f"--start={start}", f"--length={length}", "--", media]
        return [program, "-nodisp", "-autoexit", "-loglevel", "error", "-ss", start, "-t", length, "-i", media]
    return None


def play(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a player beside this process, without this terminal. Raises :class:`OSError` when it does not start."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)

"""Hearing a place of a recording from the console: by a player, by its link, or as a clip file."""

from __future__ import annotations

from pathlib import Path

from gainstage.engine.detached import leave
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.playing import Playable
from gainstage.tui.render import format as fmt
from gainstage.tui.state.player import play, player_command
from gainstage.tui.state.protocol import ConsoleApp


def hear(console: ConsoleApp, recording: str, at: float = 0.0, cluster: str | None = None) -> None:
    """Play the passage at a time, or the longest turn of a cluster. Without a player its link is opened, or a clip is written into the folder of exports."""

    def question(desk: Desk) -> tuple[Playable, Path | None]:
        what = desk.playable(recording, at, cluster)
        written = what.path is not None and player_command(what) is None
        return what, desk.write_clip(what, console.exports) if written else None

    def then(answer: tuple[Playable, Path | None]) -> None:
        what, clip = answer
        if clip is not None:
            console.notice(f"clip written: {clip.name} (no player is here: mpv or ffplay)", "ok")
            return
        command = player_command(what)
        if command is None:
            mark = "&" if "?" in (what.url or "") else "?"
            console.open_link(f"{what.url}{mark}t={int(what.start)}" if what.url else None)
            return
        try:
            leave(play(command))
        except OSError as problem:
            console.notice(f"{command[0]} did not start: {problem}", "warn")
            return
        console.notice(f"playing {fmt.at(what.start)} to {fmt.at(what.end)}", "info")

    console.ask("play", question, then)

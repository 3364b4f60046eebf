"""The actions that move through time: freeze, step, seek, jump; of the last two hours, or of a recorded run."""

from __future__ import annotations

from collections.abc import Callable

from gainstage.tui.console.shell import Shell
from gainstage.tui.render import format as fmt
from gainstage.tui.state.actions import BY_ID, shown_key
from gainstage.tui.state.moments import moment_of, neighbour

HISTORY_S = 7200.0
SPEEDS = (0.25, 64.0)
JUST_AFTER_S = 1.0
"""A jump shows the second after a change: its own frame may be from before it."""


class PastActions:
    """``do_<id>`` for the actions that look at another time."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._loaded = False

    def do_freeze(self, _: str) -> None:
        shell = self._shell
        playback = shell.desk.playback
        if playback is not None:
            playback.playing = not playback.playing
            shell.notice("the replay goes on" if playback.playing else "the replay is paused", "info")
        else:
            frozen = shell.timeline.freeze(shell.newest, shell.desk.now())
            key = shown_key(BY_ID["freeze"], shell.keymap)
            shell.notice(f"view frozen, the work goes on; {key} again is live" if frozen else "live again", "info")
        shell.redraw_now()

    def do_live(self, _: str) -> None:
        shell = self._shell
        if shell.desk.playback is not None:
            self._move(shell.desk.playback.end_wall)
            return
        if shell.timeline.mode == "live":
            shell.notice("this is live", "info")
        shell.timeline.live()
        shell.redraw_now()

    def do_scrub_back(self, _: str) -> None:
        self._step(-1)

    def do_scrub_forward(self, _: str) -> None:
        self._step(1)

    def do_scrub_minute_back(self, _: str) -> None:
        self._minute(-60.0)

    def do_scrub_minute_forward(self, _: str) -> None:
        self._minute(60.0)

    def _step(self, seconds: int) -> None:
        shell = self._shell
        if shell.desk.playback is not None:
            self._move(shell.desk.now() + seconds)
            return

        def step() -> None:
            self._say(shell.timeline.scrub(shell.newest, shell.desk.now(), seconds))

        self._with_history(step)

    def _minute(self, seconds: float) -> None:
        shell = self._shell
        if shell.desk.playback is not None:
            self._move(shell.desk.now() + seconds)
            return

        def move() -> None:
            self._say(shell.timeline.move(shell.newest, shell.desk.now(), seconds))

        self._with_history(move)

    def _say(self, why: str | None) -> None:
        """Draw where it stands now, or say why it stands where it did."""
        if why is not None:
            self._shell.notice(why, "info")
        self._shell.redraw_now()

    def do_seek(self, words: str) -> None:
        self._with_history(lambda: self._seek(words))

    def _seek(self, words: str) -> None:
        shell = self._shell
        walls = shell.poller.ring.walls()
        first = shell.desk.playback.start_wall if shell.desk.playback is not None else walls[0] if walls else shell.desk.now()
        wall = moment_of(words, first, self._here())
        if wall is None:
            shell.notice(f"{words or 'nothing'} is no time: 12:30, 12:30:05, -5m, +90s, or seconds from the beginning", "warn")
            return
        self._move(wall)

    def do_previous_moment(self, _: str) -> None:
        self._with_history(lambda: self._jump(-1))

    def do_next_moment(self, _: str) -> None:
        self._with_history(lambda: self._jump(1))

    def _jump(self, direction: int) -> None:
        shell = self._shell
        playback = shell.desk.playback
        known = playback.moments if playback is not None else tuple(e.wall for e in shell.events if e.kind in ("change", "failure"))
        wall = neighbour([moment + JUST_AFTER_S for moment in known], self._here(), direction)
        if wall is None:
            shell.notice(f"no {'earlier' if direction < 0 else 'later'} change or failure is known", "info")
            return
        self._move(wall)

    def do_slower(self, _: str) -> None:
        self._pace(0.5)

    def do_faster(self, _: str) -> None:
        self._pace(2.0)

    def _pace(self, factor: float) -> None:
        shell = self._shell
        playback = shell.desk.playback
        if playback is None:
            shell.notice("only a replay has a speed: the work goes on as it does", "info")
            return
        playback.speed = min(SPEEDS[1], max(SPEEDS[0], playback.speed * factor))
        shell.notice(f"replay at {playback.speed:g} times", "info")
        shell.redraw_now()

    def _here(self) -> float:
        """The time that is shown."""
        shell = self._shell
        shown = shell.timeline.shown(shell.newest)
        return shell.desk.now() if shell.desk.playback is not None or shown is None else shown.wall

    def _move(self, wall: float) -> None:
        shell = self._shell
        playback = shell.desk.playback
        if playback is not None:
            playback.seek(wall)
            shell.events[:] = [event for event in shell.events if event.wall <= wall]
            shell.notice(f"at {fmt.stamp(shell.desk.now())}", "info")
        else:
            why = shell.timeline.to(shell.newest, shell.desk.now(), wall)
            if why is not None:
                shell.notice(why, "info")
        shell.redraw_now()

    def _with_history(self, then: Callable[[], None]) -> None:
        """Have the last two hours in the ring, of the time before this console was there too, and go on."""
        shell = self._shell
        if self._loaded or shell.desk.playback is not None:
            then()
            return
        self._loaded = True
        shell.ask("history", lambda desk: shell.poller.ring.prepend(desk.history(HISTORY_S)), lambda _: then())

"""Short messages to the operator, each shown for a few seconds."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.tui.state.command_log import CommandLog, describe

NOTICE_S = 6.0
KEPT = 20


@dataclass(slots=True)
class Notice:
    """A message. ``until`` is a time of the desk's clock; ``times`` counts repeats of the same text."""

    text: str
    band: str
    until: float
    times: int = 1


class NoticeList:
    """The messages that are still shown, oldest first."""

    def __init__(self) -> None:
        self._notices: list[Notice] = []

    def add(self, text: str, band: str, now: float) -> None:
        """Show a message; the same text again is counted and shown for longer."""
        until = now + NOTICE_S
        for notice in self._notices:
            if notice.text == text:
                notice.times, notice.until = notice.times + 1, until
                return
        self._notices.append(Notice(text, band, until))
        del self._notices[:-KEPT]

    def current(self, now: float) -> list[Notice]:
        """The messages whose time is not over; a clock that was set back ends them too."""
        self._notices = [n for n in self._notices if now < n.until <= now + 10 * NOTICE_S]
        return list(self._notices)

    @property
    def texts(self) -> list[str]:
        """The text of every message that is kept."""
        return [n.text for n in self._notices]


def under_way(log: CommandLog, now: float) -> list[Notice]:
    """Values about to be sent, and the last two commands without an acknowledgement, as messages."""
    staged = [
        Notice(f"{s.key} {s.old} → {s.new}, about to be sent", "change", now) for s in log.staged.values() if s.due is not None
    ]
    return [*staged, *(Notice(describe(sent)[0], "pending", now) for sent in log.pending[-2:])]

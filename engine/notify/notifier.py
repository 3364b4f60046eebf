"""The sender of alerts of an engine: a thread that looks at its frames once a second. Of all engines one sends each alert, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gainstage.engine.advisor.happenings import Happening, SeenSoFar, done, look, lost
from gainstage.engine.advisor.run_summary import summary_lines
from gainstage.engine.desk.run_report import report
from gainstage.engine.errors import EngineError, Misconfigured
from gainstage.engine.notify.sending import send, services
from gainstage.engine.queue import alerts
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.views.snapshot import Snapshot

LOOK_S = 1.0
DATABASE_S = 5.0
"""Between two looks for lost engines and ended runs, which ask the database."""

ENDING_S = 15.0
"""Longest wait of an engine that ends for its last alerts."""


class Notifier:
    """A thread beside an engine: :meth:`start` once, :meth:`close` after the engine has run. Nothing of the engine waits for it: a
    service that hangs delays alerts, and no recording.
    """

    def __init__(self, context: EngineContext, newest: Callable[[], Snapshot | None]) -> None:
        self.context = context
        self._newest = newest
        self._seen = SeenSoFar()
        self._watched: set[int] = set()  # runs seen with work left that are not known to have ended
        self._ended: set[int] = set()  # runs that ended; one that is taken up again is watched again
        self._told: set[str] = set()  # what the database said, whoever sent it
        self._asked_at = float("-inf")
        self._trouble: str | None = None
        self._held_back = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Look a last time, send what is new, and end; a service that hangs is left behind."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(ENDING_S)

    def _run(self) -> None:
        while not self._ending.wait(LOOK_S):
            self.context.faults.guarded_step("alerts", self.step)
        self._asked_at = float("-inf")
        self.context.faults.guarded_step("alerts", self.step)

    def step(self) -> None:
        """One look, and what is new is sent; without an address nothing is looked at or claimed."""
        frame, settings = self._newest(), self.context.settings
        if frame is None or settings.notify.urls is None:
            return
        self._seen, new = look(
            self._seen, frame, failed_share=settings.notify.failed_share / 100, disk_floor=settings.fetch.disk_floor
        )
        self._watched |= self._seen.open_runs
        alerts_now = [one for one in new if one.kind != "done"]  # with several runs the database says which have ended
        if time.monotonic() - self._asked_at >= DATABASE_S:
            alerts_now += self._from_database()
            self._asked_at = time.monotonic()
        for one in alerts_now:
            self._send_once(one)

    def _from_database(self) -> list[Happening]:
        database = self.context.database
        alerts_now = [lost(*engine) for engine in alerts.lost_engines(database, self.context.id)]
        ended = alerts.ended_runs(database, sorted(self._watched), self.context.started_wall, sorted(self._ended))
        alerts_now += [
            done(id, name, at, stored=stored, failed=failed, skipped=skipped) for id, name, at, stored, failed, skipped in ended
        ]
        self._ended |= {id for id, *_ in ended}
        self._watched -= {id for id, *_ in ended}
        new = [one for one in alerts_now if one.key not in self._told]
        self._told |= {one.key for one in new}
        return new

    def _send_once(self, one: Happening) -> None:
        database, settings = self.context.database, self.context.settings
        got = alerts.claim(database, one.key, one.kind, one.title, one.text, self.context.id, per_hour=settings.notify.per_hour)
        if got == "too many" and not self._held_back:
            self.context.journal.log("warning", "alerts are held back: more than notify.per_hour", kind="state")
        self._held_back = got == "too many" or (self._held_back and got == "taken")
        if got != "ours":
            return
        failed: list[str] = []
        try:
            made = services(settings.notify.urls)
            failed = [d.name for d in send(made, one.title, self._text(one)) if not d.sent]
        except Misconfigured as error:
            failed = [str(error)]
        alerts.settle(database, one.key, sent=not failed)
        self._report(failed)

    def _text(self, one: Happening) -> str:
        """What is sent: of a run that is done, the first lines of its report."""
        if one.kind != "done" or one.run is None:
            return one.text
        try:
            return "\n".join(summary_lines(report(self.context.database, str(one.run))))
        except EngineError:
            return one.text

    def _report(self, failed: list[str]) -> None:
        """That alerts cannot be sent is logged once, and once that they can again."""
        trouble = ", ".join(failed) or None
        if trouble and trouble != self._trouble:
            self.context.journal.log("warning", f"alerts cannot be sent: {trouble}; `gainstage notify test` tries it", kind="state")
        elif self._trouble and not trouble:
            self.context.journal.log("info", "alerts are sent again", kind="state")
        self._trouble = trouble

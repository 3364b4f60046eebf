"""Subscriptions in a running engine: list those that are due, queue new recordings, watch followed folders."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from gainstage.config.settings import Settings
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Cancelled, EngineError, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.options import RecordingOptions
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.sources.choose import choose
from gainstage.engine.sources.enqueue import Origin, enqueue
from gainstage.engine.sources.folder_watch import FolderWatch
from gainstage.engine.sources.listing import WRITING
from gainstage.engine.sources.local import SETTLED_S
from gainstage.engine.sources.selection import Selection
from gainstage.engine.sources.subscriptions import Subscription, Subscriptions
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal

LOOK_S = 5.0
AT_ONCE = 4
"""Sources listed at once, so that one slow server does not delay the others."""


class Following:
    """A thread of the engine. Call :meth:`start` once; :meth:`stop` ends it quickly, even during a long listing.

    ``guarded_step`` runs one named step and reports its error, so that no error ends the thread; it returns whether it succeeded.
    """

    def __init__(
        self,
        engine: str,
        database: Database,
        settings: Callable[[], Settings],
        journal: Journal,
        guarded_step: Callable[[str, Callable[[], object]], bool],
    ) -> None:
        self._engine = engine
        self._guarded_step = guarded_step
        self._settings = settings
        self._journal = journal
        self._backlog = Backlog(database)
        self._subscriptions = Subscriptions(database)
        self._token = CancelToken()
        self._bell = threading.Event()
        self._watches: dict[int, FolderWatch] = {}
        self._lists: dict[int, threading.Thread] = {}
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        self._token.cancel("engine ends")
        self._bell.set()
        end = time.monotonic() + timeout_s
        for thread in (self._thread, *list(self._lists.values())):
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        try:
            while not self._token.cancelled:
                self._guarded_step("subscriptions", self._look)
                self._bell.wait(LOOK_S)
                self._bell.clear()
        finally:
            for folder in self._watches.values():
                folder.stop()

    def _look(self) -> None:
        self._watch_folders()
        while not self._token.cancelled and len(self._lists) < AT_ONCE:
            claim = self._subscriptions.due(engine=self._engine, busy=list(self._lists))
            if claim is None:
                return
            work = partial(self._guarded_step, f"subscription {claim.id}", partial(self._list_one, claim))
            thread = threading.Thread(target=self._then_look, args=(claim.id, work), name=f"following-{claim.id}", daemon=True)
            self._lists[claim.id] = thread
            thread.start()

    def _then_look(self, id: int, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            self._lists.pop(id, None)
            self._bell.set()

    def _list_one(self, claim: Subscription) -> None:
        try:
            self._list(claim)
        except (Cancelled, Transient):
            if not self._token.cancelled:
                raise
        except Exception as error:  # tried again at its next interval
            text = f"a fault: {type(error).__name__}: {clean_text(str(error), 300)}"
            self._subscriptions.failed(claim, text, retry=False, engine=self._engine)
            self._journal.log("error", f"following {clean_text(claim.source, 120)}: {text}", kind="failure", error=error)

    def _list(self, claim: Subscription) -> None:
        name = clean_text(claim.source, 120)
        try:
            choice = choose(
                [claim.source],
                self._settings(),
                self._backlog.db,
                Selection.of(claim.options),
                token=self._token,
                settled=claim.folder is not None,
            )
            origin = Origin("follow", (claim.source,), subscription=claim.id)
            options = RecordingOptions.of(claim.options)
            added = enqueue(self._backlog, choice, origin, priority=claim.priority, options=options)
        except Cancelled:
            raise
        except EngineError as error:
            if error.cause == Database.AWAY:
                raise
            self._subscriptions.failed(claim, str(error), retry=error.retry, engine=self._engine)
            self._journal.log("warning", f"following {name}: {error}", kind="state", cause=error.cause, hint=error.hint)
            return
        new = added.added + added.requeued
        self._subscriptions.done(claim, new, engine=self._engine)
        if any(left.reason == WRITING for left in choice.left):
            self._subscriptions.hurry(claim.id, self._backlog.db.clock.now() + SETTLED_S)
        self._journal.log("info" if new else "debug", f"following {name}: {new} new", kind="state", new=new)

    def _watch_folders(self) -> None:
        """Have a watch for each followed folder and for no other."""
        wanted = {row.id: row.folder for row in self._subscriptions.rows() if row.folder is not None}
        for id in [id for id, running in self._watches.items() if wanted.get(id) != running.folder or not running.alive]:
            self._watches.pop(id).stop()
        for id, folder in wanted.items():
            if id not in self._watches and folder is not None:
                self._watches[id] = FolderWatch(folder, self._changed(id))

    def _changed(self, id: int) -> Callable[[], None]:
        def on_change() -> None:
            try:
                self._subscriptions.hurry(id)
            except Transient as error:  # its next run finds the files
                self._journal.log("debug", f"a changed folder could not be noted: {error.message}", kind="state")
            self._bell.set()

        return on_change

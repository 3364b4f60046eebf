"""Which recordings of its sources a run takes, and why it leaves others out: used by runs, dry runs, previews, subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice

from gainstage.config.settings import Settings
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.choice import ADDRESSED, RECHECKED, Choice, Left
from gainstage.engine.sources.hosts import PATIENCE_S, Hosts
from gainstage.engine.sources.ids import apart
from gainstage.engine.sources.known import KnownRecordings
from gainstage.engine.sources.listing import WRITING, Faulty, ListedItem, list_items
from gainstage.engine.sources.prefilter import look_up_all
from gainstage.engine.sources.selection import Selection, ordered, refusal, undecided
from gainstage.engine.store.codec import plain
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording

CHUNK = 200
"""Recordings compared with the database in one query."""
LOOK_UPS = 8
"""Recordings per round of look-ups: with a limit, few more requests are made than recordings are taken."""
CHECKED = 30
"""Recordings whose own page is read before they are queued, when the selection needs no details."""
CHECK_PATIENCE_S = 3.0
"""Longest wait, in seconds, for an optional look-up: the download would find the same."""
OLDER = 5
"""A listing in newest-first order ends after this many consecutive uploads before the first wanted day."""

TWICE = "the same as one listed before"

Progress = Callable[[int, int], object]
"""Called with (seen, taken) during the listing."""


class _Chooser:
    def __init__(
        self, settings: Settings, database: Database, selection: Selection, token: CancelToken, progress: Progress | None
    ) -> None:
        self.settings = settings
        self.database = database
        self.selection = selection
        self.token = token
        self.progress = progress
        self.hosts = Hosts(database, lambda: settings.fetch)
        self.candidates: list[Recording] = []
        self.taken: list[Recording] = []
        self.checks = 0
        self.left: list[Left] = []
        self.grown: dict[str, Recording] = {}
        self.recheck: set[str] = set()
        self.waiting: dict[str, str] = {}
        self.keys: set[str] = set()
        self.ids: set[str] = set()
        self.seen = 0
        self.unchecked = 0

    @property
    def full(self) -> bool:
        limit = self.selection.limit
        return self.selection.order == "source" and limit is not None and len(self.taken) >= limit

    def take_from(self, source: str, settled: bool) -> None:
        older = 0
        with closing(list_items(source, self.settings, token=self.token, hosts=self.hosts, settled=settled)) as items:  # type: ignore[type-var]
            for batch in _batches(items, LOOK_UPS if self._looks() else CHUNK):
                self.token.check()
                wanted: list[Recording] = []
                for recording in self._sift(batch):
                    before = bool(self.selection.since and recording.published and recording.published < self.selection.since)
                    older = older + 1 if before and recording.extra.get("uploads") else 0
                    if self._is_wanted(recording):
                        wanted.append(recording)
                if self.selection.order == "source":
                    self.seen -= len(self._fill(wanted))  # read ahead of the limit, but not examined
                else:
                    self.candidates += wanted
                if self.progress is not None:
                    self.progress(self.seen, len(self.taken))
                if self.full or older >= OLDER:
                    return

    def _looks(self) -> bool:
        s = self.selection
        return bool(s.since or s.until or s.skip_shorts or s.min_duration is not None or s.max_duration is not None)

    def _sift(self, batch: list[ListedItem]) -> list[Recording]:
        """The new recordings of a batch, with the details that the selection needs."""
        fresh: list[Recording] = []
        for item in batch:
            self.seen += 1
            if isinstance(item, Faulty):
                self.left.append(Left(item.title, item.reason))
            elif item.key in self.keys:
                self.left.append(Left(item.title, TWICE))
            else:
                self.keys.add(item.key)
                fresh.append(item)
        known = KnownRecordings(self.database, fresh)
        wanted = [listed for recording in fresh if (listed := self._placed(recording, known)) is not None]
        longest_s = self.settings.fetch.max_duration
        unsure = [r for r in wanted if undecided(r, self.selection) and refusal(r, self.selection, longest_s) is None]
        details = self._details(unsure)
        return [details.get(r.key, r) for r in wanted]

    def _details(self, recordings: list[Recording], patience_s: float = PATIENCE_S) -> dict[str, Recording]:
        if not recordings:
            return {}
        details = look_up_all(recordings, self.settings, self.hosts, self.token, patience_s=patience_s)
        self.unchecked += sum(1 for r in details if not r.extra.get("looked_up"))
        return {r.key: r for r in details}

    def _placed(self, recording: Recording, known: KnownRecordings) -> Recording | None:
        """A recording with the id and key it is stored under; None when its status excludes it."""
        row = known.of(recording)
        if row is None and (row := known.grown(recording, self.token)) is not None:
            recording = replace(recording, id=row.id)
            if row.status == "running":
                self.left.append(Left(recording.title, WRITING, recording))
                return None
            self.grown[row.id] = recording
            return recording
        if row is None:
            taken = recording.id in known.ids or recording.id in self.ids
            recording = replace(recording, id=apart(recording.id, recording.key) if taken else recording.id)
            self.ids.add(recording.id)
            return recording
        recording = replace(recording, id=row.id, key=row.key)
        moved = row.source != plain(recording.source)
        if row.status in ("queued", "running"):
            self.waiting[row.id] = row.status
        elif (row.status == "skipped" and row.cause in RECHECKED) or (row.status == "failed" and moved and row.cause in ADDRESSED):
            self.recheck.add(recording.key)
        elif not self.selection.force:
            self.left.append(Left(recording.title, _ended(row.status, row.cause), recording))
            return None
        return recording

    def _is_wanted(self, recording: Recording) -> bool:
        reason = refusal(recording, self.selection, self.settings.fetch.max_duration)
        if reason is not None:
            self.left.append(_left(recording, reason))
        return reason is None

    def finish(self) -> Choice:
        over = self._fill(ordered(self.candidates, self.selection.order))
        self.left += [Left(r.title, f"over the limit of {self.selection.limit}", r) for r in over]
        again = tuple(r.id for r in self.taken if r.key in self.recheck)
        waiting = {r.id: self.waiting[r.id] for r in self.taken if r.id in self.waiting}
        taken = tuple(map(self._dated, self.taken))
        grown = tuple(r for r in taken if r.id in self.grown)
        return Choice(taken, tuple(self.left), self.seen, again, self.unchecked, waiting, grown)

    def _dated(self, recording: Recording) -> Recording:
        """With the time of its look-up by the database's clock, by which the engine that downloads it compares."""
        looked = recording.extra.get("counted")
        if not isinstance(looked, int | float):
            return recording
        return replace(recording, extra={**recording.extra, "counted": round(looked + self.database.clock.offset_s)})

    def _fill(self, wanted: list[Recording]) -> list[Recording]:
        """Take wanted recordings up to the limit, each after its check; returns those over the limit."""
        limit = self.selection.limit
        while wanted and (limit is None or len(self.taken) < limit):
            some = len(wanted) if limit is None else limit - len(self.taken)
            self.taken += self._checked(wanted[:some])
            wanted = wanted[some:]
        return wanted

    def _checked(self, batch: list[Recording]) -> list[Recording]:
        """The recordings of a batch that their own page does not exclude."""
        if self.selection.check == "none":
            return batch
        remote = [r for r in batch if r.extra.get("fetch") == "ytdlp" and not r.extra.get("looked_up")]
        if self.selection.check == "auto":
            remote = remote[: max(0, CHECKED - self.checks)]
        self.checks += len(remote)
        details = self._details(remote, CHECK_PATIENCE_S if self.selection.check == "auto" else PATIENCE_S)
        return [r for r in (details.get(r.key, r) for r in batch) if self._is_wanted(r)]


def choose(
    sources: Iterable[str],
    settings: Settings,
    database: Database,
    selection: Selection | None = None,
    *,
    token: CancelToken,
    progress: Progress | None = None,
    settled: bool = False,
) -> Choice:
    """List the sources and select recordings. The selection's limit counts recordings that are not stored yet.

    Only the request budgets of hosts change. Raises :class:`gainstage.engine.errors.EngineError` for a source that cannot be
    listed.
    """
    chooser = _Chooser(settings, database, selection or Selection(), token, progress)
    for source in sources:
        if chooser.full:
            break
        chooser.take_from(source, settled)
    return chooser.finish()


def _left(recording: Recording, reason: str) -> Left:
    refused = reason == recording.extra.get("refused") or reason == "live"
    return Left(recording.title, reason, recording, refused)


def _ended(status: str | None, cause: str | None) -> str:
    return f"{status} already" if status == "stored" or not cause else f"{status} already: {cause}"


def _batches(items: Iterator[ListedItem], size: int) -> Iterator[list[ListedItem]]:
    """Batches of growing size, so that a small limit reads little of a long source."""
    now = min(8, size)
    while batch := list(islice(items, now)):
        yield batch
        now = min(size, 2 * now)

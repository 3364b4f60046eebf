"""What the database holds about recordings that were just listed: their id, their status, and what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.local import grew_from, path_of
from gainstage.engine.store.codec import plain
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording

CONTENT = "sha256:"


@dataclass(frozen=True, slots=True)
class KnownRecording:
    """A row of the database. ``bytes`` is the size of a local file when it was taken."""

    key: str
    id: str
    status: str
    cause: str | None
    source: str
    feed: str | None = None
    bytes: int | None = None


_COLUMNS = "key, id, status, cause, source, extra->>'feed', case when key like 'sha256:%%' then (extra->>'bytes')::bigint end"


class KnownRecordings:
    """The stored rows of one batch of a listing."""

    def __init__(self, database: Database, recordings: Sequence[Recording]) -> None:
        keys = {plain(r.key) for r in recordings} | {plain(str(r.extra["was"])) for r in recordings if r.extra.get("was")}
        with database.connection() as connection:
            rows = connection.execute(
                f"select {_COLUMNS} from recording where key = any(%s) or id = any(%s)",
                [list(keys), [r.id for r in recordings]],
            ).fetchall()
            self._by_key = {row[0]: KnownRecording(*row) for row in rows}
            self.ids = {row[1] for row in rows}
            new = [plain(r.source) for r in recordings if r.key.startswith(CONTENT) and plain(r.key) not in self._by_key]
            earlier = connection.execute(
                f"select {_COLUMNS} from recording where source = any(%s) and key like 'sha256:%%' order by added desc", [new]
            ).fetchall()
        self._by_path: dict[str, list[KnownRecording]] = {}
        for row in earlier:
            self._by_path.setdefault(row[4], []).append(KnownRecording(*row))

    def of(self, recording: Recording) -> KnownRecording | None:
        """The row of a recording, by its identity or by the one it had before identities included the feed."""
        row = self._by_key.get(plain(recording.key))
        if row is None and (was := recording.extra.get("was")):
            former = self._by_key.get(plain(str(was)))
            if former is not None and former.feed == recording.extra.get("feed"):
                return former
        return row

    def grown(self, recording: Recording, token: CancelToken) -> KnownRecording | None:
        """The row of a file's earlier content, when the file was only extended since: by a slow copy, or a recorder that pauses."""
        if not recording.key.startswith(CONTENT):
            return None
        for row in self._by_path.get(plain(recording.source), ()):
            if row.bytes and grew_from(path_of(recording), row.bytes, row.key.removeprefix(CONTENT), token):
                return row
        return None

"""A file that one machine of a fleet does not have goes back to the queue for those that do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gainstage.config.settings import Settings
from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.fetch import Fetcher
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal
from tests.queue_kit import recording, register


def test_a_missing_file_fails_alone_and_goes_back_in_a_fleet(database: Database, tmp_path: Path) -> None:
    fetcher = Fetcher(lambda: Settings(), database, Journal(), tmp_path / "partial")
    gone = recording(1, source=str(tmp_path / "talk.wav"))

    def fetch() -> None:
        fetcher.fetch(gone, tmp_path, token=CancelToken(), progress=lambda *_: None)

    register(database, "here", tmp_path / "here")
    with pytest.raises(Permanent, match="no file"):
        fetch()
    register(database, "there", tmp_path / "there")
    with database.connection() as connection:
        connection.execute("update engine set host = 'elsewhere' where id = 'there'")
    with pytest.raises(Transient) as refused:
        fetch()
    assert refused.value.cause == "file not on this host"
    with database.connection() as connection:  # the other machine has left: nobody else could have it
        connection.execute("update engine set ended = now() where id = 'there'")
    with pytest.raises(Permanent):
        fetch()
    fetcher.close()

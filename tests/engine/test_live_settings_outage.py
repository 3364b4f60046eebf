from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from gainstage.config.settings import Settings
from gainstage.engine.errors import Transient
from gainstage.engine.queue import changes
from gainstage.engine.queue.live import LiveSettings
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from tests.queue_kit import following, job_queue, recordings, store, until


def test_after_a_killed_server_the_follower_has_the_change_made_meanwhile(own_postgres: Callable[..., EmbeddedPostgres]) -> None:
    server = own_postgres().start()
    live = LiveSettings(Settings())
    with Database.open(server.url, server.folder) as database, Database.open(server.url, server.folder) as other:
        queue = job_queue(database)
        queue.add(recordings(2))
        first = queue.take()
        assert first
        with following(database, "one", live) as follower:
            changes.set_value(other, "in_flight", 5, "me")
            until(lambda: live.current.in_flight == 5)
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            until(lambda: follower.reconnects)
            with pytest.raises(Transient) as caught:
                queue.take()
            assert caught.value.cause == Database.AWAY
            restarted = EmbeddedPostgres(server.folder, settings=server.settings).start()
            until(lambda: _through(lambda: changes.set_value(other, "in_flight", 7, "me")))
            until(lambda: live.current.in_flight == 7)
            assert follower.connected.wait(60)
            until(lambda: _through(queue.beat))
            store(database, queue, first)
            assert queue.take()
            restarted.stop()


def test_a_follower_that_starts_during_an_outage_waits_for_the_server(own_postgres: Callable[..., EmbeddedPostgres]) -> None:
    server = own_postgres().start()
    live = LiveSettings(Settings())
    with Database.open(server.url, server.folder) as database:
        changes.set_value(database, "in_flight", 5, "me")
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        restarted = EmbeddedPostgres(server.folder, settings=server.settings)
        starting = threading.Thread(target=restarted.start)
        follower = following(database, "one", live)
        starting.start()
        with follower:
            assert live.current.in_flight == 5
        starting.join()
        restarted.stop()


def _through(call: Callable[[], object]) -> bool:
    """Whether a call got through; an outage is none."""
    try:
        call()
    except Transient:
        return False
    return True

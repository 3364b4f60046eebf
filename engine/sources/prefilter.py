"""Read each item's own page before any download: a few at a time, within a time limit and the request budgets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from gainstage.config.settings import Settings
from gainstage.engine.errors import Cancelled, Misconfigured, Permanent, Postponed, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.budget import even_gap_s
from gainstage.engine.sources.hosts import PATIENCE_S, Hosts
from gainstage.engine.sources.policy import host_of
from gainstage.engine.sources.ytdlp_apart import look_up_page
from gainstage.engine.sources.ytdlp_list import refused
from gainstage.engine.terms import Recording

AT_ONCE = 4
EACH_S = 30.0
"""Average seconds per page: a round ends after this times its length over :data:`AT_ONCE`, plus its waits for permission."""


def look_up_all(
    recordings: Sequence[Recording], settings: Settings, hosts: Hosts, token: CancelToken, *, patience_s: float = PATIENCE_S
) -> list[Recording]:
    """The recordings with the details of their own pages, in order; each page request counts for the download as well.

    An unavailable recording gets the reason in ``extra["refused"]``. After an inconclusive look-up (network, time, used-up budget,
    throttle) a recording is returned unchanged. Raises :class:`Cancelled` and :class:`Misconfigured`.
    """
    inner = token.child()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look-up")
    try:
        futures = [pool.submit(_look_up, recording, settings, hosts, inner, patience_s) for recording in recordings]
        end = time.monotonic() + EACH_S * (1 + len(recordings) / AT_ONCE) + len(recordings) * even_gap_s(settings.fetch.rate)
        pending: set[Future[Recording]] = set(futures)
        while pending and time.monotonic() < end:
            token.check()
            _, pending = wait(pending, timeout=0.2)
        results = []
        for recording, future in zip(recordings, futures, strict=True):
            result = recording
            if future not in pending:
                with suppress(Cancelled):
                    result = future.result()
            results.append(result)
        token.check()
        return results
    finally:
        inner.cancel("the look-ups are over")
        pool.shutdown(wait=False, cancel_futures=True)


def _look_up(recording: Recording, settings: Settings, hosts: Hosts, token: CancelToken, patience_s: float) -> Recording:
    try:
        permit = hosts.enter(host_of(recording.source), token, patience_s=patience_s)
    except Postponed as error:
        token.cancel(error.message)  # no other look-up of this round would get permission either
        return recording
    try:
        result = look_up_page(recording, settings.fetch, token=token)
    except (Misconfigured, Cancelled):
        raise
    except Throttled as error:
        hosts.failed(permit, error)
        token.cancel(error.message)
        return recording
    except (Permanent, Transient) as error:
        return refused(recording, hosts.failed(permit, error))
    hosts.answered(permit)
    return result

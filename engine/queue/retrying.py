"""What becomes of a recording whose attempt failed: a pure decision by the class of the error."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.config.settings import Retry
from gainstage.engine.backoff import doubled
from gainstage.engine.errors import Cancelled, Elsewhere, EngineError, Misconfigured, NotYet, Postponed, Rejected, Throttled
from gainstage.engine.terms import Status

LONGEST_WAIT_S = 3600.0
"""Cap of the doubling; a host's own delay may be longer."""

LONGEST_HOLD_S = 86_400.0
"""Longest wait for what is not there yet."""

JITTER = 0.25
"""Waits are spread by up to this share, so that recordings that failed together do not come back together."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """``status`` the recording takes; ``wait_s`` seconds until the next try (None: none, or at once); ``counted`` whether the
    attempt counts against the limit; ``pause`` whether the engine must stop taking recordings until the setup is corrected; ``host``
    whose engines alone take it from now on.
    """

    status: Status
    wait_s: float | None = None
    counted: bool = True
    pause: bool = False
    host: str | None = None

    @property
    def retry(self) -> bool:
        """Whether it will be tried again by itself."""
        return self.status is Status.QUEUED

    @property
    def text(self) -> str:
        """In words: ``failed``, ``tried again in 20 s``."""
        if not self.retry:
            return self.status.value
        if self.host is not None:
            return f"left to the engines of {self.host}"
        return f"tried again in {self.wait_s:.0f} s" if self.wait_s else "queued again"


def decide(error: EngineError, attempt: int, retry: Retry, *, draw: float, wish: Status | None = None) -> RetryDecision:
    """The outcome of attempt number ``attempt`` (from 1). ``draw`` in [0, 1) spreads the wait; ``wish`` is what an operator
    asked for meanwhile, which goes before any retry.
    """
    if wish is not None:
        return RetryDecision(wish)
    if isinstance(error, Cancelled):
        return RetryDecision(Status.CANCELLED)
    if isinstance(error, Rejected):
        return RetryDecision(Status.SKIPPED)
    if isinstance(error, Misconfigured):
        return RetryDecision(Status.QUEUED, counted=False, pause=True)
    if isinstance(error, Elsewhere):
        return RetryDecision(Status.QUEUED, counted=False, host=error.host)
    if isinstance(error, Postponed):
        return RetryDecision(Status.QUEUED, wait_s=error.after_s, counted=False)
    if isinstance(error, NotYet):
        if attempt >= retry.attempts:
            return RetryDecision(Status.SKIPPED)
        return RetryDecision(Status.QUEUED, wait_s=doubled(error.after_s, attempt - 1, LONGEST_HOLD_S) * (1 + JITTER * draw))
    if not error.retry or attempt >= retry.attempts:
        return RetryDecision(Status.FAILED)
    if isinstance(error, Throttled) and error.after_s is not None:
        return RetryDecision(Status.QUEUED, wait_s=error.after_s * (1 + JITTER * draw))
    return RetryDecision(Status.QUEUED, wait_s=backoff(attempt, retry.backoff, draw))


def backoff(attempt: int, first_s: float, draw: float) -> float:
    """Seconds before the next try after attempt number ``attempt``: doubling from ``first_s``, capped, spread by the jitter."""
    return doubled(first_s, attempt - 1, max(LONGEST_WAIT_S, first_s)) * (1 - JITTER + 2 * JITTER * draw)

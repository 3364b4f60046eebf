"""Request budgets of all hosts, shared by all engines: they are kept in the database and survive a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Cancelled, EngineError, Postponed, Throttled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue.backlog import hurry
from gainstage.engine.sources import budget
from gainstage.engine.sources.budget import BudgetAnswer, HostState
from gainstage.engine.sources.policy import YOUTUBE, host_of
from gainstage.engine.store.codec import document
from gainstage.engine.store.database import Database
from gainstage.engine.store.outage import retry_until
from gainstage.engine.views.snapshot import HostBudget

PATIENCE_S = 20.0
"""A wait of up to this many seconds is spent in the slot; for a longer one, the slot goes to a recording of another host."""
LOOK_S = 1.0
"""Longest sleep between two checks, in seconds, so that a changed fetch.rate applies at once."""
VIEW_EVERY_S = 2.0
POSTPONED = "host budget"
EVEN = frozenset({YOUTUBE})
"""Hosts that monitor request rates: their requests are spaced evenly, not sent in a burst."""
COUNTED_S = 3600.0
"""For this many seconds, a request for a recording's page counts for its download as well."""


@dataclass(frozen=True, slots=True)
class HostPermit:
    """Permission to make one request, and how it was granted."""

    host: str
    requested_at: float  # seconds of the clock of the hosts
    trial: bool


@dataclass(slots=True)
class _Question:
    """A waiting request for permission."""

    counted: bool = False
    now: float = 0.0
    answer: BudgetAnswer | None = None
    error: EngineError | None = None


class Hosts:
    """Request budgets by host. Thread-safe. ``clock`` (seconds) defaults to the database's, so that all machines agree; tests pass
    their own."""

    def __init__(self, database: Database, settings: Callable[[], Fetch], clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, list[_Question]] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._promised: dict[str, list[float]] = {}
        self._views: tuple[float, tuple[HostBudget, ...]] = (float("-inf"), ())

    def enter(
        self,
        host: str,
        token: CancelToken,
        *,
        counted: bool = False,
        patience_s: float = PATIENCE_S,
        waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> HostPermit:
        """Wait for permission to send ``host`` one request; ``counted`` when an earlier request was counted for this one too.
        ``waiting`` is entered for the wait.

        Raises :class:`Postponed` when the wait is longer than ``patience_s`` seconds, :class:`gainstage.engine.errors.Cancelled`.
        """
        end = time.monotonic() + patience_s
        while True:
            token.check()
            # the request counts are in the database: an outage of it is waited for
            now, answer = retry_until(lambda: self._ask(host, counted), token)
            if answer.wait_s <= 0:
                return HostPermit(host, now, answer.trial)
            if answer.why != "trial" and time.monotonic() + answer.wait_s > end:
                raise self._postponed(host, now, answer)
            with waiting():
                token.wait(min(answer.wait_s, LOOK_S))

    @contextmanager
    def asking(self, url: str, token: CancelToken) -> Iterator[None]:
        """Context of one request: waits for permission and records the result. Raises the errors of :meth:`enter`."""
        permit = self.enter(host_of(url), token)
        try:
            yield
        except EngineError as error:
            raise self.failed(permit, error) from error.__cause__
        except GeneratorExit:  # the reader of a list stopped reading
            self.answered(permit)
            raise
        self.answered(permit)

    def answered(self, permit: HostPermit) -> None:
        """Record a normal answer of the host: a trial has succeeded."""
        if permit.trial:
            self._change(permit.host, lambda state, now: budget.answered(state, permit.requested_at))

    def failed(self, permit: HostPermit, error: EngineError) -> EngineError:
        """Record a failed request and return the error to raise. A throttle opens the breaker; its error has the time until it
        closes."""
        if isinstance(error, Throttled):
            now, state = self._change(
                permit.host, lambda state, now: budget.throttled(state, now, permit.requested_at, error.after_s)
            )
            error.after_s = max(0.0, state.until - now) + self._place(permit.host, now, state.until)
        elif permit.trial and (error.retry or isinstance(error, Cancelled)):
            self._change(permit.host, lambda state, now: budget.unclear(state, now))
        elif not error.retry:
            self.answered(permit)
        return error

    def views(self) -> tuple[HostBudget, ...]:
        """Every host with requests within the hour or in a cool-down, at most a few seconds old; queries the database at
        intervals."""
        with self._lock:
            at, views = self._views
            if time.monotonic() - at < VIEW_EVERY_S:
                return views
            self._views = (time.monotonic(), views)
        with self._database.connection() as connection:
            rows = connection.execute(
                "select host, state, extract(epoch from clock_timestamp())::float8 from host order by host"
            ).fetchall()
        rate, wall = self._settings().rate, self._database.clock.now()
        views = tuple(view for host, data, now in rows if (view := _view(host, budget.from_json(data), self._now(now), rate, wall)))
        with self._lock:
            self._views = (time.monotonic(), views)
        return views

    def hurry(self) -> int:
        """Make recordings that wait for a budget due now, after the budget was changed; returns how many."""
        with self._lock:
            self._promised.clear()
        with self._database.transaction() as connection:
            return hurry(connection, cause=POSTPONED)

    def _now(self, database_now: float) -> float:
        return database_now if self._clock is None else self._clock()

    def _ask(self, host: str, counted: bool) -> tuple[float, BudgetAnswer]:
        """The first of the waiting threads asks for all of them, so that many simultaneous downloads need few transactions."""
        mine = _Question(counted)
        with self._lock:
            self._lines.setdefault(host, []).append(mine)
            turn = self._turns.setdefault(host, threading.Lock())
        with turn:
            if mine.answer is None and mine.error is None:
                with self._lock:
                    line = self._lines.pop(host)
                try:
                    self._answer(host, line)
                except EngineError as error:
                    for question in line:
                        question.error = error
        if mine.answer is None:
            assert mine.error is not None
            raise mine.error
        return mine.now, mine.answer

    def _answer(self, host: str, line: list[_Question]) -> None:
        settings = self._settings()
        answers: list[BudgetAnswer] = []

        def decide(state: HostState, now: float) -> HostState:
            for question in line:
                state, answer = budget.ask(state, now, settings.rate, settings.sleep, even=host in EVEN, counted=question.counted)
                answers.append(answer)
            return state

        now, _ = self._change(host, decide)
        for question, answer in zip(line, answers, strict=True):
            question.now, question.answer = now, answer

    def _change(self, host: str, change: Callable[[HostState, float], HostState]) -> tuple[float, HostState]:
        with self._database.transaction() as connection:
            query = "select state, extract(epoch from clock_timestamp())::float8 from host where host = %s for update"
            row = connection.execute(query, [host]).fetchone()
            if row is None:
                connection.execute("insert into host (host) values (%s) on conflict do nothing", [host])
                row = connection.execute(query, [host]).fetchone()
            assert row is not None
            before, now = budget.from_json(row[0]), self._now(row[1])
            after = change(before, now)
            if after != before:
                connection.execute("update host set state = %s where host = %s", [document(budget.to_json(after)), host])
        return now, after

    def _postponed(self, host: str, now: float, answer: BudgetAnswer) -> Postponed:
        wait_s = answer.wait_s + self._place(host, now, now + answer.wait_s)
        why = {"cooling down": "is cooling down after a throttle", "pace": "is asked evenly over the hour"}.get(
            answer.why, "has had its requests of this hour"
        )
        return Postponed(f"{host} {why}", cause=POSTPONED, hint="fetch.rate sets the requests per hour and host.", after_s=wait_s)

    def _place(self, host: str, now: float, free: float) -> float:
        """Seconds after ``free`` until the turn of one more waiting recording: they return at the rate of the budget."""
        settings = self._settings()
        each = max(budget.even_gap_s(settings.rate) if host in EVEN else 3600.0 / settings.rate, settings.sleep)
        with self._lock:
            waiting = [at for at in self._promised.get(host, ()) if at > now]
            place = each * len(waiting)
            self._promised[host] = [*waiting, free + place]
        return place


def _view(host: str, state: HostState, now: float, rate: int, wall: float) -> HostBudget | None:
    used = state.used(now)
    cooling = state.breaker == "trial" or (state.breaker == "open" and now < state.until)
    if not used and not cooling:
        return None
    return HostBudget(
        host,
        used,
        rate,
        state.breaker if cooling else "closed" if state.breaker == "closed" else "open",
        wall + state.until - now if cooling else None,
        state.throttled,
    )

"""Builds the snapshot of the engine a few times a second and publishes it: the one source of every figure on a screen."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gainstage.config.origins import shown_with_origins
from gainstage.config.settings import SPECS, value_of
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.queue import changes, runs
from gainstage.engine.queue.counts import QueueCounts
from gainstage.engine.queue.scopes import Scopes, read_scopes
from gainstage.engine.queue.setting_rows import setting_rows
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.disk_use import SHARE
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.runtime.run_state import RunStateMachine
from gainstage.engine.stages import STAGES
from gainstage.engine.store.vector_index import IndexBuild, build_in_progress
from gainstage.engine.telemetry.devices import Devices
from gainstage.engine.telemetry.host import Host
from gainstage.engine.telemetry.recorder import Recorder
from gainstage.engine.views.rows import ChangeRow
from gainstage.engine.views.scopes import refreshed
from gainstage.engine.views.snapshot import SCHEMA, Bottleneck, DatabaseView, Forecast, HostView, Run, ScopeView, Snapshot, Verdict

if TYPE_CHECKING:
    from gainstage.engine.telemetry.prometheus import Exporter

WATCHED_S = 0.2
"""Seconds between frames while a console watches."""
ALONE_S = 1.0
SLOW_S = 1.0
"""Seconds between looks at what costs a query: counts, verdict, history."""

UNWRITTEN_S = 10.0
"""Longest time with work that is not written while other engines write theirs."""
COUNT_EVERY_S, ENGINES_A_COUNT = 15.0, 16
"""Recordings are counted once a second for so many engines together, by each of them at least this often. A console counts by itself."""

CHANGES_EVERY_S = 60.0
INDEX_EVERY_S = 3.0

UNDECIDED = Verdict("starting", "", None, Bottleneck(None, "unknown", ""), None, Forecast(None, None, None))


class SnapshotPublisher:
    """Owns the sampling thread, the device readers and the recording of the run.

    The newest frame of each second goes into ``history``; the steps of
    ``each_second`` are taken after it has been published, each under its name.
    """

    def __init__(
        self,
        context: EngineContext,
        in_flight: InFlight,
        run_state: RunStateMachine,
        history: deque[Snapshot],
        each_second: Mapping[str, Callable[[], object]],
        autopilot: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.context = context
        self.in_flight = in_flight
        self.run_state = run_state
        self.history = history
        self.each_second = each_second
        self._autopilot = autopilot
        self.version = version("gainstage")
        self.devices = Devices(wanted=self._is_looked_at)
        self.host = Host(context.paths.work, work_bytes=lambda: self._work_bytes, postgres_pid=lambda: context.database.server_pid)
        self._work_bytes: int | None = None
        self.frames = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._index: IndexBuild | None = None
        self._index_at = float("-inf")
        self._scopes = Scopes(QueueCounts(), (), QueueCounts())
        self._counted_at = float("-inf")
        self._worked_at = time.monotonic()
        self._worked_j: float | None = None
        self._worked: set[int] = set()
        self._working = False
        self._judge = VerdictCache()
        self._verdict = UNDECIDED
        self._judged_scopes: tuple[ScopeView, ...] = ()
        self._recorder: Recorder | None = None
        self._exporter: Exporter | None = None
        self._host: HostView | None = None
        self._recorded = 0
        self._journal_trouble: str | None = None
        self._changes_revision = -1
        self._changes_at = float("-inf")
        self._changes_recorded: dict[int, ChangeRow] = {}

    def start(self) -> None:
        self.devices.start()
        self.context.faults.guarded_step("recording the run", self._start_recording)
        self.context.faults.guarded_step("prometheus endpoint", self._start_exporter)
        self._thread.start()

    def _start_recording(self) -> None:
        if not self.context.settings.watch.record:
            return
        with self.context.database.connection() as connection:
            rows = setting_rows(shown_with_origins(self.context.loaded), changes.live_values(connection))
        name = time.strftime("%Y-%m-%dT%H-%M-%S") + f"-{time.monotonic_ns() % 1000:03}-{self.context.id}.gsr"
        self._recorder = Recorder(self.context.paths.runs / name, label=self.context.title, settings=rows)

    def _start_exporter(self) -> None:
        if port := self.context.settings.watch.prometheus_port:
            from gainstage.engine.telemetry.prometheus import Exporter

            self._exporter = Exporter(lambda: self.history[-1] if self.history else None, port)

    def _is_looked_at(self) -> bool:
        """Whether somebody sees figures of the GPU, or advice rests on them: a console, Prometheus, recordings in flight."""
        return self.context.registry.watched or self._exporter is not None or bool(self.in_flight.flights())

    def recording(self) -> Path | None:
        """The file of the recorded run that is being written."""
        return self._recorder.path if self._recorder else None

    def stop(self) -> None:
        """Publish the last frame and end."""
        self._stop.set()
        self._thread.join(10)
        self.context.faults.guarded_step("last figures", lambda: self.publish(slow=True))
        self.devices.stop()
        if self._recorder:
            self._recorder.close()
        if self._exporter:
            self._exporter.close()

    def _run(self) -> None:
        slow_at = 0.0
        while not self._stop.wait(WATCHED_S if self.context.registry.watched else ALONE_S):
            now = time.monotonic()
            slow = now - slow_at >= SLOW_S * 0.9
            if slow:
                slow_at = now
            self.context.faults.guarded_step("figures", partial(self.publish, slow))
            if slow:
                for what, step in self.each_second.items():
                    self.context.faults.guarded_step(what, step)

    def publish(self, slow: bool) -> None:
        """Build a frame and show it; raises :class:`gainstage.engine.errors.Transient` in an outage."""
        working = self._working = self._has_work()
        begins = self.context.totals.look(working=working)
        for stage in self.context.stages.values():
            if begins:
                stage.begin_measuring()
            stage.hold_shares(not working)
        if slow:
            self._count()
            self.context.database.ping()
            self._look_at_index()
        frame = self.build(slow)
        self.context.registry.publish(frame)
        if slow:
            self._record(frame)
        self.context.faults.database_back()

    def _has_work(self) -> bool:
        """Whether recordings are in flight that are not all held back by a paused stage."""
        stages = self.context.stages.values()
        return len(self.in_flight) > 0 and (any(s.at_work for s in stages) or not any(s.paused for s in stages))

    def _look_at_index(self) -> None:
        """How far the build of a vector index is, by whichever engine."""
        if time.monotonic() - self._index_at >= INDEX_EVERY_S:
            self._index_at = time.monotonic()
            with self.context.database.connection() as connection:
                self._index = build_in_progress(connection)

    def _database_view(self) -> DatabaseView:
        view, index = self.context.database.view(), self._index
        return view if index is None else replace(view, index_phase=index.phase, index_share=index.share)

    def _count(self) -> None:
        """Add the time and energy since they were last written to the runs that have recordings in flight, and read the counts: each
        second, of many engines less often.
        """
        flying = {f.claim.run for f in self.in_flight.flights() if f.claim.run is not None} if self._working else set()
        now, energy_j = time.monotonic(), self._energy_j()
        elapsed, used = now - self._worked_at, None
        if energy_j is not None:
            used = max(0.0, energy_j - self._worked_j) if self._worked_j is not None else 0.0
        may_wait = flying == self._worked and elapsed < UNWRITTEN_S
        today = self.context.database.clock.local().date()
        if runs.count_work(self.context.database, self._worked, elapsed, energy_j=used, today=today, may_wait=may_wait):
            self._worked, self._worked_at, self._worked_j = flying, now, energy_j
        if now - self._counted_at >= min(COUNT_EVERY_S, self._scopes.engines / ENGINES_A_COUNT) - 0.1:
            self._counted_at = now
            with self.context.database.transaction() as connection:
                self._scopes = read_scopes(connection, now=self.context.database.clock.local())

    def _energy_j(self) -> float | None:
        """Joules the GPUs have used since the engine started; None where none reports it."""
        known = [d.energy_j for d in self.devices.read()[0] if d.energy_j is not None]
        return sum(known) if known else None

    def _record(self, frame: Snapshot) -> None:
        events = self.context.journal.after(self._recorded, 1000)
        fresh = tuple(e for e in events.items if e.level != "debug")  # spans and batches are in the figures already
        self.context.registry.add_events(fresh)
        self._recorded = events.cursor  # only now: what could not be written in an outage is written after it
        if self._recorder:
            try:
                if not self._recorder.follows(frame):
                    self._recorder.close()
                    self._start_recording()
                self._recorder.append(frame, fresh, self._new_changes(frame))
                if self._recorder.size > self.context.settings.watch.runs_bytes // SHARE:
                    self._recorder.close()
                    self._start_recording()
            except OSError as error:  # a full disk must not end the figures
                self.context.journal.log("warning", f"the run is not recorded any more: {error}", kind="state")
                recorder, self._recorder = self._recorder, None
                with suppress(OSError):  # it tries once more to write what the disk has refused
                    recorder.close()

    def _new_changes(self, frame: Snapshot) -> tuple[ChangeRow, ...]:
        """Changes of settings that are new or whose effect is; read when there is a new revision, and once a minute."""
        if frame.revision == self._changes_revision and frame.monotonic - self._changes_at < CHANGES_EVERY_S:
            return ()
        self._changes_revision, self._changes_at = frame.revision, frame.monotonic
        rows = changes.history(self.context.database, 50) if frame.revision else ()
        rows = tuple(row for row in reversed(rows) if row.wall >= self.context.started_wall)
        fresh = tuple(row for row in rows if self._changes_recorded.get(row.revision) != row)
        self._changes_recorded = {row.revision: row for row in rows}
        return fresh

    def build(self, slow: bool = True) -> Snapshot:
        """One frame. ``slow`` also takes the verdict anew and appends to the history."""
        context = self.context
        self.frames += 1
        settings = context.settings
        stages = tuple(context.stages[name].view() for name in STAGES)
        devices, note = self.devices.read()
        frame = Snapshot(
            schema=SCHEMA,
            seq=self.frames,
            engine=context.id,
            version=self.version,
            pid=os.getpid(),
            wall=context.wall(),
            monotonic=time.monotonic(),
            revision=context.live.revision,
            run=self._run_view(),
            verdict=self._verdict,
            stages=stages,
            batchers=(context.windows.view(), context.voices.view(), context.texts.view()),
            flights=tuple(f.view() for f in sorted(self.in_flight.flights(), key=lambda f: f.entered)),
            decisions=context.totals.decisions_view(settings.identify),
            devices=devices,
            host=self._host_view(note, slow),
            database=self._database_view(),
            models=context.models.views(),
            budgets=context.fetcher.budgets(),
            counters=(("frames", self.frames),),
            scopes=self._scope_views(),
            autopilot=self._autopilot(),
        )
        if slow:
            frame = self._judged(frame)
            self._report_stall(frame.verdict)
            self._report_journal_trouble()
            self._verdict, self._judged_scopes = frame.verdict, frame.scopes
            self.history.append(frame)
        return frame

    def _scope_views(self) -> tuple[ScopeView, ...]:
        """The scopes as counted last, with the judgement of the last slow look and this engine's errors."""
        views = []
        for scope in refreshed(self._judged_scopes, self._scopes.views):
            finished, errors, _ = self.context.totals.recent(scope.run)
            views.append(replace(scope, finished_10m=finished, errors_10m=errors))
        return tuple(views)

    def _judged(self, frame: Snapshot) -> Snapshot:
        """The frame with its verdict. A verdict that cannot be made is reported and named, and never takes the frame with it."""
        try:
            settings = self.context.settings
            judged = self._judge.judge(frame, {key: value_of(settings, key) for key in SPECS})
            ahead = self._scopes.ahead
            return self._judge.judge_scopes(judged, settings.in_flight, (ahead.queued, ahead.running, ahead.audio_left_estimate_s))
        except Exception as error:  # figures without advice are worth more than none
            self.context.faults.report("verdict", error)
            reason = f"no verdict, a fault of gainstage: {type(error).__name__}"
            return replace(frame, verdict=replace(UNDECIDED, health="degraded", reason=reason, since_wall=frame.wall))

    def _report_stall(self, now: Verdict) -> None:
        """A stall begins and ends once in the journal."""
        was, is_now = self._verdict.health == "stalled", now.health == "stalled"
        if is_now and not was:
            self.context.journal.log("warning", f"stalled: {now.reason}", kind="state")
        elif was and not is_now:
            self.context.journal.log("info", "no longer stalled", kind="state")

    def _report_journal_trouble(self) -> None:
        """That the journal's file cannot be written, and that it can again; both are kept in memory and in the database."""
        was, self._journal_trouble = self._journal_trouble, self.context.journal.trouble
        if self._journal_trouble and not was:
            text = f"the journal's file cannot be written: {self._journal_trouble}; check the disk of {self.context.paths.logs}"
            self.context.journal.log("warning", text, kind="state")
        elif was and not self._journal_trouble:
            self.context.journal.log("info", "the journal's file is written again", kind="state")

    def _reason(self) -> str | None:
        """Why the engine does not do its work at present: its own pause, an outage, a stall."""
        if self.run_state.reason is None and self.context.faults.away_since is not None:
            return "the database is away: finished recordings wait"
        if self.run_state.reason is None and self._verdict.health == "stalled":
            return f"stalled: {self._verdict.reason}"
        return self.run_state.reason

    def _host_view(self, gpu_note: str | None, slow: bool) -> HostView:
        """Rates need a second to mean something, so the host is read with the slow look only."""
        if slow or self._host is None:
            self._work_bytes = self.context.work.bytes_used()
            self._host = self.host.read(gpu_note)
        return self._host

    def _run_view(self) -> Run:
        run_state, totals, counts = self.run_state, self.context.totals, self._scopes.total
        finished, errors, throttled = totals.recent()
        return Run(
            state=run_state.current,
            source=self.context.title,
            started_wall=self.context.started_wall,
            state_since_wall=run_state.since_wall,
            by=run_state.by,
            reason=self._reason(),
            queued=counts.queued,
            running=counts.running,
            stored=counts.stored,
            failed=counts.failed,
            skipped=counts.skipped,
            cancelled=counts.cancelled,
            retrying=counts.retrying,
            audio_done_s=totals.audio_s,
            audio_stored_s=counts.audio_done_s,
            audio_left_s=counts.audio_left_estimate_s,
            rtfx=totals.rtfx(),
            work_s=round(totals.work_s, 1),
            rtfx_history=totals.rtfx_history(),
            rtfx_trend=totals.rtfx_trend(),
            last_commit_wall=totals.last_commit_wall,
            errors_10m=errors,
            finished_10m=finished,
            throttled_10m=throttled,
            loading=tuple(
                f"{v.role} {v.name}" + (f": {v.note}" if v.note else f" {v.load_s:.1f} s" if v.load_s is not None else "")
                for v in self.context.models.views()
                if v.state == "loading"
            ),
        )

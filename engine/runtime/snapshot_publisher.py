"""Builds the snapshot of the engine a few times a second and publishes it: the one source of every figure on a screen."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from gainstage.config.origins import told
from gainstage.config.settings import SPECS, value_of
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.queue import changes
from gainstage.engine.queue.counts import Counts
from gainstage.engine.queue.setting_rows import setting_rows
from gainstage.engine.stages import STAGES
from gainstage.engine.telemetry.devices import Devices
from gainstage.engine.telemetry.host import Host
from gainstage.engine.telemetry.recorder import Recorder
from gainstage.engine.views.rows import ChangeRow
from gainstage.engine.views.snapshot import SCHEMA, Bottleneck, Forecast, HostView, Run, Snapshot, Verdict

if TYPE_CHECKING:
    from gainstage.engine.runtime.engine import Engine
    from gainstage.engine.runtime.run_state import RunControl
    from gainstage.engine.telemetry.prometheus import Exporter

WATCHED_S = 0.2
"""Seconds between frames while a console watches."""
ALONE_S = 1.0
SLOW_S = 1.0
"""Seconds between looks at what costs a query: counts, verdict, history."""

CHANGES_EVERY_S = 60.0

UNDECIDED = Verdict("starting", "", None, Bottleneck(None, "unknown", ""), None, Forecast(None, None, None))


class SnapshotPublisher:
    """Owns the sampling thread, the device readers and the recording of the run."""

    def __init__(self, engine: Engine, control: RunControl) -> None:
        self.engine = engine
        self.control = control
        self.version = version("gainstage")
        self.devices = Devices()
        self.host = Host(engine.paths.work, work_bytes=lambda: self._work_bytes)
        self._work_bytes: int | None = None
        self.history: deque[Snapshot] = deque(maxlen=1500)  # one a second: enough for the windows on both sides of a change
        self.frames = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._counts = Counts()
        self._judge = VerdictCache()
        self._verdict = UNDECIDED
        self._recorder: Recorder | None = None
        self._exporter: Exporter | None = None
        self._host: HostView | None = None
        self._recorded = 0
        self._journal_trouble: str | None = None
        self._changes_revision = -1
        self._changes_at = float("-inf")
        self._changes_told: dict[int, ChangeRow] = {}

    def start(self) -> None:
        self.devices.start()
        self.control.steadily("recording the run", self._start_recording)
        self.control.steadily("prometheus endpoint", self._start_exporter)
        self._thread.start()

    def _start_recording(self) -> None:
        if not self.engine.settings.watch.record:
            return
        with self.engine.database.connection() as connection:
            rows = setting_rows(told(self.engine.loaded), changes.live_values(connection))
        name = time.strftime("%Y-%m-%dT%H-%M-%S") + f"-{self.engine.id}.gsr"
        self._recorder = Recorder(self.engine.paths.runs / name, label=self.engine.title, settings=rows)

    def _start_exporter(self) -> None:
        if port := self.engine.settings.watch.prometheus_port:
            from gainstage.engine.telemetry.prometheus import Exporter

            self._exporter = Exporter(lambda: self.history[-1] if self.history else None, port)

    def stop(self) -> None:
        """Publish the last frame and end."""
        self._stop.set()
        self._thread.join(10)
        self.control.steadily("last figures", lambda: self.publish(slow=True))
        self.devices.stop()
        if self._recorder:
            self._recorder.close()
        if self._exporter:
            self._exporter.close()

    def _run(self) -> None:
        slow_at = 0.0
        while not self._stop.wait(WATCHED_S if self.engine.registry.watched else ALONE_S):
            now = time.monotonic()
            slow = now - slow_at >= SLOW_S * 0.9
            if slow:
                slow_at = now
            self.control.steadily("figures", partial(self.publish, slow))
            if slow:
                self.control.steadily("predicted effects", self.control.keeper.predict)

    def publish(self, slow: bool) -> None:
        """Build a frame and show it; raises :class:`gainstage.engine.errors.Transient` in an outage."""
        if slow:
            self._counts = self.engine.queue.counts()
            self.engine.database.ping()
        frame = self.build(slow)
        self.engine.registry.publish(frame)
        if slow:
            self._record(frame)
        self.control.database_back()

    def _record(self, frame: Snapshot) -> None:
        events = self.engine.journal.after(self._recorded, 1000)
        fresh = tuple(e for e in events.items if e.level != "debug")  # spans and batches are in the figures already
        self.engine.registry.add_events(fresh)
        self._recorded = events.cursor  # only now: what could not be written in an outage is written after it
        if self._recorder:
            try:
                self._recorder.append(frame, fresh, self._news_of_changes(frame))
            except OSError as error:  # a full disk must not end the figures
                self.engine.journal.log("warning", f"the run is not recorded any more: {error}", kind="state")
                self._recorder.close()
                self._recorder = None

    def _news_of_changes(self, frame: Snapshot) -> tuple[ChangeRow, ...]:
        """Changes of settings that are new or have news (their effect), looked at when there is one, and once a minute."""
        if frame.revision == self._changes_revision and frame.monotonic - self._changes_at < CHANGES_EVERY_S:
            return ()
        self._changes_revision, self._changes_at = frame.revision, frame.monotonic
        rows = changes.history(self.engine.database, 50) if frame.revision else ()
        rows = tuple(row for row in reversed(rows) if row.wall >= self.engine.started_wall)
        fresh = tuple(row for row in rows if self._changes_told.get(row.revision) != row)
        self._changes_told = {row.revision: row for row in rows}
        return fresh

    def build(self, slow: bool = True) -> Snapshot:
        """One frame. ``slow`` also takes the verdict anew and appends to the history."""
        engine = self.engine
        self.frames += 1
        settings = engine.settings
        stages = tuple(engine.stages[name].view() for name in STAGES)
        p95 = {s.name: s.service_p95_s for s in stages}
        devices, note = self.devices.read()
        frame = Snapshot(
            schema=SCHEMA,
            seq=self.frames,
            engine=engine.id,
            version=self.version,
            pid=os.getpid(),
            wall=time.time(),
            monotonic=time.monotonic(),
            revision=engine.live.revision,
            run=self._run_view(),
            verdict=self._verdict,
            stages=stages,
            batchers=(engine.voices.view(), engine.texts.view()),
            flights=tuple(f.view(p95) for f in sorted(engine.flights(), key=lambda f: f.entered)),
            decisions=engine.tally.decisions_view(settings.identify),
            devices=devices,
            host=self._host_view(note, slow),
            database=engine.database.view(),
            models=engine.models.views(),
            budgets=engine.fetcher.budgets(),
            counters=(("frames", self.frames),),
        )
        if slow:
            frame = self._judge.judge(frame, {key: value_of(settings, key) for key in SPECS})
            self._tell_stall(frame.verdict)
            self._tell_journal()
            self._verdict = frame.verdict
            self.history.append(frame)
        return frame

    def _tell_stall(self, now: Verdict) -> None:
        """A stall begins and ends once in the journal."""
        was, is_now = self._verdict.health == "stalled", now.health == "stalled"
        if is_now and not was:
            self.engine.journal.log("warning", f"stalled: {now.reason}", kind="state")
        elif was and not is_now:
            self.engine.journal.log("info", "no longer stalled", kind="state")

    def _tell_journal(self) -> None:
        """That the journal's file cannot be written, and that it can again; both are kept in memory and in the database."""
        was, self._journal_trouble = self._journal_trouble, self.engine.journal.trouble
        if self._journal_trouble and not was:
            text = f"the journal's file cannot be written: {self._journal_trouble}; see to the disk of {self.engine.paths.logs}"
            self.engine.journal.log("warning", text, kind="state")
        elif was and not self._journal_trouble:
            self.engine.journal.log("info", "the journal's file is written again", kind="state")

    def _reason(self) -> str | None:
        """Why the engine does not do its work at present: its own pause, an outage, a stall."""
        if self.control.reason is None and self.control.away_since is not None:
            return "the database is away: finished recordings wait"
        if self.control.reason is None and self._verdict.health == "stalled":
            return f"stalled: {self._verdict.reason}"
        return self.control.reason

    def _host_view(self, gpu_note: str | None, slow: bool) -> HostView:
        """Rates need a second to mean something, so the host is read with the slow look only."""
        if slow or self._host is None:
            self._work_bytes = self.engine.work.bytes_used()
            self._host = self.host.read(gpu_note)
        return self._host

    def _run_view(self) -> Run:
        control, tally, counts = self.control, self.engine.tally, self._counts
        finished, errors, throttled = tally.recent()
        return Run(
            state=control.run_state,
            source=self.engine.title,
            started_wall=self.engine.started_wall,
            state_since_wall=control.since_wall,
            by=control.by,
            reason=self._reason(),
            queued=counts.queued,
            running=counts.running,
            stored=counts.stored,
            failed=counts.failed,
            skipped=counts.skipped,
            cancelled=counts.cancelled,
            retrying=counts.retrying,
            audio_done_s=tally.audio_s,
            audio_stored_s=counts.audio_done_s,
            audio_left_s=self._audio_left(),
            rtfx=tally.rtfx(),
            rtfx_history=tally.rtfx_history(),
            last_commit_wall=tally.last_commit_wall,
            errors_10m=errors,
            finished_10m=finished,
            throttled_10m=throttled,
            loading=tuple(
                f"{v.role} {v.name}" + (f" {v.load_s:.1f} s" if v.load_s is not None else "")
                for v in self.engine.models.views()
                if v.state == "loading"
            ),
        )

    def _audio_left(self) -> float | None:
        """Seconds of audio not stored yet; what has no known length counts as the mean of what is stored, None without one."""
        counts = self._counts
        if not counts.unknown:
            return counts.audio_left_s
        return counts.audio_left_s + counts.unknown * counts.audio_done_s / counts.stored if counts.stored else None

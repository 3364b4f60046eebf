"""Figures of the newest snapshot for Prometheus, on loopback. Off unless ``watch.prometheus_port`` names a port.

Every scrape reads the newest frame: there is one set of figures, and this is another view of it. Unknown figures are left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer

from gainstage.engine.views.snapshot import DeviceView, Snapshot, StageView

LOOPBACK = "127.0.0.1"
HERE = (LOOPBACK, "localhost", "::1")
STATES = ("starting", "running", "paused", "draining", "stopping", "stopped", "done")
HEALTH = ("healthy", "degraded", "stalled", "paused", "draining", "failed", "stale", "offline", "done", "starting")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Rows = Sequence[tuple[tuple[str, ...], float | None]]
"""Label values and the figure they belong to."""

_STAGE: tuple[tuple[str, str, Callable[[StageView], float | None]], ...] = (
    ("stage_capacity", "Slots of the stage.", lambda s: s.capacity),
    ("stage_busy", "Slots at work.", lambda s: s.busy),
    ("stage_waiting", "Recordings waiting at the gate.", lambda s: s.depth),
    ("stage_busy_ratio", "Busy slot-seconds over capacity-seconds, last 60 s.", lambda s: s.busy_share),
    ("stage_blocked_ratio", "Free slots while what passed waits at the next gate, last 60 s.", lambda s: s.blocked_share),
    ("stage_service_p50_seconds", "Median service time.", lambda s: s.service_p50_s),
    ("stage_service_p95_seconds", "95th percentile of the service time.", lambda s: s.service_p95_s),
    ("stage_wait_p95_seconds", "95th percentile of the wait at the gate.", lambda s: s.wait_p95_s),
)
_GPU: tuple[tuple[str, str, Callable[[DeviceView], float | None]], ...] = (
    ("gpu_busy_ratio", "Share of time any kernel ran.", lambda d: d.busy),
    ("gpu_sm_activity_ratio", "Share of SMs at work (GPM metrics).", lambda d: d.sm if d.sm_measured else None),
    ("gpu_sm_occupancy_ratio", "Warps of the most the SMs can hold (GPM metrics).", lambda d: d.occupancy),
    ("gpu_memory_bandwidth_ratio", "Share of the memory's bandwidth (GPM metrics).", lambda d: d.memory_bandwidth),
    ("gpu_memory_used_bytes", "Memory in use.", lambda d: d.memory_used),
    ("gpu_memory_total_bytes", "Memory of the GPU.", lambda d: d.memory_total),
    ("gpu_temperature_celsius", "Temperature.", lambda d: d.temperature),
    ("gpu_power_watts", "Power drawn.", lambda d: d.power_w),
)


class SnapshotCollector:
    """Turns the newest frame into metrics; ``newest`` may answer None, which gives only ``gainstage_up 0``."""

    def __init__(self, newest: Callable[[], Snapshot | None]) -> None:
        self._newest = newest

    def collect(self) -> Iterator[Metric]:
        frame = self._newest()
        up = GaugeMetricFamily("gainstage_up", "Whether the engine has a frame to show.")
        up.add_metric([], 0 if frame is None else 1)
        yield up
        if frame is None:
            return
        yield from _run(frame)
        yield from _stages(frame)
        yield from _batchers(frame)
        yield from _machines(frame)


def _gauge(name: str, help: str, rows: Rows, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(f"gainstage_{name}", help, labels=labels)
    for values, value in rows:
        if value is not None:
            family.add_metric(values, value)
    return family


def _count(name: str, help: str, rows: Rows, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(f"gainstage_{name}", help, labels=labels)
    for values, value in rows:
        if value is not None:
            family.add_metric(values, value)
    return family


def _run(frame: Snapshot) -> Iterator[Metric]:
    run, verdict = frame.run, frame.verdict
    counts = {
        "queued": run.queued,
        "running": run.running,
        "stored": run.stored,
        "failed": run.failed,
        "skipped": run.skipped,
        "cancelled": run.cancelled,
    }
    yield _gauge("recordings", "Recordings of the database by status.", [((s,), n) for s, n in counts.items()], ("status",))
    yield _gauge("state", "1 for the state the engine is in.", [((s,), float(s == run.state)) for s in STATES], ("state",))
    yield _gauge("health", "1 for the verdict.", [((h,), float(h == verdict.health)) for h in HEALTH], ("health",))
    yield _gauge("audio_done_seconds", "Audio of stored recordings.", [((), run.audio_done_s)])
    yield _gauge("audio_left_seconds", "Audio still to do.", [((), run.audio_left_s)])
    yield _gauge("rtfx", "Audio seconds per second of work, over the last minute with work.", [((), run.rtfx)])
    yield _gauge("left_seconds", "Forecast of the time left.", [((), verdict.forecast.left_s)])
    yield _gauge("retrying", "Recordings waiting for another attempt.", [((), run.retrying)])
    yield _gauge("last_commit_timestamp_seconds", "When a recording was last stored.", [((), run.last_commit_wall)])
    yield _gauge("settings_revision", "Revision of the settings in force.", [((), frame.revision)])
    decided = frame.decisions
    kinds = {"kept": decided.kept, "split": decided.split, "massive": decided.massive, "fast_path": decided.fast_path}
    yield _count("decisions", "Cluster decisions of this run.", [((k,), n) for k, n in kinds.items()], ("kind",))


def _stages(frame: Snapshot) -> Iterator[Metric]:
    for name, help, value in _STAGE:
        yield _gauge(name, help, [((s.name,), value(s)) for s in frame.stages], ("stage",))
    yield _count("stage_passes", "Passes that ended well.", [((s.name,), s.done) for s in frame.stages], ("stage",))
    yield _count("stage_failures", "Passes that failed.", [((s.name,), s.failed) for s in frame.stages], ("stage",))


def _batchers(frame: Snapshot) -> Iterator[Metric]:
    rows = frame.batchers
    yield _count("batches", "Model calls.", [((b.name,), b.batches) for b in rows], ("batcher",))
    yield _count("batch_items", "Items through the batcher.", [((b.name,), b.items) for b in rows], ("batcher",))
    yield _count("out_of_memory", "Batches halved for lack of memory.", [((b.name,), b.out_of_memory) for b in rows], ("batcher",))
    yield _gauge("batch_fill_ratio", "Share of the budget in use.", [((b.name,), b.fill) for b in rows], ("batcher",))


def _machines(frame: Snapshot) -> Iterator[Metric]:
    for name, help, value in _GPU:
        yield _gauge(name, help, [((str(d.index), d.name), value(d)) for d in frame.devices], ("gpu", "name"))
    energy = [((str(d.index), d.name), d.energy_j) for d in frame.devices]
    yield _count("gpu_energy_joules", "Energy since the engine started.", energy, ("gpu", "name"))
    host, database = frame.host, frame.database
    yield _gauge("host_cpu_ratio", "Processor time in use, of all cores.", [((), host.cpu)])
    yield _gauge("engine_memory_bytes", "Resident memory of the engine.", [((), host.engine_rss)])
    yield _gauge("disk_free_bytes", "Free space where work files lie.", [((), host.disk_free)])
    yield _gauge("database_up", "Whether the database answers.", [((), float(database.up))])
    yield _gauge("database_p95_seconds", "95th percentile of database round trips.", [((), database.latency_p95_s)])


def loopback_only(app: Application) -> Application:
    """``app`` for requests that name this machine, 403 for any other name: a page of somebody's may have its own name lead here."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = None
        with suppress(ValueError):  # what is no host name is none of ours
            host = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname
        if host in HERE:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"only for 127.0.0.1, localhost and [::1]\n"]

    return guarded


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not logged."""


class Exporter:
    """Serves the metrics on loopback until :meth:`close`, to requests that name it so.

    Raises ``OSError`` when the port is taken. Port 0 takes a free one.
    """

    def __init__(self, newest: Callable[[], Snapshot | None], port: int) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(SnapshotCollector(newest))
        app = loopback_only(make_wsgi_app(registry))
        self._server = make_server(LOOPBACK, port, app, ThreadingWSGIServer, handler_class=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="prometheus", daemon=True)
        self._thread.start()
        self.port = int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

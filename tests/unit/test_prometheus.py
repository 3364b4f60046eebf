"""The Prometheus endpoint: the newest frame, on loopback only."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.telemetry.prometheus import Exporter
from gainstage.engine.views.snapshot import Snapshot


class Newest:
    def __init__(self, frame: Snapshot | None) -> None:
        self.frame = frame

    def __call__(self) -> Snapshot | None:
        return self.frame


@pytest.fixture(scope="module")
def frame() -> Snapshot:
    found = ScriptedDesk(start_at=STORY["bottleneck"]).snapshot()
    assert found is not None
    return found


@pytest.fixture
def newest(frame: Snapshot) -> Newest:
    return Newest(frame)


@pytest.fixture
def exporter(newest: Newest) -> Iterator[Exporter]:
    exporter = Exporter(newest, 0)
    yield exporter
    exporter.close()


def scrape(exporter: Exporter) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(found: dict[tuple[str, frozenset[tuple[str, str]]], float], metric: str, /, **labels: str) -> float:
    return found[f"gainstage_{metric}", frozenset(labels.items())]


def test_a_scrape_shows_the_frame(exporter: Exporter, frame: Snapshot) -> None:
    found = scrape(exporter)
    assert at(found, "up") == 1
    for status in ("queued", "running", "stored", "failed", "skipped", "cancelled"):
        assert at(found, "recordings", status=status) == getattr(frame.run, status)
    for stage in frame.stages:
        assert at(found, "stage_capacity", stage=stage.name) == stage.capacity
        assert at(found, "stage_passes_total", stage=stage.name) == stage.done
    assert at(found, "health", health=frame.verdict.health) == 1
    assert sum(v for (n, _), v in found.items() if n == "gainstage_health") == 1
    assert sum(v for (n, _), v in found.items() if n == "gainstage_state") == 1
    assert at(found, "gpu_memory_used_bytes", gpu="0", name=frame.devices[0].name) == frame.devices[0].memory_used
    assert at(found, "batch_items_total", batcher="voices") == frame.batchers[0].items
    assert at(found, "left_seconds") == frame.verdict.forecast.left_s


def test_a_later_scrape_shows_the_later_frame(exporter: Exporter, newest: Newest) -> None:
    before = at(scrape(exporter), "recordings", status="stored")
    newest.frame = ScriptedDesk(start_at=STORY["bottleneck"] + 40).snapshot()
    assert at(scrape(exporter), "recordings", status="stored") > before


def test_unknown_figures_are_left_out(exporter: Exporter, newest: Newest) -> None:
    newest.frame = ScriptedDesk(start_at=2.0).snapshot()
    found = scrape(exporter)
    names = {name for name, _ in found}
    assert "gainstage_rtfx" not in names
    assert "gainstage_left_seconds" not in names
    assert "gainstage_stage_service_p95_seconds" not in names
    assert "gainstage_stage_capacity" in names


def test_without_a_frame_only_that_is_said(exporter: Exporter, newest: Newest) -> None:
    newest.frame = None
    assert scrape(exporter) == {("gainstage_up", frozenset()): 0.0}


def test_it_listens_on_loopback_only_and_frees_its_port(newest: Newest) -> None:
    exporter = Exporter(newest, 0)
    assert exporter._server.server_address[0] == "127.0.0.1"
    with pytest.raises(OSError, match="in use"):
        Exporter(newest, exporter.port)
    exporter.close()
    with socket.socket() as probe:
        probe.settimeout(30)
        assert probe.connect_ex(("127.0.0.1", exporter.port)) != 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("127.0.0.1:9000", 200), ("localhost:1", 200), ("LOCALHOST", 200), ("[::1]:9000", 200),
        ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("evil.example:80@127.0.0.1.evil", 403), ("", 403), ("[::1", 403),
        ("localhost.evil:80", 403), ("10.0.0.1", 403),
    ],
)  # fmt: skip
def test_a_page_of_another_name_that_leads_here_reads_nothing(exporter: Exporter, host: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=30)
    connection.putrequest("GET", "/metrics", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == status
    assert (b"gainstage_up" in body) is (status == 200)

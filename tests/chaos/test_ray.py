"""A fleet on a real Ray cluster of several nodes on this machine: resized while a run goes on; an actor, a node and the head killed.

Cores stand for GPUs. The fleet is steered by the command line: a process that is connected to a Ray cluster does not outlive its head.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from gainstage.config.paths import Paths
from gainstage.engine.fleet.launcher import FleetPlan, LaunchError
from gainstage.engine.fleet.launchers import launcher_of
from gainstage.engine.store.database import Database
from tests.chaos.kit import ENVIRONMENT, QUICK, Witness, assert_all_stored_once, log_commits, queue_simulated, standing, wait_for

pytest.importorskip("ray", reason="Ray is not installed: pip install 'gainstage[ray]', or uv sync --extra ray")
pytestmark = pytest.mark.timeout(900)

SETTINGS = {**QUICK, "in_flight": "4", "workers.transcribe": "2", "workers.diarize": "2"}
ENVIRON = {
    **ENVIRONMENT,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_period_ms": "500",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}


AUTOSCALED = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "0"}


def autoscaling(head: str, most: int) -> dict[str, object]:
    """Ray's own autoscaler with its provider of nodes that are processes of this machine."""
    kinds: dict[str, dict[str, object]] = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "place": {
            "resources": {"CPU": 1, "object_store_memory": 80_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": most,
        },
    }
    return {
        "cluster_name": "gainstage",
        "max_workers": most,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 10.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": head,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{
            name: []
            for name in (
                "initialization_commands",
                "setup_commands",
                "head_setup_commands",
                "worker_setup_commands",
                "head_start_ray_commands",
                "worker_start_ray_commands",
                "cluster_synced_files",
            )
        },
    }


class RayNode:
    """A node of the cluster in processes of its own."""

    def __init__(self, folder: Path, head: str | None, *, port: int = 0, cpus: int = 0, most: int = 0) -> None:
        """``most``: a head whose autoscaler starts up to so many nodes of one place each, as they are needed."""
        self.address = head or f"127.0.0.1:{port}"
        place = ["--address", head] if head else ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}"]
        if most:
            (folder / "autoscaling.json").write_text(json.dumps(autoscaling(self.address, most)))
            place.append(f"--autoscaling-config={folder / 'autoscaling.json'}")
        words = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--num-cpus={cpus}", "--num-gpus=0"]
        self.log = folder / f"node-{os.urandom(2).hex()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*words, "--object-store-memory=80000000", "--node-ip-address=127.0.0.1", *place],
                env=ENVIRON | (AUTOSCALED if most else {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def up(self) -> bool:
        return "Ray runtime started" in self.log.read_text(errors="replace")

    def kill(self) -> None:
        """All its processes at once but the engines, as when a machine loses its Ray; they find out by themselves."""
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.process.pid).children(recursive=True)
            for process in (psutil.Process(self.process.pid), *below):
                with suppress(psutil.Error):
                    if "gainstage.engine.process" not in process.cmdline():
                        process.kill()
        self.process.wait(30)


class RayFleet:
    """``gainstage fleet`` of one home."""

    def __init__(self, home: Path, url: str, address: str) -> None:
        self.home, self.url, self.address = home, url, address

    def ask(self, *words: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gainstage.tui.cli", "fleet", *words, "--home", str(self.home), "--json"],
            env={**ENVIRON, "GAINSTAGE_STORE__DATABASE": self.url},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.stdout.startswith("{"), done.stderr[-3000:]
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def up(self, count: int, *more: str) -> None:
        pairs = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
        options = ["--launcher", "ray", "--address", self.address, "--num-gpus", "0", "--num-cpus", "1", "--simulated"]
        self.ask("up", "--engines", str(count), *options, *more, *pairs)

    def states(self) -> list[str]:
        placed = self.ask("status")["placed"]
        assert isinstance(placed, list)
        return [engine["state"] for engine in placed]


def engine_pids(home: Path) -> list[int]:
    """Engine processes of this home."""
    return [
        p.pid
        for p in psutil.process_iter(["cmdline"])
        if str(home) in (p.info["cmdline"] or []) and "--simulated" in p.info["cmdline"]
    ]


def actor_of(engine: int) -> int:
    return psutil.Process(engine).ppid()


def free_port() -> int:
    with closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def nodes() -> Iterator[list[RayNode]]:
    """Nodes of the test; all are killed at the end."""
    made: list[RayNode] = []
    yield made
    for node in made:
        node.kill()


def cluster(nodes: list[RayNode], folder: Path, port: int, count: int) -> str:
    """A head without room for engines, and nodes with two places each."""
    head = started(nodes, folder, None, port=port)
    for _ in range(count):
        started(nodes, folder, head.address, cpus=2)
    return head.address


def started(nodes: list[RayNode], folder: Path, head: str | None, **options: int) -> RayNode:
    """A node that has joined; on a busy machine Ray gives up at times, and is started again."""
    for _ in range(4):
        nodes.append(node := RayNode(folder, head, **options))
        wait_for(lambda: node.up or node.process.poll() is not None, "a node of Ray", 180)
        if node.up:
            return node
        node.kill()
    raise AssertionError(node.log.read_text()[-3000:])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: Ray keeps sockets in it."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="gsray-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_a_fleet_on_ray_is_resized_and_an_actor_killed(
    database: Database, database_url: str, tmp_path: Path, folder: Path, nodes: list[RayNode]
) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 300, scale=6)
    home = tmp_path / "home"
    fleet = RayFleet(home, database_url, cluster(nodes, folder, free_port(), 3))
    with Witness(database_url) as witness:
        fleet.up(2)
        wait_for(lambda: standing(database).get("running", 0) > 2, "work of two engines", 180)
        fleet.ask("resize", "6")
        wait_for(lambda: len(engine_pids(home)) == 6, "six engines", 180)
        before = set(engine_pids(home))
        os.kill(actor_of(min(before)), signal.SIGKILL)  # Ray starts it again, with an engine of its own
        wait_for(lambda: set(engine_pids(home)) - before, "the actor again", 180)
        fleet.ask("resize", "1")
        assert standing(database).get("stored", 0) < len(recordings), "the run was over before the fleet was small again"
        wait_for(lambda: standing(database) == {"stored": len(recordings)}, "everything stored", 400)
        assert fleet.states() == ["running"]
        assert fleet.ask("down")["engines"] == []
    assert_all_stored_once(database, recordings)
    assert witness.partial == []


def test_a_fleet_on_ray_loses_a_node_and_the_head(
    database: Database, database_url: str, tmp_path: Path, folder: Path, nodes: list[RayNode]
) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 300, scale=12)
    port, home = free_port(), tmp_path / "home"
    fleet = RayFleet(home, database_url, cluster(nodes, folder, port, 2))
    with Witness(database_url) as witness:
        fleet.up(2)
        wait_for(lambda: standing(database).get("running", 0) > 2, "work of two engines", 180)
        first = set(engine_pids(home))
        nodes[1].kill()
        nodes[2].kill()
        started(nodes, folder, fleet.address, cpus=2)  # a machine in their place: Ray puts the engines there
        wait_for(lambda: len(set(engine_pids(home)) - first) == 2, "the engines on the new node", 240)

        nodes[0].kill()  # the head forgets its actors: engines finish what is in flight and end
        wait_for(lambda: not engine_pids(home), "the engines to end without Ray", 180)
        assert standing(database).get("stored", 0) < len(recordings), "the run was over before the head was back"
        for node in nodes:
            node.kill()
        nodes.clear()
        cluster(nodes, folder, port, 1)
        fleet.up(2)
        wait_for(lambda: standing(database) == {"stored": len(recordings)}, "everything stored", 400)
        assert fleet.ask("down")["engines"] == []
    assert_all_stored_once(database, recordings)
    assert witness.partial == []


def test_a_fleet_that_follows_the_queue_has_ray_start_the_nodes_it_needs(
    database: Database, database_url: str, tmp_path: Path, folder: Path, nodes: list[RayNode]
) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 300, scale=10)
    home = tmp_path / "home"
    head = started(nodes, folder, None, port=free_port(), most=3)
    fleet = RayFleet(home, database_url, head.address)
    fleet.up(1, "--most", "3")  # there is no node yet: the engine waits for one
    assert fleet.states() in (["waiting"], ["running"])
    wait_for(lambda: len(engine_pids(home)) == 3, "one engine for each 24 recordings, three at most", 240)
    assert len({node_of(engine) for engine in engine_pids(home)}) == 3, "a node for each"
    fleet.ask("resize", "1")  # ends the scaling: one engine stays one, however long the queue
    assert len(engine_pids(home)) == 1
    assert standing(database).get("queued", 0) > 24, "more than one engine was wanted still"
    wait_for(lambda: raylets(head) == 2, "the nodes that nobody needs to go", 120)
    assert fleet.states() == ["running"]
    wait_for(lambda: standing(database) == {"stored": len(recordings)}, "everything stored", 400)
    assert fleet.ask("down")["engines"] == []
    assert_all_stored_once(database, recordings)


def node_of(engine: int) -> int:
    """The raylet above an engine's actor."""
    return next(p.pid for p in psutil.Process(engine).parents() if p.name() == "raylet")


def raylets(head: RayNode) -> int:
    """Nodes of the cluster, its head's too."""
    return sum(p.name() == "raylet" for p in psutil.Process(head.process.pid).children(recursive=True))


def test_what_ray_refuses_is_one_sentence(
    database_url: str, tmp_path: Path, folder: Path, nodes: list[RayNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def launched(address: str, gpus: str = "1") -> None:
        plan = FleetPlan("ray", (), database_url, {"address": address, "num_gpus": gpus})
        launcher_of(plan, Paths.of(tmp_path).ensure()).start(1)

    port = free_port()
    with pytest.raises(LaunchError, match=rf"no Ray cluster answers at 127\.0\.0\.1:{port}"):
        launched(f"127.0.0.1:{port}")
    started(nodes, folder, None, port=port)
    with monkeypatch.context() as other:
        other.setattr(ray, "__version__", "2.1.0")
        with pytest.raises(LaunchError, match=r"Ray 2\.1\.0 is not a version that gainstage works with"):
            launched(nodes[0].address)
        other.setattr(ray, "__version__", "2.99.0")
        with pytest.raises(LaunchError, match=r"the Ray cluster cannot be used: Version mismatch"):
            launched(nodes[0].address)
    try:
        with pytest.raises(LaunchError, match="no node of this Ray cluster has a GPU"):
            launched(nodes[0].address)
    finally:
        ray.shutdown()

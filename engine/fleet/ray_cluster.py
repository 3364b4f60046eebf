"""Engines as actors of a Ray cluster: Ray chooses the node and the card, and starts an actor again whose node or process died.

The actor holds one engine process and does nothing else. A scaler, an actor too, follows the length of the queue and asks Ray's own
autoscaler for nodes. What the engines do and have stored goes through the database.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import Any

from gainstage.config.paths import Paths
from gainstage.engine.backoff import Backoff
from gainstage.engine.fleet.launcher import DRAINING, FleetPlan, Launched, LaunchError, free_names, resize
from gainstage.engine.fleet.supervisor import MISCONFIGURED

OLDEST, NEXT = (2, 40), (3, 0)
"""Versions of Ray that this was written for: from the first on, below the second."""

NAMESPACE, SCALER = "gainstage", "scaler"
ANSWER_S = 5.0
"""Longest wait for an actor; one that waits for a node gives no answer."""
REACH_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Before an engine that died is started again; the longest such wait."""

EACH = 24
"""Recordings queued or running for which the scaler wants one engine."""
LOOK_S, SHRINK_S = 15.0, 300.0
"""Between two looks at the queue; how long fewer engines must have been enough before some are drained."""


class EngineActor:
    """One engine on a node: started with the actor, started again when it dies, until it is drained or has nothing more to do."""

    def __init__(self, arguments: list[str], database: str, cpus: float | None) -> None:
        self._arguments = arguments
        self._environ = {**os.environ, "GAINSTAGE_STORE__DATABASE": database, "PYTHONUNBUFFERED": "1"}
        if cpus is None:
            self._environ.pop("OMP_NUM_THREADS", None)  # Ray's default of one; the engine divides the cores itself
        self._leaving = threading.Event()
        self._ended = False
        self._process = self._start()
        threading.Thread(target=self._keep, name="engine", daemon=True).start()

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-P", "-m", "gainstage.engine.process", *self._arguments]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, env=self._environ, cwd="/")

    def _keep(self) -> None:
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        while self._process.wait() not in (0, MISCONFIGURED) and not self._leaving.wait(backoff.next()):
            self._process = self._start()
        self._ended = True

    def state(self) -> tuple[str, str]:
        """The engine's state in a word, and where it is."""
        state = "ended" if self._ended else DRAINING if self._leaving.is_set() else "running"
        return state, f"{os.uname().nodename} pid {self._process.pid}"

    def drain(self, times: int = 1) -> None:
        """Tell the engine to drain, or with ``times`` 2 to stop now."""
        self._leaving.set()
        for _ in range(times):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)


class QueueScaler:
    """Keeps between ``least`` and ``most`` engines, one for each :data:`EACH` recordings that wait or run."""

    def __init__(self, plan: FleetPlan, paths: Paths, least: int, most: int) -> None:
        self._plan, self._paths, self._least, self._most = plan, paths, least, most
        threading.Thread(target=self._follow, name="scaler", daemon=True).start()

    def _follow(self) -> None:
        from gainstage.engine.fleet.queue_depth import queue_depth

        launcher, lower = RayLauncher(self._plan, self._paths), 0.0
        wait = threading.Event()
        while not wait.wait(LOOK_S):
            depth = queue_depth(self._plan.database or "")
            if depth is None:  # the database is away: as it was
                continue
            wanted = max(self._least, min(self._most, ceil(depth / EACH)))
            there = sum(engine.state != DRAINING for engine in launcher.list())
            lower = lower + LOOK_S if wanted < there else 0.0
            launcher.ask_for_nodes(wanted)
            if wanted > there or lower >= SHRINK_S:
                resize(launcher, wanted)


class RayLauncher:
    """Options of the plan: ``address`` of the cluster ("auto" finds one of this machine), ``num_gpus`` and ``num_cpus`` per engine,
    ``most`` engines where a scaler follows the queue."""

    def __init__(self, plan: FleetPlan, paths: Paths) -> None:
        self.plan = plan
        self.paths = paths
        self.ray = _connected(plan.options.get("address") or os.environ.get("RAY_ADDRESS") or "auto")
        cpus = plan.options.get("num_cpus")
        self.gpus, self.cpus = float(plan.options.get("num_gpus", "1")), None if cpus is None else float(cpus)

    def start(self, count: int) -> None:
        if self.gpus and not self.ray.cluster_resources().get("GPU") and "most" not in self.plan.options:
            raise LaunchError(
                "no node of this Ray cluster has a GPU",
                cause="no GPU",
                hint="Start nodes with GPUs, let Ray's autoscaler start them with --most, or give --num-gpus 0 for the CPU.",
            )
        for name in free_names("ray", count, [engine.name for engine in self.list()]):
            arguments = [f"--member={name}", "--home", str(self.paths.data), *self.plan.arguments]
            self._create(EngineActor, name, self.gpus, self.cpus or 1.0, arguments, self.plan.database or "", self.cpus)

    def _create(self, kind: type, name: str, gpus: float, cpus: float, *arguments: object) -> None:
        self.ray.remote(kind).options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_gpus=gpus,
            num_cpus=cpus,
            max_restarts=-1,
            max_concurrency=4,
        ).remote(*arguments)

    def list(self) -> tuple[Launched, ...]:
        calls = {name: self._actor(name).state.remote() for name in self._names() if name != SCALER}
        if calls:
            self.ray.wait(list(calls.values()), num_returns=len(calls), timeout=ANSWER_S)
        jobs = []
        for name, call in calls.items():
            state, where = self._answer(call, 0.1) or ("waiting", "")
            if state == "ended":
                self._kill(name)
            else:
                jobs.append(Launched(name, state, where))
        return tuple(jobs)

    def stop(self, names: Sequence[str], *, now: bool = False) -> None:
        for name in names:
            with suppress(ValueError):  # it has ended meanwhile
                actor = self._actor(name)
                if self._answer(actor.state.remote(), ANSWER_S) is None:
                    self._kill(name)  # it waits for a node, or its node died: there is nothing to drain
                else:
                    self.ray.get(actor.drain.remote(2 if now else 1), timeout=ANSWER_S)

    def scale(self, least: int) -> None:
        """Let the number of engines follow the queue, up to ``most`` of the plan."""
        self.unscale()
        self._create(QueueScaler, SCALER, 0.0, 0.0, self.plan, self.paths, least, int(self.plan.options["most"]))

    def unscale(self) -> None:
        """Leave the number of engines as it is."""
        if SCALER in self._names():
            self._kill(SCALER)
            self.ask_for_nodes(0)

    def ask_for_nodes(self, engines: int) -> None:
        """Have Ray's autoscaler keep nodes for so many engines; nothing happens in a cluster without one."""
        from ray.autoscaler.sdk import request_resources

        request_resources(bundles=[{"CPU": self.cpus or 1.0} | ({"GPU": self.gpus} if self.gpus else {})] * engines)

    def _names(self) -> tuple[str, ...]:
        from ray.util import list_named_actors

        named = list_named_actors(all_namespaces=True)
        return tuple(sorted((str(actor["name"]) for actor in named if actor["namespace"] == NAMESPACE), key=_number))

    def _actor(self, name: str) -> Any:
        return self.ray.get_actor(name, namespace=NAMESPACE)

    def _kill(self, name: str) -> None:
        with suppress(ValueError):
            self.ray.kill(self._actor(name), no_restart=True)

    def _answer(self, call: Any, within_s: float) -> tuple[str, str] | None:
        """What an actor says; None while it has no node."""
        try:
            state, where = self.ray.get(call, timeout=within_s)
        except (self.ray.exceptions.GetTimeoutError, self.ray.exceptions.RayActorError):
            return None
        return state, where


def _number(name: str) -> tuple[int, str]:
    tail = name.rpartition("-")[2]
    return (int(tail) if tail.isdecimal() else 0), name


def _connected(address: str) -> Any:
    """The Ray library, connected. Raises :class:`LaunchError`: not installed, another version, no cluster."""
    try:
        import ray
    except ImportError:
        raise LaunchError("Ray is not installed", cause="no Ray", hint="Install the extra: pip install 'gainstage[ray]'.") from None
    if not OLDEST <= tuple(int(part) for part in ray.__version__.split(".")[:2]) < NEXT:
        raise LaunchError(
            f"Ray {ray.__version__} is not a version that gainstage works with",
            cause="Ray version",
            hint="Install the extra, which brings one: pip install 'gainstage[ray]'.",
        )
    if ray.is_initialized():
        return ray
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), REACH_S).close()  # Ray itself tries for minutes
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError) as error:
        raise LaunchError(
            "no Ray cluster was found" if address == "auto" else f"no Ray cluster answers at {address}",
            cause="no Ray cluster",
            hint="Start one with `ray start --head`, or name it with --address.",
        ) from error
    except RuntimeError as error:  # Ray compares its version and Python's with those of the cluster
        line = " ".join(str(error).split())[:300] or "no reason given"
        raise LaunchError(
            f"the Ray cluster cannot be used: {line}", cause="Ray version", hint="Use the versions of the cluster."
        ) from error
    return ray

"""The manifest for Kubernetes: it can be read, its commands are ours, its query runs on a real database."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from gainstage.config.origins import from_environment, profile_names
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.store.database import Database
from gainstage.tui.commands.registry import parser_of
from tests.queue_kit import job_queue, recordings

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes.yaml"
DOCUMENTS: dict[str, Any] = {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text("utf-8"))}
ENGINE = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def test_the_parts_name_each_other() -> None:
    assert set(DOCUMENTS) == {"Secret", "Deployment", "TriggerAuthentication", "ScaledObject"}
    assert DOCUMENTS["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == DOCUMENTS["Deployment"]["metadata"]["name"]
    (trigger,) = DOCUMENTS["ScaledObject"]["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == DOCUMENTS["TriggerAuthentication"]["metadata"]["name"]
    (variable,) = ENGINE["env"]
    assert variable["valueFrom"]["secretKeyRef"]["name"] == DOCUMENTS["Secret"]["metadata"]["name"]
    assert from_environment({variable["name"]: "postgresql://x"}) == {"store.database": "postgresql://x"}


def test_its_commands_are_commands_of_ours() -> None:
    command, *words = ENGINE["args"]
    given = parser_of(command).parse_args(words)
    assert given.profile in profile_names()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        shell, _, line = ENGINE[probe]["exec"]["command"]
        program, name, *rest = shlex.split(re.sub(r'"\$\(hostname\)"', "pod-1", line))
        assert (shell, program) == ("sh", "gainstage")
        assert parser_of(name).parse_args(rest).host == "pod-1"


def test_the_query_of_the_scaler_counts_what_waits_and_runs(database: Database) -> None:
    queue = job_queue(database)
    Backlog(database).add(recordings(5))
    queue.take()
    queue.cancel(["r0004"])
    with database.connection() as connection:
        query = DOCUMENTS["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"]
        assert connection.execute(query.encode()).fetchone() == (4,)

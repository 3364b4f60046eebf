"""Engines as jobs of a Slurm cluster: submitted by sbatch, listed by squeue, drained and cancelled by scancel."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence

from gainstage.config.paths import Paths
from gainstage.engine.fleet.launcher import DRAINING, FleetPlan, Launched, LaunchError, free_names

JOB = "gainstage"
WAIT_S = 30.0
"""Longest wait for an answer of a command of Slurm."""


class SlurmLauncher:
    """One job per engine, all of the name ``gainstage:NAME`` with the engine's own; options of ``sbatch`` come from the plan."""

    def __init__(self, plan: FleetPlan, paths: Paths) -> None:
        self.plan = plan
        self.paths = paths

    def start(self, count: int) -> None:
        options = self._options()
        taken = [engine.name for engine in self.list()]
        for name in free_names("slurm", count, taken):
            log = str(self.paths.member(name).ensure().engine_log).replace("%", "%%")  # sbatch replaces %j and its like
            _command(
                [
                    "sbatch",
                    "--parsable",
                    f"--job-name={JOB}:{name}",
                    f"--output={log}",
                    "--open-mode=append",
                    "--requeue",
                    *options,
                ],
                script=self.script(name),
                environ={"GAINSTAGE_STORE__DATABASE": self.plan.database or ""},
            )

    def _options(self) -> list[str]:
        text = self.plan.options.get("sbatch", "--gpus=1")
        try:
            return shlex.split(text)
        except ValueError as error:
            raise LaunchError(
                f"the options of sbatch cannot be read: {error}: {text}", cause="sbatch options", hint="Close every quotation."
            ) from None

    def script(self, name: str) -> str:
        """What a node runs: the engine in place of the shell, so that Slurm's signals reach it."""
        words = [sys.executable, "-P", "-m", "gainstage.engine.process", f"--member={name}", "--home", str(self.paths.data)]
        return f"#!/bin/sh\nexec {shlex.join([*words, *self.plan.arguments])}\n"

    def list(self) -> tuple[Launched, ...]:
        jobs = []
        for line in _command(["squeue", "--me", "--noheader", "--format=%i|%j|%T|%N"]).splitlines():
            id, job, state, where = (*line.split("|"), "", "", "")[:4]
            number = re.match(r"\d+", id)  # 12, 12_3 of an array, 12+0 of a heterogeneous job
            if job.startswith(f"{JOB}:") and number:
                jobs.append((int(number[0]), Launched(job.partition(":")[2], state.lower(), where)))
        return tuple(
            Launched(e.name, DRAINING if e.state == "completing" else e.state, e.where) for _, e in sorted(jobs, key=lambda f: f[0])
        )

    def stop(self, names: Sequence[str], *, now: bool = False) -> None:
        for name in names:
            # a job that still waits has no process to drain: it is taken out of the queue
            _command(["scancel", "--me", f"--name={JOB}:{name}", "--state=PENDING"])
            _command(["scancel", "--me", f"--name={JOB}:{name}", *([] if now else ["--full", "--signal=TERM"])])


def _command(words: list[str], *, script: str | None = None, environ: dict[str, str] | None = None) -> str:
    """What a command of Slurm prints."""
    try:
        done = subprocess.run(
            words,
            input=script,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=WAIT_S,
            env={**os.environ, **(environ or {})},
            check=False,
        )
    except FileNotFoundError:
        raise LaunchError(
            f"{words[0]} was not found: this machine belongs to no Slurm cluster",
            cause="no Slurm",
            hint="Run it on a login node, or use another --launcher.",
        ) from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{words[0]} gave no answer within {WAIT_S:.0f} s", cause="no Slurm", hint="Is slurmctld up?") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise LaunchError(f"{words[0]} refused: {said}", cause="Slurm refused", hint="Options of sbatch are given by --sbatch.")
    return done.stdout

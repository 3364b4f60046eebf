"""The launcher that a plan names."""

from __future__ import annotations

from gainstage.config.paths import Paths
from gainstage.engine.fleet.launcher import FleetPlan, Launcher, LaunchError


def launcher_of(plan: FleetPlan, paths: Paths) -> Launcher:
    """The launcher of a plan."""
    if plan.launcher == "local":
        from gainstage.engine.fleet.local import LocalLauncher

        return LocalLauncher(plan, paths)
    if plan.database is None:
        raise LaunchError(
            "engines on other machines need a database they can all reach",
            cause="no database address",
            hint="Name one with --database, as postgresql://user@host/name.",
        )
    if plan.launcher == "ray":
        from gainstage.engine.fleet.ray_cluster import RayLauncher

        return RayLauncher(plan, paths)
    from gainstage.engine.fleet.slurm import SlurmLauncher

    return SlurmLauncher(plan, paths)

"""Known faults of what is installed (pip-audit), and unsafe patterns in our own code (bandit): ``python -m tests.audit``.

pip-audit asks databases on the internet. Where it reaches none, one sentence says so and bandit is run all the same. Exit status 1 when
either of them found something.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SERVICES = ("pypi", "osv")
BANDIT = (
    "uvx", "bandit", "--quiet", "--recursive", "config", "engine", "tui", "--severity-level", "medium",
    "--exclude", "engine/models/demo/recipe", "--configfile", "pyproject.toml",
)  # fmt: skip


def known_faults(requirements: Path, service: str) -> list[str] | str:
    """The faults that a database knows of pinned requirements, one a line; or why it gave no result."""
    command = ["uvx", "pip-audit", "--disable-pip", "--progress-spinner", "off", "--vulnerability-service", service]
    done = subprocess.run(
        [*command, "--format", "json", "--requirement", str(requirements)], capture_output=True, text=True, timeout=600
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return (done.stderr.strip().splitlines() or ["it said nothing"])[-1].split(":")[0][-80:]
    if not any("vulns" in package for package in packages):
        return "it knows none of the packages"
    return [f"{p['name']} {p['version']}: {v['id']}" for p in packages for v in p.get("vulns", ())]


def main() -> int:
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        export = (
            "uv",
            "export",
            "--quiet",
            "--no-emit-project",
            "--format",
            "requirements-txt",
            "--output-file",
            str(requirements),
        )
        subprocess.run(export, check=True)
        reasons = []
        for service in SERVICES:
            found = known_faults(requirements, service)
            if isinstance(found, list):
                print("\n".join(found) or f"pip-audit ({service}): no known fault")
                bad += bool(found)
                break
            reasons.append(f"{service}: {found}")
        else:
            print(f"pip-audit gave no result, for none of its databases can be asked from here ({'; '.join(reasons)}).")
    clean = subprocess.run(BANDIT).returncode == 0
    print(f"bandit: {'nothing of medium or high severity' if clean else 'see above'}", flush=True)
    return int(bad or not clean)


if __name__ == "__main__":
    sys.exit(main())

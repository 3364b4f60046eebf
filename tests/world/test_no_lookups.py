"""A demo run asks nobody: in a network of its own, with a name server that notes every question, none is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.config.paths import Paths
from gainstage.engine.process import engine_pid
from tests.cli_kit import command, environment

INSIDE = """
import fcntl, json, socket, struct, subprocess, sys, threading
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # loopback is down in a new network
    name = b"lo".ljust(16, b"\\0")
    flags = struct.unpack("16sh", fcntl.ioctl(s, 0x8913, name + b"\\0" * 2 + b"\\0" * 16)[:18])[1]
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", name, flags | 1) + b"\\0" * 16)
questions = []
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
def listen():
    while True:
        data, who = server.recvfrom(4096)
        questions.append(data[12:80].decode("latin-1"))
        server.sendto(data[:2] + b"\\x81\\x83" + data[4:6] + b"\\0" * 6 + data[12:], who)
threading.Thread(target=listen, daemon=True).start()
subprocess.run([sys.executable, "-c", "import socket; socket.getaddrinfo('probe.invalid', 80)"], stderr=subprocess.DEVNULL)
assert questions, "the recorder of questions works"
questions.clear()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(json.dumps({"questions": questions, "status": done.returncode, "stored": json.loads(done.stdout or "{}").get("stored"), "words": done.stderr[-2000:]}))
"""


def unshared() -> bool:
    """Whether this machine lets us have a network and mounts of our own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "-n", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not unshared(), reason="no network of our own to be had here")
def test_a_demo_run_looks_up_no_name(home: Path, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (tmp_path / "inside.py").write_text(INSIDE.replace("\\\\", "\\"))
    line = f'mount --bind {tmp_path}/resolv.conf "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    demo = command("demo", "--headless", "--json", "--home", home)
    done = subprocess.run(
        ["unshare", "-m", "-n", "sh", "-c", line, "sh", sys.executable, str(tmp_path / "inside.py"), *demo],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == 0, result["words"]
    assert result["stored"]
    assert result["questions"] == []
    assert engine_pid(Paths.of(home)) is None, "the command ends after its engine"

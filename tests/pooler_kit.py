"""A pgbouncer of the machine before a test's server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from gainstage.engine.store.embedded import EmbeddedPostgres
from tests.queue_kit import until

BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pooler(server: EmbeddedPostgres, database: str, *, mode: str = "transaction", ignore: str = "") -> Iterator[str]:
    """Address of ``database`` through a pooler in ``mode``; ``ignore`` are startup parameters it drops without a word."""
    assert BINARY is not None
    folder = Path(tempfile.mkdtemp(prefix="gainstage-pooler-"))
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [
        "[databases]",
        f"{database} = host={server.place.sockets} port=5432 dbname={database} user=postgres",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "auth_type = any",
        f"pool_mode = {mode}",
        "unix_socket_dir =",
        "max_client_conn = 200",
        "default_pool_size = 20",
    ] + ([f"ignore_startup_parameters = {ignore}"] if ignore else [])
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    account = server.place.account
    who = ["-u", account.name] if account else []
    process = subprocess.Popen([BINARY, *who, str(folder / "pgbouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"postgresql://postgres@127.0.0.1:{port}/{database}"
    try:
        until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None
        yield url
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False

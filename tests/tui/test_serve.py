"""The console in a browser: a page, a console process behind each tab, and nobody let in who was not told the address."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import psutil
import pytest

from gainstage.tui.cli import main
from tests.chaos.kit import wait_for
from tests.cli_kit import command, environment, gainstage


@pytest.fixture
def served() -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """(server, the lines it printed) of the scripted story."""
    process = subprocess.Popen(
        command("serve", "--scripted", "--port", 0),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment(),
    )
    assert process.stdout is not None
    try:
        yield process, [process.stdout.readline().rstrip() for _ in range(3)]
    finally:
        process.kill()
        process.communicate()


def consoles(server: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for p in psutil.Process(server.pid).children(recursive=True) if _is_console(p)]


def _is_console(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "console" in process.cmdline()
    except psutil.Error:  # it ends just now
        return False


async def screen_until(tab: aiohttp.ClientWebSocketResponse, words: str) -> str:
    """What the tab's terminal is sent, until it holds the words."""
    text = ""
    while words not in text:
        message = await tab.receive(timeout=60)
        assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
        if message.type is aiohttp.WSMsgType.BINARY:
            text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", message.data.decode("utf-8", "replace"))
    return text


@asynccontextmanager
async def reading(tab: aiohttp.ClientWebSocketResponse) -> AsyncIterator[None]:
    """Read a tab all the time, as a browser does: one that answers no ping for half a minute is closed by the server."""

    async def read() -> None:
        async for _ in tab:
            pass

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_each_tab_is_a_console_that_ends_with_it(served: tuple[subprocess.Popen[str], list[str]]) -> None:
    server, (address, tunnel, _) = served
    url = address.split()[-1]
    port = url.split(":")[2].split("/")[0]
    assert address.startswith("read-only console at http://127.0.0.1:")
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in tunnel
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url) as page:
            assert page.status == 200
            html = await page.text()
        for name in re.findall(r'(?:src|href)="((?:static/|console)[^"]+)"', html):
            async with browser.get(url + name) as part:
                assert part.status == 200
        async with browser.get(url + "console.js") as script:  # without it the first key goes nowhere
            assert "focus()" in await script.text()
            assert script.content_type == "text/javascript"
        assert not re.search(r"<script>|onload=", html), "the policy of the page runs no script written into it"
        assert not re.search(r"https?://(?!127\.0\.0\.1)", html), "the page asks nobody else for anything"
        found = re.search(r'data-session-websocket-url="([^"]+)"', html)
        assert found
        async with browser.ws_connect(f"{found[1]}?width=100&height=30") as one:
            await screen_until(one, "Recordings")
            async with browser.ws_connect(f"{found[1]}?width=160&height=48") as two, reading(one):
                await screen_until(two, "read-only")
                assert len({p.pid for p in consoles(server) if p.name() != "sh"}) == 2
        wait_for(lambda: not consoles(server), "the consoles to end with their tabs")


async def test_only_who_was_told_the_address_and_nobody_elses_page(served: tuple[subprocess.Popen[str], list[str]]) -> None:
    _, (address, *_) = served
    url = address.split()[-1]
    root = url.rsplit("/", 2)[0]
    async with aiohttp.ClientSession() as stranger:
        for path, headers, status in [
            (root + "/", {}, 404),
            (root + "/ws", {}, 404),
            (url, {"Host": "evil.example"}, 403),
            (url, {"Host": "127.0.0.1.evil.example"}, 403),
            (url, {"Host": "127.0.0.1:80'><b>"}, 403),
            (url, {"Host": "127.0.0.1:80@evil.example"}, 403),
            (url, {"Host": ""}, 403),
            (url, {"Origin": "http://evil.example"}, 403),
            (url + "static/", {}, 403),
        ]:
            async with stranger.get(path, headers=headers) as answer:
                assert answer.status == status, (path, headers)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await stranger.ws_connect(url + "ws", headers={"Origin": "http://evil.example"})


async def test_the_server_ends_with_its_consoles(served: tuple[subprocess.Popen[str], list[str]]) -> None:
    server, (address, *_) = served
    async with aiohttp.ClientSession() as browser, browser.ws_connect(address.split()[-1] + "ws?width=80&height=24") as tab:
        await screen_until(tab, "gainstage")
        behind = consoles(server)
        assert behind
        server.send_signal(signal.SIGTERM)
        wait_for(lambda: server.poll() is not None, "the server to end")
    assert server.returncode == 0
    assert server.stderr is not None
    assert server.stderr.read() == ""
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in behind), "its consoles to end")


def test_a_port_in_use_is_told(served: tuple[subprocess.Popen[str], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    port = served[1][0].split(":")[2].split("/")[0]
    assert main(["serve", "--scripted", "--port", port]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err
    assert "0 to 65535" in gainstage("serve", "--port", 99999, status=1).stderr


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder in which every name that a process of ours imports by itself is a file that betrays its being run."""
    code = f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n"
    for name in ("gainstage", "tui", "engine", "config", "textual", "argparse", "sitecustomize", "usercustomize"):
        (tmp_path / "trap" / name).mkdir(parents=True)
        (tmp_path / "trap" / name / "__init__.py").write_text(code)
    return tmp_path / "trap"


async def test_nothing_that_lies_where_it_is_started_is_imported(trap: Path) -> None:
    server = subprocess.Popen(
        [Path(sys.executable).with_name("gainstage"), "serve", "--scripted", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=trap,
        env=environment(),
    )
    assert server.stdout is not None
    try:
        address = server.stdout.readline()
        async with aiohttp.ClientSession() as browser, browser.ws_connect(address.split()[-1] + "ws?width=80&height=24") as tab:
            await screen_until(tab, "gainstage")
            (console,) = [p for p in consoles(server) if p.name() != "sh"]
            assert console.cwd() == "/"
            arguments = console.cmdline()
            assert arguments[arguments.index("--exports") + 1] == str(trap)
        assert not trap.with_name("sprung").exists()
    finally:
        server.kill()
        server.communicate()

"""A small web server: the page, textual-serve's static files, and a websocket behind which a console process runs."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import textual_serve
from aiohttp import web
from textual_serve.server import Server

LOOPBACK = "127.0.0.1"
HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
"""How a browser on this machine, or at the end of a tunnel, names us; any other name points here by DNS rebinding, and the page holds it."""

CLOSING_S = 5.0
"""How long consoles may take to end when the server does."""

FONT_SIZES = range(6, 73)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class ConsoleServer:
    """``command`` is run for every tab, by a shell."""

    def __init__(self, command: str) -> None:
        self.secret = secrets.token_urlsafe(12)
        self._inner = Server(command)
        self._tabs: set[asyncio.Task[object]] = set()

    def url(self, port: int, host: str = LOOPBACK) -> str:
        return f"http://{host}:{port}/{self.secret}/"

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_only_from_here])
        statics = Path(textual_serve.__file__).parent / "static"
        app.add_routes(
            [
                web.get(f"/{self.secret}", self._slash),
                web.get(f"/{self.secret}/", self._page),
                web.get(f"/{self.secret}/console.js", self._script),
                web.get(f"/{self.secret}/ws", self._console),
                web.static(f"/{self.secret}/static", statics),
            ]
        )
        app.on_shutdown.append(self._end_tabs)
        return app

    def run(self, listening: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM; every console ends with it."""
        logging.getLogger("textual-serve").setLevel(logging.ERROR)
        web.run_app(self.app(), sock=listening, print=None, access_log=None, shutdown_timeout=CLOSING_S)

    async def _slash(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"/{self.secret}/")

    async def _page(self, request: web.Request) -> web.StreamResponse:
        font_size = request.query.get("fontsize", "")
        size = int(font_size) if font_size.isdecimal() and int(font_size) in FONT_SIZES else 15
        page = Template(files("gainstage.tui.web").joinpath("console.html").read_text("utf-8"))
        # the name the browser used: at the end of a tunnel the port is another one
        websocket = f"ws://{request.host}/{self.secret}/ws"
        text = page.substitute(websocket=websocket, font_size=size)
        policy = HEADERS["Content-Security-Policy"].replace("default-src 'self'", f"default-src 'self' ws://{request.host}")
        return web.Response(
            text=text, content_type="text/html", charset="utf-8", headers=HEADERS | {"Content-Security-Policy": policy}
        )

    async def _script(self, request: web.Request) -> web.StreamResponse:
        script = files("gainstage.tui.web").joinpath("console.js").read_text("utf-8")
        return web.Response(text=script, content_type="text/javascript", charset="utf-8", headers=HEADERS)

    async def _console(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._tabs.add(task)
        try:
            response: web.StreamResponse = await self._inner.handle_websocket(request)
            return response
        finally:
            self._tabs.discard(task)

    async def _end_tabs(self, app: web.Application) -> None:
        tabs = list(self._tabs)
        for tab in tabs:
            tab.cancel()
        if tabs:
            await asyncio.wait(tabs, timeout=CLOSING_S)


@web.middleware
async def _only_from_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse other names for this machine (DNS rebinding) and other sites' pages (browsers let any page open a websocket)."""
    origin = request.headers.get("Origin")
    if HERE.fullmatch(request.host) is None or (origin is not None and urlsplit(origin).netloc != request.host):
        raise web.HTTPForbidden(text="only from this machine, or through a tunnel to it\n")
    return await handler(request)


def listen(port: int) -> socket.socket:
    """A socket on loopback; port 0 takes a free one. Raises ``OSError``."""
    listening = socket.create_server((LOOPBACK, port), backlog=64)
    listening.setblocking(False)
    return listening

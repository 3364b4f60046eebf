"""The guard around yt-dlp's connections."""

from __future__ import annotations

import gc
import http.client
import io
import socket
import weakref

from gainstage.config.settings import Fetch
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.ytdlp_guard import Sockets, _Connections


def test_a_response_that_is_dropped_while_open_closes_without_a_word() -> None:
    """The collector may close a response's stream before the response, which flushes it: Python 3.13 reports what that raises."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe first of it")
        connections = _Connections(None, Fetch(), proxied=False, sockets=Sockets(CancelToken()))
        response = connections._response(here)
        response.begin()
        assert isinstance(response.fp, io.BufferedReader)
        response.fp.raw.close()
        response.close()
        assert response.isclosed()
        gone = weakref.ref(response)
        del response
        gc.collect()
        assert gone() is None


def test_what_is_guarded_is_a_plain_response_to_its_reader() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        connections = _Connections(None, Fetch(), proxied=False, sockets=Sockets(CancelToken()))
        response: http.client.HTTPResponse = connections._response(here)
        response.begin()
        assert response.read() == b"abc"

"""yt-dlp on any site but YouTube, in a child process: a page of 100 kB can keep the patterns of its extractors busy for minutes, and
they hold the interpreter meanwhile, with the engine's heartbeat and commands.

YouTube's pages are made by YouTube, so they are read here, where what its player needs is remembered.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from gainstage.config.settings import Fetch, Settings
from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.ytdlp_child import with_captions
from gainstage.engine.sources.ytdlp_list import SEARCH, is_youtube, list_with_ytdlp, look_up
from gainstage.engine.terms import Recording

BUSY_S = 20.0
"""Seconds of processor time from one answer to the next; a page takes a tenth of one."""

WORN_S = 600.0
"""A child that has used so much processor time is not used again."""

MOST_IDLE = 2
LOOK_S = 0.2


def list_site(url: str, settings: Settings, *, token: CancelToken) -> Iterator[Recording]:
    """See :func:`gainstage.engine.sources.ytdlp_list.list_with_ytdlp`."""
    if SEARCH.match(url) or is_youtube(url):
        yield from list_with_ytdlp(url, settings, token=token)
        return
    with contextlib.closing(_answers("list", (url, settings), token)) as answers:
        for kind, value in answers:
            if kind == "item":
                yield value


def look_up_page(recording: Recording, settings: Fetch, *, token: CancelToken) -> Recording:
    """See :func:`gainstage.engine.sources.ytdlp_list.look_up`."""
    if is_youtube(recording.source):
        return look_up(recording, settings, token=token)
    result: Recording = recording
    with contextlib.closing(_answers("look up", (recording, settings), token)) as answers:
        for kind, value in answers:
            result = value if kind == "done" else result
    return result


def fetch_media(
    url: str,
    folder: Path,
    settings: Fetch,
    *,
    token: CancelToken,
    progress: Callable[[float | None], None],
    captions: str | None,
    captions_file: Path,
) -> Path:
    """See :func:`gainstage.engine.sources.ytdlp_fetch.fetch_with_ytdlp`; ``captions`` is the language of the publisher's captions to
    take with it into ``captions_file``, None for none.
    """
    if is_youtube(url):
        return with_captions(url, folder, settings, captions, captions_file, token, progress)
    result = folder
    with contextlib.closing(_answers("fetch", (url, folder, settings, captions, captions_file), token)) as answers:
        for kind, value in answers:
            if kind == "progress":
                progress(value)
            elif kind == "done":
                result = value
    return result


class _Child:
    """One child and the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-m", "gainstage.engine.sources.ytdlp_child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=os.path.abspath(os.sep),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self.pipe = Connection(ours.detach())

    def worked_s(self) -> float:
        """Seconds of processor time so far."""
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(self.process.pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        """End it; nothing happens the second time."""
        self.kill()
        self.process.wait()
        self.pipe.close()


class _Idle:
    """Children that wait for the next request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[_Child] = []
        atexit.register(self.close)

    def take(self) -> _Child:
        with self._lock:
            while self._children:
                child = self._children.pop()
                if child.process.poll() is None:
                    return child
                child.close()
        return _Child()

    def give(self, child: _Child) -> None:
        with self._lock:
            if len(self._children) < MOST_IDLE and child.worked_s() < WORN_S:
                self._children.append(child)
                return
        child.close()

    def close(self) -> None:
        with self._lock:
            while self._children:
                self._children.pop().close()


_idle = _Idle()


def _answers(task: str, arguments: tuple[Any, ...], token: CancelToken) -> Generator[tuple[str, Any], None, None]:
    """What the child answers, the last of it ("done", result). Raises its typed error, :class:`Permanent` for a page that is too much
    for it, and ``Cancelled``.
    """
    token.check()
    child, over = _idle.take(), False
    remove = token.on_cancel(child.kill)
    try:
        child.pipe.send((task, arguments))
        while not over:
            kind, value = _next(child, token)
            over = kind in ("done", "error")
            if kind == "error":
                raise value
            yield kind, value
    except (EOFError, OSError) as error:  # of the pipe; the child's own errors are typed
        token.check()
        raise Transient(
            "the process that reads the site has ended", cause="download failed", hint="It is tried again. Is memory short?"
        ) from error
    finally:
        remove()
        if over and not token.cancelled:
            _idle.give(child)
        else:
            child.close()


def _next(child: _Child, token: CancelToken) -> tuple[str, Any]:
    worked = child.worked_s()
    while not child.pipe.poll(LOOK_S):
        token.check()
        if child.worked_s() - worked > BUSY_S:
            raise Permanent(
                "the page is too much for yt-dlp",
                cause="page too hard",
                hint="Is it a page about a recording? Give its media file.",
            )
    kind, value = child.pipe.recv()
    return str(kind), value

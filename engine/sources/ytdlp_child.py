"""Child process that reads any site but YouTube with yt-dlp: started by :mod:`gainstage.engine.sources.ytdlp_apart`.

A request is a name of :data:`TASKS` and its arguments; the answers are ("item", recording) and ("progress", share) as they come, and at
last ("done", result) or ("error", a typed error).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gainstage.config.settings import Fetch, Settings
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.terms import Recording

MEMORY_BYTES = 2 * 1024**3
CPU_S = 1800

Send = Callable[[str, Any], None]


def list_site(send: Send, url: str, settings: Settings) -> None:
    """Send each recording of a list as it is found."""
    from gainstage.engine.sources.ytdlp_list import list_with_ytdlp

    for recording in list_with_ytdlp(url, settings, token=CancelToken()):
        send("item", recording)


def look_up_page(send: Send, recording: Recording, settings: Fetch) -> Recording:
    """The recording with what its page says of it."""
    from gainstage.engine.sources.ytdlp_list import look_up

    return look_up(recording, settings, token=CancelToken())


def fetch_media(send: Send, url: str, folder: Path, settings: Fetch, captions: str | None, captions_file: Path) -> Path:
    """Download into the folder, with progress as a share from 0 to 1; the file."""
    return with_captions(url, folder, settings, captions, captions_file, CancelToken(), lambda share: send("progress", share))


def with_captions(
    url: str,
    folder: Path,
    settings: Fetch,
    captions: str | None,
    captions_file: Path,
    token: CancelToken,
    progress: Callable[[float | None], None],
) -> Path:
    """The media of a page in ``folder``, and the publisher's captions in ``captions_file`` where a language of them is wanted."""
    from gainstage.engine.sources import captions as publishers
    from gainstage.engine.sources.ytdlp_fetch import fetch_with_ytdlp

    def subtitles(ytdlp: Any, info: dict[str, Any]) -> None:
        if captions is not None:
            publishers.keep(captions_file, publishers.of_site(ytdlp, info, captions, settings, token))

    return fetch_with_ytdlp(url, folder, settings, token=token, progress=progress, also=subtitles)


TASKS: dict[str, Callable[..., Any]] = {"list": list_site, "look up": look_up_page, "fetch": fetch_media}


def serve(pipe: Connection) -> None:
    """Answer request after request until the other side is gone."""
    while True:
        try:
            task, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = "done", TASKS[task](lambda kind, value: pipe.send((kind, value)), *arguments)
        except EngineError as error:
            answer = "error", error
        except BrokenPipeError:
            return
        except Exception as error:
            what = f"{type(error).__name__}: {clean_text(str(error), 200)}"
            answer = (
                "error",
                Transient(f"yt-dlp could not read the site: {what}", cause="download failed", hint="It is tried again."),
            )
        pipe.send(answer)


def limit() -> None:
    """Bound memory and processor time, on systems that have such limits."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            continue


if __name__ == "__main__":
    limit()
    serve(Connection(int(sys.argv[1])))

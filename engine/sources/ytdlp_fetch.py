"""One item's audio through yt-dlp: only the audio, resumable, capped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Permanent, Rejected
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.policy import split_url
from gainstage.engine.sources.ytdlp import open_ytdlp

UNFINISHED = (".part", ".ytdl", ".temp")


def fetch_with_ytdlp(
    url: str, folder: Path, settings: Fetch, *, token: CancelToken, progress: Callable[[float | None], None]
) -> Path:
    """Into ``folder/media.*``; whatever arrived of an earlier attempt in the same folder is resumed.

    Raises as :func:`gainstage.engine.sources.http.download` does; :class:`Rejected` also for what is live, upcoming or members-only.
    """

    def hook(status: dict[str, Any]) -> None:
        token.check()
        whole = status.get("total_bytes") or status.get("total_bytes_estimate")
        have = status.get("downloaded_bytes") or 0
        if have > settings.max_bytes:
            raise Rejected("larger than fetch.max_bytes", cause="too large", hint="raise fetch.max_bytes to take it")
        progress(min(1.0, have / whole) if whole else None)

    def wanted(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        if (info.get("duration") or 0) > settings.max_duration:
            raise Rejected(
                f"{info['duration']} s long, above fetch.max_duration", cause="too long", hint="raise fetch.max_duration to take it"
            )
        if info.get("is_live") or info.get("live_status") in ("is_live", "post_live"):
            raise Rejected("it is live now", cause="live", hint="try again when it has ended")
        if (info.get("filesize") or 0) > settings.max_bytes:
            raise Rejected(
                f"{info['filesize']:,} bytes, above fetch.max_bytes", cause="too large", hint="raise fetch.max_bytes to take it"
            )
        return None

    split_url(url)
    with open_ytdlp(
        settings,
        token,
        format="bestaudio/best",
        outtmpl=str(folder).replace("%", "%%") + "/media.%(ext)s",
        noplaylist=True,
        playlist_items="1",
        progress_hooks=[hook],
        match_filter=wanted,
        continuedl=True,
        overwrites=False,
        fixup="never",
        updatetime=False,
        postprocessors=[],
    ) as ytdlp:
        ytdlp.extract_info(url, download=True)
    found = [p for p in sorted(folder.glob("media.*")) if p.suffix not in UNFINISHED and p.stat().st_size]
    if not found:
        raise Permanent("nothing was downloaded", cause="nothing downloaded", hint="the item may have no audio")
    return found[0]

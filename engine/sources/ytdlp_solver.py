"""Solve YouTube's JavaScript challenges for yt-dlp in our own limited child; each player is analysed once per process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.js_runtime import ScriptFailed, find_runtime, run_script
from gainstage.engine.sources.recent import BoundedDict

PLAYERS = 8
"""Most players kept at once. The site serves a few; each is some megabytes of script."""
SOLUTIONS = 20_000
LATE_S = 300.0
"""Seconds before the script of a player that did not end is run again: every attempt holds a slot until the deadline."""


class Players:
    """What this process has of the site's players: their scripts, the results of their analysis, and solved challenges.

    It also replaces yt-dlp's cache, so that nothing is written to the user's folders.
    """

    enabled = True

    def __init__(self) -> None:
        self.scripts: BoundedDict[str, str] = BoundedDict(PLAYERS)
        self.solved: BoundedDict[tuple[Any, ...], Any] = BoundedDict(SOLUTIONS)
        self._prepared: BoundedDict[tuple[Any, ...], Any] = BoundedDict(PLAYERS)
        self._late: BoundedDict[str, float] = BoundedDict(PLAYERS)
        self.solving = threading.Lock()
        """When many recordings meet a new player at once, the first analyses it for all."""

    def load(self, section: str, key: str, dtype: str = "json", default: Any = None, *, min_ver: str | None = None) -> Any:
        kept = self._prepared if section == "challenge-solver" else self.solved
        return kept.get((section, key), default)

    def store(self, section: str, key: str, data: Any, dtype: str = "json") -> None:
        if section == "challenge-solver":
            self._prepared[section, key] = data
        elif section.startswith("youtube-"):
            self.solved[section, key] = data

    def late(self, player: str) -> bool:
        """Whether the script of this player recently ran into its deadline."""
        return time.monotonic() - self._late.get(player, float("-inf")) < LATE_S

    def note_late(self, player: str) -> None:
        self._late[player] = time.monotonic()

    def forget(self) -> None:
        """Discard the prepared players, which may be wrong, so that they are analysed again."""
        self._prepared.clear()

    def clear(self) -> None:
        for kept in (self.scripts, self.solved, self._prepared, self._late):
            kept.clear()


PLAYERS_SEEN = Players()


def equip(ytdlp: Any, token: CancelToken) -> None:
    """Let a :class:`yt_dlp.YoutubeDL` solve challenges in our child, sharing the results of other recordings."""
    from yt_dlp.extractor.youtube.jsc._registry import _jsc_preferences, _jsc_providers

    solver = _solver()
    _jsc_providers.value = {solver.PROVIDER_KEY: solver}  # yt-dlp's own provider would run a child without a deadline
    _jsc_preferences.value = set()
    ytdlp.gainstage_token = token
    ytdlp.gainstage_late = False
    ytdlp.cache = PLAYERS_SEEN
    youtube = ytdlp.get_info_extractor("Youtube")
    youtube._code_cache = PLAYERS_SEEN.scripts
    youtube._player_cache = PLAYERS_SEEN.solved


def runtimes() -> dict[str, dict[str, str]]:
    """yt-dlp's ``js_runtimes``: our deno, or none."""
    runtime = find_runtime()
    return {"deno": {"path": str(runtime.path)}} if runtime is not None and runtime.supported else {}


@cache
def _solver() -> Any:
    from yt_dlp.extractor.youtube.jsc._builtin.deno import DenoJCP
    from yt_dlp.extractor.youtube.jsc._builtin.ejs import ScriptSource
    from yt_dlp.extractor.youtube.jsc.provider import JsChallengeProviderError

    class GuardedDenoJCP(DenoJCP):  # type: ignore[misc]
        """yt-dlp's deno solver without its child, which has no deadline and gets the whole environment."""

        PROVIDER_NAME = "deno"
        _ENABLE_PREPROCESSED_PLAYER_CACHE = True

        def _iter_script_sources(self) -> Iterator[Any]:
            yield ScriptSource.PYPACKAGE, self._pypackage_source  # the script whose checksum is pinned; none from the network

        def _real_bulk_solve(self, requests: list[Any]) -> Iterator[Any]:
            token: CancelToken = self.ie._downloader.gainstage_token
            while not PLAYERS_SEEN.solving.acquire(timeout=0.1):
                token.check()
            try:
                player = requests[0].input.player_url
                if PLAYERS_SEEN.late(player):
                    self.ie._downloader.gainstage_late = True
                    raise JsChallengeProviderError("the script of this player does not end", expected=True)
                yield from self._solved(requests, player)
            finally:
                PLAYERS_SEEN.solving.release()

        def _solved(self, requests: list[Any], player: str) -> Iterator[Any]:
            try:
                yield from super()._real_bulk_solve(requests)
            except ScriptFailed as error:
                PLAYERS_SEEN.forget()
                if error.late:
                    PLAYERS_SEEN.note_late(player)
                    self.ie._downloader.gainstage_late = True
                raise JsChallengeProviderError(str(error), expected=True) from error
            except (JsChallengeProviderError, ValueError, KeyError, TypeError) as error:
                PLAYERS_SEEN.forget()
                raise JsChallengeProviderError(str(error), expected=True) from error

        def _run_deno(self, stdin: str, options: list[str]) -> str:
            return run_script(self.runtime_info.path, options, stdin, self.ie._downloader.gainstage_token)

    return GuardedDenoJCP

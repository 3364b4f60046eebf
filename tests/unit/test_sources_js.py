"""The JavaScript child: what it gets, what ends it, and what recordings share of a player that was taken apart."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Cancelled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import js_runtime
from gainstage.engine.sources.js_runtime import ScriptFailed, find_runtime, run_script, solver_version
from gainstage.engine.sources.recent import BoundedDict
from gainstage.engine.sources.ytdlp import open_ytdlp
from gainstage.engine.sources.ytdlp_solver import PLAYERS_SEEN
from tests.world.player import PLAYER, solved

RUNTIME = find_runtime()
needs_deno = pytest.mark.skipif(RUNTIME is None or solver_version() is None, reason="no deno or no yt-dlp-ejs on this machine")
OPTIONS = ["--ext=js", "--no-prompt", "--no-remote", "--no-npm", "--no-config", "--no-lock", "--cached-only"]


def run(script: str, token: CancelToken | None = None, **rest: Any) -> str:
    assert RUNTIME is not None
    return run_script(RUNTIME.path, OPTIONS, script, token or CancelToken(), **rest)


@needs_deno
def test_a_script_gives_what_it_prints_and_a_fault_is_told() -> None:
    assert run("console.log(6 * 7)").strip() == "42"
    with pytest.raises(ScriptFailed, match="nonsense") as caught:
        run("throw new Error('nonsense')")
    assert not caught.value.late


@needs_deno
@pytest.mark.parametrize(
    "attempt",
    [
        "Deno.readTextFileSync('/etc/hostname')",
        "Deno.writeTextFileSync('x', 'y')",
        "Deno.env.get('HOME')",
        "new Deno.Command('sh').outputSync()",
        "await fetch('http://127.0.0.1:9/')",
        "await import('https://example.org/x.js')",
    ],
)
def test_a_script_reaches_nothing_of_this_machine(attempt: str) -> None:
    with pytest.raises(ScriptFailed):
        run(f"{attempt}; console.log('reached')")


@needs_deno
def test_a_child_gets_none_of_this_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert "HF_TOKEN" not in js_runtime._environment("/x")
    assert RUNTIME is not None
    shown = run_script(RUNTIME.path, [*OPTIONS, "--allow-env"], "console.log(JSON.stringify(Deno.env.toObject()))", CancelToken())
    assert set(json.loads(shown)) == {"HOME", "DENO_DIR", "DENO_NO_UPDATE_CHECK", "NO_COLOR", "PATH"}


@needs_deno
def test_an_endless_script_ends_at_its_deadline() -> None:
    with pytest.raises(ScriptFailed) as caught:
        run("for (;;) {}", deadline_s=1.0)
    assert caught.value.late


@needs_deno
def test_a_stop_ends_an_endless_script_at_once() -> None:
    token = CancelToken()
    threading.Timer(0.5, token.cancel, ["enough"]).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        run("for (;;) {}", token)
    assert time.monotonic() - begun < js_runtime.DEADLINE_S / 4


def test_only_the_latest_entries_are_kept() -> None:
    recent: BoundedDict[int, str] = BoundedDict(2)
    for number in (1, 2, 1, 3):
        recent[number] = str(number)
    assert dict(recent) == {1: "1", 3: "3"}


# -- inside yt-dlp ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def players() -> Iterator[None]:
    PLAYERS_SEEN.clear()
    yield
    PLAYERS_SEEN.clear()


def solve(challenge: str, *, script: str = PLAYER, token: CancelToken | None = None) -> tuple[str | None, list[str], bool]:
    """(solution, warnings, whether the script did not end) of one recording's yt-dlp."""
    from yt_dlp.extractor.youtube.jsc.provider import JsChallengeRequest, JsChallengeType, NChallengeInput

    url = "https://www.youtube.com/s/player/abcd1234/player_es6.vflset/en_US/base.js"
    with open_ytdlp(Fetch(), token or CancelToken()) as ytdlp:
        youtube = ytdlp.get_info_extractor("Youtube")
        youtube.initialize()
        youtube._code_cache.setdefault(youtube._player_js_cache_key(url), script)
        request = JsChallengeRequest(type=JsChallengeType.N, input=NChallengeInput(challenges=[challenge], player_url=url))
        answers = youtube._jsc_director.bulk_solve([request])
        result = answers[0][1].output.results[challenge] if answers else None
        return result, list(ytdlp.params["logger"].warnings), ytdlp.gainstage_late


@needs_deno
@pytest.mark.usefixtures("players")
def test_a_challenge_is_solved_and_its_player_taken_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[bool] = []
    real = js_runtime.run_script

    def counted(path: Path, options: list[str], script: str, token: CancelToken) -> str:
        kinds.append('"type": "preprocessed"' in script)
        return real(path, options, script, token)

    monkeypatch.setattr("gainstage.engine.sources.ytdlp_solver.run_script", counted)
    assert solve("abcdef")[0] == solved("abcdef")
    assert solve("ghijkl", script="the player is not read again")[0] == solved("ghijkl")
    assert kinds == [False, True]


@needs_deno
@pytest.mark.usefixtures("players")
def test_a_player_that_does_not_end_is_not_run_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(js_runtime, "DEADLINE_S", 1.5)
    endless = PLAYER.replace("this.m.n=", "for (;;) {} this.m.n=")
    runs: list[str] = []
    real = js_runtime.run_script

    def counted(path: Any, options: Any, script: str, token: CancelToken) -> str:
        runs.append(script)
        return real(path, options, script, token)

    monkeypatch.setattr("gainstage.engine.sources.ytdlp_solver.run_script", counted)
    assert solve("abcdef", script=endless)[::2] == (None, True)
    once = len(runs)
    assert once > 0
    assert solve("abcdef", script=endless)[::2] == (None, True)
    assert len(runs) == once
    PLAYERS_SEEN.clear()
    assert solve("abcdef")[0] == solved("abcdef")


@needs_deno
@pytest.mark.usefixtures("players")
def test_many_recordings_take_a_new_player_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[bool] = []
    real = js_runtime.run_script

    def counted(path: Path, options: list[str], script: str, token: CancelToken) -> str:
        runs.append('"type": "preprocessed"' in script)
        return real(path, options, script, token)

    monkeypatch.setattr("gainstage.engine.sources.ytdlp_solver.run_script", counted)
    found: dict[str, str | None] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: solve(n)[0]})) for n in ("abcdef", "bcdefg", "cdefgh")]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: solved(n) for n in ("abcdef", "bcdefg", "cdefgh")}
    assert sorted(runs) == [False, True, True]


@needs_deno
@pytest.mark.usefixtures("players")
def test_what_was_prepared_wrongly_is_prepared_anew() -> None:
    assert solve("abcdef", script="this is no player")[0] is None
    PLAYERS_SEEN.scripts.clear()
    assert solve("abcdef")[0] == solved("abcdef")


def test_without_a_runtime_yt_dlp_is_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from gainstage.engine.sources import ytdlp_solver

    monkeypatch.setattr(ytdlp_solver, "find_runtime", lambda: None)
    assert ytdlp_solver.runtimes() == {}
    monkeypatch.setattr(ytdlp_solver, "find_runtime", lambda: SimpleNamespace(supported=False, path="/x"))
    assert ytdlp_solver.runtimes() == {}

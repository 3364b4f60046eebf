"""gainstage from Python: one file without a database, and a stored home."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gainstage.engine
from gainstage.config.origins import SettingError, profile_text
from gainstage.config.paths import Paths
from gainstage.engine import Result, System, transcribe
from gainstage.engine.errors import Permanent
from gainstage.engine.evaluation.quality import Hypothesis, load_truth, score, spoken
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.process import start_detached
from gainstage.engine.views.commands import DeskError
from tests.cli_kit import engine_ended, environment
from tests.conftest import new_home

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
VOICES = {path.stem: path for path in sorted((DEMO / "voices").iterdir())}
INTERVIEW = DEMO / "recordings" / "sea-interview.m4a"


@pytest.fixture(scope="module")
def result() -> Result:
    return transcribe(INTERVIEW, profile="demo", voices=VOICES)


def test_a_file_becomes_words_turns_and_passages_with_names(result: Result) -> None:
    truth = load_truth(INTERVIEW.with_suffix(".json"))
    quality = score(truth, Hypothesis(result.words, spoken(result.turns), None))
    assert quality.wer < 0.04
    assert quality.speaker_accuracy > 0.97
    assert result.seconds == pytest.approx(truth.duration, abs=0.1)
    assert {"Helen", "Oscar"} <= set(result.speakers)
    assert sum(result.speakers.values()) == pytest.approx(sum(t.end - t.start for t in result.turns))
    assert {"Helen", "Oscar"} <= {s.speaker for s in result.segments} <= set(result.speakers)
    assert all(word.speaker in result.speakers for word in result.words)
    assert result.decisions
    assert result.language == "en"


def test_a_monologue_of_the_primary_takes_the_fast_path() -> None:
    result = transcribe(DEMO / "recordings" / "garden-monologue.opus", profile="demo", voices=VOICES, primary="Helen")
    assert result.cast.fast_path
    assert list(result.speakers) == ["Helen"]


def test_without_voices_everybody_is_unknown() -> None:
    result = transcribe(INTERVIEW, profile="demo")
    assert all(re.fullmatch(r"Speaker \d", name) for name in result.speakers)


def test_settings_act_and_are_checked() -> None:
    short = transcribe(INTERVIEW, profile="demo", settings={"segment.max_seconds": 5, "segment.merge_gap": 0})
    assert max(s.end - s.start for s in short.segments) <= 6
    with pytest.raises(SettingError, match="did you mean"):
        transcribe(INTERVIEW, profile="demo", settings={"segment.max_second": 5})


def test_what_is_no_recording_and_what_is_no_voice_is_said(tmp_path: Path) -> None:
    text = tmp_path / "a.mp3"
    text.write_text("words")
    with pytest.raises(Permanent, match="not a media file"):
        transcribe(text, profile="demo")
    with pytest.raises(Permanent, match="30 s are needed"):
        transcribe(INTERVIEW, profile="demo", voices={"Ada": DEMO / "selftest" / "one_a.wav"})


def test_importing_the_engine_loads_nothing() -> None:
    code = "import sys, gainstage.engine; assert not {'torch', 'numpy', 'psycopg', 'gainstage.engine.api'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    code = "import sys; from gainstage.engine import transcribe; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    with pytest.raises(AttributeError, match="no attribute 'transcrib'"):
        gainstage.engine.transcrib  # noqa: B018


# -- a running system -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A home with an engine that has done one recording."""
    with new_home() as home:
        (home / "gainstage.toml").write_text(profile_text("demo"), "utf-8")
        with gainstage.engine.open(home) as system, engine_ended(home):
            (id,) = system.submit(INTERVIEW)
            with pytest.raises(TimeoutError, match="1 of 1"):
                system.wait([id], timeout_s=0)
            engine = start_detached(Paths.of(home), ["--home", str(home)])
            assert system.wait([id], timeout_s=240) == {id: "stored"}
            yield system
        engine.wait(60)


def test_a_recording_is_submitted_done_listed_and_found(system: System) -> None:
    (row,) = system.recordings(status=["stored"])
    assert row.title == "sea-interview"
    assert system.submit(INTERVIEW) == ()
    words = " ".join(s.text for s in system.segments(row.id))
    hit = system.search(words.split(".")[0])[0]
    assert hit.recording == row.id
    assert system.search("xylophone", "words") == ()


def test_a_setting_is_changed_and_a_wrong_one_refused(system: System) -> None:
    system.set("segment.max_seconds", 30)
    assert system.settings()["segment.max_seconds"] == 30
    with pytest.raises((SettingError, DeskError), match=r"segment.max_seconds"):
        system.set("segment.max_seconds", 10_000)


# -- the README -------------------------------------------------------------------------------------------------------


def test_the_lines_of_the_readme_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "talk.mp3").symlink_to(DEMO / "recordings" / "sky-talk.mp3")
    (tmp_path / "ada.wav").symlink_to(VOICES["Helen"])
    assert '"cpu"' in blocks[0]
    lines = [sys.executable, "-c", blocks[0].replace('"cpu"', '"demo"')]
    done = subprocess.run(lines, cwd=tmp_path, check=True, capture_output=True, text=True, env=environment())
    assert "Ada: " in done.stdout

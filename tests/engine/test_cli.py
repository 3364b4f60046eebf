"""Every command of the command line against one stored home: exit status, words, and the shapes other programs rely on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.origins import profile_text
from gainstage.config.settings import SPECS
from gainstage.engine.process import engine_pid
from gainstage.engine.runtime.demo import demo_recordings
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.tui.commands.common import Paths
from tests.cli_kit import command, data_of, engine_ended, environment, gainstage, last_words, said, told
from tests.conftest import new_home

# -- the demo, and what reads its results -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[Path, dict[str, Any]]]:
    """(home, summary) of the demo, run as a new user runs it."""
    with new_home() as home, engine_ended(home):
        done = gainstage("demo", "--headless", "--json", "--home", home, status=None)
        assert done.returncode == 0, done.stdout + done.stderr + last_words(home)
        assert engine_pid(Paths.of(home)) is None, "the command ends after its engine"
        with EmbeddedPostgres(home / "postgres").start():
            yield home, json.loads(done.stdout)


ALL = len(demo_recordings())
Demo = tuple[Path, dict[str, Any]]


def test_the_demo_tells_what_it_did(demo: Demo) -> None:
    _, result = demo
    assert set(result) == {
        "stored", "failed", "audio_seconds", "wall_seconds", "rtfx", "stages", "recordings", "quality",
    }  # fmt: skip
    assert (result["stored"], result["failed"]) == (ALL, 0)
    assert result["rtfx"] == pytest.approx(result["audio_seconds"] / result["wall_seconds"], rel=0.01)
    assert list(result["stages"]) == ["fetch", "decode", "transcribe", "diarize", "identify", "segment", "embed", "store"]
    for stage in result["stages"].values():
        assert set(stage) == {"count", "wait_p50_s", "service_p50_s", "service_p95_s"}
        assert stage["service_p50_s"] <= stage["service_p95_s"]
    assert {result["stages"][s]["count"] for s in ("fetch", "decode", "transcribe", "segment", "embed", "store")} == {ALL}
    names = {"id", "title", "status", "error", "segments", "speakers", "speech_seconds", "labelled_seconds", "unknown_seconds"}
    for recording in result["recordings"]:
        assert set(recording) == names
        assert recording["error"] is None
        assert recording["segments"] > 0
        labelled_and_not = recording["labelled_seconds"] + recording["unknown_seconds"]
        assert labelled_and_not == pytest.approx(recording["speech_seconds"], abs=0.01)


def test_the_demo_is_right_by_the_bundled_truth(demo: Demo) -> None:
    quality = demo[1]["quality"]
    assert set(quality) == {"wer", "der", "speaker_accuracy"}
    assert quality["wer"] <= 0.04
    assert quality["der"] <= 0.08
    assert quality["speaker_accuracy"] >= 0.97


def test_the_engine_of_the_demo_has_ended_and_left_nothing(demo: Demo) -> None:
    home, _ = demo
    assert [p for p in (home / "work").iterdir() if not p.name.startswith(".")] == []
    status = told("status", "--home", home, status=1)
    assert [e["state"] for e in status["engines"]] == ["done"]
    assert "no engine runs" in said("status", "--home", home, status=1)
    assert "no engine runs" in said("pause", "--home", home, status=1)


def test_what_is_stored_already_is_skipped(demo: Demo) -> None:
    home, result = demo
    source = told("show", result["recordings"][0]["id"], "--home", home)["row"]["source"]
    again = told("run", source, "--headless", "--home", home)
    assert (again["stored"], again["recordings"]) == (0, [])
    dry = told("run", Path(source).parent, "--dry-run", "--home", home)
    assert dry["recordings"] == []
    media = [left["reason"] for left in dry["left"] if not left["reason"].startswith("no audio or video")]
    assert media == ["stored already"] * ALL
    assert told("add", source, "--home", home)["added"] == 0


def test_recordings_and_show(demo: Demo) -> None:
    home, result = demo
    page = told("recordings", "--home", home)
    assert (page["total"], page["matched"], len(page["rows"])) == (ALL, ALL, ALL)
    assert {r["id"] for r in page["rows"]} == {r["id"] for r in result["recordings"]}
    assert told("recordings", "--match", "garden", "--home", home)["matched"] >= 1
    assert told("recordings", "--status", "failed", "--home", home)["matched"] == 0
    text = said("recordings", "--home", home, "--limit", 1)
    assert text.startswith("ID")
    assert f"1 of {ALL}" in text
    first = result["recordings"][0]
    detail = told("show", first["id"][:-4], "--home", home)
    assert detail["row"]["id"] == first["id"]
    assert len(detail["segments"]) == first["segments"]
    assert {s["stage"] for s in detail["spans"]} >= {"fetch", "decode", "transcribe", "store"}
    assert detail["decisions"]
    shown = said("show", first["id"], "--words", "--home", home)
    assert first["title"] in shown
    assert detail["segments"][0]["text"] in shown
    assert "no recording" in said("show", "nothing", "--home", home, status=1)


def test_search_finds_by_meaning_by_words_and_by_speaker(demo: Demo) -> None:
    home, _ = demo
    words = told("search", "garden", "--mode", "words", "--home", home)
    assert words["mode"] == "words"
    assert words["hits"]
    assert all("garden" in h["text"].lower() for h in words["hits"][:1])
    both = told("search", "what grows in the garden", "--home", home, "--limit", 3)
    assert len(both["hits"]) == 3
    meaning = told("search", "sailing on the sea", "--mode", "meaning", "--speaker", "Oscar", "--home", home)
    assert {h["speaker"] for h in meaning["hits"]} == {"Oscar"}
    hit = both["hits"][0]
    assert set(hit) == {"recording", "title", "start", "end", "speaker", "text", "score", "url", "segment", "captioned"}
    assert hit["title"] in said("search", "what grows in the garden", "--home", home)
    assert said("search", "zzyzx", "--mode", "words", "--home", home) == "nothing found\n"


@pytest.mark.parametrize("form", ["srt", "vtt", "txt", "json", "rttm"])
def test_export_writes_a_file_per_recording(demo: Demo, form: str, tmp_path: Path) -> None:
    home, _ = demo
    written = said("export", "--all", "--format", form, "-o", tmp_path / "out", "--home", home).splitlines()
    assert len(written) == ALL
    texts = {path: Path(path).read_text() for path in written}
    assert all(text.strip() for text in texts.values())
    assert all(path.endswith(f".{form}") for path in written)
    if form == "json":
        for text in texts.values():
            tree = json.loads(text)
            assert set(tree) == {"recording", "segments"}
            assert set(tree["recording"]) == {"id", "title", "source", "duration"}
            for s in tree["segments"]:
                assert set(s) == {"start", "end", "speaker", "confidence", "provenance", "text", "words"}
                assert s["words"][0].keys() == {"word", "start", "end", "probability", "speaker", "overlap"}
    assert "name the recordings" in said("export", "--format", form, "--home", home, status=1)


def test_stored_recordings_are_scored_against_references_of_several_formats(demo: Demo, tmp_path: Path) -> None:
    home, result = demo
    truths = [Path(r.source).with_suffix(".json") for r in demo_recordings()]
    table = json.loads(said("score", *truths, "--json", "--home", home))
    assert len(table["recordings"]) == ALL
    wer, cpwer = (table["figures"][key] for key in ("wer", "cpwer"))
    assert wer["value"] == pytest.approx(result["quality"]["wer"], abs=0.01)
    assert wer["low"] <= wer["value"] <= wer["high"]
    assert cpwer["value"] <= 0.05
    assert table["figures"]["uncovered_speech_s"]["value"] < 1.0
    again = json.loads(said("score", *truths, "--json", "--home", home, "--against", table["saved"]))
    for key in ("wer", "cllr", "fnir_at_fpir_1", "calibration_error"):
        assert (again["compared"][key]["difference"], again["compared"][key]["p"]) == (0.0, 1.0), key
    id = result["recordings"][0]["id"]
    said("export", id, "--format", "rttm", "-o", tmp_path, "--home", home)
    turns = json.loads(said("score", tmp_path / f"{id}.rttm", "--recording", id, "--json", "--home", home))
    assert "der" in turns["figures"]
    assert "wer" not in turns["figures"], "no words in the reference, no word errors"
    (tmp_path / "nobody.txt").write_text("words of nobody")
    assert "--recording" in said("score", tmp_path / "nobody.txt", "--home", home, status=1)
    assert "can be read" in said("score", tmp_path / "gone.stm", "--home", home, status=1)


def test_voices_and_decisions(demo: Demo) -> None:
    home, result = demo
    profiles = told("voices", "list", "--home", home)
    assert {p["name"] for p in profiles} == {"Clara", "Helen", "Martin", "Oscar", "Victor"}
    assert [p["name"] for p in profiles if p["primary"]] == ["Helen"]
    assert "Helen" in said("voices", "list", "--home", home)
    assert told("voices", "check", "--home", home)
    checked = said("voices", "check", "--home", home)
    assert "HELD OUT" in checked
    assert "how likely a score is one person" in checked
    assert "identify.scale = cosine judges by 0.42 for the primary" in checked
    (fitted,) = [c["calibration"] for c in told("voices", "check", "--home", home)]
    again = told("voices", "calibrate", "--home", home)
    assert again["calibration"] == fitted["calibration"]
    assert fitted["calibration"]["people"] == 5
    assert min(*fitted["cohort"], *fitted["library"]) > 50
    latest = told("decisions", "--home", home)
    assert len(latest) >= 4
    id = result["recordings"][-1]["id"]
    assert "similarities to" in said("decisions", id, "--home", home)
    same = told("decisions", "--what-if", "identify.range_limit=0.5", "--home", home)
    assert (same["flips"], same["seconds_moved"]) == ([], 0.0)
    strict = ["--what-if", "identify.range_spreads=0", "--what-if", "identify.turn_probability=0.9999"]
    other = told("decisions", *strict, "--home", home)
    assert other["seconds_moved"] > 0
    assert "nothing was changed" in said("decisions", *strict, "--home", home)
    assert "write KEY=NUMBER" in said("decisions", "--what-if", "identify.range_limit=wide", "--home", home, status=1)


def test_config_and_settings_name_value_and_origin(demo: Demo, tmp_path: Path) -> None:
    home, _ = demo
    rows = {r["key"]: r for r in told("config", "show", "--home", home)}
    assert set(rows) == set(SPECS)
    assert rows["asr.model"]["value"] == "demo:asr"
    assert rows["asr.model"]["origin"] == f"file {home / 'gainstage.toml'}"
    assert rows["asr.beam"]["origin"] == "default"
    assert "demo:asr" in said("config", "show", "--home", home)
    assert {s["key"] for s in told("config", "schema")} == set(SPECS)
    assert said("config", "schema", "--markdown").startswith("| setting |")
    assert told("config", "validate", "--home", home)["valid"] is True
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[workers]\ntranscribers = 3\n")
    assert "did you mean workers.transcribe?" in said("config", "validate", wrong, status=2)
    settings = {s["key"]: s for s in told("settings", "--home", home)}
    assert settings["in_flight"]["value"] == 4
    assert "asr.model" in said("settings", "--changed", "--home", home)
    assert "did you mean workers.transcribe?" in said("set", "transcribe", 3, "--home", home, status=2)


def test_the_doctor_says_how_to_mend(demo: Demo) -> None:
    home, _ = demo
    found = told("doctor", "--home", home)
    assert {c["name"] for c in found} >= {"Python", "torch", "NVML", "ffmpeg", "asr model", "diarization model", "database", "disk"}
    assert all(set(c) == {"name", "state", "text", "hint"} for c in found)
    assert not [c for c in found if c["state"] == "fail"]
    assert all(c["hint"] for c in found if c["state"] != "ok")


def test_following_and_order_in_the_queue(demo: Demo, tmp_path: Path) -> None:
    home, result = demo
    id = result["recordings"][0]["id"]
    assert "nothing is followed" in said("following", "--home", home)
    made = told("follow", tmp_path, "--every", "1h", "--home", home)
    assert [f["id"] for f in told("following", "--home", home)] == [made["id"]]
    assert str(tmp_path) in said("unfollow", made["id"], "--home", home)
    assert told("following", "--home", home) == []
    assert "name the recordings" in said("retry", "--home", home, status=1)
    assert told("priority", id[:-3], "--front", "--home", home, status=1)["state"] in ("done", "refused")


def test_another_run_under_other_thresholds_extracts_no_voice(demo: Demo) -> None:
    home, result = demo
    id = next(r["id"] for r in result["recordings"] if r["id"].startswith("sea-interview"))
    before = told("show", id, "--home", home)
    assert len(_extractions(before)) == 2, "the fast path's and the diarizer's"
    limits = ["--set", "identify.range_spreads=0.01", "--set", "identify.turn_probability=0.9"]
    again = gainstage("run", before["row"]["source"], "--force", "--headless", "--json", "--home", home, *limits, status=None)
    assert again.returncode == 0, again.stdout + again.stderr + last_words(home)
    after = told("show", id, "--home", home)
    assert len(after["decisions"]) == len(before["decisions"])
    assert all(d["split"] for d in after["decisions"]), "the new limits hold"
    for cold, warm in zip(_extractions(before), _extractions(after)[2:], strict=True):
        assert (cold["windows"] > 0, cold["hits"]) == (True, 0)
        assert (warm["windows"], warm["batches"], warm["hits"]) == (0, 0, cold["segments"])


def _extractions(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """What the journal says of the voices extracted for a recording, in order."""
    return [e["data"] for e in detail["events"] if e["kind"] == "voices"]


# -- a reader that leaves ---------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_ends_a_command_quietly(demo: Demo) -> None:
    home, _ = demo
    with subprocess.Popen(
        command("settings", "--json", "--home", home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


# -- settings of a run ------------------------------------------------------------------------------------------------


def test_a_profile_file_and_the_environment_reach_the_run(home: Path, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(profile_text("demo").replace("in_flight = 4", "in_flight = 5"))
    done = gainstage(
        "config", "show", "--json", "--profile", profile, "--home", home, environ={"GAINSTAGE_WORKERS__FETCH": "7"}, cwd=tmp_path
    )
    rows = {r["key"]: (r["value"], r["origin"]) for r in json.loads(done.stdout)}
    assert rows["in_flight"] == (5, f"profile {profile}")
    assert rows["workers.fetch"] == (7, "environment")
    assert data_of("config", "show", "--home", home)

"""The settings: schema, layers, origins, and errors that say what was meant."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.config.origins import (
    SettingError,
    effective,
    from_environment,
    load,
    markdown_table,
    parse,
    profile_names,
    read_profile,
    schema,
)
from gainstage.config.paths import Paths
from gainstage.config.settings import SPECS, Effect, Settings, changed, value_of


def test_every_setting_says_what_it_is() -> None:
    for spec in SPECS.values():
        assert spec.help.endswith("."), spec.key
        assert isinstance(spec.effect, Effect)
        if spec.low is not None and isinstance(spec.default, (int, float)):
            assert spec.high is not None
            assert spec.low <= spec.default <= spec.high, spec.key
            assert spec.step, spec.key
        assert value_of(Settings(), spec.key) == spec.default


def test_the_table_of_the_domain_is_met() -> None:
    expected = {
        "workers.fetch": (12, 1, 64), "workers.transcribe": (2, 1, 16), "workers.diarize": (1, 1, 8), "in_flight": (24, 1, 512),
        "asr.batch": (16, 1, 64), "identify.range_limit": (0.5, 0, 2), "identify.variance_limit": (0.05, 0, 1),
        "voice.batch_seconds": (120, 5, 3600), "embed.batch": (64, 1, 1024), "identify.smooth_below": (1, 0, 300),
    }  # fmt: skip
    assert {k: (SPECS[k].default, SPECS[k].low, SPECS[k].high) for k in expected} == expected


def test_later_layers_win_and_leave_their_origin(tmp_path: Path) -> None:
    file = tmp_path / "gainstage.toml"
    file.write_text("[workers]\ntranscribe = 3\ndecode = 4\n[asr]\nbatch = 8\n")
    loaded = load(
        profile="workstation",
        user_file=file,
        environ={"GAINSTAGE_WORKERS__DECODE": "5", "GAINSTAGE_HOME": "/elsewhere", "OTHER": "1"},
        overrides={"asr.batch": "9"},
    )
    s = loaded.settings
    assert (s.workers.fetch, s.workers.transcribe, s.workers.decode, s.asr.batch) == (8, 3, 5, 9)
    origins = {
        k: loaded.origin(k) for k in ("workers.fetch", "workers.transcribe", "workers.decode", "asr.batch", "in_flight", "asr.vad")
    }
    assert origins == {
        "workers.fetch": "profile workstation",
        "workers.transcribe": f"file {file}",
        "workers.decode": "environment",
        "asr.batch": "command line",
        "in_flight": "profile workstation",
        "asr.vad": "default",
    }


@pytest.mark.parametrize("name", profile_names())
def test_bundled_profiles_are_valid(name: str) -> None:
    load(profile=name, environ={})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"workers.transcibe": "4"}, "did you mean workers.transcribe?"),
        ({"transcribe": "4"}, "did you mean workers.transcribe?"),
        ({"workers.transcribe": "99"}, "allowed 1 to 16"),
        ({"asr.device": "gpu"}, "one of auto, cpu, cuda"),
        ({"identify.range_limit": "wide"}, "identify.range_limit"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(overrides: dict[str, str], words: str) -> None:
    with pytest.raises(SettingError, match="command line") as caught:
        load(overrides=overrides, environ={})
    assert words in str(caught.value)


def test_a_broken_file_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[workers]\ntranscribe = = 3\n")
    with pytest.raises(SettingError, match="line 2"):
        load(user_file=file, environ={})
    file.write_text("[workers]\ntranscribers = 3\n")
    with pytest.raises(SettingError, match="did you mean workers"):
        load(user_file=file, environ={})


def test_an_unknown_variable_of_ours_is_an_error() -> None:
    with pytest.raises(SettingError, match="GAINSTAGE_WORKER__FETCH"):
        from_environment({"GAINSTAGE_WORKER__FETCH": "3"})


def test_words_of_a_person_become_values() -> None:
    assert parse("asr.vad", "off") is False
    assert parse("diarization.max_speakers", "none") is None
    assert load(overrides={"console.keys": '{"pause": "p"}'}, environ={}).settings.console.keys == {"pause": "p"}


def test_a_change_makes_a_new_object_and_checks_it() -> None:
    before = Settings()
    after = changed(before, "identify.range_limit", 0.3)
    assert (before.identify.range_limit, after.identify.range_limit) == (0.5, 0.3)
    with pytest.raises(ValueError, match="less than or equal"):
        changed(before, "identify.range_limit", 3)
    with pytest.raises(KeyError):
        changed(before, "identify.nonsense", 3)


@given(st.sampled_from(sorted(k for k, s in SPECS.items() if s.low is not None)), st.integers(1, 10), st.booleans())
def test_nothing_outside_its_range_gets_in(key: str, offset: int, above: bool) -> None:
    spec = SPECS[key]
    assert spec.low is not None
    assert spec.high is not None
    with pytest.raises(ValueError, match="equal to"):
        changed(Settings(), key, int(spec.high) + offset if above else int(spec.low) - offset)


def test_secrets_are_never_shown() -> None:
    loaded = load(overrides={"fetch.proxy": "http://user:geheim@proxy"}, environ={})
    assert "geheim" not in str(effective(loaded))
    assert "geheim" not in repr(loaded)


def test_the_schema_is_complete_and_printable() -> None:
    assert [row["key"] for row in schema()] == list(SPECS)
    assert markdown_table().count("\n") == len(SPECS) + 1


def test_a_home_keeps_everything_under_one_folder(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path).ensure()
    for folder in (paths.config, paths.data, paths.cache, paths.logs, paths.work, paths.runs, paths.models, paths.database):
        assert folder.is_relative_to(tmp_path)
    assert Paths.of(None).data != paths.data


def test_config_imports_nothing_heavy() -> None:
    code = "import sys, gainstage.config.origins, gainstage.config.paths; assert not {'torch', 'textual', 'rich', 'psycopg'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_profiles_are_plain_toml() -> None:
    for file in (Path(__file__).parents[2] / "config" / "profiles").glob("*.toml"):
        tomllib.loads(file.read_text())


@pytest.mark.parametrize("name", ["studio.toml", "studio", "studio.conf"])
def test_a_profile_given_by_its_path_needs_no_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("in_flight = 7\n")
    assert read_profile(str(tmp_path / name)) == (f"profile {tmp_path / name}", {"in_flight": 7})


def test_a_bare_name_that_is_no_bundled_profile_is_only_a_file_with_its_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("studio", "studio.toml", "cpu"):
        Path(name).write_text("in_flight = 7\n")
    assert read_profile("studio.toml")[1] == {"in_flight": 7}
    assert read_profile("cpu")[1] != {"in_flight": 7}, "a bundled name stays the bundled profile"
    with pytest.raises(SettingError, match="unknown profile 'studio'"):
        read_profile("studio")


@pytest.mark.parametrize("text", ["", "  ", "none", "None", "NULL"])
def test_no_text_is_no_value_where_a_setting_may_have_none(text: str) -> None:
    optional = [key for key, spec in SPECS.items() if spec.optional]
    assert optional
    assert {parse(key, text) for key in optional} == {None}


def test_no_text_stays_text_where_a_setting_must_have_a_value() -> None:
    for key, spec in SPECS.items():
        if not spec.optional:
            assert parse(key, "") == "", key
            assert parse(key, "none") == "none", key


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "in_flight = " + "9" * 5000,
        "a" + ".a" * 3000 + " = 1",
        "[" + "a." * 2000 + "b]\nc = 1",
        "in_flight = 1e999",
        "in_flight = nan",
        "in_flight = \x00",
        "in_flight = 1\nin_flight = 2",
        'store.database = "\\ud800"',
        "in_flight = {" + "a = {" * 2000,
    ],
    ids=range(10),
)
def test_a_hostile_settings_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "gainstage.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingError) as refused:
        load(user_file=file, environ={})
    assert len(str(refused.value)) < 1000


def test_a_settings_file_that_is_no_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "gainstage.toml"
    for content in (b"\xff\xfe\x00", b"in_flight = \xc3\x28", bytes(range(256)) * 100):
        file.write_bytes(content)
        with pytest.raises(SettingError, match=r"gainstage\.toml"):
            load(user_file=file, environ={})


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 50_000, "{" * 5000 + "}", "1e999", "nan", "\ud800", "\x00", "-" * 5000])
def test_a_hostile_value_is_an_error_and_no_traceback(value: str) -> None:
    refused = []
    for key in SPECS:
        with contextlib.suppress(SettingError):
            load(environ={}, overrides={key: value})
            continue
        refused.append(key)
    assert "in_flight" in refused


def test_secrets_of_a_command_line_reach_a_child_by_its_environment() -> None:
    """Other users can read the arguments of a process (``ps``)."""
    from gainstage.tui.commands.common import without_secrets

    pairs, environ = without_secrets(
        ["fetch.proxy=http://me:hush@proxy:3128", "in_flight=3", "store.database=postgresql://me:hush@db/x"]
    )
    assert pairs == ["in_flight=3"]
    assert environ == {
        "GAINSTAGE_FETCH__PROXY": "http://me:hush@proxy:3128",
        "GAINSTAGE_STORE__DATABASE": "postgresql://me:hush@db/x",
    }
    assert all(key not in SPECS or not SPECS[key].secret for key in (pair.partition("=")[0] for pair in pairs))

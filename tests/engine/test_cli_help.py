"""Help of the command line: quick, complete, and without a model library."""

from __future__ import annotations

import re
import resource
import subprocess
import sys

import pytest

from gainstage.tui.cli import main
from gainstage.tui.commands.registry import COMMANDS
from tests.cli_kit import command, environment, said

HEAVY = {"torch", "textual", "rich", "faster_whisper", "pyannote", "speechbrain", "sentence_transformers"}


def test_help_is_quick_to_load_and_names_every_command() -> None:
    code = f"""
import sys
from gainstage.tui.cli import main
assert main(["--help"]) == 0
heavy = {HEAVY | {"numpy", "psycopg", "pydantic"}!r} & set(sys.modules)
assert not heavy, heavy
"""
    text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment()).stdout
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "examples:" in text


def test_help_takes_less_than_three_tenths_of_a_second_of_processor_time() -> None:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command("--help"), check=True, stdout=subprocess.DEVNULL, env=environment())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(once() for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert COMMANDS[name].summary in " ".join(text.split())
    assert "examples:" in text
    assert re.search(rf"^ +(systemd: .*)?gainstage {name if name != 'console' else ''}", text, re.MULTILINE)


def test_importing_the_commands_loads_no_model_library() -> None:
    modules = sorted(
        {f"gainstage.tui.commands.{entry.module}" for entry in COMMANDS.values()}
        | {"gainstage.tui.console.app", "gainstage.tui.commands.headless", "gainstage.tui.bench.screenshots"}
    )
    code = f"""
import importlib, sys
import gainstage.tui as tui
assert not {HEAVY!r} & set(sys.modules)
for name in {[m for m in modules if m.startswith("gainstage.tui.commands")]!r}:
    importlib.import_module(name)
assert "textual" not in sys.modules
for name in {modules!r}:
    importlib.import_module(name)
heavy = {HEAVY - {"textual", "rich"}!r} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def test_a_command_that_is_none_is_told_the_nearest() -> None:
    assert "no command 'serach'; did you mean search?" in said("serach", status=2)
    assert "gainstage --help" in said("frobnicate", status=2)
    assert re.fullmatch(r"gainstage \d+\.\d+\.\d+\n", said("--version"))


@pytest.mark.parametrize("args", [["run"], ["set", "in_flight"], ["export", "x", "--format", "doc"], ["voices"], ["priority", "x"]])
def test_wrong_usage_ends_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(args)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert "usage: gainstage" in capsys.readouterr().err

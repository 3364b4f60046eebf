"""What the README says is so."""

from __future__ import annotations

import re
from pathlib import Path

from gainstage.config.origins import markdown_table
from gainstage.config.settings import SPECS
from gainstage.tui.commands.registry import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_settings_table_is_the_schema() -> None:
    assert markdown_table() in README, "renew it: gainstage config schema --markdown"


def test_every_command_shown_exists() -> None:
    shown = set(re.findall(r"^(?:uv run )?gainstage ([a-z]+)", README, re.MULTILINE)) | set(
        re.findall(r"`gainstage ([a-z]+)", README)
    )
    assert shown
    assert shown <= set(COMMANDS), shown - set(COMMANDS)


def test_every_setting_shown_exists() -> None:
    shown = set(re.findall(r"gainstage set ([a-z_.]+)", README)) | set(re.findall(r"--what-if ([a-z_.]+)=", README))
    assert shown <= set(SPECS), shown - set(SPECS)


def test_every_picture_is_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).exists(), path

"""What the pages say is so: links, files, make targets, commands, settings, and the pages made from the code."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from gainstage.config.settings import SPECS
from gainstage.tui.commands.causes import Cause
from gainstage.tui.commands.pages import PAGES
from gainstage.tui.commands.registry import COMMANDS, parser_of
from gainstage.tui.state.actions import ACTIONS

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
ALL = sorted(path.name for path in ROOT.glob("*.md"))
OWN_WORDS = {"CHANGELOG.md"}
"""Pages that may name what is gone."""
WRITTEN = [name for name in ALL if name not in PAGES and name not in OWN_WORDS]


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def some(found: list[T]) -> list[T]:
    """What a pattern matched: nothing at all means that the pattern is wrong, not that the page is right."""
    assert found, "the pattern matches nothing"
    return found


def causes_by_name() -> dict[tuple[str, str], Cause]:
    """By room and name, read in a process of its own: see the test of the pages made from the code."""
    code = (
        "import json, sys; from dataclasses import asdict; from gainstage.tui.commands.causes import causes;"
        " json.dump([asdict(cause) for cause in causes()], sys.stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {(row["room"], row["name"]): Cause(**row) for row in json.loads(done.stdout)}


# -- what is looked at ------------------------------------------------------------------------------------------------


def links(name: str) -> list[str]:
    """Targets of the links and pictures of a page that stay in the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", text_of(name))
    return [link for link in found if not link.startswith(("http:", "https:", "mailto:"))]


def code(name: str) -> list[str]:
    """Everything in backticks: spans, and the lines of blocks but those of Python, which a test of their own runs."""
    text = re.sub(r"^```python\n.*?^```", "", text_of(name), flags=re.MULTILINE | re.DOTALL)
    blocks = [line for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return spans + blocks


def command_lines(name: str) -> list[str]:
    """The gainstage command lines of a page, without what runs them and without remarks (behind ``#`` or two spaces)."""
    pattern = re.compile(r"^(?:\S+=\S+ )*(?:uv run )?gainstage ([a-z].*)$")
    return [
        re.split(r"  |$", m[1])[0].partition(" ; ")[0].partition(" > ")[0].strip()
        for c in code(name)
        if (m := pattern.match(c.strip()))
    ]


def files(name: str) -> list[str]:
    """Paths of this repository that a page names in backticks."""
    pattern = re.compile(r"(?:config|engine|tui|tests|screenshots|\.ci)/[\w./-]+|[\w.-]+\.(?:md|toml)|Makefile|setup\.py")
    return [span for span in code(name) if pattern.fullmatch(span) and span not in THEIRS]


THEIRS = {"gainstage.toml", "my.toml", "profile.toml"}
"""Files of an operator."""


def targets(name: str) -> list[str]:
    return [word for span in code(name) if (m := re.match(r"make ([a-z][\w -]*)", span)) for word in m[1].split()]


# -- the tests --------------------------------------------------------------------------------------------------------


def test_the_pages_are_there() -> None:
    expected = {"README", "ARCHITECTURE", "OPERATIONS", "SETTINGS", "COMMANDS", "TROUBLESHOOTING", "CONTRIBUTING", "CHANGELOG"}
    assert {f"{name}.md" for name in expected} <= set(ALL)


def test_the_pages_made_from_the_code_are_what_the_code_says(tmp_path: Path) -> None:
    # in a process of its own, like that of causes: it imports every module, and with speechbrain the modules that import themselves
    # when hypothesis looks at them
    subprocess.run([sys.executable, "-m", "gainstage.tui.commands.pages", tmp_path], check=True, stdout=subprocess.DEVNULL)
    for name in PAGES:
        assert text_of(name) == (tmp_path / name).read_text("utf-8"), f"renew {name}: make pages"


@pytest.mark.parametrize("name", WRITTEN)
def test_every_link_leads_somewhere(name: str) -> None:
    found = links(name) if name == "SECURITY.md" else some(links(name))
    for link in found:
        path, _, anchor = link.partition("#")
        page = ROOT / path if path else ROOT / name
        assert page.exists(), f"{name}: {link}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, f"{name}: {link}"


def test_readme_shows_pictures_and_leads_to_every_page() -> None:
    found = links("README.md")
    assert any(link.endswith(".png") for link in found)
    assert {name for name in ALL if name != "README.md"} <= set(found)


@pytest.mark.parametrize("name", ["README.md", "OPERATIONS.md", "COMMANDS.md"])
def test_every_command_line_is_understood(name: str) -> None:
    for line in some(command_lines(name)):
        words = shlex.split(line)
        assert words[0] in COMMANDS, f"{name}: gainstage {line}"
        unknown = {w.partition("=")[0] for w in words[1:] if re.match(r"--?[a-z]", w)} - set(options(words))
        assert not unknown, f"{name}: gainstage {line}"


def options(words: list[str]) -> Iterator[str]:
    """Every option of a command, and of its verb where it has verbs."""
    parser = parser_of(words[0])
    yield from parser._option_string_actions
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            assert len(words) == 1 or words[1] in action.choices, words
            yield from action.choices[words[1]]._option_string_actions if len(words) > 1 else ()


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_named_is_there(name: str) -> None:
    assert [path for path in some(files(name)) if not (ROOT / path).exists()] == []


def test_every_function_named_in_the_three_ways_is_there() -> None:
    for path, function in some(re.findall(r"`([\w/.]+\.py):(\w+)`", text_of("ARCHITECTURE.md"))):
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        named = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
        assert function in named, f"{path}:{function}"


def test_the_picture_of_the_rooms_has_every_room() -> None:
    picture = text_of("ARCHITECTURE.md").split("```")[1]
    rooms = {p.parent.name for top in ("engine", "tui") for p in (ROOT / top).glob("*/__init__.py")}
    assert rooms
    assert [room for room in rooms if not re.search(rf"\b{room}\b", picture)] == []


def test_readme_clones_what_the_project_names() -> None:
    source = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Source"]
    assert f"git clone {source}\n" in text_of("README.md")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md"])
def test_every_make_target_named_is_there(name: str) -> None:
    made = set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.MULTILINE))
    assert set(some(targets(name))) <= made


@pytest.mark.parametrize("name", WRITTEN)
def test_every_setting_named_exists(name: str) -> None:
    sections = {key.split(".")[0] for key in SPECS if "." in key}
    pattern = re.compile(rf"\b(?:{'|'.join(sections)})\.[a-z_]+\b(?![./(])")
    named = [key for span in code(name) for key in pattern.findall(span) if not key.endswith((".py", ".md", ".model_"))]
    assert [key for key in named if key not in SPECS] == []


def test_readme_names_settings() -> None:
    assert some([key for key in SPECS if key in text_of("README.md")])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_says_what_it_does(name: str) -> None:
    def silent(parser: argparse.ArgumentParser) -> Iterator[str]:
        assert parser.description, parser.prog
        assert parser.epilog, f"{parser.prog} has no examples"
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    yield from silent(verb)
            elif not action.help:
                yield f"{parser.prog} {action.option_strings or action.dest}"

    assert list(silent(parser_of(name))) == []


def test_the_commands_page_names_every_command_and_action() -> None:
    text = text_of("COMMANDS.md")
    assert [name for name in COMMANDS if f"### gainstage {name}\n" not in text] == []
    assert [a.id for a in ACTIONS if f"`:{a.id}" not in text] == []


def test_the_causes_are_found_where_they_are_made() -> None:
    named = causes_by_name()
    assert len(named) > 100
    licence, gone = named["models", "licence missing"], named["speech", "missing file"]
    assert any(hint.startswith("Visit <page> and accept the conditions") for hint in licence.hints), "a value put into a hint"
    assert gone.outcome == "failed; not tried again"
    assert ("sources", "HTTP <status>") in named, "a cause of a local name"
    assert ("sources", "private") in named, "a cause of a table"
    assert [c for c in named.values() if not c.hints or not all(c.hints)] == []


# -- the patterns themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [links, code, command_lines, files, targets])
def test_a_pattern_finds_nothing_on_an_empty_page(
    pattern: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "EMPTY.md").write_text("words only\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    with pytest.raises(AssertionError, match="matches nothing"):
        some(pattern("EMPTY.md"))


def test_the_patterns_find_what_they_are_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "A.md").write_text(
        "[a](B.md#x) ![p](screenshots/p.png) [w](https://example.org)\n"
        "`gainstage undo`, `engine/pipeline.py`, `make check`\n"
        "```\nuv run gainstage run talks/ --limit 3   # a remark\nA=1 gainstage doctor\n```\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert links("A.md") == ["B.md#x", "screenshots/p.png"]
    assert command_lines("A.md") == ["undo", "run talks/ --limit 3", "doctor"]
    assert files("A.md") == ["engine/pipeline.py"]
    assert targets("A.md") == ["check"]

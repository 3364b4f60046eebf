"""What a wheel holds, what it asks for, and what a package index shows of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from gainstage.engine.doctor import PYTHONS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ROOMS = ("config", "engine", "tui")
RECIPE = Path("engine/models/demo/recipe")


def source_files(pattern: str) -> set[str]:
    """Files of the rooms without the recipe, relative to the top."""
    paths = (p.relative_to(ROOT) for room in ROOMS for p in (ROOT / room).rglob(pattern) if p.is_file())
    return {str(p) for p in paths if not p.is_relative_to(RECIPE) and "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of this tree, built by the backend of pyproject.toml."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for room in ROOMS:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=copy, check=True, capture_output=True, timeout=300)
    (file,) = out.iterdir()
    return ZipFile(file)


def test_a_wheel_holds_every_module_and_every_file_of_data_and_nothing_else(wheel: ZipFile) -> None:
    data = {f for f in source_files("*") if not f.endswith((".py", ".pyc", ".pyi"))}
    assert {"engine/store/migrations/001_store.sql", "tui/console/gainstage.tcss", "config/profiles/cpu.toml"} <= data
    expected = {f"gainstage/{f}" for f in source_files("*.py") | data}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_a_wheel_is_typed_and_has_one_name_and_no_test(wheel: ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {"gainstage", f"gainstage-{PROJECT['project']['version']}.dist-info"}
    assert {f"gainstage/{room}/py.typed" for room in ROOMS} <= set(names)
    assert not [name for name in names if "test" in name.split("/")[1] or "recipe" in name]


def test_every_folder_with_modules_is_a_package_of_the_wheel() -> None:
    folders = {str(Path(f).parent).replace("/", ".") for f in source_files("*.py")}
    assert {f"gainstage.{folder}" for folder in folders} == set(PROJECT["tool"]["setuptools"]["packages"])


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()]
    return [Requirement(text) for group in groups for text in group if not text.startswith("gainstage")]


def test_every_requirement_has_an_upper_bound() -> None:
    assert len(requirements()) > 30
    assert [str(r) for r in requirements() if not {s.operator for s in r.specifier} & {"<", "<=", "=="}] == []


def test_every_exact_requirement_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    exact = [line for line in lines if re.match(r'\s+"[^"]+==', line)]
    assert exact
    assert [line for line in exact if not re.search(r'",\s+# \w', line)] == []


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    project = PROJECT["project"]
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    assert project["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    stated = re.findall(r"Python :: (\d)\.(\d+)", "\n".join(project["classifiers"]))
    assert [(int(major), int(minor)) for major, minor in stated] == list(PYTHONS)


def setup_py() -> ModuleType:
    spec = spec_from_file_location("gainstage_setup", ROOT / "setup.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_package_index_is_given_no_relative_link(wheel: ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    description = wheel.read(name).decode().partition("\n\n")[2]
    links = re.findall(r"\]\(([^)]+)\)", description)
    pictures = [link for link in links if link.endswith(".png")]
    assert pictures
    assert all(link.startswith(f"{PROJECT['project']['urls']['Source']}/raw/main/screenshots/") for link in pictures)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[a](B.md)", "[a](https://s/blob/main/B.md)"),
        ("![a](b.png)", "![a](https://s/raw/main/b.png)"),
        ("[![a](b.png)](B.md)", "[![a](https://s/raw/main/b.png)](https://s/blob/main/B.md)"),
        ("[a](https://example.org) [b](#part)", "[a](https://example.org) [b](#part)"),
    ],
)
def test_relative_links_become_absolute(given: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    module = setup_py()
    module.SOURCE = "https://s"  # type: ignore[attr-defined]
    assert module.absolute(given) == expected

"""What the documentation says about the code is so: its tree, paths, commands, links and settings."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from edge_app.cli.main import app
from edge_app.settings import Settings
from models.engine import ENGINES
from models.families.registry import FAMILIES

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PACKAGES = ("edge_app", "adapters", "router", "models", "benchmarks")


@cache
def text_of(name: str) -> str:
    """A page without the generated tree, which has a test of its own."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"<!-- tree -->.*?<!-- end of tree -->", "", text, flags=re.S)


def code_of(name: str) -> Iterator[str]:
    """Lines of code blocks and pieces of inline code."""
    text = text_of(name)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    indented = re.sub(r"\\\n", " ", prose)
    yield from re.findall(r"(?m)^ {4}(\S.*)$", indented)
    yield from (" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", prose))


def test_the_tree_is_that_of_the_modules_docstrings() -> None:
    spec = importlib.util.spec_from_file_location("tree", ROOT / "docs" / "tree.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    assert page == module.page(), "run python docs/tree.py"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8")) <= 9000


@pytest.mark.parametrize("name", NAMES)
def test_every_linked_file_is_there(name: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text_of(name))
    folder = (ROOT / name).parent
    assert [link for link in links if not (folder / link).exists()] == []


# -- paths and modules


def named_paths(name: str) -> set[str]:
    """Paths from the root of the repository that a page names in code."""
    pattern = rf"(?<![\w/.-])(?:{'|'.join((*PACKAGES, 'tests', 'docs', 'examples'))})(?:/[\w.*-]+)+/?"
    return {path for piece in code_of(name) for path in re.findall(pattern, piece)}


@pytest.mark.parametrize("name", NAMES)
def test_every_path_that_is_named_is_there(name: str) -> None:
    missing = [path for path in named_paths(name) if not list(ROOT.glob(path.rstrip("/.")))]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_every_module_and_attribute_that_is_named_is_there(name: str) -> None:
    pattern = rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})(?:\.\w+)+(?![\w/])"
    named = {dotted for piece in code_of(name) for dotted in re.findall(pattern, piece)}
    assert [dotted for dotted in sorted(named) if not is_there(dotted)] == []


def is_there(dotted: str) -> bool:
    """Whether a dotted name is a module, something in one, or an entry-point group."""
    if dotted in (ENGINES.group, FAMILIES.group) or (ROOT / dotted).suffix in (".py", ".safetensors", ".svg"):
        return True
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if importlib.util.find_spec(parts[0]) and (ROOT / Path(*parts[:length])).is_dir():
            return length == len(parts) or has(module, parts[length:])
        if (ROOT / Path(*parts[:length])).with_suffix(".py").is_file():
            return length == len(parts) or has(module, parts[length:])
    return False


def has(module: str, names: list[str]) -> bool:
    value: Any = importlib.import_module(module)
    for name in names:
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


# -- commands


def commands_in(name: str) -> set[str]:
    """Command lines of edge-app that a page names: what follows the program's name, up to a comment."""
    found = set()
    for piece in code_of(name):
        for part in re.split(r"\s\|\s", piece):
            match = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*edge-app(?! adapter signature)( .*)?$", part)
            if match:
                found.add(re.split(r"\s{2,}|\s#", match.group(1) or "")[0].strip())
    return found


ALL_COMMANDS = sorted({(name, command) for name in NAMES for command in commands_in(name)})


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS)
def test_every_command_that_is_named_is_there_with_its_options(page: str, command: str) -> None:
    del page
    node: Any = typer.main.get_command(app)
    words = [word.strip("[],") for word in re.findall(r'"[^"]*"|\S+', command)]
    while words and hasattr(node, "commands"):
        if words[0] not in node.commands:
            assert words[0].startswith("-") or words[0] in ("…", "COMMAND", "NAME"), (
                f"no command {words[0]!r}"
            )
            break
        node = node.commands[words.pop(0)]
    if words and words[0] in ("router", "confidence", "scenarios", "continual") and node.name == "eval":
        done = CliRunner().invoke(app, ["eval", words[0], "--help"])
        assert done.exit_code == 0
        known = set(re.findall(r"--[\w-]+", done.output))
    else:
        known = {
            option for parameter in node.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
    options = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    if node.name != "bench":
        assert options - known - {"--help"} == set()


def test_commands_are_found() -> None:
    assert len(ALL_COMMANDS) > 40
    assert {command.split()[0] for _, command in ALL_COMMANDS if command} >= {
        *("ask", "adapters", "route", "models", "sessions", "cloud", "eval", "doctor"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_that_is_named_is_there(name: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    named = {
        match.group(1) for piece in code_of(name) if (match := re.match(r"(?:\$ )?make ([a-z-]+)", piece))
    }
    assert named <= targets


# -- settings


def test_the_page_of_settings_has_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"(?m)^\| `([a-z_]+)` \| (.*?) \|", text_of("docs/settings.md")))
    assert rows.keys() == Settings.model_fields.keys()
    for key, written in rows.items():
        default = Settings.model_fields[key].get_default(call_default_factory=True)
        if written.startswith("`"):
            assert json.loads(written.strip("`")) == default, key
        else:
            assert default is None or default == {}, key

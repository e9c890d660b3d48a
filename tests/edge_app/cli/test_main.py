"""The command line as a whole: help, version, completion, defects, and what it loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import edge_app
from edge_app.cli.eval.evaluate import EVALUATIONS
from edge_app.cli.main import app, main
from tests.edge_app.cli.conftest import Outcome, Run
from tests.edge_app.fakes import FakeEngine


def test_version(run: Run) -> None:
    assert run("--version") == Outcome(0, f"edge-app {edge_app.__version__}\n", "")


def test_completion_is_shown_and_installed(tmp_path: Path) -> None:
    """By the installed command: a shell asks for completions by its name.

    The command runs as a child of bash, because it finds the user's shell among its parent processes.
    """
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    command = [bash, "-c", '"$0" "$@"; exit $?', str(Path(sys.executable).with_name("edge-app"))]
    environment = {**os.environ, "SHELL": "/bin/bash", "HOME": str(tmp_path)}

    def complete(*arguments: str, **more: str) -> str:
        ended = subprocess.run(
            [*command, *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    shown = complete("--show-completion")
    assert "_EDGE_APP_COMPLETE=complete_bash" in shown
    complete("--install-completion")
    installed = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any("_EDGE_APP_COMPLETE" in file.read_text() for file in installed)
    asked = {"COMP_WORDS": "edge-app do", "COMP_CWORD": "1", "_EDGE_APP_COMPLETE": "complete_bash"}
    offered = complete(**asked)
    assert offered.split() == ["doctor"]


def command_names(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """The names of a command and of all commands below it."""
    yield names
    for name, below in getattr(command, "commands", {}).items():
        yield from command_names(below, *names, name)


COMMANDS = [*command_names(get_command(app)), *(("eval", name) for name in EVALUATIONS)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(run: Run, command: tuple[str, ...]) -> None:
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert "Example" in outcome.stdout
    assert f"edge-app {' '.join(command)}".strip() in outcome.stdout


def test_the_chat_needs_a_terminal_and_says_so(run: Run) -> None:
    outcome = run()
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "terminal" in outcome.stderr


def test_the_version_loads_nothing_heavy() -> None:
    """How long the start takes is measured by `make bench`; what makes it slow is listed here."""
    heavy = {
        "numpy",
        "PIL",
        "tvm_ffi",
        "tokenizers",
        "onnxruntime",
        "textual",
        "rich",
        "pydantic",
        "sqlite_utils",
    }
    heavy |= {"httpx", "httpx2", "openai", "keyring", "cryptography", "huggingface_hub", "jinja2"}
    script = f"""
import sys
from edge_app.cli.main import main
sys.argv = ["edge-app", "--version"]
try:
    main()
finally:
    print(sorted({heavy!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout == f"edge-app {edge_app.__version__}\n[]\n", done.stderr


def test_a_defect_shows_its_traceback(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise ZeroDivisionError("a defect")

    engine.before_token = broken
    monkeypatch.setattr(sys, "argv", ["edge-app", "ask", "?"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_result_that_cannot_be_written_is_told_in_one_sentence(home: Path) -> None:
    environment = {**os.environ, "EDGE_APP_HOME": str(home)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_app", "doctor"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be written to standard output" in done.stderr

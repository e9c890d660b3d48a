"""`edge-app` and `python -m edge_app` in the folder of a project that has modules of the same names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge_app

OURS = str(Path(edge_app.__file__).parent.parent)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a models.py, as Django makes it, and a package named adapters."""
    (tmp_path / "models.py").write_text("class User: pass\n")
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    return tmp_path


def python(folder: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": path, "EDGE_APP_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_works_there(project: Path) -> None:
    code = (
        "import sys; sys.argv = ['edge-app', 'sessions', 'list']; from edge_app.__main__ import main; main()"
    )
    done = python(project, "-P", "-c", code, path=os.pathsep.join([".", OURS]))
    assert (done.returncode, done.stderr) == (0, "There are no sessions yet.\n")


def test_python_m_says_what_is_in_the_way(project: Path) -> None:
    done = python(project, "-m", "edge_app", "--version", path=OURS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"{project / 'models.py'} is in the way of the package 'models'" in done.stderr


def test_python_m_works_elsewhere(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "edge_app", "--version", path=OURS)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_while_modules_are_imported_says_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, types; fake = types.ModuleType('edge_app.cli.main')\n"
        "def interrupted(name): raise KeyboardInterrupt\n"
        "fake.__getattr__ = interrupted; sys.modules['edge_app.cli.main'] = fake\n"
        "from edge_app.__main__ import main; main()"
    )
    done = python(tmp_path, "-c", code, path=OURS)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

"""kill -9 or Ctrl-C at any operation on a file leaves the old adapter or the new one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.install.verify import verify_installed
from adapters.store.adapter_store import AdapterStore
from tests.adapters.making import FakeModels, tensors, write_adapter

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the loop forks its victims")
@pytest.mark.parametrize("how", ["kill", "interrupt"])
@pytest.mark.parametrize(("what", "least"), [("install", 15), ("replace", 20), ("remove", 3)])
def test_stopped_at_any_operation_it_leaves_the_old_state_or_the_new(
    tmp_path: Path, what: str, least: int, how: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.install.kill_loop", str(tmp_path), what, how],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least


@pytest.mark.slow
def test_two_processes_that_install_at_once_wait_for_one_another(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from adapters.install.installer import Wanted;"
        "from tests.adapters.making import make_installer;"
        "make_installer(pathlib.Path(sys.argv[1])).install(Wanted(sys.argv[2], force=True))"
    )
    versions = [write_adapter(tmp_path / f"{n}", tensors(seed=n), version=f"{n}.0") for n in range(1, 4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "adapters"), str(folder)], cwd=REPOSITORY
        )
        for folder in versions
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    adapter = AdapterStore(tmp_path / "adapters").get("plants")
    assert verify_installed(adapter, FakeModels().base_digests) is None
    assert [file.name for file in (tmp_path / "adapters" / ".staging").iterdir()] == ["lock"]

"""kill -9 at any operation on a file leaves the old adapter or the new one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the loop forks its victims")
@pytest.mark.parametrize(("what", "least"), [("install", 15), ("replace", 20), ("remove", 3)])
def test_kill_9_at_every_operation_leaves_the_old_state_or_the_new(
    tmp_path: Path, what: str, least: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.kill_loop", str(tmp_path), what],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least

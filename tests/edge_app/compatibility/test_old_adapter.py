"""An adapter that version 0.1.0 exported (tests/fixtures/adapter_0_1_0) is installed, verified and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.edge_app.cli.conftest import Run, run

__all__ = ["run"]  # the fixture

LEAVES = Path(__file__).parents[2] / "fixtures" / "adapter_0_1_0" / "leaves.zip"


@pytest.mark.slow
def test_an_adapter_of_version_0_1_0_is_installed_verified_and_run(
    run: Run, real_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_APP_HOME", str(real_home))
    installed = run("adapters", "install", str(LEAVES), "--yes")
    assert installed.code == 0, installed.stderr
    verified = run("adapters", "verify", "leaves")
    assert (verified.code, verified.stdout) == (0, "leaves: as it should be\n")
    said = {}
    for adapter in ("leaves", "none"):
        asked = run("ask", "Name a tree.", "--adapter", adapter, "--max-tokens", "6", "--json")
        assert asked.code == 0, asked.stderr
        said[adapter] = json.loads(asked.stdout)
    assert (said["leaves"]["adapter"], said["none"]["adapter"]) == ("leaves", None)
    assert said["leaves"]["confidence"] != said["none"]["confidence"]
    assert run("adapters", "remove", "leaves").code == 0

"""`edge-app doctor`: what it tells, and that it changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge_app
from edge_app.system import paths
from tests.edge_app.cli.conftest import Run


def test_doctor_tells_what_there_is_and_changes_nothing(run: Run, home: Path) -> None:
    outcome = run("doctor", "--json")
    told = json.loads(outcome.stdout)
    assert (outcome.code, told["problems"]) == (0, [])
    assert told["processor"]["kernels"] in ("avx512vnni", "avxvnni", "avx2", "neon", "generic")
    assert told["processor"]["threads"] >= 1
    assert told["versions"]["edge-app"] == edge_app.__version__
    assert told["models"]["edge-vlm-135m"]["pulled"] is False
    assert told["models"]["edge-vlm-135m"]["precision"] == "int8"
    assert {place["path"] for place in told["places"].values()} == {
        str(p) for p in paths.locations().values()
    }
    assert not home.exists()
    assert "kernels" in run("doctor").stdout


def test_doctor_tells_the_threads_that_are_used(run: Run) -> None:
    paths.ensure(paths.config_directory())
    paths.config_file().write_text("threads = 1")
    assert json.loads(run("doctor", "--json").stdout)["processor"]["threads"] == 1


def test_doctor_reports_what_is_wrong_and_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_KERNELS", "abacus")
    paths.ensure(paths.config_directory())
    paths.config_file().write_text("colour = 1")
    outcome = run("doctor", "--json")
    problems = json.loads(outcome.stdout)["problems"]
    assert outcome.code == 1
    assert any("abacus" in problem for problem in problems)
    assert any("'colour'" in problem for problem in problems)

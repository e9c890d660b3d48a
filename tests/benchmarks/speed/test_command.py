"""The output of `edge-app bench`. The measurements are replaced, since they take minutes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.speed.table import Samples, row
from edge_app.cli.main import main
from models.hub.store import ModelStore


@pytest.fixture(autouse=True)
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ModelStore, "pull", lambda *_, **__: None)
    monkeypatch.setattr(command.app, "first_use", lambda _: None)
    rows = [row("warm_start", "s", Samples((0.5,)))]
    monkeypatch.setattr(command.app, "warm_starts", lambda *_: rows)


def bench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["edge-app", "bench", "--only", "start", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0


def test_json_is_all_there_is_on_stdout_and_the_table_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(monkeypatch, "--json")
    printed = capsys.readouterr()
    whole = json.loads(printed.out)
    assert list(whole) == ["machine", "threads", "versions", "rows"]
    assert [figure["name"] for figure in whole["rows"]] == ["warm_start"]
    assert "warm_start" in printed.err


def test_the_table_goes_to_stdout_and_the_json_to_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bench(monkeypatch, "--output", str(tmp_path / "figures.json"))
    assert "warm_start" in capsys.readouterr().out
    assert json.loads((tmp_path / "figures.json").read_text())["rows"][0]["value"] == 0.5


def test_the_models_of_the_vlm_group_go_only_where_the_user_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--only", "vlm"]) == 1
    assert "--models FOLDER" in capsys.readouterr().err

"""`edge-app adapters train` without what it needs, and on data that do not do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge_app.cli.adapters import train
from tests.edge_app.cli.conftest import Run
from tests.edge_app.conftest import png


def test_without_the_extra_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "find_spec", lambda _: None)
    done = run("adapters", "train", str(tmp_path / "birds.jsonl"), "--name", "birds")
    assert done.code == 1
    assert "pip install -e '.[train]'" in done.stderr


@pytest.mark.train
def test_bad_data_are_refused_before_anything_is_loaded(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    row = {"image": "a.png", "question": "Which bird?", "answer": "finch"}
    data = tmp_path / "birds.jsonl"
    data.write_text(json.dumps(row) + "\n" + json.dumps({**row, "image": "b.png"}) + "\n")
    done = run("adapters", "train", str(data), "--name", "birds")
    assert done.code == 1
    assert "birds.jsonl, line 2" in done.stderr
    data.write_text(json.dumps(row) + "\n")
    assert "images to learn from" in run("adapters", "train", str(data), "--name", "birds").stderr


def test_the_command_in_the_card_leaves_this_machine_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = tmp_path / "birds.jsonl"
    data.touch()
    arguments = ["adapters", "train", str(data), "--out", str(tmp_path / "x"), "--name", "birds", "--resume"]
    monkeypatch.setattr(sys, "argv", ["edge-app", *arguments])
    assert train._command() == "edge-app adapters train birds.jsonl --name birds"

"""The whole of `eval continual` once, with real training, on a handful of drawings. Learns next to nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge_app.cli.main import main
from models.hub.store import ModelFiles
from tests.router.routers.test_background import QUESTIONS, drawn


def write_domain(folder: Path, kind: str) -> Path:
    """Ten images to learn from and two to be asked about."""
    import PIL.Image

    rows = []
    for number in range(12):
        name = f"{kind}{number}.png"
        PIL.Image.fromarray(drawn(kind, number).pixels).save(folder / name)
        split = "train" if number < 10 else "val"
        rows.append(
            {"image": name, "question": QUESTIONS[kind][0], "answer": kind, "type": "name", "split": split}
        )
    file = folder / f"{kind}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_domains_are_learnt_measured_and_drawn(
    tmp_path: Path,
    model_files: ModelFiles,
    engine_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(model_files.directory.parent)
    (home / "cache").symlink_to(engine_cache)
    monkeypatch.setenv("EDGE_APP_HOME", str(home))
    files = [str(write_domain(tmp_path, kind)) for kind in QUESTIONS]
    picture, state = tmp_path / "map.svg", tmp_path / "state"
    options = ["--steps", "1", "--rows", "2", "--order", "discs,bars", "--own-head", "no", "--json"]
    where = ["--state", str(state), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["edge-app", "eval", "continual", *files, *options, *where])
    with pytest.raises(SystemExit) as left:
        main()
    captured = capsys.readouterr()
    assert left.value.code == 0, captured.err
    report = json.loads(captured.out)
    assert report == json.loads((state / "report.json").read_text())
    courses = {course["way"]: course for course in report["courses"]}
    assert courses["isolated"]["bwt"] == 0.0
    assert all(len(course["accuracy"]) == 2 for course in courses.values())
    assert report["files_identical"] is True
    assert [stage["right"] for stage in report["router"]] == [stage["asked"] for stage in report["router"]]
    assert report["asked_again"] == report["answered_the_same"] == 4
    assert picture.read_text().count("<image") == 3
    assert "After bars (2 of 2)" in captured.err

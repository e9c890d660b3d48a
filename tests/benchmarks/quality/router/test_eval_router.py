"""`edge-app eval router` with the real engine, on a handful of drawings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import PIL.Image
import pytest

from adapters.prototypes import make_prototypes, write_prototypes
from edge_app.cli.main import main
from models.compiled_engine import CompiledEngine
from models.hub.store import ModelFiles
from tests.adapters.folders import put
from tests.router.routers.test_background import QUESTIONS, declare, drawn


def write_domain(folder: Path, kind: str) -> Path:
    lines = []
    for number in range(2):
        name = f"{kind}{number}.png"
        PIL.Image.fromarray(drawn(kind, 100 + number).pixels).save(folder / name)
        row = {"image": name, "question": QUESTIONS[kind][0], "answer": "1", "type": "name", "split": "val"}
        lines.append(json.dumps(row) + "\n")
    file = folder / f"{kind}.jsonl"
    file.write_text("".join(lines))
    return file


@pytest.fixture
def files(
    home: Path, model_files: ModelFiles, engine_cache: Path, engine: CompiledEngine, tmp_path: Path
) -> list[str]:
    """Two adapters that are installed, and held-out images of both."""
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(model_files.directory.parent)
    (home / "cache").symlink_to(engine_cache)
    for kind, questions in QUESTIONS.items():
        folder = put(home / "data" / "adapters", kind)
        declare(folder, kind)
        write_prototypes(folder, make_prototypes(engine, [drawn(kind, n) for n in range(20)], questions))
    return [str(write_domain(tmp_path, kind)) for kind in QUESTIONS]


@pytest.mark.slow
def test_routers_are_compared_and_what_they_get_wrong_is_written_down(
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mistakes = tmp_path / "wrong.jsonl"
    chosen = ["--router", "prototypes", "--router", "heads", "--turns", "0", "--mistakes", str(mistakes)]

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["edge-app", "eval", "router", *files, *chosen, *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        assert left.value.code == 0, captured.err
        return captured.out

    report = json.loads(run("--json"))
    assert set(report["routers"]) == {"prototypes", "heads"}
    for router in report["routers"].values():
        assert router["groups"]["held-out questions"] == {"right": 4, "of": 4, "share": 1.0}
        assert router["groups"]["plain chat, no image"]["share"] == 1.0
        assert router["cost_ms"]["image"]["mean"] > 0
        assert router["share_of_first_token"] is None
    wrong = [json.loads(line) for line in mistakes.read_text().splitlines()]
    for name, router in report["routers"].items():
        counted = sum(group["of"] - group["right"] for group in router["groups"].values())
        assert counted == sum(line["router"] == name for line in wrong)
    table = run()
    assert "held-out questions" in table
    assert "HEADS  PROTOTYPES" in table.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["--router", "dice"], "none of the routers", 2),
        ([], "named after an installed adapter", 1),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
    exit_code: int,
) -> None:
    file = write_domain(tmp_path, "discs")
    monkeypatch.setattr(sys, "argv", ["edge-app", "eval", "router", str(file), *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == exit_code
    assert message in capsys.readouterr().err

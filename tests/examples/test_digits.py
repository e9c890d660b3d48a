"""The README's example: an adapter learns handwritten digits, and is chosen by the router for unseen ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import PIL.Image
import pytest

from models.hub.store import ModelFiles

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "digits.py"
ANSWERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def run(*arguments: str, home: Path, folder: Path) -> str:
    """What a Python process prints on stdout, with a home of its own."""
    environment = {
        **os.environ,
        "EDGE_APP_HOME": str(home),
        "EDGE_APP_BUNDLED_ADAPTERS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_digits_are_balanced_and_no_image_is_in_both_splits(tmp_path: Path) -> None:
    run(str(SCRIPT), "data", "--train", "30", "--val", "20", home=tmp_path, folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "data" / "digits.jsonl").read_text().splitlines()]
    counts = Counter((row["split"], row["answer"]) for row in rows)
    assert counts == {(split, digit): n for split, n in (("train", 3), ("val", 2)) for digit in ANSWERS}
    assert len({row["image"] for row in rows}) == 50
    with PIL.Image.open(tmp_path / "data" / rows[0]["image"]) as image:
        assert (image.size, image.mode) == ((224, 224), "RGB")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_adapter_learns_digits_and_answers_unseen_ones_by_itself(
    tmp_path: Path, model_files: ModelFiles, engine_cache: Path
) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(model_files.directory.parent)
    (home / "cache").mkdir()
    for shared in ("compiled", "packed"):
        (engine_cache / shared).mkdir(parents=True, exist_ok=True)
        (home / "cache" / shared).symlink_to(engine_cache / shared)

    def edge_app(*arguments: str) -> str:
        return run("-m", "edge_app", *arguments, home=home, folder=tmp_path)

    run(str(SCRIPT), "data", "--train", "60", "--val", "20", home=home, folder=tmp_path)
    data = "data/digits.jsonl"
    edge_app("adapters", "train", data, "--name", "digits", "--steps", "12", "--no-measure", "--install")
    (counts,) = json.loads(edge_app("eval", data, "--split", "val", "--json"))["scores"]
    assert counts["adapters"].get("digits", 0) >= 18  # of 20, by the router
    assert counts["correct"] >= 12
    assert counts["majority"] == 2

"""Every example of docs/python-api.md runs as it stands, over the real default model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs" / "python-api.md").read_text("utf-8"), re.M | re.S
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: with the images that they name."""
    folder = tmp_path_factory.mktemp("examples")
    photo = PIL.Image.effect_mandelbrot((320, 240), (-3, -2.5, 2, 2.5), 100).convert("RGB")
    photo.save(folder / "photo.jpg")
    shapes = PIL.Image.new("RGB", (256, 256), "white")
    PIL.ImageDraw.Draw(shapes).ellipse((60, 60, 200, 200), fill="red")
    shapes.save(folder / "shapes.png")
    return folder


def run(example: str, folder: Path, home: Path) -> str:
    """What an example prints, in a process of its own, with the adapters that come with the app."""
    environment = {**os.environ, "EDGE_APP_HOME": str(home), "EDGE_APP_BUNDLED_ADAPTERS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", example]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_and_prints_an_answer(example: str, folder: Path, real_home: Path) -> None:
    printed = run(example, folder, real_home)
    assert printed.strip()
    assert "failed:" not in printed and "not possible" not in printed


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) >= 7
    assert all("from edge_app import" in example for example in EXAMPLES)


def test_a_named_adapter_answers_in_the_adapters_example(folder: Path, real_home: Path) -> None:
    (example,) = (each for each in EXAMPLES if "shapes:0.5" in each)
    printed = run(example, folder, real_home).splitlines()
    assert [line.split(" says ")[0] for line in printed] == [
        "auto: shapes",
        "shapes: shapes",
        "none: None",
        "shapes:0.5,receipts:0.5: shapes:0.5,receipts:0.5",
    ]
    assert printed[1].endswith("says 'circle'")

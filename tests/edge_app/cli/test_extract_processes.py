"""`edge-app extract` as a process with the real model: killed, interrupted, and run again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

pytestmark = pytest.mark.slow

PAGES = 4
QUESTION = "What does it say?"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pages of text."""
    folder = tmp_path_factory.mktemp("pages")
    font = PIL.ImageFont.load_default(22)
    for number in range(PAGES):
        page = PIL.Image.new("RGB", (420, 300), "white")
        draw = PIL.ImageDraw.Draw(page)
        lines = ("CORNER SHOP", f"Invoice {number}", "Bread 2.50", "Milk 1.20", "Total 3.70", "Thank you")
        for line, text in enumerate(lines):
            draw.text((30, 20 + 42 * line), text, "black", font)
        page.save(folder / f"{number}.png")
    return folder


@pytest.fixture
def environment(real_home: Path, tmp_path: Path) -> dict[str, str]:
    """A home of its own with the shared model."""
    home = tmp_path / "own"
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(real_home / "data" / "models")
    (home / "cache").symlink_to(real_home / "cache")
    return {**os.environ, "EDGE_APP_HOME": str(home), "EDGE_APP_OFFLINE": "1"}


def command(pages: Path, out: Path) -> list[str]:
    module = [sys.executable, "-m", "edge_app", "extract", str(pages), "--question", QUESTION]
    return [*module, "--adapter", "none", "--out", str(out)]


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_goes_on_and_no_row_is_lost_or_doubled(
    pages: Path, tmp_path: Path, environment: dict[str, str], ending: signal.Signals
) -> None:
    out = tmp_path / "table.csv"
    first = subprocess.Popen(command(pages, out), env=environment, stderr=subprocess.PIPE, text=True)
    while not (out.exists() and rows(out)) and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(ending)
    _, said = first.communicate()
    before = rows(out)
    assert before, said
    assert {path.name for path in tmp_path.iterdir()} == {"own", "table.csv"}

    again = subprocess.run(command(pages, out), env=environment, capture_output=True, text=True, check=True)
    after = rows(out)
    assert [Path(row["file"]).name for row in after] == [f"{number}.png" for number in range(PAGES)]
    assert after[: len(before)] == before
    assert all(row["error"] == "" and row["place"] == "local" for row in after)
    assert "done before" in again.stderr


def test_fields_of_real_pages_are_typed(pages: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "table.jsonl"
    asked = ["--fields", "shop, day:date, total:number, items:integer, paid:boolean", "--adapter", "none"]
    module = [sys.executable, "-m", "edge_app", "extract", str(pages / "0.png"), str(pages / "1.png")]
    subprocess.run([*module, *asked, "--out", str(out)], env=environment, capture_output=True, check=True)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["0.png", "1.png"]
    for line in lines:
        assert line["error"] is None
        assert isinstance(line["total"], float | int | None)
        assert isinstance(line["items"], int | None)
        assert isinstance(line["paid"], bool | None)
        assert line["day"] is None or date.fromisoformat(line["day"])
        assert all(line[name] is None or 0 <= line[f"{name}_confidence"] <= 1 for name in ("shop", "total"))

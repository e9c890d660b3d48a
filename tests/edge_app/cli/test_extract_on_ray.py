"""`edge-app extract --on ray` with the real model on a cluster of two workers, of which one is killed."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import psutil
import pytest

pytest.importorskip("ray")

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

PAGES = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that computes nothing, and two nodes with a processor each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def environment(cluster: Any, real_home: Path, tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "own"
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(real_home / "data" / "models")
    (home / "cache").symlink_to(real_home / "cache")
    return {
        **os.environ,
        "EDGE_APP_HOME": str(home),
        "EDGE_APP_OFFLINE": "1",
        "RAY_ADDRESS": cluster.address,
    }


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pages, of which one is damaged."""
    folder = tmp_path_factory.mktemp("pages")
    for number in range(PAGES):
        page = PIL.Image.new("RGB", (420, 200), "white")
        draw = PIL.ImageDraw.Draw(page)
        for line, text in enumerate(("CORNER SHOP", f"Invoice {number}", "Total 3.70")):
            draw.text((30, 20 + 42 * line), text, "black", PIL.ImageFont.load_default(22))
        page.save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no image")
    return folder


def command(pages: Path, out: Path, *arguments: str) -> list[str]:
    asked = ["--question", "What does it say?", "--adapter", "none", "--out", str(out)]
    return [sys.executable, "-m", "edge_app", "extract", str(pages), *asked, *arguments]


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def workers(cluster: Any) -> list[psutil.Process]:
    """The processes with an engine, of this cluster."""
    raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in cluster.worker_nodes]
    return [
        child
        for raylet in raylets
        for child in raylet.children(recursive=True)
        if "PageWorker" in " ".join(child.cmdline())
    ]


def test_a_killed_worker_costs_no_row_and_the_table_is_that_of_this_process(
    cluster: Any, pages: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    out, alone = tmp_path / "table.csv", tmp_path / "alone.csv"
    process = subprocess.Popen(
        command(pages, out, "--on", "ray"), env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (out.exists() and rows(out)) and process.poll() is None:
        time.sleep(0.02)
    for worker in workers(cluster)[:1]:
        worker.kill()
    _, said = process.communicate()
    assert process.returncode == 0, said
    table = rows(out)
    assert [Path(row["file"]).name for row in table] == [f"{number}.png" for number in range(PAGES)]
    assert [row["error"] != "" for row in table] == [number == 3 for number in range(PAGES)]
    assert "1 with errors" in said

    again = subprocess.run(command(pages, alone), env=environment, capture_output=True, text=True, check=True)
    assert f"{PAGES - 1} done before" in again.stderr
    assert rows(alone) == table
    anew = subprocess.run(command(pages, alone, "--again"), env=environment, capture_output=True, check=True)
    assert anew.returncode == 0
    assert rows(alone) == table

"""The packed file is whole or made again, and nothing of an unfinished one stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.llama_sources import load_llama
from models.packing import PackedModel, load_or_pack
from tests.models.test_llama_weights import random_model, write_directory

KILLED_IN_MID_WRITE = """
import os, signal, sys
from pathlib import Path
from models.llama_sources import load_llama
from models.packing import load_or_pack
def die(stage, message, done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
source = Path(sys.argv[1])
weights = load_llama(source)
load_or_pack(weights.digest, lambda: weights, Path(sys.argv[2]), die)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_directory(tmp_path / "model", random_model())


def pack(source: Path, cache: Path) -> PackedModel:
    weights = load_llama(source)
    return load_or_pack(weights.digest, lambda: weights, cache)


def test_kill_9_in_mid_write_leaves_nothing_that_the_next_start_does_not_clear_away(
    source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    child = subprocess.run(
        [sys.executable, "-c", KILLED_IN_MID_WRITE, str(source), str(cache)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -9, child.stderr
    assert [file for file in cache.iterdir() if ".pack" in file.name], "something was half written"
    pack(source, cache)
    assert sorted(file.suffix for file in cache.iterdir()) == [".lock", ".pack"]


@pytest.mark.parametrize("place", [20, 5000, -1])
def test_a_damaged_file_is_made_again(source: Path, tmp_path: Path, place: int) -> None:
    whole = {name: np.array(values) for name, values in pack(source, tmp_path).sections.items()}
    (file,) = tmp_path.glob("*.pack")
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    again = pack(source, tmp_path).sections
    assert again.keys() == whole.keys()
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_a_whole_file_is_not_made_again(source: Path, tmp_path: Path) -> None:
    digest = pack(source, tmp_path).digest

    def unwanted() -> None:
        raise AssertionError("the weights were read again")

    load_or_pack(digest, unwanted, tmp_path)  # type: ignore[arg-type]

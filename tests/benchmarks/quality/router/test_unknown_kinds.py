"""The pictures of kinds that no adapter is for, which routers are evaluated on."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

import benchmarks.quality.router.unknown_kinds
from benchmarks.quality.router.unknown_kinds import KINDS, PAGES_OF_TEXT, draw_unknown, write_unknown


def test_every_kind_is_drawn_and_every_run_gives_the_same_pictures() -> None:
    first, again = ([(name, np.asarray(image)) for name, image in draw_unknown(1)] for _ in range(2))
    assert [name for name, _ in first] == list(KINDS)
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(first, again, strict=True))
    assert all(image.ndim == 3 and min(image.shape[:2]) >= 64 for _, image in first)


def test_pages_of_text_are_some_of_the_kinds() -> None:
    assert set(KINDS) > PAGES_OF_TEXT


def test_nothing_is_shared_with_the_pictures_that_routers_are_fitted_against() -> None:
    for file in Path(benchmarks.quality.router.unknown_kinds.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("router")


def test_the_pictures_are_written_by_kind(tmp_path: Path) -> None:
    files = write_unknown(tmp_path / "pictures", 2)
    assert list(files) == list(KINDS)
    assert all(len(own) == 2 and all(file.is_file() for file in own) for own in files.values())

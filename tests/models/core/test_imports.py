"""Imports that leave something out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.core.imports import import_without


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A library that uses another one, slow to load, where that is installed."""
    (tmp_path / "needy.py").write_text("try:\n    import heavy\nexcept ImportError:\n    heavy = None\n")
    (tmp_path / "heavy.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("needy", "heavy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "needy"


def test_what_is_left_out_counts_as_missing_and_can_be_imported_later(library: str) -> None:
    assert import_without(library, "heavy").heavy is None
    assert __import__("heavy") is not None


def test_what_is_loaded_already_is_used(library: str) -> None:
    heavy = __import__("heavy")
    assert import_without(library, "heavy").heavy is heavy

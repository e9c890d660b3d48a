"""An assistant with an endpoint, and the endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from edge_app import settings
from edge_app.assistant import Assistant
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from router.choice import Router
from tests.edge_app.cloud.misbehaving import (
    Misbehaving,
    answers,
)
from tests.edge_app.cloud_turns.support import (
    DOUBTFUL,
    FakeUser,
    Make,
)
from tests.edge_app.fakes import FakeEngine


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Imports the library first, because its import would count in the first test's limits."""
    import openai  # noqa: F401


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(logprob=DOUBTFUL)


@pytest.fixture
def make(store: SessionStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """An assistant with an endpoint. It does not retry unless a test sets cloud_retries."""
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
    with ExitStack() as stack:

        def make(
            url: str | None, user: FakeUser | None = None, router: Router | None = None, **more: object
        ) -> Assistant:
            named = {"cloud_url": url, "cloud_model": "big-model"} if url else {}
            chosen = settings.load(paths.config_file(), **{"cloud_retries": 0, **named, **more})
            made = Assistant(chosen, store, engine.load, consenter=user, router=router)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with Misbehaving(answers("A ", "tabby.")) as server:
        yield server

"""The routers, each of which chooses an adapter for a question, and `make_router`, which makes one by its name."""

from __future__ import annotations

from pathlib import Path

from models.engine import TextScorer
from router.choice import Router
from router.scope import AdapterScope
from router.types import RouterName


def make_router(name: RouterName, directory: Path, engine: TextScorer, scope: AdapterScope) -> Router:
    """A router over the adapters in a directory.

    name: "heads" asks whether the image suits a linear head of each adapter and the question one of its tasks;
        "prototypes" compares with the nearest examples; "model" has the language model name an adapter.
    scope: over the same directory.
    """
    if name == "model":
        from router.routers.ask_model import ModelRouter

        return ModelRouter(directory, engine)
    if name == "prototypes":
        from router.routers.prototypes import PrototypeRouter

        return PrototypeRouter(directory)
    from router.routers.ridge_heads import HeadRouter

    return HeadRouter(directory, scope)

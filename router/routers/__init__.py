"""The routers, each of which chooses an adapter for a question, and `make_router`, which makes one by its name."""

from __future__ import annotations

from pathlib import Path

from models.engine import TextScorer
from router.choice import Router
from router.types import RouterName


def make_router(name: RouterName, directory: Path, engine: TextScorer) -> Router:
    """A router over the adapters in a directory.

    name: "prototypes" compares with the nearest examples; "model" has the language model name an adapter; "heads"
        fits a linear head for each adapter; "cascade" is "heads" that reads the language model's hidden state when
        the words leave it in doubt whether a question is about the image.
    """
    if name == "model":
        from router.routers.ask_model import ModelRouter

        return ModelRouter(directory, engine)
    if name == "prototypes":
        from router.routers.prototypes import PrototypeRouter

        return PrototypeRouter(directory)
    from router.routers.chat_detection import ChatByState, ChatByWords
    from router.routers.ridge_heads import HeadRouter

    return HeadRouter(directory, ChatByWords() if name == "heads" else ChatByState(engine.text_state))

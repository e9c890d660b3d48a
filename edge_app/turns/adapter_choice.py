"""Asks the router which adapter a turn is for. On the inference thread, since the features are the engine's.

Knows which image of a conversation a question is about. How adapters are told apart is the router's business.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.core.types import Image, Message
from router.choice import Choice, Query, Router
from router.names import RouterName

if TYPE_CHECKING:
    from models.engine import Engine


class Chooser:
    """directory: where the adapters are. router: one to use, or the name of one to make, at its first use."""

    def __init__(self, directory: Path, router: Router | RouterName) -> None:
        self._directory = directory
        self._router = router

    def choose(self, engine: Engine, messages: Sequence[Message], installed: Collection[str]) -> Choice:
        """For the last message, a question; the image in question is the one that was shown last."""
        from adapters.prototypes import image_vector, question_vector  # not what a start should wait for

        question, image = messages[-1].text, shown_last(messages)
        seen = None if image is None else image_vector(engine.image_features(image))
        query = Query(question, question_vector(engine, question), seen, image)
        return self._made(engine).choose(query, installed)

    def _made(self, engine: Engine) -> Router:
        if isinstance(self._router, str):
            from router.routers.factory import make_router

            self._router = make_router(self._router, self._directory, engine)
        return self._router


def shown_last(messages: Sequence[Message]) -> Image | None:
    """The image that a conversation's last question is about, None when there is none."""
    return next((message.images[-1] for message in reversed(messages) if message.images), None)

"""The routers by name, and how each is put together. Knows nothing of how they choose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.core.types import Image
from router.choice import Router
from router.names import RouterName


class Mind(Protocol):
    """What routers ask of the language model; models.engine.Engine is one."""

    def text_state(self, text: str) -> NDArray[np.float32]: ...

    def continuation_shares(
        self, text: str, options: Sequence[str], image: Image | None = None
    ) -> NDArray[np.float64]: ...


def make_router(name: RouterName, directory: Path, mind: Mind) -> Router:
    """directory: where the adapters are.

    prototypes: the nearest examples. model: the language model names an adapter. heads: a learned head for each
    adapter. cascade: the same, and the language model's hidden state when it is in doubt whether a question is
    about the image.
    """
    if name == "model":
        from router.routers.ask_model import ModelRouter

        return ModelRouter(directory, mind)
    if name == "prototypes":
        from router.routers.prototypes import PrototypeRouter

        return PrototypeRouter(directory)
    from router.routers.chat_detection import ByState, ByWords
    from router.routers.ridge_heads import HeadRouter

    return HeadRouter(directory, ByWords() if name == "heads" else ByState(mind.text_state))

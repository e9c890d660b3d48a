"""Two ways to tell plain chat from a question about an image: by the words alone, or by what the model makes of them.

The words alone are free. The hidden state of the language model knows far better, for a prefill of one question;
so it is asked when the words leave a doubt. Knows nothing of images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from router.choice import Query
from router.routers.background import Asked, General, general
from router.routers.subject import FORM

ReadState = Callable[[str], NDArray[np.float32]]
"""The language model's hidden state [hidden] after a text (models.engine.Engine.text_state)."""

OWN, OWN_LEAD = 0.95, 0.1
"""A question is the adapter's when it is this like one of its own, or by so much more than it is like any chat."""

MOST_CHARACTERS = 400
"""Of a question are read for its state: what is pasted below it must not cost seconds."""

CHAT_BY_WORDS = -3.0
SURE_BY_WORDS = 0.0
CHAT_BY_STATE = -1.5
"""Logits of the heads. An image that looks like an adapter's speaks for a question about it, so that chat has to be
likelier than not. Chosen on the development half of router/bundled/asked.txt."""


class ByWords:
    """A Subject of router.routers.ridge_heads."""

    def __init__(self, background: General | None = None) -> None:
        self._background = background or general()

    def is_chat(self, query: Query, asked: Asked, own: float) -> bool:
        return not _is_own(asked, own) and self._background.words.logit(query.words) < CHAT_BY_WORDS


class ByState:
    """A Subject of router.routers.ridge_heads that reads the hidden state when there is doubt."""

    def __init__(self, read: ReadState, background: General | None = None) -> None:
        self._read = read
        self._background = background or general()

    def is_chat(self, query: Query, asked: Asked, own: float) -> bool:
        question = query.question.strip()[:MOST_CHARACTERS]
        sure = _is_own(asked, own) or self._background.words.logit(query.words) >= SURE_BY_WORDS
        if sure or not question:
            return False
        return self._background.state.logit(self._read(FORM.format(question))) < CHAT_BY_STATE


def _is_own(asked: Asked, own: float) -> bool:
    return own >= OWN or own - asked.chat >= OWN_LEAD

"""Tells plain chat from a question about the image that it is asked with.

ChatByWords reads the mean of the question's word embeddings, which costs nothing. ChatByState also reads the language
model's hidden state when the words leave a doubt; that is more accurate and costs the prefill of one question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from router.choice import Query
from router.routers.background import Background, QuestionLikeness, bundled_background

FORM = "Question: {}"
"""The text whose hidden state the head reads. The head was fitted with the same form."""

ReadState = Callable[[str], NDArray[np.float32]]
"""The language model's hidden state, float32 [hidden], after a text (models.engine.Engine.text_state)."""

OWN, OWN_LEAD = 0.95, 0.1
"""A question is about the adapter's images when its cosine to one of the adapter's questions is at least OWN, or
exceeds its cosine to any chat by OWN_LEAD."""

MOST_CHARACTERS = 400
"""How much of a question is read for its state, so that pasted text does not cost seconds."""

CHAT_BY_WORDS = -3.0
SURE_BY_WORDS = 0.0
CHAT_BY_STATE = -1.5
"""Logits of the heads below which a question is chat; SURE_BY_WORDS is the logit from which the state is not read. They
are below 0 because an image that looks like an adapter's is evidence for a question about it. Chosen on the
development half of router/bundled/asked.txt."""


class ChatDetector(Protocol):
    """Recognises plain chat under an image."""

    def is_chat(self, query: Query, question: QuestionLikeness, own: float) -> bool:
        """Whether the query is plain chat.

        question: the query's question compared with ordinary ones. own: cosine to the questions of the adapter that
        suits the image best, -1..1.
        """
        ...


class ChatByWords:
    """Recognises plain chat by the question's word embeddings alone."""

    def __init__(self, background: Background | None = None) -> None:
        self._background = background or bundled_background()

    def is_chat(self, query: Query, question: QuestionLikeness, own: float) -> bool:
        return not _is_own(question, own) and self._background.words.logit(query.words) < CHAT_BY_WORDS


class ChatByState:
    """Recognises plain chat by the hidden state, which is read when the word embeddings leave a doubt."""

    def __init__(self, read: ReadState, background: Background | None = None) -> None:
        self._read = read
        self._background = background or bundled_background()

    def is_chat(self, query: Query, question: QuestionLikeness, own: float) -> bool:
        text = query.question.strip()[:MOST_CHARACTERS]
        sure = _is_own(question, own) or self._background.words.logit(query.words) >= SURE_BY_WORDS
        if sure or not text:
            return False
        return self._background.state.logit(self._read(FORM.format(text))) < CHAT_BY_STATE


def _is_own(question: QuestionLikeness, own: float) -> bool:
    return own >= OWN or own - question.chat >= OWN_LEAD

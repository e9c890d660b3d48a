"""Tries an adapter on a model: it must change the log-probabilities, and they must be finite.

Without this, an adapter that has no effect would look like one that works.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from models.adapter_weights import AdapterWeights
from models.core.errors import UserError
from models.core.types import Image, Message, Sampling, Token
from models.engine import Engine, PackedAdapter
from models.lora.weights import LoraWeights

QUESTION = "What is this, and what can you tell me about it?"
"""The question for an adapter without example questions."""

MOST_QUESTIONS = 3
_TOKENS = 4  # of each answer: prefill and decode both run


def probe(
    engine: Engine, weights: AdapterWeights, questions: Sequence[str], *, use_words: bool = True
) -> None:
    """Ask the questions without an image and, if the model has vision, about a picture, with and without adapter.

    use_words: whether the prompts have the line of words, with the adapter and without it.

    Raises UserError when no log-probability of any answer's tokens changes, when one is not a finite number,
    and when the adapter does not fit the model.
    """
    images = ((), (_picture(),)) if engine.has_vision else ((),)
    adapter = engine.adapters.pack(weights)
    # An adapter without tensors, since None stands for the model's own LoRA where there are images.
    nothing = engine.adapters.pack(AdapterWeights(LoraWeights("", int(use_words), 1, {})))
    changed = False
    for question in [*questions[:MOST_QUESTIONS]] or [QUESTION]:
        for shown in images:
            message = Message("user", question, shown)
            with_adapter = _answer(engine, message, adapter, use_words)
            changed |= with_adapter != _answer(engine, message, nothing, use_words)
    if not changed:
        raise UserError(
            f"The adapter {weights.name} does nothing: the model computes the same with it as without; it was "
            "probably saved before training (is lora_B all zeros?)."
        )


def _answer(
    engine: Engine, message: Message, adapter: PackedAdapter, use_words: bool
) -> list[tuple[int, float]]:
    """(id, log-probability) of the answer's first tokens, greedily."""
    sampling = Sampling(max_tokens=_TOKENS)
    tokens: Iterator[Token] = engine.generate([message], sampling, adapter=adapter, use_words=use_words)
    try:
        answer = [(token.id, token.logprob) for token in tokens]
    except UserError:  # raised by sampling when logits are NaN
        answer = [(0, math.nan)]
    if not all(math.isfinite(logprob) for _, logprob in answer):
        raise UserError(
            f"The adapter {adapter.name} makes the model compute values that are not finite (asked "
            f"{message.text[:60]!r}); its weights are too large or damaged."
        )
    return answer


def _picture() -> Image:
    """A test image of 256 x 256 pixels: colour gradients and a square. It is looked at in one piece."""
    rows, columns = np.mgrid[0:256, 0:256].astype(np.uint8)
    pixels = np.stack([rows, columns, 255 - rows], axis=-1)
    pixels[96:160, 96:160] = (250, 240, 40)
    return Image(pixels, "probe", "a test picture", detail="low")

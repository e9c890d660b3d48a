"""Shortens a conversation that exceeds the context.

A turn is a user message with the messages up to the next user message. The following rules apply in this order:

1. The text that was read in images is dropped, that of the images shown first before that of later ones. The
   image shown last keeps its text, because the question is most likely about it.
2. The oldest turns are dropped. The system message, the last question and the images shown last are kept.

Turns are dropped in steps of a quarter of the context. The start of the prompt, and with it the KV cache, then
stays the same for many turns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from models.core.errors import QuestionTooLongError
from models.core.types import Message


@dataclass(frozen=True)
class FittedConversation:
    """messages: those that are kept. dropped_turns: turns left out. tokens: length of the resulting prompt."""

    messages: tuple[Message, ...]
    dropped_turns: int
    tokens: int


def fit(
    messages: Sequence[Message], limit: int, measure: Callable[[Sequence[Message]], int]
) -> FittedConversation:
    """The most recent part of a conversation whose prompt has at most `limit` tokens.

    measure: returns the length in tokens of the prompt for some messages.
    Raises QuestionTooLongError when the last question alone exceeds the limit.
    """
    whole = measure(messages)
    if whole <= limit:
        return FittedConversation(tuple(messages), 0, whole)
    system, turns = _turns(messages)
    step = max(1, limit // 4)
    # The excess rounded up to whole steps: target is at most limit, and stays the same for the next few turns.
    target = whole - -(-(whole - limit) // step) * step
    last = len(turns) - 1
    # Fewer turns never make a longer prompt, so bisection finds the first that fits in a few measures.
    dropped = 1 + bisect_left(
        range(1, last), True, key=lambda count: measure(_keep_image(system, turns, count)) <= target
    )
    kept = _keep_image(system, turns, min(dropped, last))
    alone = measure(kept)
    if alone <= limit:
        return FittedConversation(kept, dropped, alone)
    raise QuestionTooLongError(
        f"The question is too long: it takes {alone} tokens or more, and the model reads at most {limit}; "
        "shorten it."
    )


def fit_texts(
    messages: Sequence[Message],
    texts: Mapping[str, str],
    limit: int,
    measure: Callable[[Mapping[str, str]], int],
) -> dict[str, str]:
    """The texts read in images that are kept so that the prompt has at most `limit` tokens.

    texts: by image digest. measure: returns the length in tokens of the prompt of all messages with some texts.

    Returns a part of `texts`. The text of the image shown last is always kept, so the prompt may still be too
    long; `fit` then drops turns.
    """
    last_shown = {image.digest: None for message in reversed(messages) for image in reversed(message.images)}
    oldest_first = [digest for digest in reversed(last_shown) if digest in texts]
    kept = {digest: texts[digest] for digest in oldest_first}
    for digest in oldest_first[:-1]:
        if measure(kept) <= limit:
            break
        del kept[digest]
    return kept


def _turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The leading system messages, and the other messages split before each user message."""
    system: list[Message] = []
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "system" and not turns:
            system.append(message)
        elif message.role == "user" or not turns:
            turns.append([message])
        else:
            turns[-1].append(message)
    return system, turns


def _keep_image(system: list[Message], turns: list[list[Message]], dropped: int) -> tuple[Message, ...]:
    """The conversation without its first `dropped` turns.

    If no image is left, the images shown last move to the first message that is kept.
    """
    kept = [message for turn in turns[dropped:] for message in turn]
    gone = [message for turn in turns[:dropped] for message in turn]
    if not any(message.images for message in kept):
        last_shown = next((message.images for message in reversed(gone) if message.images), ())
        kept[0] = replace(kept[0], images=last_shown)
    return (*system, *kept)

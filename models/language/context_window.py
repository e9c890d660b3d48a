"""What to leave out of a conversation that no longer fits the context. Knows nothing of tokens' meaning.

Policy: the oldest turns go first; the system message, the last question and the image in question stay. A
turn is a user message with what follows it up to the next user message. Turns go in steps of a quarter of the
context, so that the start of the prompt, and with it the KV cache, stays the same for many turns on end.
Before any turn goes, the text that was read in images goes, of the images shown first first; the image shown
last keeps its text, since the question is most likely about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from models.core.errors import UserError
from models.core.types import Message


@dataclass(frozen=True)
class Fitted:
    """messages: what is kept; dropped_turns: how many turns were left out; tokens: length of the prompt."""

    messages: tuple[Message, ...]
    dropped_turns: int
    tokens: int


def fit(messages: Sequence[Message], limit: int, measure: Callable[[Sequence[Message]], int]) -> Fitted:
    """The longest recent part of a conversation whose prompt has at most `limit` tokens.

    measure: tokens of the prompt for these messages. Raises UserError when the last question alone is longer.
    """
    whole = measure(messages)
    if whole <= limit:
        return Fitted(tuple(messages), 0, whole)
    system, turns = _turns(messages)
    step = max(1, limit // 4)
    target = whole - -(-(whole - limit) // step) * step  # at most limit, and the same for the next few turns
    for dropped in range(1, len(turns)):
        kept = _keep_image(system, turns, dropped)
        tokens = measure(kept)
        if tokens <= target or (dropped == len(turns) - 1 and tokens <= limit):
            return Fitted(kept, dropped, tokens)
    alone = measure(_keep_image(system, turns, len(turns) - 1))
    raise UserError(
        f"The question is too long: it takes {alone} tokens and the model reads at most {limit}; shorten it."
    )


def fit_texts(
    messages: Sequence[Message],
    texts: Mapping[str, str],
    limit: int,
    measure: Callable[[Mapping[str, str]], int],
) -> dict[str, str]:
    """The texts (by image digest) that stay, so that the whole conversation has at most `limit` tokens.

    measure: tokens of the prompt of all messages with these texts. The text of the image shown last always
    stays, so the result may still be too long: then turns must go.
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
    """Leading system messages, and the rest cut before each user message."""
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
    """The conversation from turn `dropped` on; the images last shown move there if their turn is gone."""
    kept = [message for turn in turns[dropped:] for message in turn]
    gone = [message for turn in turns[:dropped] for message in turn]
    if not any(message.images for message in kept):
        last_shown = next((message.images for message in reversed(gone) if message.images), ())
        kept[0] = replace(kept[0], images=last_shown)
    return (*system, *kept)

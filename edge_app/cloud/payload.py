"""The bytes of a request, made before anybody is asked, so that what is shown is what would be sent.

Knows the chat-completions format of OpenAI; sends nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.images import DEFAULT_SIDE, OutgoingImage, outgoing
from models.core.types import Message, Sampling

TOKENS_PER_IMAGE = 1100
"""A guess from above for 1024 pixels a side; only for what has no count from the endpoint."""
BYTES_PER_TOKEN = 4


def tokens_of(text: str) -> int:
    """About how many tokens a text is."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


@dataclass(frozen=True)
class Payload:
    """A request, whole. It is also what consent is asked for.

    question: the newest message's text. earlier_turns: questions before it that go along (with their answers).
    system: the system prompt, if one goes along. images: all of them, earlier turns' included, in their order.
    body: the JSON that is sent, to the byte. max_tokens: the longest answer that is asked for.
    """

    endpoint: Endpoint
    question: str
    earlier_turns: int
    system: str | None
    images: tuple[OutgoingImage, ...]
    body: bytes
    max_tokens: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def size(self) -> int:
        return len(self.body)

    @property
    def prompt_tokens(self) -> int:
        """About how many the endpoint will count."""
        pictures = sum(4 * ((len(image.jpeg) + 2) // 3) for image in self.images)
        return (self.size - pictures) // BYTES_PER_TOKEN + TOKENS_PER_IMAGE * len(self.images)


def payload(
    endpoint: Endpoint,
    messages: Sequence[Message],
    *,
    sampling: Sampling,
    longest_side: int = DEFAULT_SIDE,
) -> Payload:
    """messages: the last one is the question (role "user"). Of the sampling, what the format has and was asked
    for goes along; a temperature of 0, the default here, is left to the endpoint, since some models refuse it."""
    if not messages or messages[-1].role != "user":
        raise ValueError("the last message is not a question")
    ready = {image.digest: outgoing(image, longest_side) for message in messages for image in message.images}
    fields: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [_message(message, ready) for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        _limit_field(endpoint): sampling.max_tokens,
        **_asked_for(sampling),
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Payload(
        endpoint=endpoint,
        question=messages[-1].text,
        earlier_turns=sum(message.role == "user" for message in messages) - 1,
        system=next((message.text for message in messages if message.role == "system"), None),
        images=tuple(ready[image.digest] for message in messages for image in message.images),
        body=text.encode("utf-8", "replace"),  # a lone surrogate of an argument in another encoding
        max_tokens=sampling.max_tokens,
    )


def _asked_for(sampling: Sampling) -> dict[str, Any]:
    fields = {
        "temperature": sampling.temperature or None,
        "top_p": sampling.top_p if sampling.top_p < 1.0 else None,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _limit_field(endpoint: Endpoint) -> str:
    """OpenAI's newer models refuse the name that everybody else still goes by."""
    return "max_completion_tokens" if endpoint.hostname.endswith("openai.com") else "max_tokens"


def _message(message: Message, ready: dict[str, OutgoingImage]) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = [_picture(ready[image.digest]) for image in message.images]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def _picture(image: OutgoingImage) -> dict[str, Any]:
    data = base64.b64encode(image.jpeg).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}

"""Makes the body of a request in OpenAI's chat-completions format.

It is made before consent is asked for, so that the user sees exactly what would be sent.
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
from edge_app.schemas.answer_schema import AnswerSchema
from models.core.types import Message, Sampling

TOKENS_PER_IMAGE = 1100
"""An upper estimate for 1024 pixels a side, used until the endpoint has counted."""
BYTES_PER_TOKEN = 4


def tokens_of(text: str) -> int:
    """An estimate of a text's tokens, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


@dataclass(frozen=True)
class Payload:
    """A complete request, as consent is asked for it.

    question: text of the newest message. earlier_turns: number of earlier questions that are sent, with their answers.
    system: the system prompt, None without one. images: of all turns, in their order. body: the JSON that is sent.
    max_tokens: the longest answer that is requested.
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
        """An estimate of what the endpoint will count."""
        pictures = sum(4 * ((len(image.jpeg) + 2) // 3) for image in self.images)
        return (self.size - pictures) // BYTES_PER_TOKEN + TOKENS_PER_IMAGE * len(self.images)


def payload(
    endpoint: Endpoint,
    messages: Sequence[Message],
    *,
    sampling: Sampling,
    longest_side: int = DEFAULT_SIDE,
    schema: AnswerSchema | None = None,
) -> Payload:
    """The request for an answer to the last message, whose role must be "user".

    sampling: values that the format has and that differ from the defaults are sent. A temperature of 0, the default
        here, is not, because some models reject it.
    longest_side: of images, in pixels. schema: what the answer has to fit; it is sent as response_format.
    """
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
        **({} if schema is None else {"response_format": _response_format(schema)}),
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Payload(
        endpoint=endpoint,
        question=messages[-1].text,
        earlier_turns=sum(message.role == "user" for message in messages) - 1,
        system=next((message.text for message in messages if message.role == "system"), None),
        images=tuple(ready[image.digest] for message in messages for image in message.images),
        body=text.encode("utf-8", "replace"),  # a lone surrogate, from an argument in another encoding
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


def _response_format(schema: AnswerSchema) -> dict[str, Any]:
    """strict is asked for where every key is required, which endpoints demand for it."""
    form = {"name": "answer", "schema": schema.content, "strict": bool(schema.fields)}
    return {"type": "json_schema", "json_schema": form}


def _limit_field(endpoint: Endpoint) -> str:
    """OpenAI's newer models reject the name that other endpoints use."""
    return "max_completion_tokens" if endpoint.hostname.endswith("openai.com") else "max_tokens"


def _message(message: Message, ready: dict[str, OutgoingImage]) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = [_picture(ready[image.digest]) for image in message.images]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def _picture(image: OutgoingImage) -> dict[str, Any]:
    data = base64.b64encode(image.jpeg).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}

"""Reads the body of a request to /v1/chat/completions: every parameter is used, has no effect here, or is refused.

Parameters that would change the answer and are not supported are refused by name, so that no program takes an answer
for what it did not ask for. Those that only describe the request, such as `user`, are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from edge_app.events import EarlierMessage, Picture, Turn
from edge_app.images.image_detail import ImageDetail
from edge_app.schemas.answer_schema import AnswerSchema, parse_schema
from edge_app.serve.errors import ApiError
from edge_app.serve.json_fields import JsonFields, parse_object
from edge_app.serve.model_names import ServedModels
from edge_app.serve.request_images import RequestImages
from edge_app.settings import Settings
from models.core.errors import UserError
from models.core.types import Sampling

MOST_MESSAGES = 256
MOST_TEXT = 400_000
"""Characters of all messages together."""

MOST_IMAGES = 32
MOST_STOPS = 16
MOST_TOP_LOGPROBS = 20
MOST_TOKENS = 1_000_000
LEAST_TOP_P = 1e-6
"""What a top_p of 0 means: the likeliest token alone."""

REFUSED = ("audio", "prediction", "web_search_options", "logit_bias")
"""Parameters that change the answer and are not supported. An empty value is accepted."""

PENALTIES = ("presence_penalty", "frequency_penalty")
"""The same, for which 0 is accepted."""

_SYSTEM = ("system", "developer")
_SPEAKERS: dict[str | None, Literal["user", "assistant"]] = {"user": "user", "assistant": "assistant"}
_DETAILS = ("auto", "low", "high")
_UNSUPPORTED = "unsupported_parameter"


@dataclass(frozen=True)
class ChatRequest:
    """A request. model: as it was named. include_usage: whether a stream ends with the numbers of tokens."""

    turn: Turn
    model: str
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class _Conversation:
    """system: the texts of the system messages. spoken: the others, of user and assistant in turn, a question last."""

    system: tuple[str, ...]
    spoken: tuple[EarlierMessage, ...]
    detail: ImageDetail | None


@dataclass(frozen=True)
class _Content:
    """Of a message or a part of one. details: how closely each image is to be looked at."""

    text: str
    images: tuple[Picture, ...] = ()
    details: tuple[str, ...] = ()


class ChatRequestReader:
    """Reads requests. allow_cloud: whether the server may ask the cloud."""

    def __init__(
        self, settings: Settings, models: ServedModels, images: RequestImages, *, allow_cloud: bool
    ) -> None:
        self._settings = settings
        self._models = models
        self._images = images
        self._allow_cloud = allow_cloud

    def read(self, body: bytes) -> ChatRequest:
        """Raises ApiError for everything that does not fit."""
        fields = JsonFields(parse_object(body))
        _check_supported(fields)
        name = fields.text("model") or "auto"
        adapter, model = self._models.resolve(name)
        stream = fields.flag("stream") or False
        options = fields.child("stream_options")
        return ChatRequest(
            turn=replace(self._turn(fields), adapter=adapter, model=model),
            model=name,
            stream=stream,
            include_usage=bool(options is not None and options.flag("include_usage")),
        )

    def _turn(self, fields: JsonFields) -> Turn:
        """The turn that the messages and the sampling parameters describe."""
        conversation = self._conversation(fields)
        question = conversation.spoken[-1]
        return Turn(
            question.text,
            question.images,
            earlier=conversation.spoken[:-1],
            system="\n\n".join(conversation.system),
            mode=self._settings.mode,
            sampling=_sampling(fields, self._settings.sampling()),
            allow_cloud=self._allow_cloud,
            detail=conversation.detail,
            schema=_schema(fields),
        )

    def _conversation(self, fields: JsonFields) -> _Conversation:
        """The messages. Raises ApiError when they are too many or too long, or do not end with a question."""
        messages = fields.children("messages")
        if not messages:
            raise fields.wrong("messages", "is missing; give at least one message")
        if len(messages) > MOST_MESSAGES:
            raise fields.wrong("messages", f"has more than {MOST_MESSAGES} messages")
        contents = [(message.text("role"), self._content(message)) for message in messages]
        if sum(len(content.text) for _, content in contents) > MOST_TEXT:
            raise fields.wrong("messages", f"has more than {MOST_TEXT} characters")
        if sum(len(content.images) for _, content in contents) > MOST_IMAGES:
            raise fields.wrong("messages", f"has more than {MOST_IMAGES} images")
        system = tuple(content.text for role, content in contents if role in _SYSTEM)
        spoken = _merged(
            EarlierMessage(_SPEAKERS[role], content.text, content.images)
            for role, content in contents
            if role in _SPEAKERS
        )
        if not spoken or spoken[-1].role != "user":
            raise fields.wrong("messages", "must end with a message of the user")
        if not spoken[-1].text.strip():
            raise fields.wrong("messages", "ends with an empty question; ask something")
        details = {detail for _, content in contents for detail in content.details}
        return _Conversation(system, spoken, _detail(details))

    def _content(self, message: JsonFields) -> _Content:
        role, content = message.text("role"), message.raw("content")
        if role not in _SYSTEM and role not in _SPEAKERS:
            raise message.wrong("role", "must be system, developer, user or assistant")
        if message.raw("tool_calls"):
            raise message.wrong("tool_calls", "is not supported", "unsupported_parameter")
        if content is None and role == "assistant":
            return _Content(message.text("refusal") or "")
        if isinstance(content, str):
            return _Content(content)
        if not isinstance(content, list) or not content:
            raise message.wrong("content", "must be a text or a list of parts")
        parts = [self._part(part, role) for part in message.children("content")]
        return _Content(
            "\n".join(part.text for part in parts if part.text),
            tuple(image for part in parts for image in part.images),
            tuple(detail for part in parts for detail in part.details),
        )

    def _part(self, part: JsonFields, role: str | None) -> _Content:
        kind = part.text("type")
        if kind in ("text", "refusal"):
            return _Content(part.text(kind) or "")
        if kind != "image_url":
            raise part.wrong("type", "must be text or image_url", "unsupported_content")
        if role != "user":
            raise part.wrong("type", "is image_url, which only messages of the user may have")
        if isinstance(part.raw("image_url"), str):
            return _Content("", (self._images.read(part, "image_url"),), ("auto",))
        image = part.child("image_url")
        if image is None:
            raise part.wrong("image_url", "is missing")
        detail = image.text("detail") or "auto"
        if detail not in _DETAILS:
            raise image.wrong("detail", "must be auto, low or high")
        return _Content("", (self._images.read(image, "url"),), (detail,))


def _merged(messages: Iterable[EarlierMessage]) -> tuple[EarlierMessage, ...]:
    """The messages with neighbours of one speaker joined, since chat templates expect speakers in turn."""
    result: list[EarlierMessage] = []
    for message in messages:
        if result and result[-1].role == message.role:
            before = result[-1]
            text = "\n\n".join(text for text in (before.text, message.text) if text)
            result[-1] = EarlierMessage(message.role, text, before.images + message.images)
        else:
            result.append(message)
    return tuple(result)


def _detail(asked: Collection[str]) -> ImageDetail | None:
    """The closest look that was asked for; None, for the setting, where an image leaves it open."""
    if "high" in asked:
        return "high"
    return "low" if set(asked) == {"low"} else None


def _sampling(fields: JsonFields, defaults: Sampling) -> Sampling:
    most = fields.integer("max_tokens", 1, MOST_TOKENS)
    most = fields.integer("max_completion_tokens", 1, MOST_TOKENS) or most
    given = {
        "temperature": fields.number("temperature", 0.0, 5.0),
        "top_p": fields.number("top_p", 0.0, 1.0),
        "top_k": fields.integer("top_k", 0, 1_000_000),
        "min_p": fields.number("min_p", 0.0, 1.0),
        "repetition_penalty": fields.number("repetition_penalty", 0.1, 10.0),
        "max_tokens": most,
        "seed": fields.integer("seed", -(2**63), 2**63 - 1),
        "top_logprobs": _top_logprobs(fields),
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "seed" in changes:
        changes["seed"] %= 2**63
    if "top_p" in changes:
        changes["top_p"] = max(changes["top_p"], LEAST_TOP_P)
    return replace(defaults, stop=_stops(fields), **changes)


def _schema(fields: JsonFields) -> AnswerSchema | None:
    """What the answer has to fit, from `response_format`; None for any text. Raises ApiError."""
    form = fields.child("response_format")
    kind = None if form is None else form.text("type")
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return parse_schema({"type": "object"})
    if kind != "json_schema":
        raise form.wrong("type", "must be text, json_object or json_schema", _UNSUPPORTED)
    described = form.child("json_schema")
    schema = None if described is None else described.child("schema")
    if described is None or schema is None:
        raise form.wrong("json_schema", "has no schema")
    try:
        return parse_schema(schema.values)
    except UserError as error:
        raise ApiError(str(error), param=schema.name("")[:-1], code="unsupported_schema") from None


def _top_logprobs(fields: JsonFields) -> int | None:
    """How many likely tokens come with each token; None when no log-probabilities are asked for."""
    count = fields.integer("top_logprobs", 0, MOST_TOP_LOGPROBS)
    if fields.flag("logprobs"):
        return count or 0
    if count:
        raise fields.wrong("top_logprobs", "needs logprobs to be true")
    return None


def _stops(fields: JsonFields) -> tuple[str, ...]:
    value = fields.raw("stop")
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise fields.wrong("stop", "must be a text or a list of texts, none of them empty")
    if len(stops) > MOST_STOPS:
        raise fields.wrong("stop", f"has more than {MOST_STOPS} texts")
    return tuple(stops)


def _check_supported(fields: JsonFields) -> None:
    """Raises ApiError for a parameter that would change the answer and is not supported."""
    count = fields.integer("n", 1, 1_000)
    if count is not None and count != 1:
        raise fields.wrong("n", "must be 1; send the request again for another answer", _UNSUPPORTED)
    if fields.raw("tool_choice") != "none":
        for name in ("tools", "functions"):
            if fields.raw(name):
                raise fields.wrong(name, "is not supported; the models here call no functions", _UNSUPPORTED)
    for name in REFUSED:
        if fields.raw(name):
            raise fields.wrong(name, "is not supported", _UNSUPPORTED)
    for name in PENALTIES:
        if fields.number(name, -2.0, 2.0):
            raise fields.wrong(name, "is not supported; repetition_penalty is", _UNSUPPORTED)
    if fields.raw("modalities") not in (None, [], ["text"]):
        raise fields.wrong("modalities", 'must be ["text"]', _UNSUPPORTED)

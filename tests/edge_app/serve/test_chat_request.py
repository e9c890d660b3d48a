"""What a request says becomes a turn; what does not fit is refused with one sentence that names it."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from adapters.store.adapter_store import AdapterStore
from edge_app.schemas.answer_schema import AnswerSchema
from edge_app.serve.chat_request import MOST_MESSAGES, MOST_TEXT, ChatRequest, ChatRequestReader
from edge_app.serve.errors import ApiError, as_json
from edge_app.serve.model_names import ServedModels
from edge_app.serve.request_images import RequestImages
from edge_app.settings import Settings
from edge_app.system import paths

QUESTION = {"role": "user", "content": "What is this?"}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.fixture
def reader(home: object) -> ChatRequestReader:
    del home
    settings = Settings()
    models = ServedModels(settings, AdapterStore(paths.adapters_directory()))
    return ChatRequestReader(settings, models, RequestImages(None), allow_cloud=False)


def read(reader: ChatRequestReader, **fields: Any) -> ChatRequest:
    return reader.read(json.dumps({"messages": [QUESTION], **fields}).encode())


def refusal(reader: ChatRequestReader, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(reader, **fields)
    message = caught.value.message
    assert message.endswith(".") and "\n" not in message
    return caught.value


def test_a_request_needs_nothing_but_messages(reader: ChatRequestReader) -> None:
    asked = read(reader)
    assert (asked.model, asked.stream, asked.include_usage) == ("auto", False, False)
    turn = asked.turn
    assert (turn.question, turn.adapter, turn.model, turn.earlier) == ("What is this?", "auto", None, ())
    assert turn.sampling == Settings().sampling()
    assert turn.allow_cloud is False and turn.system == ""


def test_null_counts_as_missing(reader: ChatRequestReader) -> None:
    nothing = dict.fromkeys(
        [
            "model",
            "stream",
            "stream_options",
            "max_tokens",
            "temperature",
            "stop",
            "n",
            "tools",
            "seed",
            "logit_bias",
        ]
    )
    assert read(reader, **nothing).turn == read(reader).turn


def test_system_messages_are_one_prompt_and_neighbours_of_one_speaker_one_message(
    reader: ChatRequestReader,
) -> None:
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    turn = read(
        reader,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One."},
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [image]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "What"}, {"type": "text", "text": "is it?"}],
            },
        ],
    ).turn
    assert turn.system == "Be brief.\n\nBe kind."
    assert [(each.role, each.text) for each in turn.earlier] == [("user", "One."), ("assistant", "No.")]
    assert (turn.question, len(turn.images)) == ("What\nis it?", 1)


@pytest.mark.parametrize(
    ("details", "detail"),
    [(["low", "low"], "low"), (["low", "high"], "high"), (["low", "auto"], None), ([None], None), ([], None)],
)
def test_the_closest_look_that_is_asked_for_counts(
    reader: ChatRequestReader, details: list[str | None], detail: str | None
) -> None:
    parts = [{"type": "image_url", "image_url": {"url": PIXEL, "detail": each}} for each in details]
    content = [{"type": "text", "text": "?"}, *parts]
    assert read(reader, messages=[{"role": "user", "content": content}]).turn.detail == detail


def test_an_image_may_be_given_without_an_object(reader: ChatRequestReader) -> None:
    content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": PIXEL}]
    assert len(read(reader, messages=[{"role": "user", "content": content}]).turn.images) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [QUESTION, {"role": "tool", "content": "x"}]}, "messages[1].role"),
        ({"messages": [QUESTION, {"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}, QUESTION]},
            "messages[0].tool_calls",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].image_url",
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": [{"type": "image_url", "image_url": PIXEL}]},
                    QUESTION,
                ]
            },
            "messages[0].content[0].type",
        ),
        ({"messages": [QUESTION] * (MOST_MESSAGES + 1)}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * (MOST_TEXT + 1)}]}, "messages"),
        ({"model": 3}, "model"),
        ({"model": "no such"}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"seed": 2**64}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": 3}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"n": 2}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 2}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{}]}, "functions"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_what_does_not_fit_is_named(reader: ChatRequestReader, fields: dict[str, Any], param: str) -> None:
    error = refusal(reader, **fields)
    assert error.param == param
    assert error.status == (404 if error.code == "model_not_found" else 400)


SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}


def test_an_answer_may_have_to_fit_a_schema(reader: ChatRequestReader) -> None:
    described = {"type": "json_schema", "json_schema": {"name": "receipt", "strict": True, "schema": SCHEMA}}
    schema = read(reader, response_format=described).turn.schema
    assert isinstance(schema, AnswerSchema) and schema.content == SCHEMA
    any_object = read(reader, response_format={"type": "json_object"}).turn.schema
    assert isinstance(any_object, AnswerSchema) and any_object.content == {"type": "object"}
    assert read(reader, response_format={"type": "text"}).turn.schema is None


def test_what_only_describes_a_request_or_asks_for_nothing_is_left_alone(reader: ChatRequestReader) -> None:
    described = {"user": "me", "store": True, "metadata": {"a": 1}, "reasoning_effort": "low", "unknown": 1}
    nothing = {"tools": [], "logit_bias": {}, "presence_penalty": 0, "n": 1, "modalities": ["text"]}
    uncalled = {"tools": [{"type": "function"}], "tool_choice": "none"}
    assert read(reader, **described, **{**nothing, **uncalled}).turn == read(reader).turn


def test_a_model_that_could_be_pulled_is_told_as_such(reader: ChatRequestReader) -> None:
    error = refusal(reader, model="smolvlm-256m")
    assert (error.status, error.code) == (404, "model_not_found")
    assert "models pull smolvlm-256m" in error.message


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"\xff", b'{"messages": NaN}', b"[" * 100_000, b"1" * 10_000, b'"\\ud800"']
)
def test_a_body_that_is_no_object_is_refused(reader: ChatRequestReader, body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        reader.read(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_a_body_that_is_nested_too_deeply_is_named_as_such(reader: ChatRequestReader) -> None:
    with pytest.raises(ApiError, match="nested too deeply"):
        reader.read(b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


NAMES = [
    "messages",
    "model",
    "stream",
    "stop",
    "n",
    "seed",
    "temperature",
    "role",
    "content",
    "type",
    "image_url",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
    | st.sampled_from(["user", "system", "text", "image_url", PIXEL]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@hypothesis.given(st.dictionaries(st.sampled_from(NAMES), VALUES))
@hypothesis.settings(max_examples=150)
def test_whatever_a_body_says_it_is_a_turn_or_a_refusal(
    reader: ChatRequestReader, fields: dict[str, Any]
) -> None:
    try:
        read(reader, **fields)
    except ApiError as error:
        assert as_json(error.body())

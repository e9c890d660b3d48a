"""What is fed with damaged requests and replies: a cloud's stream, JSON Schemas, and requests to the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from benchmarks.torture.damage import damaged, json_objects


def stream_samples(_: Path) -> st.SearchStrategy[bytes]:
    """Event streams of an endpoint: whole ones, and ones with other keys and values in them."""
    event = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    stream = "".join(f"data: {json.dumps(each)}\n\n" for each in (event, event, last)) + "data: [DONE]\n\n"
    keys = (
        *("choices", "delta", "message", "content", "finish_reason", "usage", "prompt_tokens", "text"),
        *("thinking", "refusal", "reasoning_content", "index", "error"),
    )
    return damaged([stream.encode()]) | json_objects(keys, ("stop", "error", "<think>", "</think>")).map(
        lambda line: b"data: " + line + b"\n\n"
    )


def use_stream(data: bytes, folder: Path) -> None:
    """Reads the events as the client hands them over: JSON objects, one for each data line."""
    from edge_app.cloud.protocol.answer_reader import AnswerReader
    from edge_app.cloud.protocol.response_body import response_body

    del folder

    class Pieces:
        def __iter__(self) -> Any:
            return iter([data[:7], data[7:]])

        def close(self) -> None:
            pass

    body = response_body(Pieces(), "text/event-stream", 1_000_000)
    reader = AnswerReader()
    for line in b"".join(body).split(b"\n"):
        if line.startswith(b"data: ") and b"[DONE]" not in line:
            try:
                event = json.loads(line[6:])
            except (ValueError, RecursionError):
                continue  # the client's library refuses it
            list(reader.read(event))
    list(reader.end(is_whole=body.ends_with_done))


def schema_samples(_: Path) -> st.SearchStrategy[bytes]:
    """JSON Schemas: whole ones, and ones with other keywords and values in them."""
    keys = (
        *(
            "type",
            "properties",
            "required",
            "items",
            "enum",
            "const",
            "anyOf",
            "oneOf",
            "allOf",
            "$ref",
            "$defs",
        ),
        *(
            "additionalProperties",
            "pattern",
            "format",
            "minimum",
            "maximum",
            "minLength",
            "maxItems",
            "not",
            "if",
        ),
    )
    words = ("object", "array", "string", "number", "integer", "boolean", "null", "date", "#/$defs/a", "^a+$")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    return json_objects(keys, words) | damaged([json.dumps(schema).encode()])


def use_schema(data: bytes, folder: Path) -> None:
    """Reads a schema file as `ask --schema` does."""
    from edge_app.schemas.answer_schema import read_schema

    path = folder / "schema.json"
    path.write_bytes(data)
    read_schema(path)


def request_samples(_: Path) -> st.SearchStrategy[bytes]:
    """Bodies of requests: whole ones, and ones with other parameters and values in them."""
    keys = (
        *(
            "model",
            "messages",
            "role",
            "content",
            "type",
            "text",
            "image_url",
            "url",
            "stream",
            "stop",
            "seed",
        ),
        *(
            "temperature",
            "top_p",
            "n",
            "max_tokens",
            "response_format",
            "json_schema",
            "schema",
            "stream_options",
        ),
        *("logprobs", "top_logprobs", "tools", "include_usage", "detail", "name"),
    )
    words = (
        *(
            "auto",
            "user",
            "system",
            "assistant",
            "text",
            "image_url",
            "data:image/png;base64,AAAA",
            "json_object",
        ),
        *("json_schema", "file:///etc/passwd", "../x", "high"),
    )
    body = {"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    return json_objects(keys, words) | damaged([json.dumps(body).encode()])


def use_request(data: bytes, folder: Path) -> None:
    """Reads the body of a request as the server does."""
    from adapters.store.adapter_store import AdapterStore
    from edge_app.serve.chat_request import ChatRequestReader
    from edge_app.serve.model_names import ServedModels
    from edge_app.serve.request_images import RequestImages
    from edge_app.settings import Settings

    served = ServedModels(Settings(), AdapterStore(folder / "adapters"))
    ChatRequestReader(Settings(), served, RequestImages(folder), allow_cloud=False).read(data)

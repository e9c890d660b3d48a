"""One request to a real server on loopback that misbehaves as each test says."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import traceback
import zlib
from dataclasses import replace

import pytest

from edge_app.cloud import client
from edge_app.cloud.client import Limits, stream
from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.errors import CloudError
from edge_app.cloud.key import Key
from edge_app.cloud.payload import Payload, payload
from edge_app.cloud.protocol.answer_reader import CloudDone, Piece
from edge_app.cloud.protocol.thinking import CloudText, CloudThinking
from models.core.types import Message, Sampling
from tests.edge_app.cloud.misbehaving import (
    STREAM,
    Misbehaving,
    Script,
    Wire,
    answers,
    end,
    event,
    status,
    word,
)

SECRET = "sk-very-secret-0123456789"
KEY = Key(SECRET, "environment")
PATIENT = Limits(first=30.0, stall=30.0, total=60.0, slow_after=30.0, answer_bytes=50_000)
HASTY = {
    "begin": replace(PATIENT, first=0.3),
    "go on": replace(PATIENT, stall=0.3),
    "is too slow": replace(PATIENT, slow_after=0.3, least_rate=50.0),
}
"""One short limit each, by what its error says: a slow machine must not run into another one first."""


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Imports the library first, because its import would count in the first test's limits."""
    import openai  # noqa: F401


def ask_of(place: Endpoint) -> Payload:
    return payload(place, [Message("user", "What is it?")], sampling=Sampling(max_tokens=50))


def ask(place: Endpoint, limits: Limits = PATIENT, cancel: threading.Event | None = None) -> list[Piece]:
    return list(stream(ask_of(place), KEY, limits, cancel))


def failure(place: Endpoint, limits: Limits = PATIENT) -> CloudError:
    with pytest.raises(CloudError) as caught:
        ask(place, limits)
    return caught.value


def stops_in_the_middle(wire: Wire) -> None:
    wire.send(STREAM, word("The "))
    wire.wait_until_gone()


# -- what works


def test_an_answer_comes_in_pieces_and_with_its_counts() -> None:
    with Misbehaving(answers("A ", "red ", "cat.")) as server:
        pieces = ask(server.endpoint)
    assert pieces == [CloudText("A "), CloudText("red "), CloudText("cat."), CloudDone("stop", 11, 3)]


def test_what_is_sent_is_the_payload_to_the_byte_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    with Misbehaving(answers("Yes.")) as server:
        ask(server.endpoint)
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == ask_of(server.endpoint).body
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert set(request.headers) == {
        *("host", "connection", "accept", "accept-encoding", "authorization", "user-agent"),
        *("content-type", "content-length"),
    }


def test_without_a_key_none_is_sent() -> None:
    with Misbehaving(answers("Yes.")) as server:
        list(stream(ask_of(server.endpoint), None, PATIENT))
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (end(reason="length"), CloudDone("length", 11, 3)),
        (b"data: [DONE]\n\n", CloudDone("stop", None, None)),
        (event({"choices": [], "usage": {}}) + b"data: [DONE]\n\n", CloudDone("stop", None, None)),
        (event({"choices": [], "usage": {"prompt_tokens": -1}}) + end(), CloudDone("stop", 11, 3)),
        (
            event({"choices": [{"index": 0, "delta": {}, "finish_reason": "eos"}]}),
            CloudDone("stop", None, None),
        ),
    ],
)
def test_endpoints_may_end_as_they_do(ending: bytes, expected: CloudDone) -> None:
    with Misbehaving(lambda wire: wire.send(STREAM, b": hello\n\n", word("Yes."), ending)) as server:
        assert ask(server.endpoint) == [CloudText("Yes."), expected]


def test_pieces_of_the_network_are_not_pieces_of_the_answer() -> None:
    text = "Ein süßes Kätzchen \N{CAT FACE}"
    whole = b"\r\n".join((word(text) + end()).split(b"\n"))

    def byte_by_byte(wire: Wire) -> None:
        wire.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.send(STREAM, *(bytes([byte]) for byte in whole))

    with Misbehaving(byte_by_byte) as server:
        assert ask(server.endpoint) == [CloudText(text), CloudDone("stop", 11, 3)]


def whole(content: object, kind: str = "application/json", **choice: object) -> Script:
    """An answer as one JSON object, on several lines."""
    message = {"role": "assistant", "content": content, **choice}
    body = {
        "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3},
    }
    return typed(json.dumps(body, indent=1).encode(), kind)


def typed(content: bytes, kind: str | None) -> Script:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
    return lambda wire: wire.send(
        head, f"Content-Type: {kind}\r\n".encode() if kind else b"", b"\r\n", content
    )


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", "text/event-stream"])
def test_a_whole_answer_is_taken_though_a_stream_was_asked_for(kind: str) -> None:
    with Misbehaving(whole("A cat.", kind)) as server:
        assert ask(server.endpoint) == [CloudText("A cat."), CloudDone("length", 11, 3)]


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/json", None])
@pytest.mark.parametrize("before", [b"", b"\n\n", b": hello\n\n", b"event: message\n", b"\xef\xbb\xbf"])
def test_a_stream_is_taken_under_any_type(kind: str | None, before: bytes) -> None:
    with Misbehaving(typed(before + word("A cat.") + end(), kind)) as server:
        assert ask(server.endpoint) == [CloudText("A cat."), CloudDone("stop", 11, 3)]


def packed(content: bytes, encoding: str, code: int = 200) -> Script:
    head = f"HTTP/1.1 {code} Status\r\nConnection: close\r\nContent-Type: text/event-stream\r\n"
    return lambda wire: wire.send(f"{head}Content-Encoding: {encoding}\r\n\r\n".encode(), content)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_a_compressed_answer_is_unpacked(encoding: str) -> None:
    answer = word("A cat.") + end()
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[encoding]
    with Misbehaving(packed(pack(answer), encoding)) as server:
        assert ask(server.endpoint) == [CloudText("A cat."), CloudDone("stop", 11, 3)]


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "A "},
    {"type": "source", "url": "https://example.com"},
    {"type": "text", "text": "cat."},
]


def delta(**fields: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


@pytest.mark.parametrize(
    "script",
    [
        whole(PARTS),
        whole("A cat.", reasoning_content="hm"),
        whole("<think>hm</think>\n\nA cat."),
        lambda wire: wire.send(STREAM, delta(content=PARTS[:2]), delta(content=PARTS[2:]), end()),
        lambda wire: wire.send(STREAM, delta(content=None, reasoning="hm"), word("A cat."), end()),
        lambda wire: wire.send(STREAM, delta(reasoning="hm", reasoning_content="hm"), word("A cat."), end()),
        lambda wire: wire.send(STREAM, word("<thi"), word("nk>h"), word("m</think>A cat."), end()),
    ],
)
def test_what_the_model_thinks_is_not_the_answer(script: Script) -> None:
    with Misbehaving(script) as server:
        pieces = ask(server.endpoint)
    assert "".join(piece.text for piece in pieces if isinstance(piece, CloudText)) == "A cat."
    assert "".join(piece.text for piece in pieces if isinstance(piece, CloudThinking)) == "hm"


def test_thinking_is_a_sign_of_life() -> None:
    """After it the limit between texts holds, and no longer the one for the first."""

    def thinks(wire: Wire) -> None:
        wire.send(STREAM, delta(reasoning_content="so "))
        wire.wait_until_gone()

    with Misbehaving(thinks) as server:
        error = failure(server.endpoint, HASTY["go on"])
    assert (error.kind, "go on" in str(error)) == ("timeout", True)


# -- leaving


@pytest.mark.parametrize("begins", [False, True])
def test_a_stop_ends_the_wait_for_the_endpoint_and_hangs_up(begins: bool) -> None:
    """The limits of the wait are half a minute: only a poll of `cancel` ends it with this kind of error."""
    cancel = threading.Event()

    def silent(wire: Wire) -> None:
        if begins:
            wire.send(STREAM, word("The "))
        cancel.set()
        wire.wait_until_gone()

    with Misbehaving(silent) as server:
        with pytest.raises(CloudError) as caught:
            ask(server.endpoint, PATIENT, cancel)
        assert caught.value.kind == "cancelled"
        assert server.wires[0].gone.wait(240), "the endpoint goes on answering"
    assert client.POLL_SECONDS < 0.1


def test_cancelling_before_sending_sends_nothing() -> None:
    cancel = threading.Event()
    cancel.set()
    with Misbehaving(answers("Yes.")) as server:
        with pytest.raises(CloudError):
            ask(server.endpoint, PATIENT, cancel)
        for thread in threading.enumerate():
            if thread.name == "cloud request":
                thread.join(240)
        assert server.requests == []


def test_closing_the_iterator_closes_the_connection() -> None:
    with Misbehaving(stops_in_the_middle) as server:
        pieces = stream(ask_of(server.endpoint), KEY, PATIENT)
        assert next(pieces) == CloudText("The ")
        pieces.close()
        assert server.wires[0].gone.wait(240)


# -- the key


@pytest.mark.parametrize(
    "script",
    [
        status(400, {"error": {"message": f"your key {SECRET} is odd"}}),
        status(401, {"error": {"message": SECRET}}),
        lambda wire: wire.send(STREAM, event({"error": {"message": f"{SECRET}!"}})),
    ],
)
def test_the_key_is_in_no_error_no_traceback_and_no_log(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    with Misbehaving(script) as server, caplog.at_level(logging.DEBUG):
        error = failure(server.endpoint)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert SECRET not in shown
    assert SECRET not in caplog.text
    assert SECRET not in repr(KEY)

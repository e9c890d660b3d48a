"""Answers over HTTP: whole or streamed, in their order, and stopped when nobody waits for them any more."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from edge_app.serve import completions, waiting_line
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.errors import UserError
from models.core.types import Message
from models.core.types import Progress as Report
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine
from tests.edge_app.serve.conftest import ENDPOINT, Serve, Served

PICTURE = "data:image/png;base64," + base64.b64encode(png()).decode()


@pytest.fixture
def gate(engine: FakeEngine) -> Iterator[threading.Event]:
    """The engine waits for this event before each token."""
    gate = threading.Event()
    engine.before_token = lambda _: gate.wait(240) and None
    yield gate
    gate.set()


def until(condition: Any, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


def test_a_whole_answer_has_the_form_of_the_api_and_the_facts_of_the_app(serve: Serve) -> None:
    reply = serve().ask()
    answer = reply.json
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    assert answer["object"] == "chat.completion" and answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "A cat.", "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert answer["usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 3,
        "total_tokens": 23,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    own = answer["edge_app"]
    assert own["adapter"] is None and own["place"] == "local" and own["declined"] is False
    assert 0 < own["confidence"] < 1 and own["reason"].startswith("local")


def test_a_stream_has_the_same_text_in_pieces_and_the_facts_in_its_last_chunk(serve: Serve) -> None:
    served = serve()
    reply = served.ask(stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    first, *pieces, last = reply.events
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(piece["choices"][0]["delta"]["content"] for piece in pieces) == "A cat."
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert last["edge_app"]["place"] == "local" and "usage" not in last
    assert len({event["id"] for event in reply.events}) == 1


def test_a_stream_ends_with_the_numbers_of_tokens_when_they_are_asked_for(serve: Serve) -> None:
    *_, end, usage = serve().ask(stream=True, stream_options={"include_usage": True}).events
    assert end["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] == 23
    assert usage["edge_app"] == end["edge_app"]


def test_the_conversation_and_its_images_reach_the_model(serve: Serve, engine: FakeEngine) -> None:
    image = {"type": "image_url", "image_url": {"url": PICTURE}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look at this."}, image]},
        {"role": "assistant", "content": "I see."},
        {"role": "user", "content": "What colour is it?"},
    ]
    assert serve().request("POST", ENDPOINT, {"messages": messages, "model": "auto"}).status == 200
    system, look, seen, question = engine.calls[0].messages
    assert system == Message("system", "Be brief.")
    assert (look.text, seen.text, question.text) == ("Look at this.", "I see.", "What colour is it?")
    assert len(look.images) == 1 and len(engine.encoded) == 1


def test_sampling_is_as_it_was_asked_for(serve: Serve, engine: FakeEngine) -> None:
    served = serve()
    given = {"temperature": 0.7, "top_p": 0.5, "seed": -1, "stop": ["x", "y"], "max_tokens": 9}
    served.ask(**given)
    sampling = engine.calls[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.7, 0.5, 9)
    assert (sampling.seed, sampling.stop) == (2**63 - 1, ("x", "y"))
    served.ask(max_completion_tokens=5, max_tokens=9, stop="z")
    assert (engine.calls[1].sampling.max_tokens, engine.calls[1].sampling.stop) == (5, ("z",))


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_come_with_the_tokens_when_they_are_asked_for(
    serve: Serve, engine: FakeEngine, stream: bool
) -> None:
    engine.likeliest = 2
    reply = serve().ask(logprobs=True, top_logprobs=2, stream=stream)
    assert engine.calls[0].sampling.top_logprobs == 2
    choices = [event["choices"][0] for event in reply.events] if stream else [reply.json["choices"][0]]
    tokens = [token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["content"]]
    assert [token["token"] for token in tokens] == ["A ", "cat", "."]
    assert tokens[1]["bytes"] == list(b"cat") and tokens[1]["logprob"] == -0.5
    assert [each["token"] for each in tokens[1]["top_logprobs"]] == ["cat", "other"]


def test_who_asks_about_no_image_is_told_how_a_request_has_one(serve: Serve) -> None:
    for question in ("What is in the photo?", "Hello"):
        reply = serve().ask(question)
        assert "image_url" in reply.json["choices"][0]["message"]["content"]


def test_nothing_is_saved(serve: Serve) -> None:
    serve().ask("A question that nobody keeps?")
    store = SessionStore.open()
    assert store.recent() == ()
    store.close()
    assert b"nobody keeps" not in paths.sessions_file().read_bytes()


def test_the_log_says_who_answered_and_not_what_was_asked(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve().ask("A secret question?")
    assert capsys.readouterr().err == ""
    served = serve(verbose=True)
    served.ask("A secret question?")
    served.request("GET", "/no%0Awhere")
    said = ""
    lines: list[str] = []
    while len(lines) < 2:
        said += capsys.readouterr().err
        lines = said.splitlines()
    assert re.fullmatch(rf"127.0.0.1 POST {ENDPOINT} 200 \d+\.\d\d s edge-vlm-135m local", lines[0])
    assert lines[1].startswith("127.0.0.1 GET /no") and " 404 " in lines[1]
    assert "secret" not in said


def test_without_leave_the_cloud_is_not_known(serve: Serve) -> None:
    settings = Settings(cloud_url="http://127.0.0.1:9/v1", cloud_model="m", mode="quality")
    answer = serve(settings).ask().json
    assert (answer["edge_app"]["place"], answer["choices"][0]["message"]["content"]) == ("local", "A cat.")
    assert "no cloud is set up" in answer["edge_app"]["reason"]


# -- errors


def test_an_error_before_the_answer_has_its_own_status_in_a_stream_too(serve: Serve) -> None:
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, broken]}]
    for stream in (False, True):
        reply = serve().request("POST", ENDPOINT, {"messages": messages, "stream": stream})
        error = reply.json["error"]
        assert (reply.status, error["type"]) == (400, "invalid_request_error")
        assert "image" in error["message"]


def test_an_error_after_the_answer_began_ends_the_stream(serve: Serve, engine: FakeEngine) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise UserError("The disk is full.")

    engine.before_token = fail
    reply = serve().ask(stream=True)
    assert reply.status == 200
    assert reply.events[-1]["error"]["message"] == "The disk is full."


def test_a_defect_is_a_server_error_and_the_server_goes_on(
    serve: Serve, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError("secret")

    engine.before_token, served = fail, serve()
    reply = served.ask()
    assert (reply.status, reply.json["error"]["type"]) == (500, "server_error")
    assert "secret" not in reply.body.decode()
    until(lambda: "ZeroDivisionError" in caplog.text)
    engine.before_token = lambda _: None
    assert served.ask().status == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/chat/completions", "/"])
def test_other_paths_are_told_in_the_form_of_the_api(serve: Serve, path: str) -> None:
    reply = serve().request("GET", path)
    assert (reply.status, reply.json["error"]["code"]) == (404, "unknown_url")


def test_another_method_is_told_as_well(serve: Serve) -> None:
    reply = serve().request("GET", ENDPOINT)
    assert (reply.status, reply.json["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("length", ["declared", "chunked"])
def test_a_body_that_is_too_large_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    monkeypatch.setattr(completions, "MOST_BODY", 1000)
    connection = serve().connect()
    pieces = (b" " * 600 for _ in range(3))
    connection.request("POST", ENDPOINT, b" " * 1001 if length == "declared" else pieces)
    reply = connection.getresponse()
    assert (reply.status, json.loads(reply.read())["error"]["code"]) == (413, "body_too_large")
    connection.close()


def test_a_body_that_does_not_come_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "BODY_SECONDS", 0.05)
    served = serve()
    with socket.create_connection(("127.0.0.1", served.port), 60) as connection:
        connection.sendall(
            f"POST {ENDPOINT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{{".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    until(lambda: served.request("GET", "/health").json["requests"] == 0)


# -- the line


def waiting(served: Served, count: int) -> None:
    until(lambda: served.request("GET", "/health").json["requests"] == count)


def test_requests_are_answered_one_by_one_in_their_order(
    serve: Serve, engine: FakeEngine, gate: threading.Event
) -> None:
    served = serve()
    with ThreadPoolExecutor(5) as pool:
        replies = []
        for number in range(5):
            replies.append(pool.submit(served.ask, f"Question {number}?"))
            waiting(served, number + 1)
        gate.set()
        assert all(reply.result().status == 200 for reply in replies)
    assert [call.messages[-1].text for call in engine.calls] == [f"Question {n}?" for n in range(5)]


def test_past_the_bound_a_request_is_told_when_to_come_again(
    serve: Serve, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_line.WaitingLine.__init__, "__defaults__", (1, 2))
    served = serve()
    with ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(served.ask) for _ in range(3)]
        waiting(served, 3)
        refused = served.ask()
        assert (refused.status, refused.json["error"]["code"]) == (429, "queue_full")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        gate.set()
        assert [reply.result().status for reply in replies] == [200] * 3
    assert served.ask().status == 200


def test_one_that_waits_in_a_stream_gets_comments(
    serve: Serve, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "SILENCE", 0.02)
    served = serve()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.ask)
        waiting(served, 1)
        with send(served, stream=True) as second:
            assert b"data:" not in received(second, b": waiting, 1 before this\n\n")
            gate.set()
            assert b'"stop"' in received(second, b"data: [DONE]")
        assert first.result().status == 200


def received(connection: socket.socket, end: bytes) -> bytes:
    """What comes until these bytes have come."""
    data = b""
    while end not in data:
        piece = connection.recv(4096)
        assert piece, data
        data += piece
    return data


def send(served: Served, **parameters: Any) -> socket.socket:
    """A request whose answer is not read."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hi, what is it?"}], **parameters})
    connection = socket.create_connection(("127.0.0.1", served.port), 60)
    head = f"POST {ENDPOINT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall((head + body).encode())
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_its_answer_and_no_other(
    serve: Serve, engine: FakeEngine, stream: bool
) -> None:
    tokens: list[int] = []
    engine.words = ("word ",) * 100_000

    def slow(number: int) -> None:
        tokens.append(number)
        time.sleep(0.001)

    engine.before_token, served = slow, serve()
    connection = send(served, stream=stream)
    until(lambda: len(tokens) > 5)
    connection.close()
    waiting(served, 0)
    engine.words = ("done",)
    until(lambda: served.ask().json["choices"][0]["message"]["content"] == "done")
    assert tokens[-1] == 0, "the next answer has begun, so the one before has ended"


def test_a_client_that_goes_away_while_it_waits_leaves_the_line(
    serve: Serve, engine: FakeEngine, gate: threading.Event
) -> None:
    served = serve()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(served.ask, "First?")
        waiting(served, 1)
        gone = send(served)
        waiting(served, 2)
        gone.close()
        waiting(served, 1)
        gate.set()
        assert first.result().status == 200
    assert len(engine.calls) == 1


def test_the_end_of_the_server_is_told_to_those_who_wait(
    serve: Serve, engine: FakeEngine, gate: threading.Event
) -> None:
    served = serve()
    with ThreadPoolExecutor(2) as pool:
        replies = [pool.submit(served.ask, f"{number}?") for number in range(2)]
        waiting(served, 2)
        until(lambda: engine.calls)
        served.served.stop()
        gate.set()
        for reply in replies:
            assert (reply.result().status, reply.result().json["error"]["code"]) == (503, "stopping")
    assert len(engine.calls) == 1


# -- the model


def test_it_listens_and_lists_while_the_model_loads(serve: Serve, engine: FakeEngine) -> None:
    loaded = threading.Event()

    def wait(report: Report) -> None:
        del report
        assert loaded.wait(240)

    engine.loading = wait
    served = serve()
    names = [model["id"] for model in served.request("GET", "/v1/models").json["data"]]
    assert names[:2] == ["auto", "edge-vlm-135m"]
    assert served.request("GET", "/health").json == {"status": "ok", "model": "loading", "requests": 0}
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(served.ask)
        waiting(served, 1)
        loaded.set()
        assert reply.result().status == 200
    until(lambda: served.request("GET", "/health").json["model"] == "ready")


def test_a_model_that_cannot_be_loaded_is_told_to_who_asks(serve: Serve, engine: FakeEngine) -> None:
    def fail(report: Report) -> None:
        del report
        raise UserError("The file is damaged.")

    engine.loading = fail
    served = serve()
    until(lambda: served.request("GET", "/health").json["model"] == "failed")
    assert "damaged" in served.ask().json["error"]["message"]

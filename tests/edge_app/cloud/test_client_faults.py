"""Every fault of an endpoint has its kind, and one sentence that names the place."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.cloud.endpoint import endpoint
from edge_app.cloud.errors import CloudError, Kind
from edge_app.cloud.protocol.answer_reader import CloudDone
from tests.edge_app.cloud.misbehaving import (
    STREAM,
    Misbehaving,
    Script,
    Wire,
    answers,
    end,
    event,
    full_backlog,
    self_signed,
    status,
    word,
)
from tests.edge_app.cloud.test_client import HASTY, PATIENT, SECRET, ask, failure, packed, stops_in_the_middle


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Imports the library first, because its import would count in the first test's limits."""
    import openai  # noqa: F401


def drips(wire: Wire) -> None:
    wire.send(STREAM)
    for _ in range(100):
        wire.words("a")
        time.sleep(0.1)


def never_ends(piece: bytes) -> Script:
    def script(wire: Wire) -> None:
        wire.send(STREAM)
        while True:
            wire.send(piece)

    return script


def answers_ending(reason: str, **fields: str) -> Script:
    """An answer without a word, and with these fields."""
    return lambda wire: wire.send(
        STREAM, event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}), end(reason=reason)
    )


def says_nothing(wire: Wire) -> None:
    wire.wait_until_gone()


def breaks_off(wire: Wire) -> None:
    wire.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n", word("The ")
    )


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (status(401), "unauthorised", "edge-app cloud setup"),
        (status(403), "forbidden", "big-model"),
        (status(404), "no_model", "big-model"),
        (status(413), "too_large", "cloud_image_size"),
        (status(400, {"error": {"message": "no images,\n please"}}), "rejected", "no images, please"),
        (status(429), "rate_limited", "takes no more questions."),
        (status(429, Retry_After="7"), "rate_limited", "another 7 seconds"),
        (status(500), "server", "500"),
        (status(503, Retry_After="3"), "server", "503"),
        (status(200, b"<html>"), "malformed", "application/json"),
        (status(200, {"error": {"message": "No models loaded."}}), "server", "No models loaded."),
        (
            status(401, {"error": {"message": "The key has expired; make a new one."}}),
            "unauthorised",
            "expired",
        ),
        (
            status(403, {"error": {"message": "Flagged for: violence."}}),
            "forbidden",
            "Flagged for: violence.",
        ),
        (status(404, {"error": {"message": "No endpoints\nfound."}}), "no_model", "No endpoints found."),
        (status(404, b"<html>Not Found</html>"), "no_model", "or its address is not"),
        (status(404, {"error": "model not found"}), "no_model", "model not found"),
        (
            status(422, {"detail": [{"loc": ["body", "messages", 0], "msg": "str expected"}]}),
            "rejected",
            "body.messages.0: str expected.",
        ),
        (status(500, {"error": {"message": "CUDA out of memory"}}), "server", "CUDA out of memory."),
        (status(503, {"error": {"message": "Loading model"}}), "loading", "Loading model."),
        (lambda wire: wire.send(STREAM, event({"error": "it fell over"})), "server", "it fell over."),
        (
            lambda wire: wire.send(STREAM, b"event: error\n" + event({"message": "it died", "code": 502})),
            "server",
            "it died.",
        ),
        (answers_ending("error"), "server", "reports an error."),
        (answers_ending("content_filter"), "empty", "content filter"),
        (answers_ending("length", reasoning="hm"), "empty", "max_tokens"),
        (answers_ending("stop", reasoning="hm"), "empty", "gave no answer"),
        (status(200, b"{]"), "malformed", "cannot be read"),
        (lambda wire: wire.send(STREAM, b"data: {]\n\n"), "malformed", "cannot be read"),
        (lambda wire: wire.send(STREAM, b"data: 5\n\n"), "malformed", ""),
        (lambda wire: wire.send(STREAM, b"data: \xff\xfe\n\n"), "malformed", ""),
        (lambda wire: wire.send(STREAM, event({"choices": 5})), "malformed", ""),
        (
            lambda wire: wire.send(STREAM, event({"choices": [{"delta": {"content": {"a": 1}}}]})),
            "malformed",
            "",
        ),
        (lambda wire: wire.send(STREAM, b"data: " + b"[" * 20_000 + b"\n\n"), "malformed", ""),
        (lambda wire: wire.send(STREAM, word("The ")), "cut", "in the middle"),
        (lambda wire: wire.send(b"SSH-2.0-hello\r\n\r\n"), "refused", "no connection"),
        (lambda wire: wire.send(STREAM, event({"error": {"message": "overloaded"}})), "server", "overloaded"),
        (answers(), "empty", "not a word"),
        (answers(" ", "\n"), "empty", "not a word"),
        (lambda wire: wire.send(STREAM), "malformed", ""),
        (says_nothing, "timeout", "begin"),
        (stops_in_the_middle, "timeout", "go on"),
        (breaks_off, "cut", "in the middle"),
        (drips, "slow", "is too slow"),
        (never_ends(word("blah " * 50)), "huge", "50,000 bytes"),
        (never_ends(b"a" * 1000), "huge", "50,000 bytes"),
        (never_ends(b": still here\n\n"), "huge", ""),
        (status(500, b"x" * 100_000), "huge", ""),
        (packed(gzip.compress(word("a" * 10**6)), "gzip"), "huge", "50,000 bytes"),
        (packed(gzip.compress(b"x" * 10**6), "gzip", 500), "huge", ""),
        (packed(b"no gzip", "gzip"), "malformed", "cannot be unpacked"),
        (packed(b"x", "br"), "malformed", "compressed as br"),
        (status(302, Location="https://evil.example/v1"), "redirect", "evil.example"),
        (status(307, Location="https://evil.example/v1"), "redirect", "nothing was sent"),
        (status(308, Location="/v2"), "redirect", "of its own"),
        (status(301, Location="http://[bad"), "redirect", "of its own"),
    ],
)
def test_each_fault_is_told_in_one_sentence(script: Script, kind: Kind, says: str) -> None:
    with Misbehaving(script) as server:
        error = failure(server.endpoint, HASTY.get(says, PATIENT))
        assert (error.kind, len(server.requests)) == (kind, 1), error
    assert says in str(error)
    assert "local server" in str(error) and "cloud at" not in str(error)
    assert str(error).endswith(".") and "\n" not in str(error)
    assert error.exit_code == 4


def test_the_key_is_in_no_name_that_a_redirect_gives() -> None:
    with Misbehaving(status(302, Location=f"https://{SECRET}.example/")) as server:
        assert SECRET not in str(failure(server.endpoint))


ODD = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"data: ", b"\n\n", b"\r", b"event: error\n", b"id: 1\n", b"[DONE]", word("a"), end()]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["choices", "delta", "content", "error", "usage"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    ).map(event),
)


def test_any_stream_is_an_answer_or_a_cloud_error() -> None:
    sent = [b""]
    with Misbehaving(lambda wire: wire.send(STREAM, sent[0])) as server:

        @given(st.lists(ODD, max_size=6).map(b"".join))
        @settings(max_examples=25)
        def holds(content: bytes) -> None:
            sent[0] = content
            try:
                pieces = ask(server.endpoint)
            except CloudError as error:
                assert error.kind in ("malformed", "empty", "server", "cut")
            else:
                assert isinstance(pieces[-1], CloudDone)

        holds()


def test_a_redirect_is_not_followed_even_to_a_server_that_would_answer() -> None:
    with Misbehaving(answers("Got it.")) as other:
        with Misbehaving(status(307, Location=other.url + "/chat/completions")) as server:
            assert failure(server.endpoint).kind == "redirect"
        assert other.requests == []


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(endpoint(f"http://localhost:{port}", "m"))
    assert error.kind == "refused"
    assert f"localhost:{port}" in str(error)


def test_a_name_that_is_not_there() -> None:
    error = failure(endpoint("https://nowhere.invalid/v1", "m"))
    assert (error.kind, "nowhere.invalid" in str(error)) == ("dns", True)


def test_a_self_signed_certificate(tmp_path: Path) -> None:
    with Misbehaving(answers("Hello."), certificate=self_signed(tmp_path)) as server:
        error = failure(server.endpoint)
        assert (error.kind, server.requests) == ("tls", [])
    assert "self" in str(error)


def test_tls_to_a_server_that_has_none() -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)  # the client's greeting, which is no request and may lack a line end
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        place = endpoint(f"https://127.0.0.1:{listener.getsockname()[1]}", "m")
        assert failure(place).kind in ("tls", "refused")


def test_an_endpoint_that_accepts_no_connection_times_out() -> None:
    with full_backlog() as url:
        error = failure(endpoint(url, "m"), replace(PATIENT, connect=0.3))
    assert error.kind == "timeout"


def test_a_fast_stream_is_stopped_at_the_total_limit() -> None:
    def chatters(wire: Wire) -> None:
        wire.send(STREAM)
        while True:
            wire.words("blah")
            time.sleep(0.01)

    with Misbehaving(chatters) as server:
        error = failure(server.endpoint, replace(PATIENT, total=1.5, answer_bytes=10**9))
    assert (error.kind, "finish" in str(error)) == ("timeout", True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("nan", None), ("inf", None), ("", None)],
)
def test_retry_after_is_read_when_it_is_sound(value: str, seconds: float | None) -> None:
    with Misbehaving(status(429, Retry_After=value)) as server:
        assert failure(server.endpoint).retry_after == seconds


def test_retry_after_may_be_a_date() -> None:
    with Misbehaving(status(503, Retry_After=formatdate(time.time() + 3600, usegmt=True))) as server:
        seconds = failure(server.endpoint).retry_after
    assert seconds is not None and 3300 < seconds <= 3600

"""Requests of web pages, of rebound names and without the key are refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.serve.access import own_names, read_keys
from models.core.errors import UserError
from tests.edge_app.serve.conftest import Serve

KEY = "a-key-of-many-letters"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "localhost:9", "[::1]:9", "LOCALHOST", "app.localhost", "127.8.9.1"]
)
def test_names_and_addresses_of_this_machine_are_answered(serve: Serve, host: str) -> None:
    assert serve().request("GET", "/v1/models", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "192.168.1.2", "", "[::1", "a b", "[::2]"],
)
def test_other_hosts_are_refused_as_a_rebound_name_would_be(serve: Serve, host: str) -> None:
    reply = serve().request("GET", "/v1/models", headers={"Host": host})
    assert (reply.status, reply.json["error"]["code"]) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("POST", "/v1/chat/completions")])
def test_web_pages_are_refused(serve: Serve, headers: dict[str, str], method: str, path: str) -> None:
    reply = serve().request(method, path, b"{}", headers)
    assert (reply.status, reply.json["error"]["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in reply.headers


def test_a_browser_is_told_before_it_sends_what_it_asks_permission_for(serve: Serve) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert serve().request("OPTIONS", "/v1/chat/completions", headers=headers).status == 403


def test_without_a_key_any_authorization_is_ignored(serve: Serve) -> None:
    served = serve()
    for header in ("Bearer sk-anything", "Basic eDp5", "nonsense"):
        assert served.request("GET", "/v1/models", headers={"Authorization": header}).status == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xe9"]
)
def test_with_keys_a_request_needs_one_of_them(serve: Serve, header: str) -> None:
    served = serve(keys=("another-key-of-letters", KEY))
    reply = served.request("GET", "/v1/models", headers={"Authorization": header})
    assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert served.request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status == 200
    assert served.request("GET", "/health").status == 200


def test_where_others_can_reach_it_addresses_are_answered_and_foreign_names_are_not(serve: Serve) -> None:
    served = serve(host="0.0.0.0", loopback=False, keys=(KEY,))
    key = {"Authorization": f"Bearer {KEY}"}
    assert served.request("GET", "/v1/models", headers={**key, "Host": "192.168.1.2:8642"}).status == 200
    assert served.request("GET", "/v1/models", headers={**key, "Host": "evil.example"}).status == 403


def test_the_names_of_a_server_are_the_one_it_listens_on_and_those_of_the_machine() -> None:
    assert own_names("127.0.0.1") == {"localhost", "127.0.0.1"}
    assert {"localhost", "box.lan"} < own_names("Box.lan")


def test_keys_are_the_lines_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# the laptop\n{KEY}\n\n  another-key-of-letters \n")
    assert read_keys(file) == (KEY, "another-key-of-letters")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no key"),
        (b"# none\n", "has no key"),
        (b"short\n", "Key 1 .* is no key"),
        (b"a key with several blanks\n", "Key 1 .* is no key"),
        (b"\xff\xfe\x00", "is no text"),
        (b"k" * 70_000, "is longer"),
        (None, "cannot be read"),
    ],
)
def test_a_file_without_a_good_key_is_told_in_one_sentence(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_keys(file)

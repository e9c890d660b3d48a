"""Which addresses are accepted, and what messages call them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.cloud.endpoint import endpoint
from models.core.errors import UserError


@pytest.mark.parametrize(
    ("url", "kept", "host", "local"),
    [
        ("https://api.example.com/v1/", "https://api.example.com/v1", "api.example.com", False),
        ("https://api.example.com", "https://api.example.com/v1", "api.example.com", False),
        (
            "https://api.example.com:8443/a/b",
            "https://api.example.com:8443/a/b",
            "api.example.com:8443",
            False,
        ),
        ("http://localhost:11434", "http://localhost:11434/v1", "localhost:11434", True),
        ("http://127.0.0.1:80/v1", "http://127.0.0.1:80/v1", "127.0.0.1", True),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1", "[::1]:8080", True),
        ("http://192.168.1.5:8000/v1", "http://192.168.1.5:8000/v1", "192.168.1.5:8000", False),
        ("http://nas:8000/v1", "http://nas:8000/v1", "nas:8000", False),
    ],
)
def test_addresses_that_are_taken(url: str, kept: str, host: str, local: bool) -> None:
    place = endpoint(url, "m")
    assert (place.url, place.host, place.is_local) == (kept, host, local)
    assert str(place) == f"the {'local server' if local else 'cloud'} at {host}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "not one like"),
        ("api.example.com", "not one like"),
        ("ftp://api.example.com", "not one like"),
        ("https://", "not one like"),
        ("https://a b.com", "not one like"),
        ("https://a.com:port", "not a web address"),
        ("https://[::1", "not a web address"),
        ("https://me:sk-secret@a.com", "no user name"),
        ("https://me:sk-secret@a.com:port", "no user name"),
        ("https://a.com/v1?key=sk-secret", "no user name"),
        ("https://a.com/v1#sk-secret", "no user name"),
        ("http://api.example.com/v1", "not encrypted"),
        ("http://8.8.8.8/v1", "not encrypted"),
    ],
)
def test_addresses_that_are_refused(url: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        endpoint(url, "m")
    assert "sk-secret" not in str(caught.value)


def test_a_model_has_a_name() -> None:
    with pytest.raises(UserError, match="no name"):
        endpoint("https://api.example.com", "  ")


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        place = endpoint(text, "m")
    except UserError:
        return
    assert endpoint(place.url, "m") == place

"""The key never appears in text, and a failing keyring is distinguished from a missing one."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import keyring
import keyring.backends.fail
import keyring.errors
import pytest

from edge_app.cloud import key as keys
from edge_app.cloud.key import VARIABLE, Key
from models.core.errors import UserError
from tests.edge_app.cli.test_cloud import MemoryKeyring

SECRET = "sk-very-secret-0123456789"


class Locked(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked(f"{service} {username} is locked")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def test_a_key_shows_itself_only_when_asked_to() -> None:
    key = Key(f" {SECRET}\n", "keyring")
    assert key.reveal() == SECRET
    assert SECRET not in repr(key) + str(key) + f"{key}"
    assert key.hide_in(f"<{SECRET}>") == "<***>"
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("text", ["", "  ", "two words", "naïve", "a\nHost: evil", "\x00"])
def test_what_no_key_looks_like_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="copy it again"):
        Key(text, "environment")


def test_keys_are_kept_by_host() -> None:
    keyring.set_keyring(MemoryKeyring())
    keys.save("a.example", Key(SECRET, "keyring"))
    found = keys.find("a.example")
    assert found is not None and found.reveal() == SECRET
    assert keys.find("b.example") is None
    assert (keys.forget("a.example"), keys.forget("a.example")) == (True, False)


def test_no_keyring_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    assert keys.find("a.example") is None
    assert keys.forget("a.example") is False
    monkeypatch.setenv(VARIABLE, SECRET)
    found = keys.find("a.example")
    assert found is not None and found.source == "environment"


def test_a_locked_keyring_is_said_to_be_locked() -> None:
    keyring.set_keyring(Locked())
    with pytest.raises(UserError, match="unlock it"):
        keys.find("a.example")
    with pytest.raises(UserError, match="unlock it"):
        keys.forget("a.example")

"""The key of an endpoint: from EDGE_APP_CLOUD_KEY, else from the system's keyring.

It is kept out of representations, errors and records: whoever needs the characters calls `reveal`, which only
the connection does.
"""

from __future__ import annotations

import os
from typing import Literal

from models.core.errors import UserError

VARIABLE = "EDGE_APP_CLOUD_KEY"
SERVICE = "edge-app"
HIDDEN = "***"
Source = Literal["environment", "keyring"]


class Key:
    """A secret. source: where it came from."""

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: Source) -> None:
        """Raises UserError for what cannot be a key: it would end up in a header."""
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise UserError("The key is empty or holds a character that no key has; copy it again.")
        self._text = text
        self.source = source

    def reveal(self) -> str:
        return self._text

    def hide_in(self, text: str) -> str:
        """The text without the key, should an endpoint have repeated it."""
        return text.replace(self._text, HIDDEN)

    def __repr__(self) -> str:
        return f"Key({HIDDEN}, from the {self.source})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


def find(host: str) -> Key | None:
    """The key for a host; None when there is none: many local servers want none.

    Raises UserError when the keyring is there and does not let us in.
    """
    if text := os.environ.get(VARIABLE, "").strip():
        return Key(text, "environment")
    import keyring
    import keyring.errors

    try:
        saved = keyring.get_password(SERVICE, host)
    except keyring.errors.NoKeyringError:
        return None
    except keyring.errors.KeyringError as error:
        raise UserError(
            f"The keyring did not give the key for {host} ({error}); unlock it, or set {VARIABLE}."
        ) from None
    return Key(saved, "keyring") if saved else None


def save(host: str, key: Key) -> None:
    """Into the system's keyring. Raises UserError, pointing at the variable, where there is none that works."""
    import keyring
    import keyring.errors

    try:
        keyring.set_password(SERVICE, host, key.reveal())
    except keyring.errors.KeyringError as error:
        why = "this system has none" if isinstance(error, keyring.errors.NoKeyringError) else str(error)
        raise UserError(
            f"The key was not saved, since no keyring works here ({key.hide_in(' '.join(why.split()))}); "
            f"set the environment variable {VARIABLE} instead."
        ) from None


def forget(host: str) -> bool:
    """Removes it from the keyring; whether it was there. The environment is not ours to change."""
    import keyring
    import keyring.errors

    try:
        if keyring.get_password(SERVICE, host) is None:
            return False
        keyring.delete_password(SERVICE, host)
    except keyring.errors.NoKeyringError:
        return False
    except keyring.errors.KeyringError as error:
        raise UserError(
            f"The keyring did not remove the key for {host} ({error}); unlock it and try again."
        ) from None
    return True

"""The key of an endpoint: from EDGE_APP_CLOUD_KEY, else from the system's keyring.

It does not appear in representations, errors and records. Only the connection calls `reveal`.
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
    """A secret. source: where it was read from."""

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: Source) -> None:
        """Raises UserError for text that cannot be sent in a header."""
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise UserError("The key is empty or holds a character that no key has; copy it again.")
        self._text = text
        self.source = source

    def reveal(self) -> str:
        return self._text

    def hide_in(self, text: str) -> str:
        """The text with the key replaced, because an endpoint may repeat it."""
        return text.replace(self._text, HIDDEN)

    def __repr__(self) -> str:
        return f"Key({HIDDEN}, from the {self.source})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


def find(host: str) -> Key | None:
    """The key for a host; None when there is none, as for many local servers.

    Raises UserError when the keyring cannot be read.
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
    """Saves the key in the system's keyring. Raises UserError, naming the variable, when no keyring works."""
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
    """Removes the key from the keyring, and returns whether there was one. The environment is not changed."""
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

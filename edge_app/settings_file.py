"""Changes to settings.toml: single keys, with all else in the file left as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from edge_app.system import paths
from models.core.errors import UserError
from models.core.files import write_whole


def change_settings_file(file: Path, values: Mapping[str, str | None]) -> None:
    """Sets top-level keys of settings.toml and leaves the rest of its text as it is.

    values: by key; None removes the key. A missing file is created. The file is replaced atomically.
    Raises UserError when the file is not TOML, and when a key is not written on one line, so that it cannot be changed
    here.
    """
    try:
        text = file.read_text(encoding="utf-8")
        wanted = tomllib.loads(text)
    except FileNotFoundError:
        text, wanted = "", {}
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid TOML: {error}.") from error
    for key, value in values.items():
        text = _with(text, key, value)
        wanted.pop(key, None)
        if value is not None:
            wanted[key] = value
    if _parsed(text) != wanted:
        raise UserError(
            f"{file} holds {' or '.join(values)} in a way that cannot be changed here; edit it yourself."
        )
    paths.ensure(file.parent)
    write_whole(file, text.encode())


def _with(text: str, key: str, value: str | None) -> str:
    """The text with the line of the key changed, or inserted at the beginning, which is before any table."""
    line = "" if value is None else tomli_w.dumps({key: value})
    found = re.search(rf"(?m)^[ \t]*{re.escape(key)}[ \t]*=.*(?:\n|\Z)", text)
    if found is None:
        return line + text
    return text[: found.start()] + line + text[found.end() :]


def _parsed(text: str) -> object:
    """The content of a TOML text; None when it is invalid."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None

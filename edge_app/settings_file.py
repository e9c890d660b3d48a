"""Changes single values in settings.toml and leaves the rest of it, comments included, as the user wrote it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from edge_app.system import paths
from models.core.errors import UserError
from models.core.files import write_whole


def change(file: Path, values: Mapping[str, str | None]) -> None:
    """Top-level keys get these values; None takes a key out. A missing file is an empty one.

    Raises UserError when the file is no TOML, or holds one of the keys in a way that is not one line: then the
    user has to do it. The new file replaces the old one whole or not at all.
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
    """The line of the key changed, or put before everything else: there no table has begun."""
    line = "" if value is None else tomli_w.dumps({key: value})
    found = re.search(rf"(?m)^[ \t]*{re.escape(key)}[ \t]*=.*(?:\n|\Z)", text)
    if found is None:
        return line + text
    return text[: found.start()] + line + text[found.end() :]


def _parsed(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None

"""What the user chooses in the chat and means to last: written to settings.toml as it is chosen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from edge_app.settings import ENVIRONMENT_PREFIX, change_settings_file
from models.core.errors import UserError

Lasting = Literal["mode", "theme"]


def keep(file: Path, key: Lasting, value: str) -> str:
    """Empty, or a sentence that says why the choice ends with the program. A few milliseconds: it is on disk
    when this returns, so that quitting at once loses nothing."""
    try:
        change_settings_file(file, {key: value})
    except UserError as error:
        return f"The {key} is {value} until you quit: {error}"
    variable = ENVIRONMENT_PREFIX + key.upper()
    if os.environ.get(variable, value) not in ("", value):
        return f"The {key} is {value} until you quit: {variable} in the environment says otherwise, and wins."
    return ""

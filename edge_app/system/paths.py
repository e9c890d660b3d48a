"""The locations of settings, data and caches. They depend on the environment alone; only `ensure` uses the disk.

When EDGE_APP_HOME is set, all are in that folder: `config/`, `data/` and `cache/`. Else they are in the folders that
the operating system has for each kind of file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from models.core.errors import UserError

APPLICATION = "edge-app"


def _home() -> Path | None:
    value = os.environ.get("EDGE_APP_HOME", "")
    try:
        return Path(value).expanduser().absolute() if value else None
    except RuntimeError as error:
        raise UserError(f"EDGE_APP_HOME is {value}, and {Path(value).parts[0]} names no user.") from error


def config_directory() -> Path:
    home = _home()
    return home / "config" if home else _of_the_system(platformdirs.user_config_dir)


def data_directory() -> Path:
    home = _home()
    return home / "data" if home else _of_the_system(platformdirs.user_data_dir)


def cache_directory() -> Path:
    home = _home()
    return home / "cache" if home else _of_the_system(platformdirs.user_cache_dir)


def _of_the_system(directory: Callable[..., str]) -> Path:
    """A folder of the operating system for this user. Raises UserError for a user without a home folder."""
    try:
        found = Path(directory(APPLICATION, appauthor=False))
    except (RuntimeError, KeyError):
        found = Path()
    if not found.is_absolute():
        raise UserError(
            "This user has no home folder (HOME is not set): set EDGE_APP_HOME to a folder you can write to."
        )
    return found


def config_file() -> Path:
    return config_directory() / "settings.toml"


def publishers_file() -> Path:
    return config_directory() / "publishers.json"


def models_directory() -> Path:
    return data_directory() / "models"


def adapters_directory() -> Path:
    return data_directory() / "adapters"


def sessions_file() -> Path:
    return data_directory() / "sessions.db"


def confidence_file() -> Path:
    return data_directory() / "confidence.json"


def images_directory() -> Path:
    return data_directory() / "images"


def locations() -> dict[str, Path]:
    """The locations by name, as `doctor` shows them."""
    return {
        "settings": config_file(),
        "models": models_directory(),
        "adapters": adapters_directory(),
        "sessions": sessions_file(),
        "images": images_directory(),
        "cache": cache_directory(),
    }


def ensure(directory: Path) -> Path:
    """Creates the directory with its parents if it is missing, readable by the user alone, and returns it.

    Raises UserError when that fails.
    """
    try:
        for missing in reversed([d for d in (directory, *directory.parents) if not d.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot create {directory}: {error.strerror}. Set EDGE_APP_HOME to a folder you can write to."
        ) from error
    if not directory.is_dir():
        raise UserError(f"{directory} is a file where a folder is needed; move it out of the way.")
    return directory

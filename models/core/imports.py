"""Importing a library without what it would import merely because that is installed. Knows no library."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def import_without(name: str, missing: str) -> Any:
    """The module `name`, for whose import the module `missing` counts as not installed, unless it is loaded."""
    if missing in sys.modules:
        return importlib.import_module(name)
    sys.modules[missing] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[missing]

"""The one place that imports tvm_ffi: the calling convention of compiled code."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any


@cache
def ffi() -> Any:
    """The module tvm_ffi, imported without PyTorch.

    tvm_ffi imports torch whenever it is installed, for conversions that we do not use: a second or more, and
    200 MB, on the machine of anybody who has the [train] extra. While it is imported, torch counts as missing.
    """
    if "torch" in sys.modules:
        return importlib.import_module("tvm_ffi")
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("tvm_ffi")
    finally:
        del sys.modules["torch"]

"""The one place that imports tvm_ffi: the calling convention of compiled code."""

from __future__ import annotations

from functools import cache
from typing import Any

from models.core.imports import import_without


@cache
def ffi() -> Any:
    """The module tvm_ffi, imported without PyTorch.

    tvm_ffi imports torch whenever it is installed, for conversions that we do not use: a second or more, and
    200 MB, on the machine of anybody who has the [train] extra.
    """
    return import_without("tvm_ffi", "torch")

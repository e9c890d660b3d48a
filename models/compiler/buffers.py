"""Arrays that compiled code can use in place: 64-byte aligned, contiguous, zeroed only when touched."""

from __future__ import annotations

import math
import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.compiler.ffi import ffi

ALIGNMENT = 64


def aligned_zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A zero array on pages of its own: memory is taken when a page is first touched, not before."""
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    kind = np.dtype(dtype)
    length = max(size * kind.itemsize, 1)
    if sys.platform == "win32":
        pages = mmap.mmap(-1, length)
    else:
        pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype=kind, count=size).reshape(shape)


def as_tensor(array: NDArray[Any]) -> Any:
    """The array as a flat tvm_ffi tensor sharing its memory; float16 becomes uint16, as kernels want it.

    Compiled code assumes the alignment, so an array without it is a defect of the caller: ValueError.
    """
    if array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous or not array.flags.writeable:
        raise ValueError("kernels need writeable, contiguous arrays aligned to 64 bytes")
    flat = array.reshape(-1)
    return ffi().from_dlpack(flat.view(np.uint16) if flat.dtype == np.float16 else flat)

"""Runs compiled code: TVM's runtime library, linking of object files in memory, arrays that functions take.

tvm_ffi imports PyTorch whenever that is installed, which costs a second or more and 200 MB at a start. It offers no
way to leave PyTorch out, and hiding a module from an import would be process-wide state. Only environments with the
extra [train] have PyTorch, so that the cost is accepted there. Imports of tvm_ffi are made inside functions, so that
importing this package never loads it.
"""

from __future__ import annotations

import importlib.util
import math
import mmap
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.compiler import threads

ALIGNMENT = 64  # bytes: one AVX-512 register, one cache line


class Library:
    """Compiled functions, by name: library["llama_decode"](...)."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """The function, taking Python ints and tvm_ffi tensors. Raises AttributeError when there is none."""
        function: Callable[..., Any] = self._module.get_function(name)
        return function


def link(code: bytes) -> Library:
    """Link an object file in memory, so that no C compiler is needed.

    Loads TVM's runtime library before the first object: see models.compiler.threads.prepare_environment for the
    environment variables that this sets.
    """
    _load_runtime()
    import tvm_ffi_orcjit

    # cxx names no program: otherwise the loader would start the system's C++ compiler to look for libstdc++,
    # which our code does not use.
    module = tvm_ffi_orcjit.default_session().load_module(
        code, cxx="no-compiler-needed", keep_module_alive=True
    )
    return Library(module)


@cache
def _load_runtime() -> None:
    """Load TVM's runtime library alone (thread pool, barriers), which takes 20 ms, without `import tvm`."""
    threads.prepare_environment()
    from tvm_ffi.libinfo import load_lib_ctypes

    spec = importlib.util.find_spec("tvm")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("tvm")
    folder = Path(next(iter(spec.submodule_search_locations))) / "lib"
    load_lib_ctypes("tvm", "tvm_runtime", "RTLD_GLOBAL", extra_lib_paths=[folder])


def aligned_zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A C-contiguous zero array on memory pages of its own. A page takes memory when it is first touched."""
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    kind = np.dtype(dtype)
    length = max(size * kind.itemsize, 1)
    if sys.platform == "win32":
        pages = mmap.mmap(-1, length)
    else:
        pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype=kind, count=size).reshape(shape)


def as_tensor(array: NDArray[Any]) -> Any:
    """The array as a flat tvm_ffi tensor that shares its memory. float16 becomes uint16, as kernels declare it.

    Raises ValueError for an array that is not writeable, C-contiguous and aligned to ALIGNMENT, which compiled code
    relies on.
    """
    import tvm_ffi

    if array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous or not array.flags.writeable:
        raise ValueError(f"kernels need writeable, contiguous arrays aligned to {ALIGNMENT} bytes")
    flat = array.reshape(-1)
    return tvm_ffi.from_dlpack(flat.view(np.uint16) if flat.dtype == np.float16 else flat)

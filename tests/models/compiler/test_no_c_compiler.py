"""Compiling needs no program of the user's machine: neither a C compiler nor a linker."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from models.compiler.compile import compile_or_load
from models.compiler.cpu import choose_path, detect
from models.compiler.tvm_runtime import aligned_zeros, as_tensor


def test_code_is_compiled_and_linked_without_any_program_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX", "LD"):
        monkeypatch.setenv(name, str(tmp_path / "missing"))
    assert not any(shutil.which(program) for program in ("cc", "gcc", "clang", "c++", "g++", "ld"))
    build = "tests.models.compiler.small_kernel:build"
    library = compile_or_load("small", build, {"factor": 3.0}, choose_path(detect()), tmp_path / "compiled")
    x, y = aligned_zeros(16, "float32"), aligned_zeros(16, "float32")
    x[:] = 2
    library["scale"](1, 1, as_tensor(x), as_tensor(y))
    assert (y == 6).all()
    assert os.environ["PATH"] == str(tmp_path)

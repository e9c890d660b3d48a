"""The cache of compiled code: found again, checked for damage, compiled once, loaded without the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.compiler.compile import compile_object, compile_or_load, read_object, write_object
from models.compiler.cpu import choose_path, code_target, detect, host_architecture
from models.compiler.tvm_runtime import Library, aligned_zeros, as_tensor
from models.core.types import Stage

BUILD = "tests.models.compiler.small_kernel:build"
PATH = choose_path(detect())


class Told:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, _stage: Stage, message: str, _done: int, _total: int | None) -> None:
        if message not in self.messages:
            self.messages.append(message)


def scaled(library: Library, threads: int = 2) -> float:
    """What the kernel makes of 3."""
    x, y = aligned_zeros(160, np.float32), aligned_zeros(160, np.float32)
    x[:] = 3
    library["scale"](10, threads, as_tensor(x), as_tensor(y))
    assert (y == y[0]).all()
    return float(y[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the kernel for factor 2 in it."""
    folder = tmp_path_factory.mktemp("compiled")
    assert scaled(compile_or_load("small", BUILD, {"factor": 2.0}, PATH, folder)) == 6
    return folder


@pytest.fixture
def cached(made: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    (source,) = made.glob("*.bin")
    (tmp_path / source.name).write_bytes(source.read_bytes())
    return tmp_path / source.name


def test_a_second_load_compiles_nothing(cached: Path) -> None:
    told = Told()
    library = compile_or_load("small", BUILD, {"factor": 2.0}, PATH, cached.parent, told)
    assert scaled(library) == 6
    assert told.messages == []


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_is_an_argument(cached: Path, threads: int) -> None:
    assert scaled(compile_or_load("small", BUILD, {"factor": 2.0}, PATH, cached.parent), threads) == 6


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_file_is_compiled_again(cached: Path, damage: str) -> None:
    content = bytearray(cached.read_bytes())
    if damage == "truncated":
        del content[-100:]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "empty":
        content.clear()
    else:
        content[:8] = b"\x7fELF\x02\x01\x01\x00"
    cached.write_bytes(content)
    told = Told()
    library = compile_or_load("small", BUILD, {"factor": 2.0}, PATH, cached.parent, told)
    assert scaled(library) == 6
    assert told.messages == [f"compiling small for {PATH}", f"compiled small for {PATH}"]
    assert read_object(cached) is not None


def test_other_arguments_are_other_code(cached: Path) -> None:
    assert scaled(compile_or_load("small", BUILD, {"factor": 5.0}, PATH, cached.parent)) == 15
    assert scaled(compile_or_load("small", BUILD, {"factor": 2.0}, PATH, cached.parent)) == 6


def test_a_kernel_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a factor of zero makes no sense"):
        compile_or_load("small", BUILD, {"factor": 0}, PATH, tmp_path)
    assert list(tmp_path.glob("*.bin")) == []


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "code.bin"
    write_object(kept, b"old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_object(kept, b"new")
    assert read_object(kept) == b"old"
    assert list(tmp_path.iterdir()) == [kept]


def run(script: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


LOAD = f"""
import sys
from pathlib import Path
from models.compiler.compile import compile_or_load
said = []
library = compile_or_load("small", {BUILD!r}, {{"factor": float(sys.argv[2])}}, {PATH!r}, Path(sys.argv[1]),
                          lambda stage, message, done, total: said.append(message))
library["scale"]
print(len({{m for m in said if m.startswith("compil")}}), *(name for name in ("tvm",) if name in sys.modules))
"""


def test_a_warm_start_does_not_import_the_compiler(made: Path) -> None:
    assert run(LOAD, str(made), "2").split() == ["0"]


def test_a_cold_start_compiles_in_a_child_process(tmp_path: Path) -> None:
    assert run(LOAD, str(tmp_path), "2").split() == ["2"]


def test_two_processes_compile_once(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", LOAD, str(tmp_path), "7"]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = sorted(process.communicate()[0].strip() for process in pair)
    assert said == ["0", "2"]


@pytest.mark.parametrize("on_the_path", [False, True])
def test_a_folder_named_models_where_the_user_is_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_the_path: bool
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise ImportError('another program was run')")
    monkeypatch.chdir(tmp_path)
    if on_the_path:  # as PYTHONPATH=. has it
        monkeypatch.syspath_prepend(str(tmp_path))
    target = code_target("generic", host_architecture())
    with pytest.raises(RuntimeError, match=r"No module named 'models\.nothing'"):
        compile_object("models.nothing:build", {}, "generic", target)

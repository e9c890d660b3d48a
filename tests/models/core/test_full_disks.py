"""A full or failing disk gives a UserError with place and remedy, and leaves no partial files in the caches."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from models.compiler import compile as compiler
from models.compiler.compile import compile_or_load
from models.core.errors import UserError
from models.packing import packed_model as packing
from models.packing.packed_model import load_or_pack
from tests.models import tiny_llama

BUILD = "tests.models.compiler.small_kernel:build"
REFUSALS = [errno.ENOSPC, errno.EIO, errno.EROFS]


def refuse(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", REFUSALS)
def test_weights_that_cannot_be_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    weights = tiny_llama.random_weights(tiny_llama.config(num_layers=1))
    monkeypatch.setattr(packing, "header_page", lambda *_: refuse(number))
    with pytest.raises(UserError, match=rf"{tmp_path} cannot be written \({os.strerror(number)}\).*HOME"):
        load_or_pack(weights.digest, lambda: weights, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("number", REFUSALS)
def test_code_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(compiler, "compile_object", lambda *_: b"code")
    monkeypatch.setattr(os, "fsync", lambda _: refuse(number))
    with pytest.raises(UserError, match=rf"{tmp_path} cannot be written.*EDGE_APP_HOME"):
        compile_or_load("small", BUILD, {"factor": 2.0}, "generic", tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_no_room_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_: refuse(errno.ENOSPC))
    with pytest.raises(UserError, match=rf"{tempfile.gettempdir()} cannot be written.*TMPDIR"):
        compile_or_load("small", BUILD, {"factor": 2.0}, "generic", tmp_path)


def test_no_directory_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(UserError, match=r"No usable temporary directory.*TMPDIR"):
        compile_or_load("small", BUILD, {"factor": 2.0}, "generic", tmp_path)


def test_a_compiler_that_runs_out_of_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_wait", lambda child, *_: (child.kill(), child.wait()))
    read_text = Path.read_text

    def errors(path: Path, **options: str) -> str:
        full = f"LLVM ERROR: {os.strerror(errno.ENOSPC)}"
        return full if path.name == "errors.txt" else read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", errors)
    with pytest.raises(UserError, match=r"cannot be written.*TMPDIR"):
        compile_or_load("small", BUILD, {"factor": 2.0}, "generic", tmp_path)


def test_an_error_of_the_progress_callback_is_not_reported_as_the_disks(tmp_path: Path) -> None:
    def gone(*_: object) -> NoReturn:
        raise BrokenPipeError(errno.EPIPE, "nobody listens")

    with pytest.raises(BrokenPipeError):
        compile_or_load("small", BUILD, {"factor": 2.0}, "generic", tmp_path, gone)


@pytest.mark.parametrize("part", ["config", "shape"])
@pytest.mark.parametrize("change", ["more", "fewer"])
def test_a_packed_file_of_another_version_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, change: str
) -> None:
    weights = tiny_llama.random_weights(tiny_llama.config(num_layers=1))
    header_page = packing.header_page

    def of_tomorrow(magic: bytes, header: dict[str, dict[str, object]]) -> bytes:
        if change == "more":
            header[part]["of_tomorrow"] = 1
        else:
            del header[part][next(iter(header[part]))]  # the last ones have defaults
        return header_page(magic, header)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "header_page", of_tomorrow)
        with pytest.raises(UserError, match="does not read back"):
            load_or_pack(weights.digest, lambda: weights, tmp_path)
    assert load_or_pack(weights.digest, lambda: weights, tmp_path).config == weights.config

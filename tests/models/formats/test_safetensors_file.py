"""safetensors files: agreement with the reference package, bfloat16, and refusal of damaged headers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.errors import UserError
from models.formats.safetensors_file import SafetensorsFile


def file_bytes(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(kind: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def test_reads_what_the_reference_package_wrote(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "f32": rng.normal(size=(3, 5)).astype(np.float32),
        "f16": rng.normal(size=(4,)).astype(np.float16),
        "i64": np.arange(6).reshape(2, 3),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
    }
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"format": "test"})
    file = SafetensorsFile(path)
    assert file.metadata == {"format": "test"}
    assert file.tensors.keys() == tensors.keys()
    for name, expected in tensors.items():
        np.testing.assert_array_equal(file.array(name), expected)
    np.testing.assert_array_equal(file.floats("f16"), tensors["f16"].astype(np.float32))


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 0.0, 65280.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_bytes({"w": entry("BF16", [2, 2], 0, 8)}, bits.tobytes()))
    np.testing.assert_array_equal(SafetensorsFile(path).floats("w"), values.reshape(2, 2))


def test_whole_numbers_are_not_taken_for_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_bytes({"w": entry("I32", [1], 0, 4)}, bytes(4)))
    with pytest.raises(UserError, match="floating-point"):
        SafetensorsFile(path).floats("w")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 1 << 62) + b"{}",
        file_bytes(b"[]", b""),
        file_bytes(b"{", b""),
        file_bytes(b"[" * 100_000, b""),
        file_bytes(b'{"a": 1, "a": 2}', b""),
        file_bytes({"__metadata__": {"a": 1}}, b""),
        file_bytes({"w": 3}, b""),
        file_bytes({"w": {"dtype": "F32", "shape": [1]}}, bytes(4)),
        file_bytes({"w": entry("F8_E4M3", [4], 0, 4)}, bytes(4)),
        file_bytes({"w": entry("F32", [-1], 0, 4)}, bytes(4)),
        file_bytes({"w": entry("F32", [2], 0, 4)}, bytes(4)),
        file_bytes({"w": entry("F32", [1], 4, 8)}, bytes(4)),
        file_bytes({"w": entry("F32", [1], -4, 0)}, bytes(4)),
        file_bytes({"w": entry("F32", [1 << 40, 1 << 40], 0, 4)}, bytes(4)),
    ],
    ids=lambda content: str(content[8:40]),
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.safetensors"):
        SafetensorsFile(path)


def test_a_pointer_of_git_lfs_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match=r"a\.safetensors is a Git LFS pointer .* `git lfs pull`"):
        SafetensorsFile(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        SafetensorsFile(tmp_path / "absent.safetensors")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "BOOL"]) | json_values,
        "shape": st.lists(st.integers(-1, 5) | st.just(1 << 62), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-2, 20), min_size=2, max_size=2) | json_values,
    }
)


@settings(max_examples=200)
@given(
    header=st.dictionaries(st.text(max_size=8), entries | json_values, max_size=3) | json_values,
    data=st.binary(max_size=24),
)
def test_any_header_parses_or_is_refused(tmp_path: Path, header: Any, data: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_bytes(header, data))
    try:
        file = SafetensorsFile(path)
    except UserError:
        return
    for name, tensor in file.tensors.items():
        assert file.array(name).shape == tensor.shape

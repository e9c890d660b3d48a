"""GGUF files: values are read as written, and any other content is parsed or refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.errors import UserError
from models.formats.gguf.gguf_file import GgufFile
from tests.models.formats.gguf.gguf_files import Tensors, float_tensor, gguf_bytes, string, value, write_gguf

METADATA = {
    "general.architecture": "llama",
    "a.number": 7,
    "a.float": 0.5,
    "a.truth": True,
    "some.texts": ["one", "zwei", "três"],
    "some.numbers": np.array([1, -2, 3], "<i4"),
    "nested": [["a"], ["b", "c"]],
}
VALUES = np.arange(64, dtype=np.float32).reshape(2, 32)
TENSORS: Tensors = {
    "f32": float_tensor(VALUES, "F32"),
    "f16": float_tensor(VALUES, "F16"),
    "bf16": float_tensor(VALUES, "BF16"),
    "q8": ("Q8_0", (2, 64), bytes(range(4 * 34))),
}
ONE: Tensors = {"t": float_tensor(VALUES, "F32")}


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        GgufFile(path)
    return str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_and_tensors_come_back_as_written(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes(METADATA, TENSORS, version))
    file = GgufFile(path)
    assert file.version == version
    assert {key: file.metadata[key] for key in METADATA if key != "some.numbers"} == {
        key: METADATA[key] for key in METADATA if key != "some.numbers"
    }
    np.testing.assert_array_equal(np.asarray(file.metadata["some.numbers"]), [1, -2, 3])
    for name in ("f32", "f16", "bf16"):
        assert file.floats(name).dtype == np.float32
        np.testing.assert_array_equal(file.floats(name), VALUES)
    assert file.blocks("q8").shape == (2, 68)
    assert file.blocks("q8").tobytes() == bytes(range(4 * 34))


def test_tensor_data_are_read_only(tmp_path: Path) -> None:
    blocks = GgufFile(write_gguf(tmp_path / "a.gguf", {}, TENSORS)).blocks("q8")
    with pytest.raises(ValueError, match="read-only"):
        blocks[0, 0] = 1


def test_a_declared_alignment_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes({"general.alignment": 64}, TENSORS, alignment=64))
    file = GgufFile(path)
    assert all(info.offset % 64 == 0 for info in file.tensors.values())
    np.testing.assert_array_equal(file.floats("bf16"), VALUES)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gguf_bytes(METADATA, TENSORS)
    for length in range(0, len(whole), 7):
        assert str(tmp_path) in refusal(tmp_path / "a.gguf", whole[:length])


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            GgufFile(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"GGML" + bytes(60), "does not start with GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "little-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0) + bytes(64), "too short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60) + bytes(64), "too short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 63) + bytes(64), "bytes long"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<I", 13) + bytes(64), "unknown"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IB", 7, 2) + bytes(64),
            "truth",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 8, 1 << 61), "ends"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 4, 1 << 62), "ends"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IQ", 8, 2) + b"\xff\xfe",
            "UTF-8",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (string("k") + value(1)) * 2, "twice"),
        (gguf_bytes({"general.alignment": 12}, ONE), "alignment"),
        (gguf_bytes({"general.alignment": "32"}, ONE), "alignment"),
        (gguf_bytes({"general.alignment": 0}, ONE), "alignment"),
        (gguf_bytes({}, {"t": ("F32", (0, 32), b"")}), "shape"),
        (gguf_bytes({}, {"t": ("Q4_0", (1, 31), bytes(18))}), "shape"),
        (gguf_bytes({}, {"t": ("F32", (1 << 40, 1 << 40), bytes(64))}), "ends inside the tensor"),
        (gguf_bytes({}, {"t": ("F32", (1, 1, 1, 1, 1), bytes(4))}), "5 dimensions"),
        (gguf_bytes({}, {"t": ("F32", (), bytes(4))}), "0 dimensions"),
    ],
)
def test_what_cannot_be_right_is_refused_in_words(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(tmp_path / "a.gguf", content)


@pytest.mark.parametrize(("number", "name"), [(11, "Q3_K"), (2 << 20, "number 2097152"), (4, "number 4")])
def test_an_unsupported_tensor_type_is_named(tmp_path: Path, number: int, name: str) -> None:
    message = refusal(tmp_path / "a.gguf", gguf_bytes({}, {"blk.0.x": (number, (1, 256), bytes(512))}))
    assert name in message
    assert "blk.0.x" in message


def test_an_unaligned_offset_and_a_repeated_tensor_are_refused(tmp_path: Path) -> None:
    whole = gguf_bytes({}, TENSORS)
    entry = string("f16") + struct.pack("<IQQIQ", 2, 32, 2, 1, 256)
    assert whole.count(entry) == 1
    shifted = whole.replace(entry, entry[:-8] + struct.pack("<Q", 257))
    assert "no multiple of 32" in refusal(tmp_path / "a.gguf", shifted)
    assert "occurs twice" in refusal(tmp_path / "a.gguf", whole.replace(string("f16"), string("f32")))


def test_arrays_nested_without_end_are_refused(tmp_path: Path) -> None:
    nested = string("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 2000
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + nested
    assert "nested" in refusal(tmp_path / "a.gguf", content)


WHOLE = gguf_bytes(METADATA, TENSORS)
HEADER = len(WHOLE) - sum(len(content) for _, _, content in TENSORS.values())


def parses_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        file = GgufFile(path)
    except UserError:
        return
    for name, info in file.tensors.items():
        assert file.blocks(name).nbytes == info.nbytes


@settings(max_examples=300)
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    parses_or_refuses(tmp_path / "a.gguf", content)
    parses_or_refuses(tmp_path / "a.gguf", WHOLE[:24] + content)


@settings(max_examples=400)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, HEADER - 1),
            st.one_of(
                st.binary(min_size=1, max_size=2),
                st.sampled_from([struct.pack("<Q", size) for size in (0, 1 << 31, 1 << 63, (1 << 64) - 1)]),
            ),
        ),
        min_size=1,
        max_size=4,
    ),
    cut=st.integers(0, 40),
)
def test_a_damaged_header_parses_or_is_refused(
    tmp_path: Path, edits: list[tuple[int, bytes]], cut: int
) -> None:
    content = bytearray(WHOLE)
    for position, replacement in edits:
        content[position : position + len(replacement)] = replacement
    parses_or_refuses(tmp_path / "a.gguf", bytes(content[: len(content) - cut]))

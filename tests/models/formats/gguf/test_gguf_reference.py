"""Our reading of GGUF files beside that of the package `gguf`, which belongs to the format's project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.formats.gguf.gguf_blocks import gguf_matrix
from models.formats.gguf.gguf_file import GgufFile

gguf = pytest.importorskip(
    "gguf", reason="the package gguf is in the extra [train]: pip install -e '.[train]'"
)

pytestmark = pytest.mark.train

FLOAT_KINDS = ("F32", "F16", "BF16")
BLOCK_KINDS = ("Q8_0", "Q4_0", "Q4_1", "Q5_0")  # kept exactly, and written by the package
WORDS = ["", "a", "é", "two words", "\0", "猫"]
FLOATS: NDArray[np.float32] = np.random.default_rng(1).normal(size=(6, 96)).astype(np.float32)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file of the package's own writer."""
    path = tmp_path / "reference.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("test.count", 7)
    writer.add_float32("test.share", 0.25)
    writer.add_bool("test.flag", True)
    writer.add_string("test.text", "größer")
    writer.add_array("test.words", WORDS)
    writer.add_array("test.numbers", [1, -2, 3])
    for name in (*FLOAT_KINDS, *BLOCK_KINDS):
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(name, gguf.quantize(FLOATS, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_metadata_are_those_that_were_written(written: Path) -> None:
    metadata: dict[str, Any] = dict(GgufFile(written).metadata)
    assert metadata["general.architecture"] == "llama"
    assert (metadata["test.count"], metadata["test.share"], metadata["test.flag"]) == (7, 0.25, True)
    assert (metadata["test.text"], metadata["test.words"]) == ("größer", WORDS)
    assert metadata["test.numbers"].tolist() == [1, -2, 3]
    expected = {name: field.contents() for name, field in gguf.GGUFReader(written).fields.items()}
    assert metadata.keys() == {name for name in expected if not name.startswith("GGUF.")}


@pytest.mark.parametrize("name", [*FLOAT_KINDS, *BLOCK_KINDS])
def test_values_are_those_that_the_package_dequantises(written: Path, name: str) -> None:
    (stored,) = [tensor for tensor in gguf.GGUFReader(written).tensors if tensor.name == name]
    expected = gguf.dequantize(stored.data, stored.tensor_type).reshape(FLOATS.shape)
    file = GgufFile(written)
    values = file.floats(name) if name in FLOAT_KINDS else gguf_matrix(file, name).dequantise()
    np.testing.assert_array_equal(values, expected)

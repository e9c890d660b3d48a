"""The packed file: every weight is where the kernels read it, and a damaged file is not used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.formats.llama_sources import load_llama
from models.formats.llama_weights import LlamaWeights
from models.formats.quantization import Bits, QuantizedMatrix, quantise
from models.packing import packed_model as packing
from models.packing.llama_shape import LlamaShape, shape_of
from models.packing.packed_model import load_or_pack, open_packed, write_packed
from models.packing.tiles import SYMMETRIC_BYTES, TILE_BYTES, pack_matrix
from tests.models import tiny_llama
from tests.models.formats.llama_files import random_model, write_directory


def unpacked(tiles: NDArray[np.uint8], bits: Bits, rows: int) -> NDArray[np.float32]:
    """Read tiles byte by byte, straight from the description of the format."""
    blocks, groups, _ = tiles.shape
    values = np.zeros((blocks * 16, groups * 32), np.float32)
    for block, group in np.ndindex(blocks, groups):
        tile = tiles[block, group]
        codes = tile[: 256 if bits == 4 else 512]
        halves = tile[len(codes) :].view(np.float16).astype(np.float32)
        for row in range(16):
            for column in range(32):
                if bits == 4:
                    byte = codes[column // 8 * 64 + row * 4 + column % 4]
                    code = byte >> 4 if column % 8 >= 4 else byte & 15
                    value = halves[row] * np.float32(code) + halves[16 + row]
                else:
                    code = codes[column // 4 * 64 + row * 4 + column % 4]
                    value = halves[row] * (np.float32(code) - 128)
                values[block * 16 + row, group * 32 + column] = value
    return values[:rows]


@settings(max_examples=20)
@given(
    rows=st.integers(1, 40), groups=st.integers(1, 3), bits=st.sampled_from([4, 8]), seed=st.integers(0, 1000)
)
def test_every_weight_is_found_where_the_format_says(rows: int, groups: int, bits: Bits, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(rows, groups * 32)).astype(np.float32)
    matrix = quantise(weights, bits)
    tiles = pack_matrix(matrix)
    assert tiles.shape == (-(-rows // 16), groups, TILE_BYTES[bits])
    assert np.array_equal(unpacked(tiles, bits, rows), matrix.dequantise())


@pytest.mark.parametrize("rows", [16, 21])
def test_a_symmetric_model_has_no_minimums(rows: int) -> None:
    weights = np.random.default_rng(rows).normal(size=(rows, 96)).astype(np.float32)
    matrix = tiny_llama.symmetric_4_bits(weights)
    tiles = pack_matrix(matrix, symmetric=True)
    assert tiles.shape == (-(-rows // 16), 3, SYMMETRIC_BYTES[4])
    eight_scales = -8 * np.ascontiguousarray(tiles[..., 256:]).view(np.float16)
    whole = np.concatenate([tiles, eight_scales.astype(np.float16).view(np.uint8)], axis=-1)
    assert np.array_equal(unpacked(whole, 4, rows), matrix.dequantise())


def test_padding_rows_are_zero() -> None:
    tiles = pack_matrix(quantise(np.ones((3, 32), np.float32), 8))
    assert not unpacked(tiles, 8, 16)[3:].any()


def test_extreme_codes_survive() -> None:
    codes = np.tile(np.array([0, 255], np.uint8), (16, 1, 16))
    matrix = QuantizedMatrix(8, codes, np.ones((16, 1), np.float16), None)
    assert np.array_equal(unpacked(pack_matrix(matrix), 8, 16), matrix.dequantise())


@pytest.fixture(scope="module")
def weights() -> LlamaWeights:
    return tiny_llama.random_weights(tiny_llama.config(tie_word_embeddings=False), {"v": 8}, 4)


@pytest.fixture
def packed(weights: LlamaWeights, tmp_path: Path) -> Path:
    path = tmp_path / "model.pack"
    write_packed(path, weights.digest, weights)
    return path


def test_a_packed_file_is_the_model(weights: LlamaWeights, packed: Path) -> None:
    model = open_packed(packed, weights.digest)
    assert model is not None
    assert model.config == weights.config
    assert model.shape == shape_of(weights)
    assert (model.shape.v_bits, model.shape.k_bits, model.shape.head_bits) == (8, 4, 4)
    for role in ("q", "v", "down"):
        outputs, inputs = model.shape.matrix(role)
        bits: Bits = 8 if role == "v" else 4
        tiles = model.sections[role].reshape(3, outputs // 16, inputs // 32, TILE_BYTES[bits])
        expected = getattr(weights.layers[2], role).dequantise()
        assert np.array_equal(unpacked(tiles[2], bits, outputs), expected)
    assert weights.head is not None
    head = model.sections["head"].reshape(-1, 3, TILE_BYTES[4])
    assert np.array_equal(unpacked(head, 4, 333), weights.head.dequantise())
    norms = model.sections["norms"].reshape(7, 96)
    assert np.array_equal(norms[3], weights.layers[1].mlp_norm)
    assert np.array_equal(norms[6], weights.final_norm)
    assert all(section.ctypes.data % 64 == 0 for section in model.sections.values())


@pytest.mark.parametrize("place", [0, 20, 60, 5000, -1])
def test_one_wrong_bit_anywhere_is_noticed(weights: LlamaWeights, packed: Path, place: int) -> None:
    content = bytearray(packed.read_bytes())
    content[place] ^= 1
    packed.write_bytes(content)
    assert open_packed(packed, weights.digest) is None


@pytest.mark.parametrize("size", [0, 10, 4096, 30000])
def test_a_shorter_file_is_noticed(weights: LlamaWeights, packed: Path, size: int) -> None:
    packed.write_bytes(packed.read_bytes()[:size])
    assert open_packed(packed, weights.digest) is None


def test_another_models_file_is_not_used(packed: Path) -> None:
    assert open_packed(packed, "0" * 64) is None


def test_weights_are_read_once_and_again_when_the_file_is_damaged(
    weights: LlamaWeights, tmp_path: Path
) -> None:
    reads = []

    def read() -> LlamaWeights:
        reads.append(True)
        return weights

    for _ in range(2):
        load_or_pack(weights.digest, read, tmp_path)
    assert len(reads) == 1
    (path,) = tmp_path.glob("*.pack")
    path.write_bytes(b"")
    assert load_or_pack(weights.digest, read, tmp_path).shape == shape_of(weights)
    assert len(reads) == 2


def test_a_file_of_an_earlier_version_is_replaced(weights: LlamaWeights, tmp_path: Path) -> None:
    """Even if it is whole: it may have other widths than this version chooses."""
    load_or_pack(weights.digest, lambda: weights, tmp_path)
    (path,) = tmp_path.glob("*.pack")
    earlier = path.rename(path.with_name(f"{weights.digest[:32]}-v1.pack"))
    reads = []
    load_or_pack(weights.digest, lambda: reads.append(True) or weights, tmp_path)
    assert len(reads) == 1
    assert (path.exists(), earlier.exists()) == (True, False)


def test_a_failed_write_leaves_nothing(
    weights: LlamaWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(packing, "header_page", full)
    with pytest.raises(OSError, match="no space"):
        load_or_pack(weights.digest, lambda: weights, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "change", [{"hidden": 100}, {"intermediate": 100}, {"head_dim": 40}, {"kv_heads": 4}]
)
def test_shapes_without_kernels_are_refused(weights: LlamaWeights, change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no kernels for this shape"):
        LlamaShape(**(vars(shape_of(weights)) | change))


KILLED_IN_MID_WRITE = """
import os, signal, sys
from pathlib import Path
from models.formats.llama_sources import load_llama
from models.packing.packed_model import load_or_pack
def die(stage, message, done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
source = Path(sys.argv[1])
weights = load_llama(source)
load_or_pack(weights.digest, lambda: weights, Path(sys.argv[2]), die)
"""


def test_kill_9_in_mid_write_leaves_nothing_that_the_next_start_does_not_clear_away(tmp_path: Path) -> None:
    source, cache = write_directory(tmp_path / "model", random_model()), tmp_path / "cache"
    child = subprocess.run(
        [sys.executable, "-c", KILLED_IN_MID_WRITE, str(source), str(cache)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -9, child.stderr
    assert [file for file in cache.iterdir() if ".pack" in file.name], "something was half written"
    weights = load_llama(source)
    load_or_pack(weights.digest, lambda: weights, cache)
    assert sorted(file.suffix for file in cache.iterdir()) == [".lock", ".pack"]

"""The SigLIP tower: every phase against NumPy, on every kernel path, and its packed file."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models.compiler.cpu import KernelPath
from models.core.errors import UserError
from models.formats.siglip_weights import SiglipConfig
from models.vision.siglip.encoder import SiglipEncoder
from models.vision.siglip.packed_siglip import PackedSiglip, load_or_pack_siglip, open_siglip, shape_of
from tests.models.vision.siglip.siglip_cases import (
    CONFIGS,
    DIGEST,
    ReferenceTower,
    distance,
    random_tile,
    random_weights,
)
from tests.models.vision.vision_cases import PATHS, compiled_dir

CASES = [("b16", path) for path in PATHS] + [("so400m", PATHS[0])]


@cache
def packed(name: str) -> PackedSiglip:
    with tempfile.TemporaryDirectory() as folder:
        return load_or_pack_siglip(DIGEST, lambda: random_weights(CONFIGS[name]), Path(folder))


@cache
def encoder(name: str, path: KernelPath = PATHS[0], threads: int = 2) -> SiglipEncoder:
    return SiglipEncoder.load(packed(name), path, compiled_dir(), threads)


def reference(name: str, rounding: bool) -> ReferenceTower:
    return ReferenceTower(random_weights(CONFIGS[name]), rounding)


@pytest.mark.parametrize(("name", "path"), CASES)
def test_patches_are_embedded_as_in_the_float_model(name: str, path: KernelPath) -> None:
    """Pixels have exact codes, and what the weights lose in rounding is kept in a second matrix."""
    tile = random_tile(CONFIGS[name])
    found = encoder(name, path).hidden_states(tile, 0)
    assert distance(found, reference(name, rounding=False).hidden_states(tile, 0)) < 1e-4


@pytest.mark.parametrize(("name", "path"), CASES)
def test_a_layer_differs_from_one_with_the_same_rounding_only_where_ties_fall_apart(
    name: str, path: KernelPath
) -> None:
    """A tiny difference before a rounding becomes a whole step in a few places."""
    tile = random_tile(CONFIGS[name])
    found = encoder(name, path).hidden_states(tile, 1)
    assert distance(found, reference(name, rounding=True).hidden_states(tile, 1)) < 0.01


@pytest.mark.parametrize(("name", "path"), CASES)
def test_the_rows_of_a_tile_are_those_of_the_float_model(name: str, path: KernelPath) -> None:
    tile = random_tile(CONFIGS[name])
    found = encoder(name, path).encode(tile)
    assert found.flags.c_contiguous
    assert found.dtype == np.float32
    # Random weights of few inputs have larger relative errors than a trained tower.
    assert distance(found, reference(name, rounding=False).encode(tile)) < 0.04


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_bits_for_any_number_of_threads(name: str) -> None:
    tile = random_tile(CONFIGS[name], seed=1)
    expected = encoder(name).encode(tile)
    for threads in (1, 3):
        assert np.array_equal(encoder(name, PATHS[0], threads).encode(tile), expected)


def test_a_tile_does_not_depend_on_the_one_before() -> None:
    first, second = (random_tile(CONFIGS["so400m"], seed) for seed in (1, 2))
    expected = encoder("so400m").encode(first)
    encoder("so400m").encode(second)
    assert np.array_equal(encoder("so400m").encode(first), expected)


def test_pixels_beyond_the_last_patch_go_unseen() -> None:
    tile = random_tile(CONFIGS["so400m"])
    changed = tile.copy()
    changed[:, 126:] = 0
    changed[:, :, 126:] = 255
    assert np.array_equal(encoder("so400m").encode(tile), encoder("so400m").encode(changed))


def test_a_tile_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="tile"):
        encoder("b16").encode(random_tile(CONFIGS["so400m"]))


def test_a_head_that_the_kernels_cannot_divide_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be run"):
        shape_of(SiglipConfig(60, 64, 1, 5, 32, 16, 1e-6, 1, 32))


def test_the_packed_file_is_used_again_and_made_anew_when_it_is_damaged(tmp_path: Path) -> None:
    reads = []

    def read():
        reads.append(1)
        return random_weights(CONFIGS["b16"])

    made = load_or_pack_siglip(DIGEST, read, tmp_path)
    again = load_or_pack_siglip(DIGEST, read, tmp_path)
    assert len(reads) == 1
    for name, section in made.sections.items():
        assert np.array_equal(section, again.sections[name])
    (file,) = tmp_path.glob("*.pack")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    assert open_siglip(file, DIGEST) is None
    load_or_pack_siglip(DIGEST, read, tmp_path)
    assert len(reads) == 2
    assert open_siglip(file, "0" * 64) is None

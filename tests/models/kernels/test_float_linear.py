"""A model of floats computes what the weights say: no rounding but that of the KV cache, which is float16."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.compiler.cpu import KernelPath
from models.formats.float_matrix import FloatMatrix, FloatType
from models.formats.llama_weights import LINEAR_ROLES, LlamaWeights, Matrix
from models.language.runtime import LlamaRuntime
from models.lora.weights import add_packed, pack_lora
from models.packing.unpacking import module_weights
from models.vision.projector.projector import packed_embedding
from tests.models import tiny_llama
from tests.models.tiny_llama import Array, Reference, random_lora
from tests.models.vision.vision_cases import PATHS

pytestmark = pytest.mark.slow  # compiles at the first run

TOKENS = np.random.default_rng(0).integers(0, 333, 70).astype(np.int32)
TYPES: tuple[FloatType, ...] = ("bf16", "f16", "f32")


class CacheRounded(Reference):
    """Exact but for the keys and values, which the cache keeps as float16."""

    def _attend(self, q: Array, k: Array, v: Array) -> Array:
        self.exact = False
        result = super()._attend(q, k, v)
        self.exact = True
        return result


def of_floats(weights: LlamaWeights, kind: FloatType) -> LlamaWeights:
    """The same weights rounded to a type."""

    def converted(matrix: Matrix) -> FloatMatrix:
        values = matrix.dequantise()
        if kind == "bf16":
            values = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        return FloatMatrix(kind, values.astype(np.float16).astype(np.float32) if kind == "f16" else values)

    layers = [
        replace(layer, **{role: converted(getattr(layer, role)) for role in LINEAR_ROLES})
        for layer in weights.layers
    ]
    head = None if weights.head is None else converted(weights.head)
    digest = f"{weights.digest[:-4]}{kind}"
    return replace(weights, embedding=converted(weights.embedding), layers=layers, head=head, digest=digest)


def model(kind: FloatType, *, tied: bool = True) -> LlamaWeights:
    llama = tiny_llama.config(num_layers=2, tie_word_embeddings=tied)
    return of_floats(tiny_llama.random_weights(llama, {"v": 8}), kind)


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


def load(weights: LlamaWeights, packs: Path, engine_cache: Path, path: KernelPath = PATHS[0]) -> LlamaRuntime:
    return tiny_llama.runtime(weights, packs, engine_cache / "compiled", path)


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(
    ("kind", "tied", "path"),
    [("bf16", True, PATHS[0]), ("f16", False, PATHS[0]), ("f32", True, PATHS[0])]
    + [("bf16", True, path) for path in PATHS[1:]],
)
def test_logits_are_those_of_exact_arithmetic(
    kind: FloatType, tied: bool, path: KernelPath, packs: Path, engine_cache: Path
) -> None:
    """With a LoRA and a DoRA too; and decode gives the bits of prefill."""
    weights = model(kind, tied=tied)
    runtime = load(weights, packs, engine_cache, path)
    lora = random_lora(runtime.shape, 24, size=2.0)
    factors = {"layers.1.up_proj": np.linspace(0.5, 1.5, 160, dtype=np.float32)}
    for adapter in (None, lora, replace(lora, factors=factors)):
        packed = None if adapter is None else pack_lora(runtime.shape, adapter)
        found = runtime.prefill(TOKENS, None, 0, packed).copy()
        # A key at the boundary of two float16 numbers may become the other one.
        assert error(found, CacheRounded(weights, adapter, exact=True).logits(TOKENS)[-1]) < 5e-4
        for position, token in enumerate(TOKENS):
            logits = runtime.decode(int(token), position, packed)
        assert np.array_equal(logits, found)


def test_loras_of_floats_are_added(packs: Path, engine_cache: Path) -> None:
    weights = model("bf16")
    runtime = load(weights, packs, engine_cache)
    one, other = random_lora(runtime.shape, 16, 1), random_lora(runtime.shape, 16, 2)
    parts = [(pack_lora(runtime.shape, one), 1.0), (pack_lora(runtime.shape, other), 0.0)]
    both = add_packed(runtime.shape, "both", 1, parts)
    expected = runtime.prefill(TOKENS, None, 0, parts[0][0]).copy()
    assert error(runtime.prefill(TOKENS, None, 0, both), expected) < 1e-5


@pytest.mark.parametrize("kind", TYPES)
def test_packed_weights_are_read_back(kind: FloatType, tmp_path: Path) -> None:
    weights = model(kind, tied=False)
    packed = tiny_llama.pack(weights, tmp_path)
    for role in LINEAR_ROLES:
        expected = getattr(weights.layers[1], role).dequantise()
        np.testing.assert_array_equal(module_weights(packed, f"layers.1.{role}_proj"), expected)
    ids = np.array([0, 15, 16, 332, 7])
    np.testing.assert_array_equal(packed_embedding(packed)(ids), weights.embedding.dequantise()[ids])

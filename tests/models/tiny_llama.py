"""Small random Llama models, and a reference that computes their logits in float32 numpy."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.compiler.cpu import KernelPath
from models.formats.llama_weights import LINEAR_ROLES, LlamaConfig, LlamaLayer, LlamaWeights
from models.formats.quantization import Bits, QuantizedMatrix, eight_below, quantise
from models.language.runtime import LlamaRuntime, compile_llama
from models.lora.weights import LoraWeights
from models.packing.llama_shape import LlamaShape, shape_of
from models.packing.lora_layout import ROLES
from models.packing.packed_model import PackedModel, load_or_pack

Array = NDArray[np.float32]


def config(**changes: int | float | bool) -> LlamaConfig:
    """Three query heads a key-value head, as in the default model; everything else small."""
    values: dict[str, int | float | bool] = {
        "hidden_size": 96,
        "intermediate_size": 160,
        "num_layers": 3,
        "num_heads": 6,
        "num_kv_heads": 2,
        "head_dim": 16,
        "vocab_size": 333,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**(values | changes))  # type: ignore[arg-type]


def symmetric_4_bits(weights: Array) -> QuantizedMatrix:
    """Float weights [out, inputs] as Q4_0 has them: scale * (code - 8)."""
    groups = weights.reshape(len(weights), -1, 32)
    scale = (np.abs(groups).max(axis=-1) / 7).astype(np.float16)
    codes = np.clip(np.rint(groups / scale.astype(np.float32)[..., None]) + 8, 0, 15).astype(np.uint8)
    return QuantizedMatrix(4, codes, scale, eight_below(scale))


def random_weights(
    llama: LlamaConfig,
    bits: Mapping[str, Bits] | None = None,
    head_bits: Bits = 8,
    symmetric: bool = False,
    wide: Mapping[str, int] | None = None,
) -> LlamaWeights:
    """Weights with the spread of a trained model; bits: 4 unless a role says 8. symmetric: 4 bits as in Q4_0.

    wide: by role, a bit for each layer that has 8 bits.
    """
    rng = np.random.default_rng(7)
    widths = bits or {}
    hidden, inner = llama.hidden_size, llama.intermediate_size
    attention, kv = llama.num_heads * llama.head_dim, llama.num_kv_heads * llama.head_dim
    sizes = {"q": (attention, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, attention)}
    sizes |= {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}

    def matrix(rows: int, columns: int) -> Array:
        return (rng.normal(size=(rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def coded(values: Array, width: Bits) -> QuantizedMatrix:
        return symmetric_4_bits(values) if symmetric and width == 4 else quantise(values, width)

    masks = {role: (wide or {}).get(role, 0) for role in LINEAR_ROLES}

    def width(role: str, layer: int) -> Bits:
        return 8 if masks[role] >> layer & 1 else widths.get(role, 4)

    layers = [
        LlamaLayer(
            **{role: coded(matrix(*sizes[role]), width(role, layer)) for role in LINEAR_ROLES},
            attention_norm=rng.uniform(0.5, 1.5, hidden).astype(np.float32),
            mlp_norm=rng.uniform(0.5, 1.5, hidden).astype(np.float32),
        )
        for layer in range(llama.num_layers)
    ]
    parts = (llama, sorted(widths.items()), head_bits, symmetric, sorted(masks.items()))
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return LlamaWeights(
        config=llama,
        embedding=quantise(matrix(llama.vocab_size, hidden), 8),
        layers=layers,
        final_norm=rng.uniform(0.5, 1.5, hidden).astype(np.float32),
        head=None if llama.tie_word_embeddings else coded(matrix(llama.vocab_size, hidden), head_bits),
        digest=digest,
        symmetric=symmetric,
        wide_layers=tuple(masks.values()) if wide else (),
    )


def with_embedding_rest(weights: LlamaWeights) -> LlamaWeights:
    """The same with an embedding of 16 bits, as if it had been stored as floats."""
    rng = np.random.default_rng(8)
    step = weights.embedding.scale.astype(np.float32).repeat(32, axis=1)  # [vocab, hidden]
    rest = quantise((rng.uniform(-0.5, 0.5, step.shape) * step).astype(np.float32), 8)
    return replace(weights, embedding_rest=rest, digest=hashlib.sha256(weights.digest.encode()).hexdigest())


def random_lora(shape: LlamaShape, rank: int, seed: int = 0, size: float = 0.5) -> LoraWeights:
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for layer in range(shape.layers):
        for role in ROLES:
            outputs, inputs = shape.matrix(role)
            name = f"layers.{layer}.{role}_proj"
            tensors[f"{name}.A"] = (rng.normal(size=(rank, inputs)) / np.sqrt(inputs)).astype(np.float32)
            spread = size / np.sqrt(rank)
            tensors[f"{name}.B"] = (rng.normal(size=(outputs, rank)) * spread).astype(np.float32)
    return LoraWeights(f"random-{seed}", 1, rank, tensors)


def pack(weights: LlamaWeights, folder: Path) -> PackedModel:
    return load_or_pack(weights.digest, lambda: weights, folder)


def runtime(
    weights: LlamaWeights,
    folder: Path,
    compiled: Path,
    path: KernelPath,
    threads: int = 2,
    context_length: int = 512,
    max_rows: int = 64,
) -> LlamaRuntime:
    packed = pack(weights, folder)
    library = compile_llama(shape_of(weights), path, compiled)
    return LlamaRuntime(packed, library, threads, context_length, max_rows)


def rounded(x: Array, group: int = 32) -> Array:
    """Activations rounded to int8 and back, with one scale for each group along the last axis."""
    grouped = x.reshape(*x.shape[:-1], -1, group)
    scale = np.maximum(np.abs(grouped).max(axis=-1, keepdims=True), 1e-30) / 127
    return (np.rint(grouped / scale) * scale).reshape(x.shape).astype(np.float32)


class Reference:
    """The same model in float32: activations, LoRA and cache rounded as in the kernels, or exact."""

    def __init__(self, weights: LlamaWeights, lora: LoraWeights | None = None, exact: bool = False) -> None:
        self.weights = weights
        self.lora = lora
        self.exact = exact

    @functools.cached_property
    def embedding(self) -> Array:
        rest = self.weights.embedding_rest
        return self.weights.embedding.dequantise() + (0 if rest is None else rest.dequantise())

    def logits(self, tokens: NDArray[np.int32], image_rows: Array | None = None) -> Array:
        """[tokens, vocab]."""
        config = self.weights.config
        rows = [
            self.embedding[token] if token >= 0 else np.asarray(image_rows)[-token - 1] for token in tokens
        ]
        x = np.stack(rows)
        for number in range(config.num_layers):
            layer = self.weights.layers[number]
            normed = self._norm(x, layer.attention_norm)
            heads = self._attend(*(self._linear(number, role, normed) for role in ("q", "k", "v")))
            x = x + self._linear(number, "o", heads)
            normed = self._norm(x, layer.mlp_norm)
            gate, up = self._linear(number, "gate", normed), self._linear(number, "up", normed)
            x = x + self._linear(number, "down", gate / (1 + np.exp(-gate)) * up)
        head = (self.weights.head or self.weights.embedding).dequantise()
        x = self._norm(x, self.weights.final_norm)
        return (x if self.exact else rounded(x)) @ head.T

    def _linear(self, layer: int, role: str, x: Array) -> Array:
        given = full = x
        if not self.exact:
            x = given = rounded(x)
            if layer == 0 and self.weights.embedding_rest is not None:  # see LlamaShape.planes
                given = x + rounded(full - x)
        result = given @ getattr(self.weights.layers[layer], role).dequantise().T
        if self.lora is not None:
            a = self.lora.tensors.get(f"layers.{layer}.{role}_proj.A")
            b = self.lora.tensors.get(f"layers.{layer}.{role}_proj.B")
            if a is not None and b is not None:
                result = result + self._adapt(x, a, b)
            result = result * self.lora.factors.get(f"layers.{layer}.{role}_proj", np.float32(1))
        return result

    def _adapt(self, x: Array, a: Array, b: Array) -> Array:
        """B (A x); rounded: A by 32 inputs, A x and B by 16 ranks."""
        if self.exact:
            return x @ a.T @ b.T
        more = -a.shape[0] % 16
        a, b = np.pad(a, ((0, more), (0, 0))), np.pad(b, ((0, 0), (0, more)))
        result: Array = rounded(x @ rounded(a).T, 16) @ rounded(b, 16).T
        return result

    def _norm(self, x: Array, weight: Array) -> Array:
        mean = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean + self.weights.config.rms_norm_eps) * weight

    def _attend(self, q: Array, k: Array, v: Array) -> Array:
        config, count = self.weights.config, len(q)
        queries = self._rotate(q.reshape(count, config.num_heads, config.head_dim))
        keys = self._rotate(k.reshape(count, config.num_kv_heads, config.head_dim))
        values = v.reshape(count, config.num_kv_heads, config.head_dim)
        if not self.exact:  # the cache is float16
            keys, values = (array.astype(np.float16).astype(np.float32) for array in (keys, values))
        group = config.num_heads // config.num_kv_heads
        scores = np.einsum("qhd,khd->hqk", queries, np.repeat(keys, group, axis=1)) / np.sqrt(config.head_dim)
        scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        out: Array = np.einsum("hqk,khd->qhd", weights, np.repeat(values, group, axis=1)).reshape(count, -1)
        return out

    def _rotate(self, x: Array) -> Array:
        config = self.weights.config
        steps = np.arange(0, config.head_dim, 2) / config.head_dim
        angles = np.arange(len(x))[:, None] * config.rope_theta**-steps
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        low, high = np.split(x, 2, axis=-1)
        return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).astype(np.float32)

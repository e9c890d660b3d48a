"""Random vision towers of small sizes, and a NumPy implementation of the tower to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.formats.quantization import GROUP, QuantizedMatrix, quantise
from models.formats.siglip_weights import SiglipConfig, SiglipWeights, expected_shapes
from models.lora.vision_lora import VisionLora
from models.vision.siglip.shape import LINEAR_ROLES

DIGEST = "5e" * 32

# Like the towers of the models: heads of 64 and 72, an MLP and patches that 32 does not divide, pixels at the right
# and lower side that go unseen, and numbers of patches that the tiles of rows and of keys do not divide.
CONFIGS = {
    "b16": SiglipConfig(128, 192, 2, 2, 128, 16, 1e-6, 4, 96),
    "so400m": SiglipConfig(144, 272, 2, 2, 130, 14, 1e-6, 3, 80),
}


class RandomTower:
    """A source of random tensors."""

    def __init__(self, config: SiglipConfig, seed: int = 0) -> None:
        self.path, self.config = Path("random"), config
        random = np.random.default_rng(seed)
        self.tensors = {name: _random(random, name, shape) for name, shape in expected_shapes(config).items()}

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return expected_shapes(self.config)

    def floats(self, name: str) -> NDArray[np.float32]:
        return self.tensors[name]

    def matrix(self, name: str) -> QuantizedMatrix:
        values = self.tensors[name]
        return quantise(np.pad(values, ((0, 0), (0, -values.shape[1] % GROUP))), 8)


def _random(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = random.standard_normal(shape)
    if name.endswith("norm1.weight") or name.endswith("norm2.weight") or name == "final_norm.weight":
        return (1 + 0.2 * values).astype(np.float32)
    if name.endswith("weight"):
        gain = 2.0 if ".q." in name or ".k." in name else 1.0  # attention that is far from uniform
        return (gain * values / np.sqrt(shape[-1])).astype(np.float32)
    return (0.1 * values).astype(np.float32)


def random_lora(config: SiglipConfig, rank: int = 5, seed: int = 7) -> VisionLora:
    """A LoRA on all modules but "o" and the first layer's "v", with factors on "q", "fc2" and the connector."""
    random = np.random.default_rng(seed)
    tensors, factors = {}, {}
    for name, shape in expected_shapes(config).items():
        module, _, part = name.rpartition(".")
        if part != "weight" or not (module == "connector" or module.split(".")[-1] in LINEAR_ROLES):
            continue
        if not (module.endswith(".o") or module == "layers.0.v"):
            tensors[f"{module}.A"] = random.normal(0, 1 / np.sqrt(shape[1]), (rank, shape[1]))
            tensors[f"{module}.B"] = random.normal(0, 0.5 / np.sqrt(rank), (shape[0], rank))
        if module.endswith((".q", ".fc2", "connector")):
            factors[module] = random.uniform(0.6, 1.4, shape[0]).astype(np.float32)
    return VisionLora(
        rank, {name: tensor.astype(np.float32) for name, tensor in tensors.items()}, factors=factors
    )


def merged_weights(config: SiglipConfig, lora: VisionLora) -> SiglipWeights:
    """The random weights with an adapter merged into them."""
    tower = RandomTower(config)
    if lora.connector is not None:
        tower.tensors["connector.weight"] = lora.connector
    for module in {name.rpartition(".")[0] for name in lora.tensors}:
        tower.tensors[f"{module}.weight"] = (
            tower.tensors[f"{module}.weight"] + lora.tensors[f"{module}.B"] @ lora.tensors[f"{module}.A"]
        )
    for module, factors in lora.factors.items():
        tower.tensors[f"{module}.weight"] = tower.tensors[f"{module}.weight"] * factors[:, None]
    return SiglipWeights(tower, DIGEST)


def random_weights(config: SiglipConfig, seed: int = 0) -> SiglipWeights:
    return SiglipWeights(RandomTower(config, seed), DIGEST)


def random_tile(config: SiglipConfig, seed: int = 0) -> NDArray[np.uint8]:
    """Pixels that change slowly, with some noise: uint8 [3, s, s]."""
    random = np.random.default_rng(seed)
    size = config.image_size
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in random.uniform(0, 3, (3, 3))]
    values = 127.5 + 90 * np.stack(waves) + random.normal(0, 15, (3, size, size))
    return np.clip(values, 0, 255).astype(np.uint8)


class ReferenceTower:
    """The tower in float64. Rounds activations and attention's operands as the kernels do if `rounding`."""

    def __init__(self, weights: SiglipWeights, rounding: bool) -> None:
        self.config, self.weights, self.rounding = weights.config, weights, rounding

    def hidden_states(self, tile: NDArray[np.uint8], layers: int) -> NDArray[np.float64]:
        config = self.config
        side, patch = config.side, config.patch
        pixels = tile[:, : side * patch, : side * patch].astype(np.float64) / 127.5 - 1
        cut = pixels.reshape(3, side, patch, side, patch).transpose(1, 3, 0, 2, 4).reshape(side * side, -1)
        x = cut @ self._matrix("patch_embedding").T + self._vector("patch_embedding.bias")
        x = x + self._vector("positions")
        for layer in range(layers):
            name = f"layers.{layer}."
            normal = self._norm(x, f"{name}norm1")
            q, k, v = (self._linear(normal, name + role) for role in "qkv")
            x = x + self._linear(self._attention(q, k, v), name + "o")
            inner = self._linear(self._norm(x, f"{name}norm2"), name + "fc1")
            inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
            x = x + self._linear(inner, name + "fc2")
        return x

    def encode(self, tile: NDArray[np.uint8]) -> NDArray[np.float64]:
        config = self.config
        s, side = config.scale_factor, config.side
        x = self._norm(self.hidden_states(tile, config.layers), "final_norm")
        across = side // s
        squares = x.reshape(across, s, across, s, -1).transpose(0, 2, 1, 3, 4).reshape(across**2, -1)
        return self._linear(squares, "connector", bias=False)

    def _linear(self, x: NDArray[np.float64], name: str, bias: bool = True) -> NDArray[np.float64]:
        y = self._round(x) @ self._matrix(name).T
        return y + self._vector(f"{name}.bias") if bias else y

    def _round(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.rounding:
            return x
        wide = np.pad(x, ((0, 0), (0, -x.shape[1] % GROUP))).reshape(len(x), -1, GROUP)
        scale = np.maximum(np.abs(wide).max(axis=-1, keepdims=True), 1e-12) / 127
        return (np.rint(wide / scale) * scale).reshape(len(x), -1)[:, : x.shape[1]]

    def _attention(
        self, q: NDArray[np.float64], k: NDArray[np.float64], v: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        heads = self.config.heads
        q, k, v = (each.reshape(len(each), heads, -1).transpose(1, 0, 2) for each in (q, k, v))
        if self.rounding:
            q, k, v = (_codes(each) for each in (q, k, v))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mass = weights.sum(axis=-1, keepdims=True)
        return (weights @ v / mass).transpose(1, 0, 2).reshape(q.shape[1], -1)

    def _norm(self, x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        apart = x - x.mean(axis=-1, keepdims=True)
        normal = apart / np.sqrt((apart**2).mean(axis=-1, keepdims=True) + self.config.norm_eps)
        return normal * self._vector(f"{name}.weight") + self._vector(f"{name}.bias")

    def _matrix(self, name: str) -> NDArray[np.float64]:
        values = self.weights.floats(f"{name}.weight")
        if not self.rounding or name == "patch_embedding":  # which is stored in two parts
            return values.astype(np.float64)
        if name == "connector" and self.config.hidden % GROUP:  # groups do not reach over two patches
            parts = values.reshape(-1, self.config.hidden)
            wide = np.pad(parts, ((0, 0), (0, -parts.shape[1] % GROUP)))
            return (
                quantise(wide, 8).dequantise()[:, : parts.shape[1]].reshape(values.shape).astype(np.float64)
            )
        wide = self.weights.matrix(f"{name}.weight").dequantise()
        return wide[:, : values.shape[1]].astype(np.float64)

    def _vector(self, name: str) -> NDArray[np.float64]:
        return self.weights.floats(name).astype(np.float64)


def _codes(x: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = np.abs(x).max(axis=-1, keepdims=True) / 4095
    return np.rint(x / scale) * scale


def distance(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """The norm of the difference over the norm."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

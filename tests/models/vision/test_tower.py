"""The vision tower: its kernels against numpy on odd shapes, all of it against PyTorch, every kernel path."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.compiler.compile import compile_object, compile_or_load
from models.compiler.cpu import KernelPath, code_target
from models.compiler.threads import use_threads
from models.compiler.tvm_runtime import Library, aligned_zeros, as_tensor
from models.core.errors import UserError
from models.core.types import Image
from models.formats.torch_checkpoint import read_checkpoint
from models.hub.store import ModelFiles
from models.vision.efficientnet import PackedTower, pack_tower
from models.vision.preprocess import prepare
from models.vision.tower import VisionTower
from tests.models.vision.vision_cases import PATHS, compiled_dir, drawn_images, random_checkpoint

REFERENCE = Path(__file__).parents[2] / "fixtures" / "numerics" / "tower_reference.npz"
FUSED = tuple(path for path in PATHS if path != "generic")
RANDOM = np.random.default_rng(3)


@cache
def compiled(path: KernelPath) -> Library:
    library = compile_or_load("vision", "models.vision.kernels:tower_module", {}, path, compiled_dir())
    use_threads(2)
    return library


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with the same random numbers, whichever test ran before."""
    monkeypatch.setattr(sys.modules[__name__], "RANDOM", np.random.default_rng(3))


def uniform(*shape: int) -> NDArray[np.float32]:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


class Memory:
    """Work and weights for kernels that are called one by one; -7777 where nothing was written."""

    def __init__(self) -> None:
        self.work = aligned_zeros(400_000, np.float32)
        self.work[:] = -7777
        self.weights = aligned_zeros(200_000, np.float32)
        self._work_end = self._weights_end = 0

    def put(self, values: NDArray[np.float32]) -> int:
        """Into work; returns where."""
        at = self.reserve(values.size)
        self.work[at : at + values.size] = values.reshape(-1)
        return at

    def reserve(self, size: int) -> int:
        at, self._work_end = self._work_end, self._work_end + -(-size // 16) * 16 + 16 * 1300
        return at

    def weight(self, values: NDArray[np.float32]) -> int:
        at, self._weights_end = self._weights_end, self._weights_end + -(-values.size // 16) * 16
        self.weights[at : at + values.size] = values.reshape(-1)
        return at

    def call(self, library: Library, name: str, *scalars: int) -> None:
        library[name](*scalars, as_tensor(self.work), as_tensor(self.weights))

    def get(self, at: int, *shape: int) -> NDArray[np.float32]:
        return self.work[at : at + int(np.prod(shape))].reshape(shape).copy()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("pixels", "inputs", "stride", "blocks", "chunk"),
    [(1, 4, 16, 1, 192), (12, 24, 32, 2, 12), (13, 16, 16, 3, 1), (50, 88, 96, 5, 30), (169, 20, 32, 1, 500)],
)
@pytest.mark.parametrize(("adds", "relu"), [(False, True), (True, False)])
def test_pointwise(
    path: KernelPath, pixels: int, inputs: int, stride: int, blocks: int, chunk: int, adds: bool, relu: bool
) -> None:
    memory = Memory()
    x, w, bias = uniform(pixels, stride) * 4, uniform(inputs, blocks * 16), uniform(blocks * 16)
    residual = uniform(pixels, blocks * 16)
    source, target = memory.put(x), memory.reserve(pixels * blocks * 16)
    residual_at = memory.put(residual) if adds else -1
    weights_at = memory.weight(w.reshape(inputs, blocks, 16).transpose(1, 0, 2))
    scalars = (pixels, inputs, stride, blocks, chunk, source, target, residual_at, int(relu), weights_at)
    memory.call(compiled(path), "pointwise", *scalars, memory.weight(bias))
    wanted = x[:, :inputs].astype(np.float64) @ w + bias + (residual if adds else 0)
    wanted = wanted.clip(0, 6) if relu else wanted
    np.testing.assert_allclose(memory.get(target, pixels, blocks * 16), wanted, atol=3e-5)
    assert np.array_equal(memory.get(source, pixels, stride), x)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize(
    ("images", "side", "blocks"), [(1, 5, 1), (2, 6, 3), (1, 9, 2), (2, 17, 1), (1, 40, 1)]
)
def test_depthwise(path: KernelPath, kernel: int, stride: int, images: int, side: int, blocks: int) -> None:
    memory, channels = Memory(), blocks * 16
    outputs = -(-side // stride)
    padding = max((outputs - 1) * stride + kernel - side, 0)
    before = padding // 2
    x, w, bias = uniform(images, side, side, channels), uniform(kernel, kernel, channels), uniform(channels)
    source, target = memory.put(x), memory.reserve(images * outputs**2 * channels)
    scalars = (images, side, outputs, before, blocks, source, target, memory.weight(w), memory.weight(bias))
    memory.call(compiled(path), f"depthwise_{kernel}_{stride}", *scalars)
    border = (before, padding - before)
    padded = np.pad(x.astype(np.float64), ((0, 0), border, border, (0, 0)))
    wanted = np.zeros((images, outputs, outputs, channels)) + bias
    for i in range(kernel):
        for j in range(kernel):
            rows, columns = slice(i, i + outputs * stride, stride), slice(j, j + outputs * stride, stride)
            wanted += padded[:, rows, columns][:, :outputs, :outputs] * w[i, j]
    made = memory.get(target, images, outputs, outputs, channels)
    np.testing.assert_allclose(made, wanted.clip(0, 6), atol=1e-5)
    assert (memory.work[target + made.size : target + made.size + 16] == -7777).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("side", [12, 13, 31])
def test_stem(path: KernelPath, side: int) -> None:
    memory, images = Memory(), 2
    x, w, bias = uniform(images, 2 * side + 1, 2 * side + 1, 3), uniform(3, 3, 3, 32), uniform(32)
    source, target = memory.put(x), memory.reserve(images * side**2 * 32)
    weights_at = memory.weight(w.reshape(27, 2, 16).transpose(1, 0, 2))
    memory.call(compiled(path), "stem", images, side, source, target, weights_at, memory.weight(bias))
    wanted = np.zeros((images, side, side, 32)) + bias
    for i in range(3):
        for j in range(3):
            wanted += x[:, i : i + 2 * side : 2, j : j + 2 * side : 2].astype(np.float64) @ w[i, j]
    np.testing.assert_allclose(memory.get(target, images, side, side, 32), wanted.clip(0, 6), atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_average(path: KernelPath) -> None:
    memory = Memory()
    x = uniform(2, 81, 48)
    source, target = memory.put(x), memory.reserve(2 * 48)
    memory.call(compiled(path), "average", 2, 81, 3, source, target)
    np.testing.assert_allclose(memory.get(target, 2, 48), x.mean(axis=1), atol=1e-6)


def packed(model_files: ModelFiles) -> PackedTower:
    return pack_tower(read_checkpoint(model_files.files["vision_tower"]))


@pytest.fixture(scope="module")
def real(model_files: ModelFiles) -> VisionTower:
    return VisionTower.load(packed(model_files), PATHS[0], compiled_dir(), 2)


def drawn(name: str) -> Image:
    return Image(drawn_images()[name], digest=name, name=name)


@pytest.mark.parametrize("name", drawn_images())
def test_features_and_classes_are_pytorch_s(real: VisionTower, name: str) -> None:
    """Largest differences seen: 2e-5 of features up to 6, and 6e-5 of stage maps up to 40."""
    with np.load(REFERENCE) as reference:
        features = real.features(drawn(name), maps=True)
        np.testing.assert_allclose(features.pool, reference[f"{name}_pool"], atol=5e-5)
        np.testing.assert_allclose(features.grid[::10], reference[f"{name}_grid"], atol=3e-4)
        np.testing.assert_allclose(features.stages["s8"][::100], reference[f"{name}_s8"], atol=5e-4)
        np.testing.assert_allclose(features.stages["s16"][::30], reference[f"{name}_s16"], atol=5e-4)
        logits = real.packed.classifier @ features.pool + real.packed.classifier_bias
        best = np.argsort(-logits)[:5]
        assert best.tolist() == reference[f"{name}_classes"].tolist()
        np.testing.assert_allclose(logits[best], reference[f"{name}_logits"], atol=2e-4)


def test_shapes_and_what_is_left_out(real: VisionTower) -> None:
    features = real.features(drawn("disc"))
    assert features.pool.shape == (1280,)
    assert features.grid.shape == (81, 1280)
    assert np.array_equal(features.colour, prepare(drawn_images()["disc"]).colour)
    assert features.stages == {}
    stages = real.features(drawn("disc"), maps=True).stages
    assert {name: stage.shape for name, stage in stages.items()} == {"s8": (1089, 48), "s16": (289, 120)}


def test_an_image_s_features_do_not_depend_on_what_came_before(real: VisionTower) -> None:
    first = real.features(drawn("waves"), maps=True)
    kept = first.grid.copy()
    real.features(drawn("blocks"))
    again = real.features(drawn("waves"), maps=True)
    assert np.array_equal(first.grid, kept)
    assert np.array_equal(first.pool, again.pool)
    assert np.array_equal(first.stages["s8"], again.stages["s8"])


def test_the_number_of_threads_changes_nothing(real: VisionTower, model_files: ModelFiles) -> None:
    single = VisionTower.load(packed(model_files), PATHS[0], compiled_dir(), 1)
    assert np.array_equal(single.features(drawn("disc")).grid, real.features(drawn("disc")).grid)


@pytest.mark.slow
def test_kernel_paths_agree(model_files: ModelFiles) -> None:
    """Bit for bit where there is a fused multiply-add; the generic path within rounding (features to 6)."""
    packed = pack_tower(read_checkpoint(model_files.files["vision_tower"]))
    made = {
        path: VisionTower(packed, compiled(path), 2).features(drawn("waves"), maps=True) for path in PATHS
    }
    for path, features in made.items():
        if path in FUSED:
            assert np.array_equal(features.grid, made[FUSED[0]].grid)
            assert np.array_equal(features.pool, made[FUSED[0]].pool)
        np.testing.assert_allclose(features.grid, made[PATHS[0]].grid, atol=3e-4)
        np.testing.assert_allclose(features.stages["s8"], made[PATHS[0]].stages["s8"], atol=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    ["models.vision.kernels:tower_module", "models.vision.projector.projection:projector_module"],
)
def test_the_arm_path_compiles_without_calls_into_libraries(build: str) -> None:
    code = compile_object(build, {}, "neon", code_target("neon", "aarch64", "aarch64-linux-gnu"))
    assert code[:4] == b"\x7fELF"
    assert code[18] == 183  # the machine is AArch64
    assert not [name for name in (b"expf", b"fmaf", b"memcpy", b"TVMBackendAllocWorkspace") if name in code]


def test_other_checkpoints_are_refused() -> None:
    good = random_checkpoint(1)
    pack_tower(good)
    without = {name: value for name, value in good.items() if name != "_blocks.7._bn2.bias"}
    for tensors, words in (
        (without, "lack _blocks.7._bn2.bias"),
        (good | {"_fc.bias": np.zeros(10, np.float32)}, "_fc.bias"),
        (good | {"_se_reduce.weight": np.zeros(10, np.float32)}, "_se_reduce.weight"),
        (good | {"_conv_head.weight": np.full((1280, 352, 1, 1), np.nan, np.float32)}, "_conv_head.weight"),
    ):
        with pytest.raises(UserError, match=words):
            pack_tower(tensors)

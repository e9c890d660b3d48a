"""Every kernel path: the same answers, only instructions of its set, no calls into libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.compiler.cpu import KernelPath, choose_path, detect
from models.formats.llama_weights import LlamaWeights
from models.language.runtime import LlamaRuntime
from models.lora.weights import pack_lora
from tests.models import tiny_llama
from tests.models.tiny_llama import Reference, random_lora

TOKENS = np.random.default_rng(5).integers(0, 333, 90).astype(np.int32)
WEIGHTS = tiny_llama.random_weights(tiny_llama.config(), {"v": 8}, wide={"down": 0b101})
SYMMETRIC = tiny_llama.random_weights(
    tiny_llama.config(num_layers=2), {"v": 8}, symmetric=True, wide={"k": 0b10}
)
OTHERS: tuple[KernelPath, ...] = ("avxvnni", "avx2", "neon", "generic")


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


def load(path: KernelPath, packs: Path, engine_cache: Path, weights: LlamaWeights = WEIGHTS) -> LlamaRuntime:
    if not detect().supports(path):
        pytest.skip(f"this processor has no {path}")
    return tiny_llama.runtime(weights, packs, engine_cache / "compiled", path)


def error(runtime: LlamaRuntime, weights: LlamaWeights) -> float:
    """The median over nine short prompts of the relative error of the logits.

    In a few prompts of a hundred a value lies at a rounding boundary and gets the neighbouring code, which is an error
    of 1e-2. Which ones these are depends on the order of sums.
    """
    reference = Reference(weights)
    errors = []
    for start in range(0, 45, 5):
        expected = reference.logits(TOKENS[start : start + 3])[-1]
        got = runtime.prefill(TOKENS[start : start + 3], None, 0)
        errors.append(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    return float(np.median(errors))


@pytest.mark.slow
@pytest.mark.parametrize("path", OTHERS)
def test_every_path_gives_the_same_answers(path: KernelPath, packs: Path, engine_cache: Path) -> None:
    """Bit for bit where there is a fused multiply-add; "generic" rounds products, and stays as close to the
    reference as the others."""
    runtime = load(path, packs, engine_cache)
    best = load(choose_path(detect(), ""), packs, engine_cache)
    lora = random_lora(best.shape, 24)
    dora = replace(lora, factors={"layers.1.up_proj": np.linspace(0.5, 1.5, 160, dtype=np.float32)})
    for packed in (None, pack_lora(best.shape, lora), pack_lora(best.shape, dora)):
        got = runtime.prefill(TOKENS, None, 0, packed).copy()
        if path != "generic":
            assert np.array_equal(got, best.prefill(TOKENS, None, 0, packed))
        for position, token in enumerate(TOKENS):
            logits = runtime.decode(int(token), position, packed)
        assert np.array_equal(logits, got)
    assert error(runtime, WEIGHTS) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("path", OTHERS)
def test_every_path_gives_the_same_answers_without_minimums(
    path: KernelPath, packs: Path, engine_cache: Path
) -> None:
    runtime = load(path, packs, engine_cache, SYMMETRIC)
    got = runtime.prefill(TOKENS[:20], None, 0).copy()
    if path != "generic":
        best = load(choose_path(detect(), ""), packs, engine_cache, SYMMETRIC)
        assert np.array_equal(got, best.prefill(TOKENS[:20], None, 0))
    for position, token in enumerate(TOKENS[:20]):
        logits = runtime.decode(int(token), position)
    assert np.array_equal(logits, got)
    assert error(runtime, SYMMETRIC) < 1e-4


CODE = {
    "neon": ("neon", "aarch64", "aarch64-linux-gnu"),
    "neon-macos": ("neon", "aarch64", "arm64-apple-macos", "llama_decode"),
    "generic": ("generic", "x86_64", "x86_64-linux-gnu"),
    "avx2": ("avx2", "x86_64", "x86_64-linux-gnu"),
    "avx512vnni": ("avx512vnni", "x86_64", "x86_64-linux-gnu"),
}
"""Arguments of cross_compile. Of the code for macOS, which differs in its names alone, one function is enough."""


def inspect(arguments: tuple[str, ...]) -> dict[str, Any]:
    """What the machine code for some processor uses."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-m", "tests.models.kernels.cross_compile", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    answer: dict[str, Any] = json.loads(output)
    return answer


@pytest.fixture(scope="module")
def inspections(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[dict[str, Any]]]]:
    """By the names of CODE, for all tests that run. Each takes a minute of one processor, so two run at a time."""
    specs = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    wanted = [spec.params["code"] for spec in specs if spec is not None and "code" in spec.params]
    pool = ThreadPoolExecutor(2)
    yield {name: pool.submit(inspect, CODE[name]) for name in dict.fromkeys(wanted)}
    pool.shutdown(cancel_futures=True)


@pytest.fixture
def code(request: pytest.FixtureRequest, inspections: Mapping[str, Future[dict[str, Any]]]) -> dict[str, Any]:
    """What the code of the test's parameter uses."""
    return inspections[request.param].result()


# What code may call: itself, the runtime's error message, and clearing memory from the C library.
ALLOWED = ("llama_", "__tvm_", "TVMFFI", "memset", "bzero")


def foreign_instructions(answer: dict[str, Any]) -> list[str]:
    """Calls that are neither ours nor allowed, such as fmaf or __extendhfsf2."""
    names = [str(call) for call in answer["calls"]]
    return [name for name in names if not name.lstrip("_").startswith(tuple(a.lstrip("_") for a in ALLOWED))]


@pytest.mark.slow
@pytest.mark.parametrize("code", ["neon", "neon-macos"], indirect=True)
def test_neon_code_uses_the_dot_product(code: dict[str, Any]) -> None:
    used = code["instructions"]
    assert used.get("sdot", 0) + used.get("sdot.4s", 0) > 100
    assert used.get("fcvtl", 0) > 0  # float16 in hardware
    assert foreign_instructions(code) == []


@pytest.mark.slow
@pytest.mark.parametrize("code", ["generic"], indirect=True)
def test_generic_code_stays_within_the_baseline(code: dict[str, Any]) -> None:
    assert code["registers"] == ["xmm"]
    assert not any(word.startswith("v") for word in code["instructions"])
    assert foreign_instructions(code) == []


@pytest.mark.slow
@pytest.mark.parametrize("code", ["avx2"], indirect=True)
def test_avx2_code_uses_no_avx512(code: dict[str, Any]) -> None:
    assert code["registers"] == ["xmm", "ymm"]
    assert code["instructions"]["vpmaddubsw"] > 100
    assert foreign_instructions(code) == []


@pytest.mark.slow
@pytest.mark.parametrize("code", ["avx512vnni"], indirect=True)
def test_registers_never_become_heap_memory(code: dict[str, Any]) -> None:
    assert foreign_instructions(code) == []

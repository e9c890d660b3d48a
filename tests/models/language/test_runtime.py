"""The runtime on small random models: what is computed, and that it never depends on how it was asked for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.compiler.cpu import choose_path, detect
from models.formats.llama_weights import LlamaWeights
from models.formats.quantization import Bits
from models.language.runtime import LlamaRuntime, rotary_table
from models.lora.weights import LoraWeights, PackedLora, add_packed, pack_lora
from tests.models import tiny_llama
from tests.models.tiny_llama import Reference, random_lora

TOKENS = np.random.default_rng(0).integers(0, 333, 150).astype(np.int32)


@pytest.fixture(scope="module")
def weights() -> LlamaWeights:
    return tiny_llama.random_weights(tiny_llama.config())


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def compiled(engine_cache: Path) -> Path:
    return engine_cache / "compiled"


@pytest.fixture(scope="module")
def runtime(weights: LlamaWeights, packs: Path, compiled: Path) -> LlamaRuntime:
    return tiny_llama.runtime(weights, packs, compiled, choose_path(detect(compiled)))


def relative_error(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Of vectors with their means removed (a common shift of all logits means nothing)."""
    got, expected = got - got.mean(), expected - expected.mean()
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def errors_of_short_prompts(
    runtime: LlamaRuntime, reference: Reference, lora: PackedLora | None = None, tokens: int = 3
) -> NDArray[np.float64]:
    """Relative errors [9] of the last logits of nine prompts of so many tokens, sorted.

    Kernel and reference round activations to the same int8 codes, but they sum in different orders, and numpy's
    order depends on the processor. A value that lies at a rounding boundary then gets the neighbouring code, and
    the error of that prompt jumps from 1e-7 to 1e-2. That happens to a few prompts in a hundred, other ones on each
    processor. A wrong kernel is wrong for all prompts, so tests bound the median tightly and the worst loosely.
    """
    prompts = [TOKENS[start : start + tokens] for start in range(0, 45, 5)]
    errors = [
        relative_error(runtime.prefill(prompt, None, 0, lora), reference.logits(prompt)[-1])
        for prompt in prompts
    ]
    return np.sort(errors)


def decoded(
    runtime: LlamaRuntime, tokens: NDArray[np.int32], start: int = 0, lora: PackedLora | None = None
) -> NDArray[np.float32]:
    for offset, token in enumerate(tokens):
        logits = runtime.decode(int(token), start + offset, lora)
    return logits.copy()


def test_logits_are_those_of_a_reference_with_the_same_rounding(
    runtime: LlamaRuntime, weights: LlamaWeights
) -> None:
    """The longer the prompt, the likelier that a code differs: see errors_of_short_prompts."""
    reference = Reference(weights)
    errors = errors_of_short_prompts(runtime, reference)
    assert np.median(errors) < 1e-5
    assert errors[-1] < 0.03
    expected = reference.logits(TOKENS)
    for count, bound in ((1, 0.03), (17, 0.03), (64, 0.03), (65, 0.03), (150, 0.03)):
        assert relative_error(runtime.prefill(TOKENS[:count], None, 0), expected[count - 1]) < bound


def test_rounding_activations_costs_little(runtime: LlamaRuntime, weights: LlamaWeights) -> None:
    expected = Reference(weights, exact=True).logits(TOKENS)
    for count in (1, 2, 17, 64, 65, 150):
        assert relative_error(runtime.prefill(TOKENS[:count], None, 0), expected[count - 1]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "bits", "head_bits"),
    [
        (
            {"num_heads": 8, "num_kv_heads": 1, "head_dim": 48, "tie_word_embeddings": False},
            {"v": 8, "down": 8},
            4,
        ),
        (
            {"hidden_size": 128, "num_heads": 2, "num_kv_heads": 1, "head_dim": 128, "num_layers": 2},
            {"q": 8},
            8,
        ),
    ],
)
def test_other_shapes_and_widths(
    changes: dict[str, int], bits: dict[str, Bits], head_bits: Bits, packs: Path, compiled: Path
) -> None:
    weights = tiny_llama.random_weights(tiny_llama.config(**changes), bits, head_bits)
    weights = tiny_llama.with_embedding_rest(weights) if changes["head_dim"] == 48 else weights
    runtime = tiny_llama.runtime(weights, packs, compiled, choose_path(detect(compiled)))
    reference = Reference(weights)
    # What a second rounding of 8 bits leaves lies at a boundary more often: one token has fewer values, and a quarter
    # of the prompts is enough, since a wrong kernel is wrong for all.
    tokens, place = (1, 2) if weights.embedding_rest is not None else (3, 4)
    assert errors_of_short_prompts(runtime, reference, tokens=tokens)[place] < 1e-4
    expected = reference.logits(TOKENS)
    got = runtime.prefill(TOKENS, None, 0).copy()
    assert relative_error(got, expected[-1]) < 0.04
    assert np.array_equal(decoded(runtime, TOKENS), got)


@pytest.mark.slow
def test_4_bits_without_minimums(packs: Path, compiled: Path) -> None:
    llama = tiny_llama.config(tie_word_embeddings=False)
    weights = tiny_llama.random_weights(llama, {"v": 8}, 4, symmetric=True)
    runtime = tiny_llama.runtime(weights, packs, compiled, choose_path(detect(compiled)))
    assert runtime.shape.symmetric
    assert np.median(errors_of_short_prompts(runtime, Reference(weights))) < 1e-4
    lora = pack_lora(runtime.shape, random_lora(runtime.shape, 16))
    got = runtime.prefill(TOKENS, None, 0, lora).copy()
    assert np.array_equal(decoded(runtime, TOKENS, lora=lora), got)


def test_decode_gives_the_bits_of_prefill(runtime: LlamaRuntime) -> None:
    got = runtime.prefill(TOKENS, None, 0).copy()
    hidden = runtime.hidden_state()
    assert np.array_equal(decoded(runtime, TOKENS), got)
    assert np.array_equal(runtime.hidden_state(), hidden)


@pytest.mark.parametrize("split", [[1, 149], [100, 50], [7, 8, 9, 126], [63, 1, 86]])
def test_any_split_of_a_prompt_gives_the_same_bits(runtime: LlamaRuntime, split: list[int]) -> None:
    whole = runtime.prefill(TOKENS, None, 0).copy()
    position = 0
    for count in split:
        logits = runtime.prefill(TOKENS[position : position + count], None, position)
        position += count
    assert np.array_equal(logits, whole)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(
    runtime: LlamaRuntime, weights: LlamaWeights, packs: Path, compiled: Path, threads: int
) -> None:
    other = tiny_llama.runtime(weights, packs, compiled, choose_path(detect(compiled)), threads=threads)
    lora = pack_lora(runtime.shape, random_lora(runtime.shape, 16))
    whole = runtime.prefill(TOKENS, None, 0, lora).copy()
    assert np.array_equal(other.prefill(TOKENS, None, 0, lora), whole)
    assert np.array_equal(decoded(other, TOKENS, lora=lora), whole)


def test_threads_that_share_a_span_of_an_adapters_sums_give_the_same_bits(
    packs: Path, compiled: Path
) -> None:
    """The sums of A x are shared in spans of 2 of 8 groups; three threads have the groups 0-1, 2-4 and 5-7."""
    wide = tiny_llama.random_weights(tiny_llama.config(intermediate_size=256, num_layers=1))
    path = choose_path(detect(compiled))
    lora = None
    answers = []
    for threads in (1, 2, 3):
        runtime = tiny_llama.runtime(wide, packs, compiled, path, threads=threads)
        lora = lora or pack_lora(runtime.shape, random_lora(runtime.shape, 24))
        answers += [runtime.prefill(TOKENS[:20], None, 0, lora).copy()]
        answers += [decoded(runtime, TOKENS[:20], lora=lora)]
    assert all(np.array_equal(answer, answers[0]) for answer in answers[1:])


def test_rewinding_leaves_no_trace(runtime: LlamaRuntime) -> None:
    fresh = runtime.prefill(TOKENS[:40], None, 0).copy()
    runtime.prefill(TOKENS[::-1].copy(), None, 0)
    assert np.array_equal(runtime.prefill(TOKENS[:40], None, 0), fresh)
    after = decoded(runtime, TOKENS[40:45], start=40)
    runtime.prefill(TOKENS[50:120], None, 40)
    assert np.array_equal(decoded(runtime, TOKENS[40:45], start=40), after)


def test_image_rows_stand_for_negative_ids(runtime: LlamaRuntime, weights: LlamaWeights) -> None:
    rows = np.random.default_rng(1).normal(size=(5, 96)).astype(np.float32)
    tokens = TOKENS[:30].copy()
    tokens[4:9] = [-1, -2, -3, -5, -4]
    expected = Reference(weights).logits(tokens, rows)
    errors = [
        relative_error(runtime.prefill(tokens[:count], rows, 0), expected[count - 1])
        for count in range(5, 10)
    ]
    assert min(errors) < 1e-5  # a later token can inherit a differing code: see errors_of_short_prompts
    assert relative_error(runtime.prefill(tokens, rows, 0), expected[-1]) < 0.03
    # A row that holds a token's own embedding is that token.
    same = Reference(weights).embedding[TOKENS[:1]]
    plain = runtime.prefill(TOKENS[:20], None, 0).copy()
    assert np.array_equal(runtime.prefill(np.r_[np.int32(-1), TOKENS[1:20]], same, 0), plain)


@pytest.mark.parametrize("rank", [1, 8, 16, 17, 64, 128])
def test_lora_follows_the_reference(runtime: LlamaRuntime, weights: LlamaWeights, rank: int) -> None:
    """Next to equal under the same rounding; against exact LoRA, no worse than the base model."""
    lora = random_lora(runtime.shape, rank)
    packed = pack_lora(runtime.shape, lora)
    errors = errors_of_short_prompts(runtime, Reference(weights, lora), packed)
    assert np.median(errors) < 1e-4
    assert errors[-1] < 0.06
    got = runtime.prefill(TOKENS[:50], None, 0, packed).copy()
    assert relative_error(got, Reference(weights, lora, exact=True).logits(TOKENS[:50])[-1]) < 0.06
    assert relative_error(got, Reference(weights).logits(TOKENS[:50])[-1]) > 0.1  # it does something
    assert np.array_equal(decoded(runtime, TOKENS[:50], lora=packed), got)


def random_dora(runtime: LlamaRuntime, rank: int) -> LoraWeights:
    """A DoRA with factors on all linear layers but "k" and those of layer 1."""
    rng = np.random.default_rng(rank)
    factors = {
        f"layers.{layer}.{role}_proj": rng.uniform(0.6, 1.4, runtime.shape.matrix(role)[0]).astype(np.float32)
        for layer in (0, 2)
        for role in ("q", "v", "o", "gate", "up", "down")
    }
    return replace(random_lora(runtime.shape, rank), factors=factors)


@pytest.mark.parametrize("rank", [8, 64])
def test_the_factors_of_a_dora_multiply_the_outputs(
    runtime: LlamaRuntime, weights: LlamaWeights, rank: int
) -> None:
    dora = random_dora(runtime, rank)
    packed = pack_lora(runtime.shape, dora)
    assert np.median(errors_of_short_prompts(runtime, Reference(weights, dora), packed)) < 1e-4
    got = runtime.prefill(TOKENS[:50], None, 0, packed).copy()
    plain = Reference(weights, replace(dora, factors={})).logits(TOKENS[:50])[-1]
    assert relative_error(got, plain) > 0.1  # the factors do something
    assert np.array_equal(decoded(runtime, TOKENS[:50], lora=packed), got)


def test_factors_of_one_change_no_bit(runtime: LlamaRuntime) -> None:
    lora = random_lora(runtime.shape, 16)
    ones = replace(lora, factors={"layers.0.q_proj": np.ones(96, np.float32)})
    expected = runtime.prefill(TOKENS[:20], None, 0, pack_lora(runtime.shape, lora)).copy()
    assert np.array_equal(runtime.prefill(TOKENS[:20], None, 0, pack_lora(runtime.shape, ones)), expected)


def test_a_missing_module_counts_as_zero_and_none_is_the_base(runtime: LlamaRuntime) -> None:
    lora = random_lora(runtime.shape, 8)
    only_v = {name: tensor for name, tensor in lora.tensors.items() if "v_proj" in name}
    zeros = {name: tensor if "v_proj" in name else 0 * tensor for name, tensor in lora.tensors.items()}
    partial, padded, empty = (
        runtime.prefill(
            TOKENS[:30], None, 0, pack_lora(runtime.shape, LoraWeights("l", 1, 8, tensors))
        ).copy()
        for tensors in (only_v, zeros, {})
    )
    assert np.array_equal(partial, padded)
    base = runtime.prefill(TOKENS[:30], None, 0).copy()
    assert np.array_equal(empty, base)
    assert not np.array_equal(partial, base)


def test_a_sum_of_adapters_computes_the_sum_of_their_updates(
    runtime: LlamaRuntime, weights: LlamaWeights
) -> None:
    first, second = random_lora(runtime.shape, 16, 1), random_lora(runtime.shape, 16, 2)
    packed = [pack_lora(runtime.shape, lora) for lora in (first, second)]
    both = add_packed(runtime.shape, "both", 1, list(zip(packed, (0.75, -0.5), strict=True)))
    tensors = {
        name: np.concatenate([first.tensors[name], second.tensors[name]])
        if name.endswith(".A")
        else np.concatenate([0.75 * first.tensors[name], -0.5 * second.tensors[name]], axis=1)
        for name in first.tensors
    }
    reference = Reference(weights, LoraWeights("both", 1, 32, tensors))
    assert np.median(errors_of_short_prompts(runtime, reference, both)) < 1e-4


def test_switching_adapters_is_passing_another_tensor(runtime: LlamaRuntime) -> None:
    one, two = (pack_lora(runtime.shape, random_lora(runtime.shape, 16, seed)) for seed in (1, 2))
    expected = [runtime.prefill(TOKENS[:20], None, 0, lora).copy() for lora in (one, two, None)]
    for _ in range(3):
        for lora, logits in zip((one, two, None), expected, strict=True):
            assert np.array_equal(runtime.prefill(TOKENS[:20], None, 0, lora), logits)


def test_hidden_state_is_what_the_head_multiplies(runtime: LlamaRuntime, weights: LlamaWeights) -> None:
    logits = runtime.prefill(TOKENS[:20], None, 0).copy()
    assert relative_error(logits, weights.embedding.dequantise() @ runtime.hidden_state()) < 0.02


def test_what_does_not_fit_is_refused(runtime: LlamaRuntime) -> None:
    rows = np.zeros((2, 96), np.float32)
    for tokens, image_rows, position in (
        (TOKENS, None, 400),
        (TOKENS[:0], None, 0),
        (TOKENS[:3], None, -1),
        (np.array([333], np.int32), None, 0),
        (np.array([-1], np.int32), None, 0),
        (np.array([-3], np.int32), rows, 0),
        (np.array([-1], np.int32), rows[:, :64], 0),
    ):
        with pytest.raises(ValueError):
            runtime.prefill(tokens, image_rows, position)
    for token, position in ((0, 512), (333, 0), (-1, 0)):
        with pytest.raises(ValueError):
            runtime.decode(token, position)


def test_the_last_position_of_the_context_works(runtime: LlamaRuntime) -> None:
    tokens = np.tile(TOKENS, 4)[:512]
    whole = runtime.prefill(tokens, None, 0).copy()
    runtime.prefill(tokens[:511], None, 0)
    assert np.array_equal(runtime.decode(int(tokens[511]), 511), whole)


def test_other_python_threads_run_meanwhile(runtime: LlamaRuntime) -> None:
    """The GIL is released while kernels compute: a counting thread gets on during a single call."""
    counted, done = [0], threading.Event()

    def count() -> None:
        while not done.is_set():
            counted[0] += 1
            time.sleep(0)

    most = 0
    counter = threading.Thread(target=count)
    counter.start()
    try:
        for _ in range(5000):  # many only where another process holds the counting thread's core
            before = counted[0]
            runtime.prefill(TOKENS[:64], None, 0)
            most = max(most, counted[0] - before)
            if most > 2:  # holding the GIL, a call would allow a switch before and after it at most
                break
    finally:
        done.set()
        counter.join()
    assert most > 2


def test_rotary_table_turns_by_the_models_frequencies() -> None:
    table = rotary_table(100.0, 4, 3)
    angles = np.outer(np.arange(3), [1.0, 0.1])
    assert np.allclose(table, np.concatenate([np.cos(angles), np.sin(angles)], axis=1), atol=1e-7)

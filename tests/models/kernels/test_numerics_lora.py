"""Adapters against peft on the same base: random ones of ranks 1, 8, 16 and 64 on all seven linear layers.

The adapters are drawn again from their seeds (tests/fixtures/numerics/cases.py), so none are committed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.hub.store import ModelFiles
from models.language.runtime import LlamaRuntime
from tests.fixtures.numerics import cases
from tests.models.kernels import numerics
from tests.models.kernels.numerics import Fixtures

pytestmark = pytest.mark.slow

LAYER = 14
DELTA_ERROR = 1e-5  # of what the adapter adds to one layer's logits: float precision
STRAY_DELTA_ERROR = 5e-2  # where a value falls on the other rounding step
FULL_ERROR = 1.5  # times the largest distance between the emulated and the float reference


@pytest.fixture(scope="module")
def fixtures() -> Fixtures:
    return Fixtures()


@pytest.fixture(scope="module")
def model(model_files: ModelFiles, engine_cache: Path) -> LlamaRuntime:
    return numerics.runtime(numerics.real_weights(model_files), engine_cache / "packed", engine_cache)


@pytest.fixture(scope="module")
def layer(
    model_files: ModelFiles, engine_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> LlamaRuntime:
    weights = numerics.single_layer(numerics.real_weights(model_files), LAYER)
    return numerics.runtime(weights, tmp_path_factory.mktemp("packed"), engine_cache)


@pytest.mark.parametrize("rank", cases.RANKS)
def test_an_adapter_adds_to_one_layer_what_peft_adds(
    layer: LlamaRuntime, fixtures: Fixtures, rank: int
) -> None:
    """The change of the logits, not the logits: what an adapter adds is proven as such."""
    expected = fixtures.layer(cases.case_name(LAYER, rank)) - fixtures.layer(cases.case_name(LAYER, None))
    added = numerics.layer_logits(layer, numerics.adapter(layer, rank)) - numerics.layer_logits(layer)
    errors = list(map(cases.relative_error, added, expected))
    assert np.median(errors) < DELTA_ERROR, errors
    assert max(errors) < STRAY_DELTA_ERROR, errors


@pytest.mark.parametrize("rank", cases.RANKS)
def test_an_adapter_moves_the_whole_model_as_peft_moves_it(
    model: LlamaRuntime, fixtures: Fixtures, rank: int
) -> None:
    case, lora = cases.case_name(None, rank), numerics.adapter(model, rank)
    bound = FULL_ERROR * fixtures.apart(case, "emulated from float")
    for prompt, kept in fixtures.kept(case, "float"):
        assert kept.error(model.prefill(fixtures.tokens(prompt), None, 0, lora)) < bound


def test_the_reference_adapters_are_far_from_no_adapter(fixtures: Fixtures) -> None:
    """Otherwise the tests above would pass without one."""
    plain = dict(fixtures.kept("full", "float"))
    for rank in cases.RANKS:
        case = cases.case_name(None, rank)
        for prompt, kept in fixtures.kept(case, "float"):
            moved = cases.relative_error(kept.sample, plain[prompt].sample)
            assert moved > 3 * FULL_ERROR * fixtures.apart(case, "emulated from float")


def test_decoding_under_an_adapter_gives_the_bits_of_prefilling_under_it(
    model: LlamaRuntime, fixtures: Fixtures
) -> None:
    lora, tokens = numerics.adapter(model, 8), fixtures.tokens(1)
    whole = model.prefill(tokens, None, 0, lora).copy()
    model.prefill(tokens[:4], None, 0, lora)
    for place, token in enumerate(tokens[4:], 4):
        logits = model.decode(int(token), place, lora)
    np.testing.assert_array_equal(logits, whole)

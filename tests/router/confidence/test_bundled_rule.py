"""The bundled rule has offsets for the bundled adapters, and for no others."""

from __future__ import annotations

import pytest

from adapters.store.adapter_store import BUNDLED, bundled_names, read_policies
from adapters.store.manifest import policy_digest
from models.adapter_weights import read_adapter
from models.compiled_engine import CompiledEngine
from router.confidence.rule import NO_ADAPTER, bundled_rule

REFIT = "it was fitted for another; fit the bundled rule again, as docs/confidence.md says"


@pytest.mark.parametrize("name", [name for name in bundled_names() if name in bundled_rule().adapters])
def test_a_bundled_adapter_s_fit_is_for_the_one_that_is_bundled(name: str) -> None:
    offset = bundled_rule().adapters[name]
    assert offset.generation == read_adapter(BUNDLED / name, name).generation, REFIT
    assert offset.policy == policy_digest(*read_policies(BUNDLED / name)), REFIT


def test_the_plain_model_s_fit_is_for_the_default_model(engine: CompiledEngine) -> None:
    assert bundled_rule().adapters[NO_ADAPTER].generation == engine.generation, REFIT

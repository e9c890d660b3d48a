"""Adapters of the compiled engine: what does not fit is refused, and LoRAs and heads are summed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.adapter_weights import AdapterWeights
from models.compiled_adapters import CompiledAdapter, CompiledAdapterPacker
from models.core.errors import UserError
from models.families.parts import BaseWeights
from models.lora.peft_format import PeftLora
from models.lora.vision_lora import VisionLora
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import LoraLayout
from models.vision.projector.heads import ProjectorPart
from models.vision.siglip.adapter import PackedVisionLora
from tests.models.test_adapter_weights import head
from tests.models.tiny_llama import random_lora

SHAPE = LlamaShape(96, 160, 2, 6, 2, 16, 333, 1e-5, 4, 4, 4, 4, 4, 4, 4, 0)


@pytest.fixture
def packer(tmp_path: Path) -> CompiledAdapterPacker:
    return CompiledAdapterPacker(SHAPE, tmp_path)


def part(rank: int, value: float) -> ProjectorPart:
    """A LoRA of the model's head "object", filled with one value."""
    a, b = np.full((rank, 4), value, np.float32), np.full((3, rank), value, np.float32)
    return ProjectorPart(lora={"heads.object.A": a, "heads.object.B": b})


def adapter(packer: CompiledAdapterPacker, name: str, projector: ProjectorPart | None) -> CompiledAdapter:
    lora = random_lora(SHAPE, 4)
    return packer.pack(AdapterWeights(PeftLora(name, 1, 4, lora.tensors), projector))


def test_an_adapter_of_another_depth_is_not_packed(packer: CompiledAdapterPacker) -> None:
    lora = PeftLora("short", 1, 4, random_lora(SHAPE, 4).tensors, layers=1)
    with pytest.raises(UserError, match="short was trained on a model of 1 layers"):
        packer.pack(AdapterWeights(lora))


def test_a_vision_tower_s_lora_is_refused_by_a_model_without_one(packer: CompiledAdapterPacker) -> None:
    lora = PeftLora("seeing", 1, 4, random_lora(SHAPE, 4).tensors)
    with pytest.raises(UserError, match="seeing changes a vision tower, which this model does not have"):
        packer.pack(AdapterWeights(lora, vision=VisionLora(4, {})))


def test_a_dora_needs_the_weights_of_its_base(packer: CompiledAdapterPacker, tmp_path: Path) -> None:
    tensors = random_lora(SHAPE, 4).tensors
    magnitudes = {"layers.1.q_proj": np.full(96, 3.0, np.float32)}
    lora = PeftLora("dora", 1, 4, tensors, magnitudes=magnitudes)
    with pytest.raises(UserError, match="dora is a DoRA"):
        packer.pack(AdapterWeights(lora))
    base = BaseWeights(lambda module: np.ones(SHAPE.matrix(module.split(".")[2][:-5]), np.float32))
    packed = CompiledAdapterPacker(SHAPE, tmp_path, base).pack(AdapterWeights(lora)).lora
    assert packed.factored
    factors = LoraLayout(SHAPE).factors(packed.tensor, packed.rank)
    merged = 1 + tensors["layers.1.q_proj.B"] @ tensors["layers.1.q_proj.A"]
    np.testing.assert_allclose(factors[1, :96], 3 / np.linalg.norm(merged, axis=1), rtol=1e-5)
    assert (factors[0] == 1).all() and (factors[1, 96:] == 1).all()


def test_a_kept_dora_is_not_taken_for_another_model_of_the_same_shape(tmp_path: Path) -> None:
    magnitudes = {"layers.1.q_proj": np.full(96, 3.0, np.float32)}
    weights = AdapterWeights(PeftLora("dora", 1, 4, random_lora(SHAPE, 4).tensors, magnitudes=magnitudes))

    def model(digest: str, value: float) -> CompiledAdapterPacker:
        base = BaseWeights(lambda module: np.full(SHAPE.matrix(module.split(".")[2][:-5]), value, np.float32))
        return CompiledAdapterPacker(SHAPE, tmp_path, base, digest=digest)

    one, other = model("1" * 64, 1.0), model("2" * 64, 5.0)
    packed = one.pack(weights)
    one.keep(packed, "signature")
    assert not np.array_equal(packed.lora.tensor, other.pack(weights).lora.tensor)
    assert one.open(tmp_path, "dora", "signature") is not None
    assert other.open(tmp_path, "dora", "signature") is None


def test_an_adapter_of_the_tower_is_not_added_to_others(packer: CompiledAdapterPacker) -> None:
    seeing = replace(adapter(packer, "seeing", None), vision=PackedVisionLora(1, 0, {}))
    with pytest.raises(UserError, match="seeing changes the vision tower; it cannot be added"):
        packer.add("sum", 1, [(seeing, 1.0), (adapter(packer, "other", None), 1.0)])


def test_a_sum_without_projector_parts_has_none(packer: CompiledAdapterPacker) -> None:
    parts = [(adapter(packer, "one", None), 1.0), (adapter(packer, "two", None), 1.0)]
    assert packer.add("sum", 1, parts).projector is None


def test_a_sum_keeps_every_head_under_its_adapter_s_name(packer: CompiledAdapterPacker) -> None:
    one = adapter(packer, "one", ProjectorPart(("object", "colour"), (head("kind"),)))
    two = adapter(packer, "two", ProjectorPart(("object", "place"), (head("kind"),)))
    added = packer.add("sum", 1, [(one, 0.5), (two, 1.0)]).projector
    assert added is not None
    assert added.keep == ("object", "colour", "place")
    assert [each.name for each in added.heads] == ["one.kind", "two.kind"]
    whole = packer.add("sum", 1, [(one, 0.5), (adapter(packer, "three", None), 1.0)]).projector
    assert whole is not None and whole.keep is None, "an adapter without a part keeps every head"


def test_a_sum_adds_weighted_loras_of_heads(packer: CompiledAdapterPacker) -> None:
    parts = [(adapter(packer, "one", part(2, 1.0)), 0.5), (adapter(packer, "two", part(3, 2.0)), -1.0)]
    added = packer.add("sum", 1, parts).projector
    assert added is not None
    a, b = added.lora["heads.object.A"], added.lora["heads.object.B"]
    assert (a.shape, b.shape) == ((5, 4), (3, 5))
    np.testing.assert_allclose(b @ a, 0.5 * 2 * 1.0 - 3 * 4.0)

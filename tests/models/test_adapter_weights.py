"""An adapter as an engine takes it: LoRA and projector part are read together, identified together and summed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.adapter_weights import AdapterWeights, PackedAdapter, add_adapters, pack_adapter, read_adapter
from models.core.errors import UserError
from models.lora.peft_format import PeftLora, read_peft
from models.packing.packed_model import LlamaShape
from models.vision.projector_file import ProjectorHead, ProjectorPart
from models.vision.projector_writer import write_projector_part
from tests.models.tiny_llama import random_lora

FIXTURES = Path(__file__).parents[1] / "fixtures" / "peft"
SHAPE = LlamaShape(96, 160, 2, 6, 2, 16, 333, 1e-5, 4, 4, 4, 4, 4, 4, 4, 0)


def head(name: str) -> ProjectorHead:
    """Two words over the pooled features, one image token."""
    weight = np.ones((2, 1280), np.float32)
    return ProjectorHead(
        name, ("pool",), 1.0, ("a", "b"), weight, np.zeros(2, np.float32), np.zeros((2, 1), np.int32)
    )


def part(rank: int, value: float) -> ProjectorPart:
    """A LoRA of the model's head "object", filled with one value."""
    a, b = np.full((rank, 4), value, np.float32), np.full((3, rank), value, np.float32)
    return ProjectorPart(lora={"heads.object.A": a, "heads.object.B": b})


def adapter(name: str, projector: ProjectorPart | None) -> PackedAdapter:
    lora = random_lora(SHAPE, 4)
    return pack_adapter(SHAPE, AdapterWeights(PeftLora(name, 1, 4, lora.tensors), projector))


def test_the_projector_part_is_read_and_belongs_to_the_generation(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FIXTURES / "plain", tmp_path / "adapter"))
    plain = read_adapter(folder, "x")
    assert plain.projector is None
    assert (plain.name, plain.generation) == ("x", read_peft(folder, "x").generation)
    write_projector_part(folder / "projector.safetensors", ProjectorPart((), (head("kind"),)))
    seeing = read_adapter(folder, "x")
    assert seeing.projector is not None
    assert [each.name for each in seeing.projector.heads] == ["kind"]
    assert seeing.generation != plain.generation
    write_projector_part(folder / "projector.safetensors", ProjectorPart((), (head("colour"),)))
    assert read_adapter(folder, "x").generation not in (plain.generation, seeing.generation)


def test_a_damaged_projector_part_is_refused_by_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FIXTURES / "plain", tmp_path / "adapter"))
    (folder / "projector.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"projector\.safetensors"):
        read_adapter(folder, "x")


def test_an_adapter_of_another_depth_is_not_packed() -> None:
    lora = PeftLora("short", 1, 4, random_lora(SHAPE, 4).tensors, layers=1)
    with pytest.raises(UserError, match="short was trained on a model of 1 layers"):
        pack_adapter(SHAPE, AdapterWeights(lora))


def test_a_sum_without_projector_parts_has_none() -> None:
    parts = [(adapter("one", None), 1.0), (adapter("two", None), 1.0)]
    assert add_adapters(SHAPE, "sum", 1, parts).projector is None


def test_a_sum_keeps_every_head_under_its_adapter_s_name() -> None:
    one = adapter("one", ProjectorPart(("object", "colour"), (head("kind"),)))
    two = adapter("two", ProjectorPart(("object", "place"), (head("kind"),)))
    added = add_adapters(SHAPE, "sum", 1, [(one, 0.5), (two, 1.0)]).projector
    assert added is not None
    assert added.keep == ("object", "colour", "place")
    assert [each.name for each in added.heads] == ["one.kind", "two.kind"]
    whole = add_adapters(SHAPE, "sum", 1, [(one, 0.5), (adapter("three", None), 1.0)]).projector
    assert whole is not None and whole.keep is None, "an adapter without a part keeps every head"


def test_a_sum_adds_weighted_loras_of_heads() -> None:
    parts = [(adapter("one", part(2, 1.0)), 0.5), (adapter("two", part(3, 2.0)), -1.0)]
    added = add_adapters(SHAPE, "sum", 1, parts).projector
    assert added is not None
    a, b = added.lora["heads.object.A"], added.lora["heads.object.B"]
    assert (a.shape, b.shape) == ((5, 4), (3, 5))
    np.testing.assert_allclose(b @ a, 0.5 * 2 * 1.0 - 3 * 4.0)

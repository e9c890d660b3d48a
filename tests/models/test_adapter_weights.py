"""An adapter as read from its files: LoRA and projector part are read and identified together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.adapter_weights import read_adapter
from models.core.errors import UserError
from models.lora.peft_format import read_peft
from models.vision.projector.heads import ProjectorHead, ProjectorPart
from models.vision.projector.projector_file import write_projector_part

FIXTURES = Path(__file__).parents[1] / "fixtures" / "peft"


def head(name: str) -> ProjectorHead:
    """Two words over the pooled features, one image token."""
    weight = np.ones((2, 1280), np.float32)
    return ProjectorHead(
        name, ("pool",), 1.0, ("a", "b"), weight, np.zeros(2, np.float32), np.zeros((2, 1), np.int32)
    )


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

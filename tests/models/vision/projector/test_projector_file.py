"""A projector's file, and an adapter's part of it, are read back as they were written, or refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.core.errors import UserError
from models.formats.safetensors_file import SafetensorsFile
from models.vision.efficientnet import PackedTower, pack_tower
from models.vision.projector.heads import ProjectorPart
from models.vision.projector.projector_file import read_projector, read_projector_part, write_projector_part
from tests.models.vision.projector.test_projector import HEADS, VOCAB, own_head, random_lora
from tests.models.vision.projector.test_projector import _the_same_numbers_in_any_order as _numbers  # noqa: F401  # a fixture
from tests.models.vision.vision_cases import random_checkpoint


@pytest.fixture(scope="module")
def tower() -> PackedTower:
    return pack_tower(random_checkpoint(0))


def contents() -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Metadata and tensors of HEADS, and of one head that is the tower's classifier."""
    entries: list[dict[str, Any]] = []
    tensors: dict[str, NDArray[Any]] = {}
    for head in HEADS:
        entries.append(
            {
                "name": head.name,
                "features": list(head.features),
                "temperature": head.temperature,
                "labels": list(head.labels),
                "weights": "own",
            }
        )
        tensors |= {
            f"heads.{head.name}.weight": head.weight,
            f"heads.{head.name}.bias": head.bias,
            f"heads.{head.name}.tokens": head.tokens,
        }
    labels = [f"class {number}" for number in range(1000)]
    entries.append({"name": "class", "features": ["pool"], "labels": labels, "weights": "tower.classifier"})
    tensors["heads.class.tokens"] = np.zeros((1000, 1), np.int32)
    return entries, tensors


def write(path: Path, entries: Any, tensors: dict[str, NDArray[Any]], **metadata: str) -> Path:
    heads = json.dumps(entries)
    save_file(tensors, path, {"format": "edge-app-projector", "version": "1", "heads": heads} | metadata)
    return path


def test_a_file_reads_back_as_its_heads(tmp_path: Path, tower: PackedTower) -> None:
    *own, classifier = read_projector(write(tmp_path / "p.safetensors", *contents()), tower, VOCAB)
    assert len(own) == len(HEADS)
    for read, head in zip(own, HEADS, strict=True):
        assert (read.name, read.features, read.labels) == (head.name, head.features, head.labels)
        assert read.temperature == head.temperature
        assert np.array_equal(read.weight, head.weight)
        assert np.array_equal(read.tokens, head.tokens)
    assert classifier.weight is tower.classifier
    assert classifier.bias is tower.classifier_bias
    assert classifier.temperature == 1


def test_half_precision_weights_are_read(tmp_path: Path, tower: PackedTower) -> None:
    entries, tensors = contents()
    tensors["heads.colour.weight"] = tensors["heads.colour.weight"].astype(np.float16)
    heads = read_projector(write(tmp_path / "p.safetensors", entries, tensors), tower, VOCAB)
    assert heads[2].weight.dtype == np.float32
    np.testing.assert_allclose(heads[2].weight, HEADS[2].weight, atol=1e-3)


def change(tensor: str, value: NDArray[Any] | None) -> Any:
    def apply(entries: list[dict[str, Any]], tensors: dict[str, NDArray[Any]]) -> None:
        assert entries
        if value is None:
            del tensors[tensor]
        else:
            tensors[tensor] = value

    return apply


def entry(head: int, **values: Any) -> Any:
    def apply(entries: list[dict[str, Any]], tensors: dict[str, NDArray[Any]]) -> None:
        assert tensors
        entries[head] |= values

    return apply


WRONG = {
    "weight of another shape": change("heads.object.weight", np.zeros((100, 1279), np.float32)),
    "weight missing": change("heads.object.weight", None),
    "weight not finite": change("heads.object.weight", np.full((100, 1280), np.nan, np.float32)),
    "weight of integers": change("heads.object.weight", np.zeros((100, 1280), np.int32)),
    "bias infinite": change("heads.object.bias", np.full(100, np.inf, np.float32)),
    "bias of another length": change("heads.object.bias", np.zeros(99, np.float32)),
    "tokens missing": change("heads.object.tokens", None),
    "tokens of another type": change("heads.object.tokens", np.zeros((100, 3), np.int64)),
    "token beyond the vocabulary": change("heads.object.tokens", np.full((100, 3), VOCAB, np.int32)),
    "token below -1": change("heads.object.tokens", np.full((100, 3), -2, np.int32)),
    "tokens for fewer words": change("heads.object.tokens", np.zeros((99, 3), np.int32)),
    "no slots": change("heads.object.tokens", np.zeros((100, 0), np.int32)),
    "a tensor of no head": change("heads.other.weight", np.zeros(3, np.float32)),
    "weights beside the classifier": change("heads.class.weight", np.zeros((1000, 1280), np.float32)),
    "fewer labels": entry(0, labels=["one"]),
    "labels that are no text": entry(0, labels=list(range(100))),
    "an unknown feature": entry(0, features=["smell"]),
    "no features": entry(0, features=[]),
    "two heads of a name": entry(1, name="object"),
    "a name with a slash": entry(0, name="../object"),
    "temperature zero": entry(0, temperature=0),
    "temperature not a number": entry(0, temperature="warm"),
    "temperature beyond any float": entry(0, temperature=10**400),
    "unknown weights": entry(0, weights="borrowed"),
    "a classifier over colours": entry(3, features=["colour"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_with_the_file_s_name(
    case: str, tmp_path: Path, tower: PackedTower
) -> None:
    entries, tensors = contents()
    WRONG[case](entries, tensors)
    with pytest.raises(UserError, match=r"p\.safetensors"):
        read_projector(write(tmp_path / "p.safetensors", entries, tensors), tower, VOCAB)


def test_other_files_are_refused(tmp_path: Path, tower: PackedTower) -> None:
    entries, tensors = contents()
    path = tmp_path / "p.safetensors"
    for changed in ({"version": "4"}, {"format": "something else"}):
        with pytest.raises(UserError, match="not a projector file"):
            read_projector(write(path, entries, tensors, **changed), tower, VOCAB)
    for heads in ("{", "no list", {"name": "object"}, [1], []):
        with pytest.raises(UserError):
            read_projector(write(path, heads, tensors), tower, VOCAB)
    path.write_bytes(b"not safetensors at all, not even a header")
    with pytest.raises(UserError):
        read_projector(path, tower, VOCAB)


# ---- an adapter's part


def a_part() -> ProjectorPart:
    spots = replace(own_head("spots", "s16", 5, 1, "peaks"), sharpness=3.0)
    heads = (own_head("count", "s8", 2, 1), spots, HEADS[1])
    return ProjectorPart(keep=("object",), heads=heads, lora=random_lora("object", 3))


def test_a_part_reads_back_as_it_was_written(tmp_path: Path) -> None:
    part, path = a_part(), tmp_path / "projector.safetensors"
    write_projector_part(path, part)
    read = read_projector_part(path)
    assert read.keep == part.keep
    assert read.lora.keys() == part.lora.keys()
    for made, head in zip(read.heads, part.heads, strict=True):
        assert (made.name, made.features, made.labels) == (head.name, head.features, head.labels)
        np.testing.assert_allclose(made.weight, head.weight, atol=1e-3)
        assert np.array_equal(made.tokens, head.tokens)
    assert read.heads[0].places is not None
    assert (read.heads[0].places.map, read.heads[0].places.cells) == ("s8", 2)
    assert [head.places.pooling for head in read.heads if head.places] == ["mean", "peaks"]
    assert [head.sharpness for head in read.heads] == [1.0, 3.0, 1.0]
    write_projector_part(path, ProjectorPart(lora=random_lora("object", 2)))
    assert read_projector_part(path).keep is None


WRONG_PARTS: dict[str, dict[str, str]] = {
    "nothing left to see with": {"keep": "[]", "heads": "[]"},
    "keep is no list": {"keep": '"object"'},
    "keep is no JSON": {"keep": "[object"},
    "a head kept twice": {"keep": '["object", "object"]'},
    "a name with a slash": {"keep": '["../object"]'},
    "a later version": {"version": "4"},
}


def test_a_head_of_version_2_is_pooled_by_means_and_not_sharpened(tmp_path: Path) -> None:
    path = tmp_path / "projector.safetensors"
    write_projector_part(path, ProjectorPart(keep=(), heads=(own_head("count", "s16", 3, 1),)))
    file = SafetensorsFile(path)
    heads = json.loads(file.metadata["heads"])
    assert heads[0]["places"].pop("pooling") == "mean"
    assert heads[0].pop("sharpness") == 1.0
    older = {**file.metadata, "version": "2", "heads": json.dumps(heads)}
    save_file({name: np.array(file.array(name)) for name in file.tensors}, path, older)
    (head,) = read_projector_part(path).heads
    assert head.places is not None
    assert head.places.pooling == "mean"
    assert head.sharpness == 1.0


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_a_damaged_part_is_refused_with_the_file_s_name(case: str, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    metadata = {"format": "edge-app-projector", "version": "2", "heads": "[]", "keep": "null"}
    save_file({"heads.object.A": np.zeros((1, 4), np.float32)}, path, metadata | WRONG_PARTS[case])
    with pytest.raises(UserError, match=r"p\.safetensors"):
        read_projector_part(path)


def test_a_part_s_places_and_lora_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write_projector_part(path, a_part())
    file = SafetensorsFile(path)
    whole = {name: np.array(file.array(name)) for name in file.tensors}
    heads = json.loads(file.metadata["heads"])
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"map": "s4", "cells": 1}, {}),
        ({"map": "s8", "cells": 0}, {}),
        ({"map": "s8", "cells": 2, "pooling": "median"}, {}),
        ({"map": "s8", "cells": 2, "pooling": "peaks"}, {}),  # other numbers than its weight is for
        ({"map": "s16", "cells": 2}, {}),
        ({"map": "s8", "cells": 2}, {"heads.count.places.bias": np.zeros((0,), np.float32)}),
        ({"map": "s8", "cells": 2}, {"heads.object.A": np.full((3, 1280), np.inf, np.float32)}),
        ({"map": "s8", "cells": 2}, {"heads.object.A": np.zeros(3, np.float32)}),
    ]
    for places, tensors in changes:
        entries = [{**heads[0], "places": places}, *heads[1:]]
        save_file(whole | tensors, path, {**file.metadata, "heads": json.dumps(entries)})
        with pytest.raises(UserError, match=r"p\.safetensors"):
            read_projector_part(path)
    save_file(
        whole, path, {**file.metadata, "heads": json.dumps([{**heads[0], "weights": "tower.classifier"}])}
    )
    with pytest.raises(UserError, match="not known here"):
        read_projector_part(path)
